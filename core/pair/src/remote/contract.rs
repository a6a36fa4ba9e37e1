//! The whole contract of [`super::Remote`]: what goes in, and what comes out.

use crate::protocol::{FromNode, ToNode};
use lockstep_policy::Epoch;
use std::time::Duration;

/// Its times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    /// From one report to the next.
    pub renew: Duration,
    /// How long a report counts.
    pub ttl: Duration,
    /// Whether the side can be asked if it is active. Without, the answers of the calls are believed.
    pub looks: bool,
    /// From one such question to the next.
    pub look: Duration,
    /// How long after a start a side that turns out to be active is left alone: the coordinator may find it right.
    pub doubt: Duration,
}

/// How the side stood when the edge was started, by the edge's own store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Start {
    /// The highest epoch.
    pub epoch: Epoch,
    /// This side is the active one, and no attempt to change that was under way.
    pub active: bool,
}

/// Names a call to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Run(pub u64);

/// What a look has shown.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Look {
    /// The side says that it is active.
    Active,
    /// The side says that it is not.
    Stopped,
    /// It says nothing, because.
    Unseen(String),
}

/// What it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Time has passed: [`super::Remote::deadline`] is there.
    Tick,
    /// The coordinator listens from now on.
    Linked,
    /// The coordinator's command.
    Command(ToNode),
    /// A call has ended: confirmed, or not, because.
    Ended {
        /// Of the output.
        run: Run,
        /// How.
        result: Result<(), String>,
    },
    /// The answer to [`Output::Look`].
    Looked(Look),
}

/// What it asks of its shell, in this order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Output {
    /// Make the call that activates, then say [`Input::Ended`]. No other call is under way.
    Activate {
        /// Comes back.
        run: Run,
        /// Of the attempt, for the call's own record.
        epoch: Epoch,
    },
    /// Make the call that stops, then say [`Input::Ended`]. No other call is under way.
    Stop {
        /// Comes back.
        run: Run,
        /// Of the attempt, for the call's own record.
        epoch: Epoch,
    },
    /// Ask whether the side is active, then say [`Input::Looked`]. May be beside a call.
    Look,
    /// To the coordinator.
    Send(FromNode),
    /// Tell operators this of the side.
    Alert(String),
}
