//! Two connections to each side's agent, each on a TCP connection of its own, each mended for as long as the edge runs.
//!
//! The main one carries leases, commands and reports; the auxiliary one pings. Probes ping over both ([`AgentPings`]). What an agent says is handed on in its
//! order; a connection that has fallen silent is given up, because an unplugged node sends no farewell.

mod auxiliary;
mod certificates;
mod main_link;
mod pace;
mod ping;
mod way;

pub(crate) use ping::AgentPings;
pub(crate) use way::Way;

use lockstep_pair::protocol::Terms;
use lockstep_policy::Side;
use lockstep_wire::trust::Trust;
use lockstep_wire::{FromAgent, Hello};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// No connect, and no first answer, is waited for longer.
const CONNECT_MAX: Duration = Duration::from_millis(500);

/// Which agent, and as whom to speak to it.
#[derive(Clone, Debug)]
pub(crate) struct AgentOf {
    pub address: SocketAddr,
    pub pair: String,
    pub side: Side,
    /// The edge's name.
    pub edge: String,
    pub terms: Terms,
    /// Whom to trust; none: whoever is there.
    pub trust: Option<Trust>,
}

impl AgentOf {
    fn hello(&self) -> Hello {
        let (pair, edge) = (self.pair.clone(), self.edge.clone());
        Hello { protocol: 0, pair, side: self.side, edge, terms: self.terms, minor: 0 }
    }

    /// Without a frame for so long, a connection is dead: reports come every `renew`.
    fn silence(&self) -> Duration {
        self.terms.ttl.max(self.terms.renew * 3)
    }
}

/// What happens on the connections to one agent.
#[derive(Debug)]
pub(crate) enum LinkEvent {
    /// Whoever carries out commands is there.
    Up {
        way: Way,
        /// What it understands; see [`lockstep_wire::MINOR`].
        minor: u32,
        /// Its own version; empty when it is this edge's.
        version: String,
    },
    /// Operators are to know this.
    Alert(String),
    /// The main connection is down, because.
    Down(String),
    /// The main connection could not be made, because; it is tried again.
    Failed(String),
    /// The agent, or the edge, refuses the other: a person must change a configuration.
    Refused(String),
    /// A message over the main connection.
    Message(FromAgent),
    /// The auxiliary connection is up or, because, down.
    Auxiliary(Result<(), String>),
}

/// Takes what happens; waits for room. Whether somebody still listens.
pub(crate) type Deliver = Arc<dyn Fn(Side, LinkEvent) -> Delivery + Send + Sync>;

/// A delivery under way: `false` when nobody listens any more.
pub(crate) type Delivery = std::pin::Pin<Box<dyn Future<Output = bool> + Send>>;

/// Both connections to one agent. Dropped, both end.
#[derive(Debug)]
pub(crate) struct Links {
    tasks: [JoinHandle<()>; 2],
}

impl Links {
    /// `pings` is told of the connections, for those who ping over them.
    pub fn spawn(agent: AgentOf, pings: AgentPings, deliver: Deliver) -> Links {
        let changed = certificates::Changed::new(0);
        let main = main_link::keep(agent.clone(), pings.clone(), changed.clone(), Arc::clone(&deliver));
        let main = tokio::spawn(main);
        let auxiliary = tokio::spawn(auxiliary::keep(agent, pings, changed, deliver));
        Links { tasks: [main, auxiliary] }
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

#[cfg(test)]
mod tests;
