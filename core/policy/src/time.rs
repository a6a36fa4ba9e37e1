//! Time as a value: rooms that decide are handed it, and never look at a clock.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// A point on a monotonic clock, in nanoseconds since that clock's own start.
///
/// Points of different clocks (an edge's, a node's) must not be compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct At(pub u64);

impl At {
    /// The clock's start.
    pub const ZERO: At = At(0);

    /// How long after `earlier` this is; zero when it is not after it.
    #[must_use]
    pub fn since(self, earlier: At) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The point `ms` milliseconds after the clock's start.
    #[must_use]
    pub const fn from_millis(ms: u64) -> At {
        At(ms * 1_000_000)
    }
}

/// Saturates: a deadline beyond the clock's end is never reached.
impl Add<Duration> for At {
    type Output = At;

    fn add(self, by: Duration) -> At {
        At(self.0.saturating_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// Saturates at the clock's start.
impl Sub<Duration> for At {
    type Output = At;

    fn sub(self, by: Duration) -> At {
        At(self.0.saturating_sub(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}s", self.0 / 1_000_000_000, self.0 / 1_000_000 % 1_000)
    }
}
