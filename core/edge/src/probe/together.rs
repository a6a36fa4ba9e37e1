//! Good results are handed over together: those of a pair's probes, which are sent together, wake its driver once.
//!
//! Whatever is not good waits for nothing, and takes along what waits: results stay in their order.

use super::Deliver;
use lockstep_policy::event::{ProbeResult, Verdict};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// For so long the first one waits for others.
const WAIT: Duration = Duration::from_millis(2);

/// More do not wait.
const MOST: usize = 1024;

/// The results of all pairs' probes, between these and the drivers. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Together(Arc<Mutex<Vec<Found>>>);

/// A result, whom it is for, and of which declaration it is.
pub(super) struct Found {
    pub deliver: Deliver,
    pub declaration: u64,
    pub result: ProbeResult,
}

impl Together {
    /// Hands a result over: soon when it is good, else at once. To be called in a runtime.
    pub fn put(&self, found: Found) {
        let good = found.result.verdict == Verdict::Good;
        let waiting = {
            let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.push(found);
            waiting.len()
        };
        if !good || waiting >= MOST {
            self.hand_over();
        } else if waiting == 1 {
            let together = self.clone();
            tokio::spawn(async move {
                tokio::time::sleep(WAIT).await;
                together.hand_over();
            });
        }
    }

    fn hand_over(&self) {
        // Kept locked: two who hand over at once must not overtake each other. Nobody who is handed something waits.
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for Found { deliver, declaration, result } in waiting.drain(..) {
            deliver(declaration, result);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_policy::Side;
    use lockstep_policy::event::ProbeId;
    use tokio::sync::mpsc;

    fn found(number: u64, verdict: Verdict, results: &mpsc::UnboundedSender<u64>) -> Found {
        let results = results.clone();
        let result = ProbeResult {
            probe: ProbeId(1),
            side: Side::A,
            server: 1,
            verdict,
            latency: Duration::ZERO,
            status: 200,
            detail: String::new(),
            facts: Vec::new(),
        };
        let deliver: Deliver = Arc::new(move |number, _| {
            let _ = results.send(number);
        });
        Found { deliver, declaration: number, result }
    }

    #[tokio::test(start_paused = true)]
    async fn good_results_wait_a_moment_for_each_other() {
        let (sender, mut results) = mpsc::unbounded_channel();
        let together = Together::default();
        together.put(found(1, Verdict::Good, &sender));
        tokio::time::sleep(WAIT / 2).await;
        together.put(found(2, Verdict::Good, &sender));
        assert!(results.try_recv().is_err());
        tokio::time::sleep(WAIT).await;
        assert_eq!((results.try_recv(), results.try_recv()), (Ok(1), Ok(2)));
        together.put(found(3, Verdict::Good, &sender));
        tokio::time::sleep(WAIT * 2).await;
        assert_eq!(results.try_recv(), Ok(3), "the next one begins another moment");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_good_waits_for_nothing_and_overtakes_nothing() {
        let (sender, mut results) = mpsc::unbounded_channel();
        let together = Together::default();
        together.put(found(1, Verdict::Good, &sender));
        together.put(found(2, Verdict::Silent, &sender));
        assert_eq!((results.try_recv(), results.try_recv()), (Ok(1), Ok(2)));
        tokio::time::sleep(WAIT * 2).await;
        assert!(results.try_recv().is_err(), "each is handed over once");
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_than_so_many_wait() {
        let (sender, mut results) = mpsc::unbounded_channel();
        let together = Together::default();
        (0..MOST as u64).for_each(|number| together.put(found(number, Verdict::Good, &sender)));
        assert_eq!(std::iter::from_fn(|| results.try_recv().ok()).count(), MOST);
    }
}
