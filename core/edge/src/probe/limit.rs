//! How long one probe may take.

use super::judge::Finding;
use lockstep_policy::event::Verdict;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// From a probe's beginning on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    began: Instant,
    timeout: Duration,
}

impl Limit {
    pub fn new(timeout: Duration) -> Limit {
        Limit { began: Instant::now(), timeout }
    }

    /// What is found, or that there was no answer in time.
    pub async fn of(self, asked: impl Future<Output = Finding>) -> Finding {
        let silent = || Finding::new(Verdict::Silent, 0, format!("no answer within {:?}", self.timeout));
        timeout_at(self.began + self.timeout, asked).await.unwrap_or_else(|_| silent())
    }

    /// Half of the time; none: it is over before there is anything.
    pub async fn of_half<T>(self, asked: impl Future<Output = T>) -> Option<T> {
        timeout_at(self.began + self.timeout / 2, asked).await.ok()
    }

    /// For how long it has been under way.
    pub fn elapsed(self) -> Duration {
        self.began.elapsed()
    }
}
