//! Pings over the connections that are there anyway, for whoever wants to know how an agent or one of its services is.

use crate::probe::{AgentPing, Ping as Asking, PingError};
use lockstep_policy::event::Connection;
use lockstep_policy::{Side, Sides};
use lockstep_wire::{Commands, Finding, FromEdge, Ping, Pings, Pong, WeakCommands, Welcome};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// Pings of one side that may wait for their pongs; one more is not sent.
const WAITING: usize = 256;

/// An agent that says less in its welcome answers neither pings on the main connection nor such of services.
const ANSWERS_PINGS: u32 = 1;

/// What a ping has come to: the process of the service that was asked for.
type Answer = Result<Option<u32>, PingError>;

/// The connections to the agents of a pair, as far as pings are concerned. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct AgentPings {
    /// Each held for a moment at a time, never across a wait.
    rooms: Arc<Sides<Mutex<Room>>>,
}

/// One side.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// The driver's, who ends the call by dropping it; and what the agent understands.
    main: Option<(WeakCommands, u32)>,
    pub(super) auxiliary: Option<Pings>,
    /// Code point of the auxiliary connection's packets; none: the system's own.
    dscp: Option<u8>,
    /// The number of the last ping. The connection's own pings have 0.
    last: u64,
    waiting: BTreeMap<u64, Waiting>,
}

/// Who waits for a pong.
#[derive(Debug)]
struct Waiting {
    connection: Connection,
    named: bool,
    reply: oneshot::Sender<Answer>,
}

impl Default for AgentPings {
    fn default() -> AgentPings {
        AgentPings { rooms: Arc::new(Sides::from_fn(|_| Mutex::default())) }
    }
}

/// For the connections' own tasks.
impl AgentPings {
    pub(super) fn main_up(&self, side: Side, commands: &Commands, welcome: &Welcome) {
        self.room(side).main = Some((commands.downgrade(), welcome.minor));
    }

    pub(super) fn auxiliary_up(&self, side: Side, pings: &Pings) {
        let mut room = self.room(side);
        room.auxiliary = Some(pings.clone());
        room.mark(side);
    }

    /// Who waits learns that no answer comes any more.
    pub(super) fn down(&self, side: Side, connection: Connection) {
        let mut room = self.room(side);
        match connection {
            Connection::Main => room.main = None,
            Connection::Auxiliary => room.auxiliary = None,
        }
        room.waiting.retain(|_, waiting| waiting.connection != connection);
    }

    pub(super) fn answered(&self, side: Side, pong: Pong) {
        let waiting = self.room(side).waiting.remove(&pong.number);
        if let Some(Waiting { named, reply, .. }) = waiting {
            let _ = reply.send(verdict(pong, named));
        }
    }

    pub(super) fn room(&self, side: Side) -> MutexGuard<'_, Room> {
        self.rooms[side].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AgentPing for AgentPings {
    fn ping(&self, side: Side, connection: Connection, service: &str, within: Duration) -> Asking {
        let asked = self.room(side).ask(connection, service);
        let pings = self.clone();
        Box::pin(async move {
            let (number, answer) = asked?;
            match timeout(within, answer).await {
                Ok(Ok(answer)) => answer,
                // The connection has broken under it.
                Ok(Err(_)) => Err(PingError::Silent),
                Err(_) => {
                    pings.room(side).waiting.remove(&number);
                    Err(PingError::Silent)
                }
            }
        })
    }

    fn set_dscp(&self, side: Side, dscp: u8) {
        let mut room = self.room(side);
        if room.dscp != Some(dscp) {
            room.dscp = Some(dscp);
            room.mark(side);
        }
    }
}

impl Room {
    fn ask(&mut self, connection: Connection, service: &str) -> Result<(u64, oneshot::Receiver<Answer>), PingError> {
        let named = !service.is_empty();
        if self.waiting.len() >= WAITING {
            // So many unanswered ones say all that another could.
            return Err(PingError::Silent);
        }
        self.last += 1;
        let ping = Ping { number: self.last, service: service.to_owned() };
        let sent = match (connection, &self.main, &self.auxiliary) {
            (Connection::Main, Some((_, minor)), _) if *minor < ANSWERS_PINGS => return Err(too_old()),
            (Connection::Main, Some((commands, _)), _) => {
                commands.upgrade().ok_or(PingError::NotConnected)?.send(FromEdge::Ping(ping))
            }
            (Connection::Auxiliary, _, Some(pings)) => pings.send(ping),
            _ => return Err(PingError::NotConnected),
        };
        sent.map_err(|_| PingError::NotConnected)?;
        let (reply, answer) = oneshot::channel();
        self.waiting.insert(self.last, Waiting { connection, named, reply });
        Ok((self.last, answer))
    }

    fn mark(&self, side: Side) {
        if let (Some(pings), Some(dscp)) = (&self.auxiliary, self.dscp)
            && let Err(error) = pings.set_dscp(dscp)
        {
            tracing::warn!(%side, dscp, %error, "the auxiliary connection cannot be marked");
        }
    }
}

fn verdict(pong: Pong, named: bool) -> Answer {
    match pong.finding {
        Some(Finding::Well { pid }) => Ok(Some(pid).filter(|pid| *pid != 0)),
        Some(Finding::NotWell { why, .. }) => Err(PingError::NotWell(why)),
        Some(Finding::UnknownService) => {
            Err(PingError::NotWell("no service of the agent's configuration has this name".to_owned()))
        }
        None if named => Err(too_old()),
        None => Ok(None),
    }
}

fn too_old() -> PingError {
    PingError::NotWell("the agent is too old to know: install this edge's lockstep there".to_owned())
}
