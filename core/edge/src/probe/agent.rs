//! Pings over the connections to a side's agent, which another room owns.

use super::judge::Finding;
use lockstep_policy::Side;
use lockstep_policy::action::AgentProbe;
use lockstep_policy::event::{Connection, Fact, Verdict};
use std::pin::Pin;
use std::time::Duration;

/// An answer that is under way: the process of the service that was asked for, where it has one.
pub(crate) type Ping = Pin<Box<dyn Future<Output = Result<Option<u32>, PingError>> + Send>>;

/// The connections to the agents of a pair.
pub(crate) trait AgentPing: Send + Sync {
    /// Asks a side's agent whether a service is well; an empty name: whether the agent is. It ends within the timeout.
    fn ping(&self, side: Side, connection: Connection, service: &str, timeout: Duration) -> Ping;

    /// The code point of the packets of a side's auxiliary connection from now on, 0 to 63.
    fn set_dscp(&self, side: Side, dscp: u8);
}

/// Why an agent's answer is not a good one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PingError {
    /// Nothing could be asked.
    #[error("the connection to the agent is not up")]
    NotConnected,
    /// It was asked, and has not answered.
    #[error("the agent has not answered in time")]
    Silent,
    /// It has answered: not well, because.
    #[error("{0}")]
    NotWell(String),
}

/// What stands where no agent can be asked.
pub(super) struct NoAgents;

impl AgentPing for NoAgents {
    fn ping(&self, _side: Side, _connection: Connection, _service: &str, _timeout: Duration) -> Ping {
        Box::pin(std::future::ready(Err(PingError::NotConnected)))
    }

    fn set_dscp(&self, _side: Side, _dscp: u8) {}
}

pub(super) async fn probe(agents: &dyn AgentPing, side: Side, agent: &AgentProbe, timeout: Duration) -> Finding {
    match agents.ping(side, agent.connection, &agent.service, timeout).await {
        Ok(pid) => {
            let facts = pid.map(|pid| Fact { name: "pid".to_owned(), value: pid.to_string() });
            Finding { facts: facts.into_iter().collect(), ..Finding::good(0, "") }
        }
        Err(error) => {
            let verdict = match error {
                PingError::NotConnected => Verdict::Refused,
                PingError::Silent => Verdict::Silent,
                PingError::NotWell(_) => Verdict::Wrong,
            };
            Finding::new(verdict, 0, error.to_string())
        }
    }
}
