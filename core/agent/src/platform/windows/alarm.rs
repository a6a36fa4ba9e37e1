//! A point of time to be woken at.

use lockstep_policy::At;
use lockstep_wire::clock;
use std::io;
use tokio::time::sleep;

/// The runtime's timer.
#[derive(Debug)]
pub(crate) struct Alarm;

impl Alarm {
    pub(crate) fn new() -> io::Result<Alarm> {
        Ok(Alarm)
    }

    /// Until that point on [`clock`]'s clock. Cancel safe.
    pub(crate) async fn until(&mut self, at: At) {
        sleep(at.since(clock::now())).await;
    }
}
