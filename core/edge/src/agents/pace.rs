//! How soon to try again.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(1);

/// An agent that refuses this edge will do so again until a person has changed something.
const REFUSED: Duration = Duration::from_secs(2);

/// Grows with each failure, and starts anew with each success.
#[derive(Debug)]
pub(super) struct Pace {
    next: Duration,
}

impl Pace {
    pub fn new() -> Pace {
        Pace { next: FIRST }
    }

    pub fn succeeded(&mut self) {
        self.next = FIRST;
    }

    /// How long to wait now, with jitter: many edges and agents must not keep step.
    pub fn after_failure(&mut self) -> Duration {
        let wait = self.next.mul_f64(0.75 + fastrand::f64() / 4.0);
        self.next = (self.next * 2).min(LONGEST);
        wait
    }

    pub fn after_refusal() -> Duration {
        REFUSED.mul_f64(0.75 + fastrand::f64() / 4.0)
    }
}
