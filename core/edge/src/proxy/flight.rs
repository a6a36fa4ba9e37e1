//! Requests in flight at each side: counted before the route is looked at for the last time, so that a side that is
//! called drained has no request that could still reach it.

use lockstep_policy::{Side, Sides};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use tokio::sync::Notify;

/// The counts of one pair.
#[derive(Debug, Default)]
pub(super) struct Flights {
    sides: Sides<Counter>,
}

#[derive(Debug, Default)]
struct Counter {
    requests: AtomicUsize,
    landed: Notify,
}

impl Flights {
    /// One more at the side, until the returned value is dropped.
    pub(super) fn take_off(self: &Arc<Self>, side: Side) -> Flight {
        self.sides[side].requests.fetch_add(1, SeqCst);
        Flight { flights: Arc::clone(self), side }
    }

    pub(super) fn count(&self, side: Side) -> usize {
        self.sides[side].requests.load(SeqCst)
    }

    /// Resolves when none is in flight at the side.
    pub(super) async fn none_left(&self, side: Side) {
        let counter = &self.sides[side];
        loop {
            let landed = counter.landed.notified();
            tokio::pin!(landed);
            // Listening begins before the count is read: a last one that lands in between is heard.
            landed.as_mut().enable();
            if counter.requests.load(SeqCst) == 0 {
                return;
            }
            landed.await;
        }
    }
}

/// One request that is, or may at any moment be, at a side.
#[derive(Debug)]
pub(super) struct Flight {
    flights: Arc<Flights>,
    side: Side,
}

impl Drop for Flight {
    fn drop(&mut self) {
        let counter = &self.flights.sides[self.side];
        if counter.requests.fetch_sub(1, SeqCst) == 1 {
            counter.landed.notify_waiters();
        }
    }
}
