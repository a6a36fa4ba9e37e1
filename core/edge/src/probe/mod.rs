//! What the policy asked to be watched: probes are sent by declaration, and judged by it.
//!
//! Each probe runs on its own clock and its own connections. A probe whose timeout is longer than its interval overlaps
//! with the next: a silent server is noticed one interval after another, not one timeout after another. Where a session
//! is kept (XMPP with a user, CTI) the next one waits for it, within its own timeout.

mod agent;
mod call;
mod connect;
mod cti;
mod exchange;
mod facts;
mod http;
mod icmp;
mod judge;
mod kind;
mod limit;
mod means;
mod rhythm;
mod sender;
mod session;
mod target;
mod tls;
mod together;
mod xml;
mod xmpp;

pub(crate) use agent::{AgentPing, Ping, PingError};
pub use call::HttpCall;
pub(crate) use means::{CONNECT_EVERY, Means};
pub(crate) use target::target;
pub(crate) use tls::{Anybody, roots_of};

use crate::address::Address;
use agent::NoAgents;
use kind::Kind;
use lockstep_policy::Side;
use lockstep_policy::action::{ProbeKind, Watch};
use lockstep_policy::event::{ProbeId, ProbeResult};
use rhythm::Rhythm;
use sender::{Sender, Shared};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// Probes that one policy may declare.
pub(crate) const PROBES: usize = 64;

/// No probe is sent more often, whatever a policy declares.
const FASTEST: Duration = Duration::from_millis(5);

/// No probe is waited for longer.
const SLOWEST: Duration = Duration::from_secs(120);

/// Takes results; must not block. The number tells a declaration from one that it has replaced.
pub(crate) type Deliver = Arc<dyn Fn(u64, ProbeResult) + Send + Sync>;

/// The probes of one pair.
pub(crate) struct Probes {
    deliver: Deliver,
    means: Arc<Means>,
    agents: Arc<dyn AgentPing>,
    watched: BTreeMap<ProbeId, Watched>,
    declared: u64,
    rhythm: Rhythm,
}

struct Watched {
    declaration: u64,
    watch: Watch,
    sender: Arc<Sender>,
    /// None: it is sent by `ProbeNow` only.
    interval: Option<JoinHandle<()>>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.interval.iter().for_each(JoinHandle::abort);
        let sender = Arc::clone(&self.sender);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { sender.close().await });
        }
    }
}

impl Probes {
    pub fn new(deliver: Deliver) -> Probes {
        let (means, agents) = (Arc::default(), Arc::new(NoAgents));
        Probes { deliver, means, agents, watched: BTreeMap::new(), declared: 0, rhythm: Rhythm::new() }
    }

    /// With the connections over which [`ProbeKind::Agent`] asks.
    pub fn with_agents(self, agents: Arc<dyn AgentPing>) -> Probes {
        Probes { agents, ..self }
    }

    /// With what the probes of all pairs share.
    pub fn with_means(self, means: Arc<Means>) -> Probes {
        Probes { means, ..self }
    }

    /// Sends a probe from now on. An error says why it is refused; what was declared before stays then.
    pub fn watch(&mut self, watch: Watch, servers: &[impl Clone + Into<Address>]) -> Result<(), String> {
        if !self.watched.contains_key(&watch.probe) && self.watched.len() >= PROBES {
            return Err(format!("a policy may declare {PROBES} probes"));
        }
        let side = watch.side;
        if servers.is_empty() {
            return Err(format!("side {side} has no server to probe"));
        }
        if watch.server as usize > servers.len() {
            return Err(format!(
                "side {side} has {} servers, and none with the number {}",
                servers.len(),
                watch.server
            ));
        }
        if watch.server != 0 && matches!(watch.kind, ProbeKind::Agent(_)) {
            return Err("an agent is asked for its side, not for one of the side's servers".to_owned());
        }
        let servers: Vec<Address> = servers.iter().cloned().map(Into::into).collect();
        let kind = Kind::new(&watch, &servers, &self.means, &*self.agents)?;
        self.declared += 1;
        let shared = Shared {
            means: Arc::clone(&self.means),
            agents: Arc::clone(&self.agents),
            deliver: Arc::clone(&self.deliver),
            rhythm: self.rhythm,
        };
        let sender = Arc::new(Sender::new(self.declared, watch.clone(), kind, servers, shared));
        let interval = watch.repeats().then(|| tokio::spawn(Arc::clone(&sender).send_at_intervals()));
        self.watched.insert(watch.probe, Watched { declaration: self.declared, watch, sender, interval });
        Ok(())
    }

    /// Stops a probe. What is under way comes to nothing.
    pub fn unwatch(&mut self, probe: ProbeId) {
        self.watched.remove(&probe);
    }

    /// Stops all probes.
    pub fn clear(&mut self) {
        self.watched.clear();
    }

    /// Sends a probe at once.
    pub fn now(&self, probe: ProbeId) -> Result<(), String> {
        let Some(watched) = self.watched.get(&probe) else {
            return Err(format!("no probe has the number {}", probe.0));
        };
        watched.sender.send(true);
        Ok(())
    }

    /// Sends all probes of a side at once, but for those that the policy sends one by one.
    pub fn all_now(&self, side: Side) {
        let wanted = |watched: &&Watched| watched.watch.side == side && watched.watch.repeats();
        self.watched.values().filter(wanted).for_each(|watched| watched.sender.send(true));
    }

    /// Whether a result is of a probe that is still declared so.
    pub fn is_current(&self, declaration: u64, probe: ProbeId) -> bool {
        self.watched.get(&probe).is_some_and(|watched| watched.declaration == declaration)
    }

    /// What is declared now.
    pub fn watches(&self) -> impl Iterator<Item = &Watch> {
        self.watched.values().map(|watched| &watched.watch)
    }
}

#[cfg(test)]
mod tests;
