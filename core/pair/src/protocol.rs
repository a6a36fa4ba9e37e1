//! What a coordinator and a node say to each other.
//!
//! Leases are counted from a point *before* the edge speaks: a node stamps each report with its own clock, the edge
//! grants a lease *from that stamp*, and counts its own belief from the moment it sends the grant. However late a
//! grant arrives, and however often, the node's lease ends before the edge believes that it does.

use lockstep_policy::action::Urgency;
use lockstep_policy::event::{Lan, Replication, Role, Service};
use lockstep_policy::{At, Epoch};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// One life of an agent process: a random number. Stamps of an earlier life are worth nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Session(pub u64);

/// A point on a node's own clock, in one life of its agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// The life.
    pub session: Session,
    /// The point, on the node's clock.
    pub at: At,
}

/// The right to be active until `stamp.at + ttl` on the node's own clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    /// The stamp that the node sent.
    pub stamp: Stamp,
    /// How long from there.
    pub ttl: Duration,
}

impl Lease {
    /// When it is over, on the node's clock.
    #[must_use]
    pub fn end(&self) -> At {
        self.stamp.at + self.ttl
    }
}

/// What the edge tells an agent of the pair's times, when it connects. The edge's configuration is the one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Terms {
    /// A lease's length.
    pub ttl: Duration,
    /// From one report (and so one renewal) to the next.
    pub renew: Duration,
    /// Within this after its lease is over, a node's exclusive services have ended, whatever it takes.
    pub stop_max: Duration,
}

/// From the coordinator to a node. A node obeys none of an epoch lower than the highest on its disk (I3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ToNode {
    /// Make ready all that is not exclusive, and say [`Answer::Prepared`].
    Prepare {
        /// The attempt.
        epoch: Epoch,
    },
    /// Stop all that is exclusive, and say [`Answer::StoodDown`].
    StandDown {
        /// The attempt; older ones are obeyed no more.
        epoch: Epoch,
        /// Planned: by the services' own stop. Failover: as fast as they can be stopped.
        urgency: Urgency,
    },
    /// Start all that is exclusive under this lease, and say [`Answer::Activated`].
    Activate {
        /// The attempt.
        epoch: Epoch,
        /// The first lease.
        lease: Lease,
    },
    /// Be active for longer.
    Renew {
        /// The epoch in which the node became active.
        epoch: Epoch,
        /// The next lease.
        lease: Lease,
    },
}

/// From a node to the coordinator.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum FromNode {
    /// How the node is. Every `renew`, and at each change. It asks for a renewal where one is due.
    Report(Report),
    /// What became of a command.
    Answer(Answer),
}

/// How a node is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Report {
    /// When it was written, on the node's clock.
    pub stamp: Stamp,
    /// The highest epoch on its disk.
    pub epoch: Epoch,
    /// Its role.
    pub role: Role,
    /// It is active, and all that serving needs runs and is ready.
    pub serving: bool,
    /// All that is not exclusive runs and is ready.
    pub fit: bool,
    /// Something exclusive runs, or may run.
    pub running: bool,
    /// How long its lease still lasts; zero without one.
    pub lease_left: Duration,
    /// Its services.
    pub services: Vec<Service>,
    /// The application's release; empty when unknown.
    pub release: String,
    /// How the node's copy of the pair's data is.
    pub replication: Replication,
    /// For a person to read: how old the copy is, what stopped it. May be empty.
    pub replication_detail: String,
    /// Whether the node finds itself on the LAN.
    pub lan: Lan,
    /// The manual gate that the node's start waits at; empty when it waits at none.
    pub waiting: String,
    /// Exclusive services that nothing on the node ends at the deadline: what bounds them is elsewhere, or nowhere.
    pub unbound: Vec<String>,
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// All that is not exclusive is ready.
    Prepared {
        /// Of the command.
        epoch: Epoch,
    },
    /// Nothing exclusive runs, and `epoch` is on the disk.
    StoodDown {
        /// Of the command.
        epoch: Epoch,
    },
    /// All that is exclusive runs and is ready.
    Activated {
        /// Of the command.
        epoch: Epoch,
    },
    /// The command was begun and not achieved.
    Failed {
        /// Of the command.
        epoch: Epoch,
        /// For a person to read.
        why: String,
    },
    /// The command was not begun.
    Refused {
        /// Of the command.
        epoch: Epoch,
        /// The highest epoch on the node's disk.
        highest: Epoch,
        /// For a person to read.
        why: String,
    },
}

impl Answer {
    /// The epoch of the command that it answers.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        match *self {
            Answer::Prepared { epoch }
            | Answer::StoodDown { epoch }
            | Answer::Activated { epoch }
            | Answer::Failed { epoch, .. }
            | Answer::Refused { epoch, .. } => epoch,
        }
    }
}
