//! Whether a request may be passed on: one word, written by the keeper and read by each request, without a lock.
//!
//! It is a point in time and not a state: a lease that runs out while nobody is there to say so ends the right to pass all
//! the same. An agent that was stopped past its lease and wakes up finds its requests before its keeper has found out.

use lockstep_policy::At;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use tokio::sync::{Notify, watch};

/// Not serving at all.
const NEVER: u64 = 0;

/// How the node stands, as far as requests are concerned.
#[derive(Debug)]
pub(crate) struct Standing {
    /// Requests are passed on until then.
    until: AtomicU64,
    /// Grows when the node begins to serve and when it ceases to: no connection of an earlier turn is used again.
    turn: AtomicU64,
    /// Requests that were passed on and are not finished.
    passing: AtomicUsize,
    /// The last of them has finished.
    finished: Notify,
    /// Sent to those that may not go on.
    cut: watch::Sender<()>,
}

impl Default for Standing {
    fn default() -> Standing {
        Standing {
            until: AtomicU64::new(NEVER),
            turn: AtomicU64::new(0),
            passing: AtomicUsize::new(0),
            finished: Notify::new(),
            cut: watch::Sender::new(()),
        }
    }
}

/// The keeper's part.
impl Standing {
    /// Requests are passed on until that point of the node's clock, or not any more.
    pub(crate) fn serve_until(&self, until: Option<At>) {
        let until = until.map_or(NEVER, |at| at.0);
        // Sequentially consistent, as in `enter`: a request either sees this, or is seen by `passing` afterwards.
        let before = self.until.swap(until, SeqCst);
        if (before == NEVER) != (until == NEVER) {
            self.turn.fetch_add(1, SeqCst);
        }
    }

    /// How many requests were passed on and are not finished.
    pub(crate) fn passing(&self) -> usize {
        self.passing.load(SeqCst)
    }

    /// Waits until none is left.
    pub(crate) async fn finished(&self) {
        let mut finished = std::pin::pin!(self.finished.notified());
        finished.as_mut().enable();
        if self.passing() > 0 {
            finished.await;
        }
    }

    /// Ends those that are not finished, and what has become of a request that asked for another protocol.
    pub(crate) fn cut(&self) {
        self.cut.send_replace(());
    }
}

/// The requests' part.
impl Standing {
    /// Whether a request may be passed on at this moment.
    pub(super) fn serves(&self, now: At) -> bool {
        now.0 < self.until.load(SeqCst)
    }

    /// The turn of a request that was let in.
    pub(super) fn turn(&self) -> u64 {
        self.turn.load(SeqCst)
    }

    /// Hears of cuts that come after this.
    pub(super) fn cuts(&self) -> watch::Receiver<()> {
        self.cut.subscribe()
    }

    /// Lets a request in that may be passed on.
    pub(super) fn enter(self: &Arc<Standing>, now: At) -> Option<Passage> {
        // Counted before it is asked: a keeper that sees nobody pass has nobody to wait for.
        self.passing.fetch_add(1, SeqCst);
        let passage = Passage { standing: Arc::clone(self) };
        self.serves(now).then_some(passage)
    }
}

/// One request that is passed on, until its last byte.
#[derive(Debug)]
pub(super) struct Passage {
    standing: Arc<Standing>,
}

impl Drop for Passage {
    fn drop(&mut self) {
        if self.standing.passing.fetch_sub(1, SeqCst) == 1 {
            self.standing.finished.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_that_is_over_ends_the_right_to_pass_without_anybody_saying_so() {
        let standing = Arc::new(Standing::default());
        assert!(standing.enter(At(1)).is_none(), "a new node has no lease");
        standing.serve_until(Some(At(10)));
        assert!(standing.enter(At(9)).is_some());
        assert!(standing.enter(At(10)).is_none());
        standing.serve_until(Some(At(20)));
        assert!(standing.enter(At(10)).is_some(), "renewed");
        standing.serve_until(None);
        assert!(standing.enter(At(11)).is_none(), "stood down");
        assert_eq!(standing.passing(), 0);
    }

    #[test]
    fn a_turn_is_from_one_change_to_the_next_and_not_from_one_renewal_to_the_next() {
        let standing = Standing::default();
        let turns = [Some(At(10)), Some(At(20)), None, None, Some(At(30))].map(|until| {
            standing.serve_until(until);
            standing.turn()
        });
        assert_eq!(turns, [1, 1, 2, 2, 3]);
    }

    #[tokio::test]
    async fn the_last_that_passes_lets_the_keeper_go_on() {
        let standing = Arc::new(Standing::default());
        standing.finished().await;
        standing.serve_until(Some(At(10)));
        let (one, two) = (standing.enter(At(1)).unwrap(), standing.enter(At(1)).unwrap());
        standing.serve_until(None);
        assert_eq!(standing.passing(), 2);
        let waiting = tokio::spawn({
            let standing = Arc::clone(&standing);
            async move { standing.finished().await }
        });
        drop(one);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(two);
        waiting.await.unwrap();
    }
}
