//! How fast a body must come: clients that send it drop by drop hold a server's connection for as long as they like.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// What every body is given beside its rate.
pub(super) const GRACE: Duration = Duration::from_secs(10);

/// The pace of one body. Time counts only while we wait for the client.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Bytes a second; 0: any.
    rate: u32,
    came: u64,
    waited: Duration,
    since: Option<Instant>,
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    pub(super) fn of(rate: u32) -> Pace {
        Pace { rate, ..Pace::default() }
    }

    /// So many bytes have come, of so many that could have been taken.
    pub(super) fn came(&mut self, bytes: usize, room: usize) {
        if self.since.is_none() {
            // Nobody has waited: the time does not matter.
            self.came += bytes as u64;
            return;
        }
        self.came_at(Instant::now(), bytes, room);
    }

    fn came_at(&mut self, now: Instant, bytes: usize, room: usize) {
        self.came += bytes as u64;
        // Where there was as much as could be taken, we had not looked for a while: the server was slow, not the client.
        if let Some(since) = self.since.take().filter(|_| bytes < room) {
            self.waited += now - since;
        }
    }

    /// Nothing has come. Ready when that has been so for too long.
    pub(super) fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = self.deadline(Instant::now()) else { return Poll::Pending };
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if alarm.deadline() != deadline {
            alarm.as_mut().reset(deadline);
        }
        alarm.as_mut().poll(cx)
    }

    /// When it will have been so for too long.
    fn deadline(&mut self, now: Instant) -> Option<Instant> {
        let worth = self.came.checked_div(u64::from(self.rate))?;
        let since = *self.since.get_or_insert(now);
        Some(since + (GRACE + Duration::from_secs(worth)).saturating_sub(self.waited))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_its_grace_and_what_its_bytes_are_worth() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(Pace::of(100).deadline(start), Some(after(10)));
        let mut pace = Pace::of(100);
        pace.came_at(start, 500, 4096);
        assert_eq!(pace.deadline(start), Some(after(15)));
        // One byte every four seconds is late in the third wait.
        let mut pace = Pace::of(100);
        for wait in 0..2 {
            assert!(pace.deadline(after(4 * wait)).unwrap() > after(4 * (wait + 1)));
            pace.came_at(after(4 * (wait + 1)), 1, 4096);
        }
        assert_eq!(pace.deadline(after(8)), Some(after(10)));
    }

    #[test]
    fn a_slow_server_is_not_held_against_its_client() {
        let start = Instant::now();
        let mut pace = Pace::of(100);
        assert!(pace.deadline(start).is_some());
        let much_later = start + Duration::from_secs(60);
        pace.came_at(much_later, 4096, 4096);
        assert!(pace.deadline(much_later).unwrap() >= much_later + GRACE);
        assert_eq!(Pace::of(0).deadline(start), None);
    }
}
