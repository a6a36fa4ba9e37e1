//! A policy on a thread of its own: however slow it is, requests and leases go on.

use super::{Instance, StepError};
use crate::{Action, At, Event};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::time::Duration;

/// Events that may wait for a policy.
const QUEUE: usize = 1024;

/// An instance on a thread of its own. Dropped, it handles the events that wait, then ends.
#[derive(Debug)]
pub struct PolicyThread {
    events: SyncSender<Event>,
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
    /// The actions, in order, or why there are none.
    pub result: Result<Vec<Action>, StepError>,
    /// CPU time that the step took.
    pub cpu: Duration,
}

/// An event was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The policy is slower than its events.
    #[error("{QUEUE} events wait for the policy already")]
    Full,
    /// The policy's thread has ended.
    #[error("the policy's thread has ended")]
    Ended,
}

impl PolicyThread {
    /// Starts a thread that hands each event to the instance and the answer to `deliver`, which must not block.
    pub fn spawn(
        mut instance: Instance,
        name: &str,
        mut deliver: impl FnMut(StepOutcome) + Send + 'static,
    ) -> std::io::Result<PolicyThread> {
        let (events, inbox) = sync_channel::<Event>(QUEUE);
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            for event in inbox {
                let began = thread_cpu();
                let result = instance.step(&event);
                let cpu = thread_cpu().saturating_sub(began);
                let given = result.as_ref().map_or(0, Vec::len) as u64;
                let first = instance.given() - given + 1;
                deliver(StepOutcome { seq: event.seq, at: event.at, first, result, cpu });
            }
        })?;
        Ok(PolicyThread { events })
    }

    /// Queues an event; never blocks.
    pub fn send(&self, event: Event) -> Result<(), SendError> {
        self.events.try_send(event).map_err(|error| match error {
            TrySendError::Full(_) => SendError::Full,
            TrySendError::Disconnected(_) => SendError::Ended,
        })
    }
}

/// CPU time of the calling thread: a starved machine is not blamed on the plugin.
fn thread_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}
