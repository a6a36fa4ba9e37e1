//! How often a service that has ended is started again, and when.

use crate::config::{self, Restarts};
use lockstep_policy::At;
use std::collections::VecDeque;
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
const LAST: Duration = Duration::from_secs(10);
/// One that was up for so long is no longer one that fails: its waits begin anew.
const GOOD: Duration = Duration::from_secs(60);
/// Of a service that is not exclusive and names no budget.
const COMMON: Restarts = Restarts { most: 20, window: Restarts::WINDOW };

/// The restarts of one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Budget {
    rule: Restarts,
    /// When those were that still count.
    spent: VecDeque<At>,
    /// How often it was started again without having been up for long.
    in_a_row: u32,
}

impl Budget {
    /// As configured. What is exclusive and names no budget has none: it is left to the policy.
    pub(crate) fn new(service: &config::Service) -> Budget {
        let none = Restarts { most: 0, ..COMMON };
        let rule = service.restarts.unwrap_or(if service.exclusive { none } else { COMMON });
        Budget { rule, spent: VecDeque::new(), in_a_row: 0 }
    }

    /// Whether it may be started again.
    pub(crate) fn lasts(&self, now: At) -> bool {
        self.counting(now) < self.rule.most as usize
    }

    /// When a service that was started at `began` and has ended `now` is started again; none: the budget is used up.
    pub(crate) fn take(&mut self, began: At, now: At) -> Option<At> {
        if !self.lasts(now) {
            return None;
        }
        let surplus = self.spent.len() - self.counting(now);
        self.spent.drain(..surplus);
        self.spent.push_back(now);
        if now.since(began) >= GOOD {
            self.in_a_row = 0;
        }
        let wait = FIRST.saturating_mul(1 << self.in_a_row.min(16)).min(LAST);
        self.in_a_row += 1;
        Some(now + wait)
    }

    /// An operator, or a policy, has asked for it; or the node begins to be active anew.
    pub(crate) fn forget(&mut self) {
        self.spent.clear();
        self.in_a_row = 0;
    }

    /// For a person to read.
    pub(crate) fn text(&self) -> String {
        format!("{} restarts within {}", self.rule.most, humantime::format_duration(self.rule.window))
    }

    fn counting(&self, now: At) -> usize {
        self.spent.iter().filter(|at| now.since(**at) < self.rule.window).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(most: u32, window: u64) -> Budget {
        let rule = Restarts { most, window: Duration::from_secs(window) };
        Budget { rule, spent: VecDeque::new(), in_a_row: 0 }
    }

    #[test]
    fn waits_double_up_to_a_bound_and_end() {
        let mut budget = budget(20, 600);
        let now = At::from_millis(1_000);
        let waits: Vec<_> = std::iter::from_fn(|| budget.take(now, now)).map(|at| at.since(now).as_millis()).collect();
        assert_eq!(waits.len(), 20);
        assert_eq!(waits[..8], [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000]);
        assert!(waits[8..].iter().all(|wait| *wait == 10_000));
    }

    #[test]
    fn what_is_older_than_the_window_counts_no_more() {
        let mut budget = budget(2, 10);
        let at = |seconds: u64| At::from_millis(1_000_000 + seconds * 1_000);
        assert!(budget.take(at(0), at(0)).is_some() && budget.take(at(0), at(5)).is_some());
        assert!(budget.take(at(5), at(9)).is_none() && !budget.lasts(at(9)), "three within ten seconds");
        assert!(budget.take(at(5), at(10)).is_some(), "the first one is forgotten");
        assert!(budget.take(at(10), at(14)).is_none());
        assert_eq!(budget.spent.len(), 2, "it keeps no more than counts");
    }

    #[test]
    fn one_that_was_up_long_enough_waits_anew_from_the_first() {
        let mut budget = budget(100, 3_600);
        let began = At::from_millis(1_000);
        for _ in 0..20 {
            budget.take(began, began);
        }
        let now = began + GOOD;
        assert_eq!(budget.take(began, now), Some(now + FIRST));
    }

    #[test]
    fn one_that_is_asked_for_has_its_whole_budget_again() {
        let mut budget = budget(1, 600);
        let now = At::from_millis(1_000);
        assert!(budget.take(now, now).is_some() && budget.take(now, now).is_none());
        budget.forget();
        assert_eq!(budget.take(now, now), Some(now + FIRST));
    }
}
