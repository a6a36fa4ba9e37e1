//! Who has waited goes on in turn: a side that has just become active is not given all of them at once, and drowned. Touches no socket.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// In this time as many go on as may at once, though nobody is answered: what is behind long polls does not wait for them.
const UNANSWERED: Duration = Duration::from_millis(50);

/// The turns of one pair.
#[derive(Debug)]
pub(super) struct Turns {
    /// Zero: as many as come.
    at_once: u32,
    free: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// The turn of one request, until it is answered. One without a permit is nobody else's.
#[derive(Debug, Default)]
pub(super) struct Turn(#[expect(dead_code, reason = "held, and given back by its end")] Option<OwnedSemaphorePermit>);

impl Turns {
    pub(super) fn new(at_once: u32) -> Turns {
        Turns { at_once, free: Arc::new(Semaphore::new(at_once as usize)), waiting: AtomicUsize::new(0) }
    }

    /// Resolves when those who came before have had theirs. Who comes later waits for longer.
    pub(super) async fn next(&self) -> Turn {
        if self.at_once == 0 {
            return Turn::default();
        }
        let place = Place::take(&self.waiting);
        let patience = UNANSWERED * place.number.saturating_add(1) / self.at_once;
        let permit = timeout(patience, Arc::clone(&self.free).acquire_owned()).await;
        Turn(permit.ok().and_then(Result::ok))
    }
}

/// A place among those who wait.
struct Place<'a> {
    waiting: &'a AtomicUsize,
    /// So many were before it.
    number: u32,
}

impl Place<'_> {
    fn take(waiting: &AtomicUsize) -> Place<'_> {
        Place { waiting, number: u32::try_from(waiting.fetch_add(1, Relaxed)).unwrap_or(u32::MAX) }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.waiting.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::future::join_all;
    use futures_util::{FutureExt as _, poll};
    use std::pin::pin;
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_ends_is_the_next_ones_in_the_order_in_which_they_came() {
        let turns = Turns::new(2);
        let (first, second) = (turns.next().await, turns.next().await);
        let (mut third, mut fourth) = (pin!(turns.next()), pin!(turns.next()));
        assert!(poll!(&mut third).is_pending() && poll!(&mut fourth).is_pending());
        drop(second);
        assert!(poll!(&mut fourth).is_pending());
        let third = third.now_or_never().expect("it is its turn");
        drop((first, third));
        assert!(fourth.now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn behind_those_who_are_not_answered_turns_come_at_a_steady_rate() {
        let (turns, begun) = (Turns::new(10), Instant::now());
        let kept = join_all((0..50).map(|_| async { (turns.next().await, begun.elapsed()) })).await;
        for (number, (_, after)) in kept.iter().enumerate() {
            let due = UNANSWERED / 10 * u32::try_from(number.saturating_sub(9)).unwrap();
            assert!((due..due + Duration::from_millis(3)).contains(after), "number {number} after {after:?}");
        }
        assert_eq!(turns.waiting.load(Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_leaves_his_place() {
        let turns = Turns::new(1);
        let kept = turns.next().await;
        for _ in 0..100 {
            assert!(turns.next().now_or_never().is_none());
        }
        let begun = Instant::now();
        turns.next().await;
        assert!(begun.elapsed() < UNANSWERED * 2, "nobody is before it");
        drop(kept);
    }

    #[tokio::test]
    async fn zero_is_everybody_at_once() {
        let turns = Turns::new(0);
        let all: Vec<_> = (0..1_000).map(|_| turns.next().now_or_never().expect("at once")).collect();
        assert_eq!(all.len(), 1_000);
    }
}
