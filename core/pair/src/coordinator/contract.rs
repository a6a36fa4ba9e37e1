//! The whole contract of the coordinator: what goes in, and what comes out.

use crate::protocol::{FromNode, Terms, ToNode};
use crate::record::{HandoverRecord, Outcome};
use crate::route::Route;
use lockstep_policy::action::Urgency;
use lockstep_policy::event::Handover;
use lockstep_policy::{At, Epoch, Side, Sides};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The times of a pair. All are bounds: none is waited for when the thing itself is there earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    /// What the nodes are told too.
    pub terms: Terms,
    /// How much faster or slower than the edge's a node's clock may run, in millionths.
    pub drift_ppm: u32,
    /// Added to the edge's belief on top of drift: timers fire late.
    pub margin: Duration,
    /// How long the new side may warm up.
    pub prepare: Duration,
    /// How long requests in flight may take to finish.
    pub drain: Duration,
    /// What happens to those that have not.
    pub leftover: Leftover,
    /// How long a planned handover waits for the old side to stand down.
    pub fence: Duration,
    /// How long the new side may take to become active, over all attempts.
    pub activate: Duration,
    /// How often it may try.
    pub activate_attempts: u32,
    /// How long the first answer is waited for, for the record.
    pub settle: Duration,
    /// How long a restarted edge waits to hear both agents.
    pub recover: Duration,
    /// What keeps each side from being active when it must not be.
    pub fencing: Sides<Fencing>,
}

impl Settings {
    /// By how much two clocks may come apart in such a time by the edge's.
    pub(super) fn drift(&self, time: Duration) -> Duration {
        Self::part(time, self.drift_ppm, 1_000_000)
    }

    /// How much longer than it says a time by a node's clock may last: a clock that is slow by a fifth counts four seconds
    /// while five pass.
    pub(super) fn stretch(&self, time: Duration) -> Duration {
        Self::part(time, self.drift_ppm, 1_000_000_u32.saturating_sub(self.drift_ppm).max(1))
    }

    fn part(time: Duration, numerator: u32, denominator: u32) -> Duration {
        let nanos = time.as_nanos() * u128::from(numerator) / u128::from(denominator);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// What keeps a side from being active when it must not be, beside its own confirmation that it has stood down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Fencing {
    /// What ends by itself.
    pub bound: Bound,
    /// What turns the node off.
    pub hook: Option<FenceHook>,
}

impl Fencing {
    /// An agent's lease, and nothing else.
    pub const LEASE: Fencing = Fencing { bound: Bound::Lease, hook: None };
}

/// What ends a side's right to be active by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Bound {
    /// The lease of its agent.
    #[default]
    Lease,
    /// Nothing: the node admits no agent.
    Unfenced {
        /// So long after it was told to stand down it counts as stopped without having said so; none: it never does.
        delay: Option<Duration>,
    },
}

/// A command that turns a node off, and confirms that it is off. Used in failovers and roll-backs only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FenceHook {
    /// So long the side may confirm by itself before the hook is run.
    pub after: Duration,
    /// How long the hook may take.
    pub timeout: Duration,
}

/// What happens to requests that are in flight when the drain's deadline is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Leftover {
    /// Their connections are cut; what may be sent again waits for the new side.
    #[default]
    Cut,
    /// They go on at the old side, although it is active no more.
    Finish,
}

/// What is durable. Written as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Stored {
    /// The highest epoch ever used.
    pub epoch: Epoch,
    /// The active side, and the epoch in which it became so.
    pub active: Option<(Side, Epoch)>,
    /// The attempt that is under way.
    pub intent: Option<Intent>,
}

/// An attempt under way, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Intent {
    /// Its epoch.
    pub epoch: Epoch,
    /// The side that shall become active.
    pub to: Side,
}

/// Numbers the writes; they are done in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// Names an order to its giver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrderId(pub u64);

/// An order to move the active role.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Order {
    /// Comes back in [`Output::Ended`].
    pub id: OrderId,
    /// The side that shall become active.
    pub to: Side,
    /// Planned or failover.
    pub urgency: Urgency,
    /// For a person to read.
    pub reason: String,
    /// Who asks: `policy`, or `operator NAME`.
    pub by: String,
    /// The journal's events that led to it.
    pub evidence: Vec<u64>,
    /// A person's word, with the reason, that the other side does not run: it is not waited for. This alone may break I1.
    pub unsafe_because: Option<String>,
}

/// What a coordinator is told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// Time has passed: [`super::Coordinator::deadline`] is there.
    Tick,
    /// The main connection to a side's agent came up or went down.
    Link {
        /// The side.
        side: Side,
        /// Up or down.
        up: bool,
    },
    /// A side's agent spoke. The shell has checked that it speaks for this pair and side.
    Node {
        /// The side.
        side: Side,
        /// What it said.
        message: FromNode,
    },
    /// Move the active role.
    Switch(Order),
    /// Stop a side's exclusive services, and make no other side active. `to` is the side to stop.
    StandDown(Order),
    /// Warm a side up, on suspicion.
    Prepare(Side),
    /// No request is in flight at the side any more: the answer to [`Output::Drain`].
    Drained {
        /// Of the output.
        epoch: Epoch,
    },
    /// What has become of a fencing hook: `Ok` when it has confirmed that the node is off.
    Fenced {
        /// The side.
        side: Side,
        /// Of the output.
        epoch: Epoch,
        /// Or why it has not, for a person to read.
        result: Result<(), String>,
    },
    /// A write is durable.
    Stored(Ticket),
    /// A write was not done, and what was there before is there still.
    StoreFailed {
        /// The write.
        ticket: Ticket,
        /// For a person to read.
        why: String,
    },
    /// The first request under an epoch's route was given to the new side.
    FirstSent {
        /// The route's epoch.
        epoch: Epoch,
        /// When.
        at: At,
    },
    /// The first good answer under an epoch's route came.
    FirstAnswer {
        /// The route's epoch.
        epoch: Epoch,
        /// When.
        at: At,
    },
}

/// What a coordinator asks of its shell, in this order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Output {
    /// Make this durable, then say [`Input::Stored`].
    Store {
        /// Comes back.
        ticket: Ticket,
        /// All of it.
        stored: Stored,
    },
    /// From now on, do this with requests.
    Route(Route),
    /// The active side's lease is sure until then: give it no request later, whatever the route says.
    ServeUntil(At),
    /// Send this to a side's agent. It may be lost.
    Send {
        /// The side.
        side: Side,
        /// What.
        message: ToNode,
    },
    /// Say [`Input::Drained`] when no request is in flight at the side.
    Drain {
        /// The side.
        side: Side,
        /// Comes back.
        epoch: Epoch,
    },
    /// Cut every connection to the side that was made before this epoch.
    Cut {
        /// The side.
        side: Side,
        /// Connections of lower epochs.
        before: Epoch,
    },
    /// Run the side's fencing hook, then say [`Input::Fenced`].
    Fence {
        /// The side.
        side: Side,
        /// Comes back.
        epoch: Epoch,
    },
    /// Tell the policy.
    Tell(Handover),
    /// An order has ended.
    Ended {
        /// The order.
        id: OrderId,
        /// How.
        end: End,
    },
    /// The record of a handover, as far as it is; the last one of an epoch is final.
    Record(Box<HandoverRecord>),
    /// Tell operators: this needs a person.
    Alert(String),
}

/// How an order ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// Not begun; nothing has changed.
    Refused(String),
    /// Ended as the handover did.
    Ended {
        /// How.
        outcome: Outcome,
        /// Why; empty when completed.
        why: String,
    },
}
