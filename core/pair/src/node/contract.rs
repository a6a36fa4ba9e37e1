//! The whole contract of the node: what goes in, and what comes out.

use crate::protocol::{FromNode, Terms, ToNode};
use lockstep_policy::action::Urgency;
use lockstep_policy::event::{Lan, Replication, Service};
use lockstep_policy::{At, Epoch};
use serde::{Deserialize, Serialize};

/// What is durable on a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Stored {
    /// The highest epoch that was obeyed.
    pub epoch: Epoch,
    /// Whether the node was told to be active in it.
    pub active: bool,
}

/// Numbers the writes; they are done in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// Numbers the runs of the services: what a shell says of an older run is not listened to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Run(pub u64);

/// How the services are, all together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Condition {
    /// All that is not exclusive runs and is ready.
    pub fit: bool,
    /// All that is exclusive runs and is ready.
    pub ready: bool,
    /// Something exclusive runs, or may run.
    pub running: bool,
    /// One by one.
    pub services: Vec<Service>,
    /// The application's release; empty when unknown.
    pub release: String,
    /// How the node's copy of the pair's data is.
    pub replication: Replication,
    /// For a person to read. May be empty.
    pub replication_detail: String,
    /// The manual gate that the start of the services waits at; empty when it waits at none.
    pub waiting: String,
    /// Exclusive services that nothing on the node ends at the deadline.
    pub unbound: Vec<String>,
}

/// What a node is told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// Time has passed: [`super::Node::deadline`] is there.
    Tick,
    /// An edge connected and named the pair's times.
    Terms(Terms),
    /// The coordinator spoke. The shell passes on what comes over the newest connection only.
    Message(ToNode),
    /// A write is durable.
    Stored(Ticket),
    /// A write was not done.
    StoreFailed {
        /// The write.
        ticket: Ticket,
        /// For a person to read.
        why: String,
    },
    /// All exclusive services of the run are up and ready. The [`Condition`] that says so came before.
    Started(Run),
    /// One could not be started; the shell leaves what it has started to [`Output::Stop`].
    StartFailed {
        /// The run.
        run: Run,
        /// For a person to read.
        why: String,
    },
    /// No exclusive service runs any more.
    Stopped(Run),
    /// One could not be stopped, not even by force.
    StopFailed {
        /// The run.
        run: Run,
        /// For a person to read.
        why: String,
    },
    /// While the node is active, an exclusive service has ended again and again, and the shell tries no more.
    Broken {
        /// For a person to read.
        why: String,
    },
    /// The services' condition has changed.
    Condition(Condition),
    /// The node has looked whether it is on the LAN.
    Lan {
        /// What it has found.
        lan: Lan,
        /// What is wrong, for a person to read; empty when nothing is.
        why: String,
        /// Whether a node that is isolated may not be active: it stands down, however long its lease still lasts, and
        /// refuses to be activated.
        binding: bool,
    },
}

/// What a node asks of its shell, in this order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Output {
    /// Make this durable, then say [`Input::Stored`].
    Store {
        /// Comes back.
        ticket: Ticket,
        /// All of it.
        stored: Stored,
    },
    /// Whatever else happens, no exclusive service may run after this point on the node's clock: arm the dead-man's
    /// switch. Always given before [`Output::Start`], and moved on with each renewal.
    Deadman(At),
    /// Start all exclusive services in their order, then say [`Input::Started`]. Ends any stop under way.
    Start(Run),
    /// Stop all exclusive services in the reverse order, those of an earlier life of the agent too, then say
    /// [`Input::Stopped`]. Ends any start or stop under way. The first output of every life is a stop: boot fenced.
    Stop {
        /// The run.
        run: Run,
        /// By then, on the node's clock, what still runs has been killed.
        by: At,
        /// Failover: as fast as they can be stopped.
        urgency: Urgency,
    },
    /// Send this to the coordinator. It may be lost.
    Send(FromNode),
}
