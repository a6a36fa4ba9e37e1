//! The agent's half of the handover: one per node.

mod contract;

pub use contract::{Condition, Input, Output, Run, Stored, Ticket};

use crate::protocol::{Report, Session};
use lockstep_policy::At;

/// One node.
#[derive(Clone, Debug)]
pub struct Node {
    #[expect(dead_code, reason = "the machine is being written")]
    session: Session,
}

impl Node {
    /// A node whose agent has just started: standby, without a lease, whatever was stored. The shell has made sure
    /// that nothing exclusive of an earlier life runs any more, or says so in its first [`Input::Condition`].
    #[must_use]
    pub fn new(session: Session, _stored: Stored, _now: At) -> Node {
        Node { session }
    }

    /// Takes one input. Outputs are then waiting in [`Node::poll`].
    pub fn handle(&mut self, _now: At, _input: Input) {}

    /// The next output, in order.
    pub fn poll(&mut self) -> Option<Output> {
        None
    }

    /// When [`Input::Tick`] is due.
    #[must_use]
    pub fn deadline(&self) -> Option<At> {
        None
    }

    /// How the node is now.
    #[must_use]
    pub fn report(&self, _now: At) -> Report {
        Report {
            stamp: crate::protocol::Stamp { session: Session(0), at: At(0) },
            epoch: lockstep_policy::Epoch(0),
            role: lockstep_policy::event::Role::Standby,
            serving: false,
            fit: false,
            running: false,
            lease_left: std::time::Duration::ZERO,
            services: Vec::new(),
            release: String::new(),
        }
    }
}
