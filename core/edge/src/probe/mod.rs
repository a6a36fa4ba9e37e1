//! What the policy asked to be watched: probes are sent by declaration, and judged by it.
//!
//! Each probe runs on its own clock and its own connections. A probe whose timeout is longer than its interval overlaps
//! with the next: a silent server is noticed one interval after another, not one timeout after another.

mod agent;
mod exchange;
mod judge;

#[expect(unused_imports, reason = "the connections to the agents implement it")]
pub(crate) use agent::{AgentPing, Ping, PingError};

use agent::NoAgents;
use lockstep_policy::action::{ProbeKind, Watch};
use lockstep_policy::event::{ProbeId, ProbeResult};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// Probes that one policy may declare.
pub(crate) const PROBES: usize = 64;

/// Probes of one declaration that may be under way at once; one more is left out.
const UNDER_WAY: usize = 64;

/// No probe is sent more often, whatever a policy declares.
const FASTEST: Duration = Duration::from_millis(5);

/// No probe is waited for longer.
const SLOWEST: Duration = Duration::from_secs(120);

/// Takes results; must not block. The number tells a declaration from one that it has replaced.
pub(crate) type Deliver = Arc<dyn Fn(u64, ProbeResult) + Send + Sync>;

/// The probes of one pair.
pub(crate) struct Probes {
    deliver: Deliver,
    agents: Arc<dyn AgentPing>,
    watched: BTreeMap<ProbeId, Watched>,
    declared: u64,
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
    }
}

impl Probes {
    pub fn new(deliver: Deliver) -> Probes {
        Probes { deliver, agents: Arc::new(NoAgents), watched: BTreeMap::new(), declared: 0 }
    }

    /// With the connections over which [`ProbeKind::Agent`] asks.
    pub fn with_agents(self, agents: Arc<dyn AgentPing>) -> Probes {
        Probes { agents, ..self }
    }

    /// Sends a probe from now on, to each of the servers in turn.
    pub fn watch(&mut self, watch: Watch, servers: &[SocketAddr]) -> Result<(), String> {
        if !self.watched.contains_key(&watch.probe) && self.watched.len() >= PROBES {
            return Err(format!("a policy may declare {PROBES} probes"));
        }
        if servers.is_empty() {
            return Err(format!("side {} has no server to probe", watch.side));
        }
        self.declared += 1;
        let sender = Arc::new(Sender {
            declaration: self.declared,
            watch: watch.clone(),
            servers: servers.to_vec(),
            turn: AtomicUsize::new(0),
            places: Arc::new(Semaphore::new(UNDER_WAY)),
            deliver: Arc::clone(&self.deliver),
        });
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
        watched.sender.send();
        Ok(())
    }

    /// Sends all probes of a side at once, but for those that the policy sends one by one.
    pub fn all_now(&self, side: lockstep_policy::Side) {
        let wanted = |watched: &&Watched| watched.watch.side == side && watched.watch.repeats();
        self.watched.values().filter(wanted).for_each(|watched| watched.sender.send());
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

/// A probe for a person to read: `http :80/path`, `tcp :2011`.
pub(crate) fn target(kind: &ProbeKind) -> String {
    let port = |port: u16| if port == 0 { String::new() } else { format!(":{port}") };
    match kind {
        ProbeKind::Http(http) => format!("http {}{}", port(http.port), http.path),
        ProbeKind::Tcp { port: number } => format!("tcp {}", port(*number)),
        ProbeKind::Icmp(_) | ProbeKind::Agent(_) | ProbeKind::Xmpp(_) | ProbeKind::Cti(_) => String::new(),
    }
}

/// Sends one declared probe.
struct Sender {
    declaration: u64,
    watch: Watch,
    servers: Vec<SocketAddr>,
    turn: AtomicUsize,
    places: Arc<Semaphore>,
    deliver: Deliver,
}

impl Sender {
    async fn send_at_intervals(self: Arc<Sender>) {
        let interval = self.watch.interval.max(FASTEST);
        loop {
            self.send();
            tokio::time::sleep(interval - jitter(interval)).await;
        }
    }

    fn send(self: &Arc<Sender>) {
        // So many unanswered ones say all that another could.
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else { return };
        let sender = Arc::clone(self);
        tokio::spawn(async move {
            let turn = sender.turn.fetch_add(1, Ordering::Relaxed);
            let server = sender.servers[turn % sender.servers.len()];
            let timeout = sender.watch.timeout.min(SLOWEST);
            let finding = exchange::probe(&sender.watch.kind, server, timeout).await;
            drop(place);
            if finding.unasked {
                tracing::warn!(%server, why = finding.detail, "a probe could not be sent");
                return;
            }
            let result = ProbeResult {
                probe: sender.watch.probe,
                side: sender.watch.side,
                server: 0,
                verdict: finding.verdict,
                latency: finding.latency,
                status: finding.status,
                detail: judge::bounded(&finding.detail),
                facts: Vec::new(),
            };
            (sender.deliver)(sender.declaration, result);
        });
    }
}

/// Up to a tenth: probes of many pairs must not keep step.
fn jitter(interval: Duration) -> Duration {
    interval.mul_f64(fastrand::f64() / 10.0)
}

#[cfg(test)]
mod tests;
