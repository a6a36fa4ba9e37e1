//! A point of time to be woken at, by a kernel timer of its own.
//!
//! Not by the runtime's: that one wakes twice or more for a time of some hundred milliseconds, as its wheels turn, and it stands still while
//! the machine is suspended.

use crate::guard::alarm;
use lockstep_policy::At;
use lockstep_wire::clock;
use std::io;
use std::os::fd::OwnedFd;
use tokio::io::unix::AsyncFd;
use tokio::time::sleep;

/// The timer, of one task.
#[derive(Debug)]
pub(crate) struct Alarm {
    timer: AsyncFd<OwnedFd>,
    /// What it is set to; none: it has fired, or was never set.
    set: Option<At>,
}

impl Alarm {
    /// Needs a tokio runtime with I/O.
    pub(crate) fn new() -> io::Result<Alarm> {
        #[expect(
            deprecated,
            reason = "what makes it unsound are types whose descriptor is another each time; this one owns its own"
        )]
        let timer = AsyncFd::new(alarm::new()?)?;
        Ok(Alarm { timer, set: None })
    }

    /// Until that point on [`clock`]'s clock. Cancel safe.
    pub(crate) async fn until(&mut self, at: At) {
        while clock::now() < at {
            if self.wait(at).await.is_err() {
                // The kernel refuses what it has given: the runtime's own timers are there.
                return sleep(at.since(clock::now())).await;
            }
        }
    }

    async fn wait(&mut self, at: At) -> io::Result<()> {
        if self.set != Some(at) {
            alarm::set(self.timer.get_ref(), Some(at))?;
            self.set = Some(at);
        }
        let mut fired = self.timer.readable().await?;
        fired.clear_ready();
        // It may have been what the timer was set to before.
        self.set = None;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(20);

    /// Nothing here takes nearly as long.
    const PATIENCE: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn it_wakes_at_its_time_and_not_before_whatever_it_was_set_to() {
        let mut alarm = Alarm::new().unwrap();
        let begin = clock::now();
        for (number, given_up) in [(1, begin + LONG), (2, begin), (3, begin + SHORT)] {
            // One who waited has turned to something else, while it is still set, or has fired.
            assert!(timeout(SHORT, alarm.until(given_up)).await.is_ok() || given_up > clock::now(), "{number}");
            let at = clock::now() + SHORT;
            timeout(PATIENCE, alarm.until(at)).await.unwrap();
            assert!(clock::now() >= at, "{number}");
        }
        timeout(PATIENCE, alarm.until(begin)).await.expect("a time that has passed is not waited for");
    }
}
