//! One pair's policy at work in a worker: handed events, and reporting what came of them.

use super::keeper::Worker;
use super::post::LifeOf;
use super::{LifeRecord, Plugin, Snapshot, StepError};
use crate::{Action, At, Event, Level, Setup};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// What an [`Occupant`] reports, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    /// A life begins: the instance knows nothing but its setup, or what it was restored from. A life without a snapshot
    /// is to be told [`crate::event::Start`] first.
    Began(Box<LifeRecord>),
    /// An event was answered. Each action of a life is reported once, however often the instance was made again.
    Stepped(StepOutcome),
    /// What the instance knew after an event.
    Saved {
        /// The event.
        seq: u64,
        /// Its state.
        snapshot: Snapshot,
    },
    /// An event was taken, and the instance will never have seen it.
    Skipped {
        /// The event.
        seq: u64,
        /// Why.
        why: String,
    },
    /// The instance is being made again as it was. Events are taken and kept for it meanwhile.
    Away,
    /// It is back as it was.
    Back,
    /// Nobody is there, because. Events are not taken until the next life.
    Gone(String),
    /// Operators must know.
    Alert {
        /// How bad it is.
        level: Level,
        /// Which plugin, which event, and what was done.
        text: String,
    },
}

/// What one step gave.
#[derive(Clone, Debug, PartialEq)]
pub struct StepOutcome {
    /// The event's number.
    pub seq: u64,
    /// The event's time.
    pub at: At,
    /// The number of the first action; the others follow.
    pub first: u64,
    /// The actions, in order.
    pub actions: Vec<Action>,
    /// CPU time that the step took.
    pub cpu: Duration,
}

/// How soon an event is to be with the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Haste {
    /// At once, with all that waits.
    AtOnce,
    /// With others for the same worker, within some 25 ms: it costs a fraction of a wake-up then. The order stays.
    Together,
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It will be answered, or reported as skipped.
    Told,
    /// It is of a kind that the plugin does not know, and was not told. A replay does the same.
    Unknown,
}

/// An event was not taken: the instance never sees it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unheard {
    /// Nobody is there, or another life than the one that the event is for.
    #[error("nobody is there")]
    Gone,
    /// The policy is slower than its events.
    #[error("too many events wait for the policy already")]
    Full,
    /// The event does not fit into a record.
    #[error("{0}")]
    TooLarge(StepError),
}

/// Where reports go. It must not block, and not call the occupant.
pub(super) type Deliver = Box<dyn FnMut(Report) + Send>;

/// One pair's policy at work. Dropped, the instance ends, and nothing more is reported.
pub struct Occupant {
    worker: Arc<Worker>,
    post: u64,
}

impl fmt::Debug for Occupant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Occupant").field("post", &self.post).finish_non_exhaustive()
    }
}

impl Occupant {
    /// Has an instance made, in the worker that all pairs with this plugin share. Its lives are counted from `life`;
    /// the first one goes on from `restored`, if given.
    pub fn new(
        plugin: &Plugin,
        setup: &Setup,
        life: u64,
        seed: u64,
        restored: Option<Snapshot>,
        deliver: impl FnMut(Report) + Send + 'static,
    ) -> io::Result<Occupant> {
        let worker = Worker::of(plugin.file(), plugin.terms())?;
        let post = worker.occupy(setup, LifeOf { life, seed, restored }, Box::new(deliver));
        Ok(Occupant { worker, post })
    }

    /// Hands an event to a life of the instance; never blocks.
    pub fn send(&self, life: u64, event: &Event) -> Result<Sent, Unheard> {
        self.send_with(Haste::AtOnce, life, event)
    }

    /// The same for an event that may have time.
    pub fn send_with(&self, haste: Haste, life: u64, event: &Event) -> Result<Sent, Unheard> {
        self.worker.send(self.post, life, event, haste)
    }

    /// Asks for the instance's state now: it comes as [`Report::Saved`], with the last event that was sent before.
    pub fn save(&self) {
        self.worker.save(self.post);
    }

    /// A life that begins without a state is made from this setup from now on; the present one is as it is.
    pub fn reconfigure(&self, setup: &Setup) {
        self.worker.reconfigure(self.post, setup);
    }

    /// The worker's process; none: it has none now, or is a thread of this one.
    #[must_use]
    pub fn worker_pid(&self) -> Option<u32> {
        self.worker.pid()
    }

    /// How often the worker was started again.
    #[must_use]
    pub fn restarts(&self) -> u64 {
        self.worker.restarts()
    }
}

impl Drop for Occupant {
    fn drop(&mut self) {
        self.worker.leave(self.post);
    }
}
