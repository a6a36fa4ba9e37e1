//! One deadline, the guard's or the agent's, as a descriptor that becomes readable.
//!
//! Not a timeout of poll(2): that begins anew when the guard goes on after a stop, and stands still while the machine is
//! suspended.

use lockstep_policy::At;
use rustix::io;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use std::os::fd::OwnedFd;

pub(crate) fn new() -> io::Result<OwnedFd> {
    timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)
}

/// Sets it; none: never. What it said before is forgotten.
pub(crate) fn set(alarm: &OwnedFd, at: Option<At>) -> io::Result<()> {
    let never = Timespec { tv_sec: 0, tv_nsec: 0 };
    let at = at.map_or(never, |At(nanos)| Timespec {
        tv_sec: i64::try_from(nanos / 1_000_000_000).unwrap_or(i64::MAX),
        // Zero would be never.
        tv_nsec: i64::try_from(nanos % 1_000_000_000).unwrap_or(0).max(1),
    });
    let times = Itimerspec { it_interval: never, it_value: at };
    timerfd_settime(alarm, TimerfdTimerFlags::ABSTIME, &times).map(drop)
}
