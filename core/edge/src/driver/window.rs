//! Windows of traffic: what requests meet at the sides is told to the policy in bundles, and trouble at once.
//!
//! A window opens with the first that is counted, so that a pair without requests has nothing to do.

use super::Driver;
use crate::proxy::{ProxyEvent, TrafficCounts};
use lockstep_pair::coordinator::Input;
use lockstep_policy::At;
use lockstep_policy::event::{Traffic, What};
use std::time::Duration;

/// How long a window is open.
const OPEN: Duration = Duration::from_millis(100);

/// Trouble at a side closes a window early, but not more often than this.
const LEAST: Duration = Duration::from_millis(10);

/// The present window, if there is one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Window {
    open: Option<Open>,
    /// When the last one was closed.
    closed: At,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Open {
    since: At,
    until: At,
}

impl Window {
    /// When it is to be closed.
    pub fn deadline(self) -> Option<At> {
        self.open.map(|open| open.until)
    }

    /// Something was counted; with trouble the window closes as soon as one may.
    fn note(&mut self, at: At, trouble: bool) {
        let earliest = self.closed + LEAST;
        let since = self.closed.max(At(at.0.saturating_sub(nanos(LEAST))));
        let open = self.open.get_or_insert(Open { since, until: at + OPEN });
        if trouble {
            open.until = open.until.min(at.max(earliest));
        }
    }

    /// Closes it; for how long it was open.
    fn close(&mut self, now: At) -> Duration {
        let since = self.open.take().map_or(self.closed, |open| open.since);
        self.closed = now;
        now.since(since)
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Driver {
    pub(super) fn proxy_event(&mut self, event: ProxyEvent) {
        match event {
            ProxyEvent::FirstSent { epoch, at } => self.coordinate(Input::FirstSent { epoch, at }),
            ProxyEvent::FirstAnswer { epoch, at } => self.coordinate(Input::FirstAnswer { epoch, at }),
            ProxyEvent::Counted { at } => self.window.note(at, false),
            ProxyEvent::Trouble { side, at, probe, .. } => {
                if probe {
                    self.probes.all_now(side);
                }
                self.window.note(at, true);
            }
        }
    }

    /// Closes a window whose time is over.
    pub(super) fn watch_window(&mut self, now: At) {
        // Its event found no room in the queue.
        if self.window.open.is_none() && self.proxy.has_traffic() {
            self.window.note(now, false);
        }
        if self.window.deadline().is_some_and(|at| now >= at) {
            self.close_window(now);
        }
    }

    /// Tells the policy what requests met since the last window, where they met anything.
    fn close_window(&mut self, now: At) {
        let window = self.window.close(now);
        self.sessions_may_have_changed();
        for (side, counts) in self.proxy.take_traffic().iter() {
            if *counts == TrafficCounts::default() {
                continue;
            }
            let TrafficCounts { good, server_errors, refused, resets, timeouts, slow } = *counts;
            self.tell(What::Traffic(Traffic { side, window, good, server_errors, refused, resets, timeouts, slow }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> At {
        At::from_millis(ms)
    }

    #[test]
    fn a_window_opens_with_the_first_that_is_counted() {
        let mut window = Window::default();
        assert_eq!(window.deadline(), None);
        window.note(ms(1_000), false);
        window.note(ms(1_050), false);
        assert_eq!(window.deadline(), Some(ms(1_100)));
        assert_eq!(window.close(ms(1_100)), Duration::from_millis(110));
        assert_eq!(window.deadline(), None, "nothing is to be done while nothing is counted");
        window.note(ms(1_101), false);
        assert_eq!(window.close(ms(1_201)), Duration::from_millis(101), "from the end of the last one on");
    }

    #[test]
    fn trouble_closes_it_at_once_but_not_again_and_again() {
        let mut window = Window::default();
        window.note(ms(1_000), false);
        window.note(ms(1_020), true);
        assert_eq!(window.deadline(), Some(ms(1_020)));
        window.close(ms(1_020));
        window.note(ms(1_022), true);
        window.note(ms(1_023), true);
        assert_eq!(window.deadline(), Some(ms(1_030)));
        assert_eq!(window.close(ms(1_030)), LEAST);
        window.note(ms(5_000), true);
        assert_eq!((window.deadline(), window.close(ms(5_000))), (Some(ms(5_000)), LEAST));
    }
}
