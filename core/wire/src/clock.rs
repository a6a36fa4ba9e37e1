//! The clock of edge and agent.

use lockstep_policy::At;
use rustix::time::{ClockId, clock_gettime};

/// Now, on `CLOCK_BOOTTIME`: it never jumps, and it goes on while the machine is suspended, so that no lease outlives
/// a suspended node.
#[must_use]
pub fn now() -> At {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(now.tv_nsec).unwrap_or(0);
    At(seconds * 1_000_000_000 + nanos)
}
