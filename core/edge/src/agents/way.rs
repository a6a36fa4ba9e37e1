//! The way to whoever carries out a side's commands.

use lockstep_pair::protocol::ToNode;
use lockstep_wire::{Commands, FromEdge};
use tokio::sync::mpsc;

/// Towards an agent, or towards the part of this edge that stands for one.
#[derive(Clone, Debug)]
pub(crate) enum Way {
    /// The main connection to an agent.
    Agent(Commands),
    /// No connection: this edge itself makes the calls.
    Remote(mpsc::Sender<ToNode>),
}

impl Way {
    /// Queues a frame; never waits. An error means that it was not, and why.
    pub fn send(&self, message: FromEdge) -> Result<(), String> {
        match (self, message) {
            (Way::Agent(commands), message) => commands.send(message).map_err(|error| error.to_string()),
            (Way::Remote(commands), FromEdge::Command(command)) => {
                commands.try_send(command).map_err(|error| format!("the side's calls have too long a queue: {error}"))
            }
            (Way::Remote(_), _) => {
                Err("the side has no agent: nothing is run there but what its own calls say".to_owned())
            }
        }
    }
}
