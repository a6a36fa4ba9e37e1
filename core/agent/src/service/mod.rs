//! The node's services: started and stopped in order, watched, and kept up.
//!
//! - [`crew`] decides: one state machine over all services; it waits for nothing, and is told of everything.
//! - [`launch`] does what it decides, by one task for each life of a service: [`exec`], [`manager`]
//!   (the system's: systemd on Linux, the service control manager on Windows), [`http`].
//! - [`step`] is the life of what a program does and another one takes back, [`gate`] of what a person does.
//! - [`guarded`] is the agent's end of a guard.
//! - [`budget`] counts how often a service is started again.
//! - [`ready`] checks whether a service that runs is ready.
//! - [`earlier`] ends what an earlier life of the agent has left.

pub(crate) mod budget;
pub(crate) mod crew;
pub(crate) mod earlier;
pub(crate) mod exec;
pub(crate) mod gate;
mod guarded;
pub(crate) mod http;
pub(crate) mod launch;
pub(crate) mod ready;
#[cfg(windows)]
pub(crate) mod scm;
pub(crate) mod step;
#[cfg(not(windows))]
pub(crate) mod systemd;

#[cfg(windows)]
pub(crate) use scm as manager;
#[cfg(not(windows))]
pub(crate) use systemd as manager;

pub(crate) use crew::{Crew, Said};

use crate::guard::order::Reach;
use lockstep_policy::At;
use tokio::sync::mpsc;

/// What a life of a service is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// It may live until then, and no longer.
    Extend(Reach),
    /// It may live for as long as it likes again.
    Release,
    /// Stop now by its own stop, and by force at `kill_at`. A later order can only bring the end nearer.
    Stop { kill_at: At },
}

/// What has become of a life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The service's program runs; 0 when nobody knows its process.
    Started { pid: u32 },
    /// It is ready.
    Ready,
    /// It was ready, and its check has failed.
    Unready,
    /// It says that it is well.
    Alive,
    /// Its liveness check has failed, as often as is borne.
    Hung { why: String },
    /// It has ended, or could not be started. Something of it may still run.
    Exited { how: String },
    /// Nothing of it runs any more. The last event of a life.
    Gone,
}

/// An event, and whose: what comes of a life that is over is not listened to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Happening {
    pub(crate) service: usize,
    pub(crate) life: u64,
    pub(crate) event: Event,
}

/// Where a life says what becomes of it.
#[derive(Clone, Debug)]
pub(crate) struct Post {
    pub(crate) service: usize,
    pub(crate) life: u64,
    pub(crate) to: mpsc::Sender<Happening>,
}

impl Post {
    /// Waits when the agent is busy; the agent's end is no error.
    pub(crate) async fn say(&self, event: Event) {
        let _ = self.to.send(Happening { service: self.service, life: self.life, event }).await;
    }
}

/// Orders that may wait for a life: far more than it is ever behind.
pub(crate) const ORDERS: usize = 64;
