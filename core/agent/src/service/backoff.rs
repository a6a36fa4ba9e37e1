//! When a service that has ended is started again.

use lockstep_policy::At;
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
const LAST: Duration = Duration::from_secs(10);
/// One that was up for so long is no longer one that fails.
const GOOD: Duration = Duration::from_secs(60);
/// After so many in a row it is left to an operator.
const BUDGET: u32 = 20;

/// The waits of one service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// When a service that came up at `began` and has ended `now` is started again; none: the budget is spent.
    pub(crate) fn next(&mut self, began: At, now: At) -> Option<At> {
        if now.since(began) >= GOOD {
            self.failures = 0;
        }
        if self.failures >= BUDGET {
            return None;
        }
        let wait = FIRST.saturating_mul(1 << self.failures.min(16)).min(LAST);
        self.failures += 1;
        Some(now + wait)
    }

    /// An operator, or a policy, has asked for it.
    pub(crate) fn forget(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound_and_end() {
        let mut backoff = Backoff::default();
        let now = At::from_millis(1_000);
        let waits: Vec<_> = std::iter::from_fn(|| backoff.next(now, now)).map(|at| at.since(now).as_millis()).collect();
        assert_eq!(waits.len(), BUDGET as usize);
        assert_eq!(waits[..8], [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000]);
        assert!(waits[8..].iter().all(|wait| *wait == 10_000));
    }

    #[test]
    fn one_that_was_up_long_enough_begins_anew() {
        let mut backoff = Backoff::default();
        let began = At::from_millis(1_000);
        while backoff.next(began, began).is_some() {}
        let now = began + GOOD;
        assert_eq!(backoff.next(began, now), Some(now + FIRST));
    }
}
