//! The waiting room: bounded in number here, in time by each request's own deadline.

use lockstep_policy::Epoch;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Handovers whose figures are kept. Their records are written long before the next sixteen have begun.
const EPOCHS_KEPT: usize = 16;

/// What became of the requests that waited during one epoch. A request that waits across epochs counts in the last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HoldStats {
    /// Waits begun or taken over from an earlier epoch.
    pub held: u64,
    /// Waits that ended with a server.
    pub released: u64,
    /// Waits that ended with 503, and requests that found no room to wait.
    pub refused: u64,
    /// Waits whose client left.
    pub abandoned: u64,
    /// The longest wait that has ended.
    pub longest: Duration,
}

/// [`HoldStats`] while they grow.
#[derive(Debug, Default)]
pub(super) struct Tally {
    held: AtomicU64,
    released: AtomicU64,
    refused: AtomicU64,
    abandoned: AtomicU64,
    longest_ns: AtomicU64,
}

impl Tally {
    fn read(&self) -> HoldStats {
        HoldStats {
            held: self.held.load(Relaxed),
            released: self.released.load(Relaxed),
            refused: self.refused.load(Relaxed),
            abandoned: self.abandoned.load(Relaxed),
            longest: Duration::from_nanos(self.longest_ns.load(Relaxed)),
        }
    }

    /// A request that did not wait, because it was not let in, was answered 503.
    pub(super) fn turned_away(&self) {
        self.refused.fetch_add(1, Relaxed);
    }
}

/// The waiting room of one pair.
#[derive(Debug)]
pub(super) struct Hold {
    room: usize,
    waiting: AtomicUsize,
    total: Tally,
    epochs: Mutex<VecDeque<(Epoch, Arc<Tally>)>>,
}

impl Hold {
    pub(super) fn new(room: usize) -> Hold {
        Hold { room, waiting: AtomicUsize::new(0), total: Tally::default(), epochs: Mutex::default() }
    }

    /// The tally of an epoch, begun if there is none.
    pub(super) fn tally(&self, epoch: Epoch) -> Arc<Tally> {
        let mut epochs = self.epochs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, tally)) = epochs.iter().find(|(of, _)| *of == epoch) {
            return Arc::clone(tally);
        }
        let tally = Arc::<Tally>::default();
        epochs.push_back((epoch, Arc::clone(&tally)));
        if epochs.len() > EPOCHS_KEPT {
            epochs.pop_front();
        }
        tally
    }

    pub(super) fn stats(&self, epoch: Epoch) -> HoldStats {
        let epochs = self.epochs.lock().unwrap_or_else(PoisonError::into_inner);
        epochs.iter().find(|(of, _)| *of == epoch).map(|(_, tally)| tally.read()).unwrap_or_default()
    }

    pub(super) fn total(&self) -> HoldStats {
        self.total.read()
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Relaxed)
    }

    /// Lets a request wait; `None` when the room is full.
    pub(super) fn enter(self: &Arc<Self>) -> Option<Ticket> {
        let seat = |waiting: usize| (waiting < self.room).then_some(waiting + 1);
        self.waiting.fetch_update(Relaxed, Relaxed, seat).ok()?;
        self.total.held.fetch_add(1, Relaxed);
        Some(Ticket { hold: Arc::clone(self), tally: None, since: Instant::now(), end: End::Abandoned })
    }
}

#[derive(Clone, Copy, Debug)]
enum End {
    Released,
    Refused,
    Abandoned,
}

/// One request's place in the waiting room. Dropped without a word, its client has left.
#[derive(Debug)]
pub(super) struct Ticket {
    hold: Arc<Hold>,
    tally: Option<Arc<Tally>>,
    since: Instant,
    end: End,
}

impl Ticket {
    /// The wait counts in that epoch from now on, and no more in the former one.
    pub(super) fn count_in(&mut self, tally: &Arc<Tally>) {
        if self.tally.as_ref().is_some_and(|same| Arc::ptr_eq(same, tally)) {
            return;
        }
        tally.held.fetch_add(1, Relaxed);
        if let Some(former) = self.tally.replace(Arc::clone(tally)) {
            former.held.fetch_sub(1, Relaxed);
        }
    }

    /// Returns how long it waited.
    pub(super) fn released(mut self) -> Duration {
        self.end = End::Released;
        self.since.elapsed()
    }

    /// Its client has left. Returns how long it waited.
    pub(super) fn abandoned(self) -> Duration {
        self.since.elapsed()
    }

    /// Returns how long it waited.
    pub(super) fn refused(mut self) -> Duration {
        self.end = End::Refused;
        self.since.elapsed()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.hold.waiting.fetch_sub(1, Relaxed);
        let waited = u64::try_from(self.since.elapsed().as_nanos()).unwrap_or(u64::MAX);
        for tally in self.tally.as_deref().into_iter().chain([&self.hold.total]) {
            let counter = match self.end {
                End::Released => &tally.released,
                End::Refused => &tally.refused,
                End::Abandoned => &tally.abandoned,
            };
            counter.fetch_add(1, Relaxed);
            tally.longest_ns.fetch_max(waited, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_that_spans_epochs_counts_once_in_the_last() {
        let hold = Arc::new(Hold::new(1));
        let first = hold.tally(Epoch(1));
        let mut ticket = hold.enter().unwrap();
        ticket.count_in(&first);
        assert_eq!(hold.stats(Epoch(1)).held, 1);
        assert!(hold.enter().is_none(), "the room has one seat");
        first.turned_away();
        ticket.count_in(&hold.tally(Epoch(2)));
        ticket.released();
        assert_eq!(hold.waiting(), 0);
        assert_eq!((hold.stats(Epoch(1)).held, hold.stats(Epoch(1)).refused), (0, 1));
        assert_eq!((hold.stats(Epoch(2)).held, hold.stats(Epoch(2)).released), (1, 1));
        assert_eq!((hold.total().held, hold.total().released, hold.total().refused), (1, 1, 0));
    }

    #[test]
    fn only_the_last_epochs_are_kept() {
        let hold = Hold::new(1);
        for epoch in 0..40 {
            hold.tally(Epoch(epoch)).turned_away();
        }
        assert_eq!(hold.stats(Epoch(0)), HoldStats::default());
        assert_eq!(hold.stats(Epoch(39)).refused, 1);
    }
}
