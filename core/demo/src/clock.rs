//! The one clock that all simulated programs of a machine write down.

use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// Time since the machine's start, in nanoseconds, on `CLOCK_BOOTTIME`: the same for every process, and never set back.
#[must_use]
pub fn now() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    // The kernel keeps both parts positive on this clock.
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

/// A duration in nanoseconds; a longer one than 584 years is the longest.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
