//! The dead-man's switch: kernel timers, which need nobody's processor time to fire.

use crate::guard::order::Reach;
use lockstep_policy::At;
use nix::sys::signal::{SigEvent, SigevNotify, Signal};
use nix::sys::time::TimeSpec;
use nix::sys::timer::{Expiration, Timer, TimerSetTimeFlags};
use nix::time::ClockId;

/// The switch of the process that makes it. Nothing happens before it is armed.
#[derive(Debug)]
pub(crate) struct Switch {
    wake: Timer,
    kill: Timer,
}

impl Switch {
    /// # Errors
    ///
    /// The kernel has no timers left for this user (`RLIMIT_SIGPENDING`).
    pub(crate) fn new() -> nix::Result<Switch> {
        Ok(Switch { wake: timer(Signal::SIGCONT)?, kill: timer(Signal::SIGKILL)? })
    }

    /// Moves both points: at `reach.kill` this process goes on if it was stopped, at `reach.end` it is killed. A point
    /// that has passed is acted on at once.
    ///
    /// # Errors
    ///
    /// The kernel refuses the time.
    pub(crate) fn arm(&mut self, reach: Reach) -> nix::Result<()> {
        // Zero would disarm it.
        set(&mut self.kill, reach.end.max(At(1)))?;
        set(&mut self.wake, reach.kill.max(At(1)))
    }

    /// Nothing happens any more.
    ///
    /// # Errors
    ///
    /// As for [`Switch::arm`].
    pub(crate) fn disarm(&mut self) -> nix::Result<()> {
        set(&mut self.wake, At::ZERO)?;
        set(&mut self.kill, At::ZERO)
    }
}

fn timer(signal: Signal) -> nix::Result<Timer> {
    Timer::new(ClockId::CLOCK_BOOTTIME, SigEvent::new(SigevNotify::SigevSignal { signal, si_value: 0 }))
}

fn set(timer: &mut Timer, at: At) -> nix::Result<()> {
    let seconds = i64::try_from(at.0 / 1_000_000_000).unwrap_or(i64::MAX);
    let rest = i64::try_from(at.0 % 1_000_000_000).unwrap_or(0);
    timer.set(Expiration::OneShot(TimeSpec::new(seconds, rest)), TimerSetTimeFlags::TFD_TIMER_ABSTIME)
}
