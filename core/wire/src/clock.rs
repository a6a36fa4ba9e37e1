//! The clock of edge and agent: it never jumps, and it goes on while the machine is suspended, so that no lease outlives a
//! suspended node. All processes of a machine read the same one.

use lockstep_policy::At;

/// Now, on `CLOCK_BOOTTIME`.
#[cfg(not(windows))]
#[must_use]
pub fn now() -> At {
    use rustix::time::{ClockId, clock_gettime};
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(now.tv_nsec).unwrap_or(0);
    At(seconds * 1_000_000_000 + nanos)
}

/// Now, by the performance counter: "the total number of ticks that have occurred since the Windows operating system was
/// started, including the time when the machine was in a sleep state" (*Acquiring high-resolution time stamps*).
#[cfg(windows)]
#[must_use]
pub fn now() -> At {
    use std::sync::LazyLock;
    use winsafe::{QueryPerformanceCounter, QueryPerformanceFrequency};
    /// Fixed when the system starts.
    static FREQUENCY: LazyLock<u64> = LazyLock::new(|| sure(QueryPerformanceFrequency()).max(1));
    let (ticks, frequency) = (sure(QueryPerformanceCounter()), *FREQUENCY);
    At(ticks / frequency * 1_000_000_000 + ticks % frequency * 1_000_000_000 / frequency)
}

#[cfg(windows)]
fn sure(answer: winsafe::SysResult<i64>) -> u64 {
    let ticks = answer.expect("on Windows XP and later it always succeeds");
    u64::try_from(ticks).unwrap_or(0)
}
