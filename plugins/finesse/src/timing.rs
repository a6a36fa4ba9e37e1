//! The times and counts in force: the vendor's, or the pair's `detect` profile.

use crate::config::{Config, Distribute, Profile};
use lockstep_policy::Setup;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The number of sessions that `reload_window` is for.
pub(crate) const WINDOW_SESSIONS: u32 = 2_000;

/// A look ends so long after the longest timeout of its probes, answered or not.
pub(crate) const LOOK_SLACK: Duration = Duration::from_millis(500);

/// The pause after a share that the edge refused, and after a look that led to nothing.
pub(crate) const RETRY: Duration = Duration::from_secs(5);

/// How long a single desktop takes to reload, at most (12.6: 5 to 15 seconds).
pub(crate) const DESKTOP_RELOAD: Duration = Duration::from_secs(15);

/// The times and counts in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Timing {
    pub(crate) profile: Profile,
    pub(crate) distribute: Distribute,
    pub(crate) poll: Rhythm,
    pub(crate) notification: Rhythm,
    pub(crate) cti: Rhythm,
    /// For [`WINDOW_SESSIONS`] sessions.
    pub(crate) reload_window: Duration,
    /// Sessions of a side, while the edge has not counted them.
    pub(crate) sessions: u32,
    pub(crate) maintenance_max: Duration,
    pub(crate) maintenance_warning: Duration,
}

/// How often something is asked, and how many failures in a row count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rhythm {
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
    pub(crate) failures: u32,
}

impl Rhythm {
    /// From a fault to the last of its failures, at worst: the fault comes just after a good answer.
    pub(crate) fn detection(&self) -> Duration {
        self.interval * self.failures + self.timeout
    }
}

impl Timing {
    pub(crate) fn new(setup: &Setup, config: &Config) -> Timing {
        let (interval, failures) = match config.profile {
            Profile::Desktop => (Duration::from_secs(20), 1),
            Profile::Ippa => (Duration::from_secs(5), 3),
        };
        let detect = Rhythm {
            interval: Duration::from_millis(setup.detect.interval_ms.max(1)),
            timeout: Duration::from_millis(setup.detect.timeout_ms.max(1)),
            failures: setup.detect.failures.max(1),
        };
        let poll = Rhythm {
            interval: config.poll_interval.map_or(interval, |period| period.0),
            timeout: config.poll_timeout.0,
            failures: config.poll_failures.unwrap_or(failures),
        };
        let notification = Rhythm {
            interval: config.notification.interval.0,
            timeout: config.notification.timeout.0,
            failures: config.notification_attempts,
        };
        let cti = config.cti_heartbeat_interval.0;
        Timing {
            profile: config.profile,
            distribute: config.distribute,
            poll: if config.fast { detect } else { poll },
            notification: if config.fast { detect } else { notification },
            cti: Rhythm { interval: cti, timeout: cti, failures: config.cti_heartbeat_misses },
            reload_window: config.reload_window.0,
            sessions: config.sessions,
            maintenance_max: config.maintenance_max.0,
            maintenance_warning: config.maintenance_warning.0,
        }
    }

    pub(crate) fn ippa(&self) -> bool {
        self.profile == Profile::Ippa
    }

    pub(crate) fn even(&self) -> bool {
        self.distribute == Distribute::Even
    }

    /// F8: over how long the moves of so many sessions are spread, in whole milliseconds.
    pub(crate) fn window(&self, sessions: u32) -> Duration {
        let millis = self.reload_window.as_millis() * u128::from(sessions) / u128::from(WINDOW_SESSIONS);
        Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
    }

    /// How long a look lasts at most.
    pub(crate) fn look(&self) -> Duration {
        self.poll.timeout.max(self.notification.timeout) + LOOK_SLACK
    }

    /// From a fault to the first trigger, at worst.
    pub(crate) fn detection(&self) -> Duration {
        self.poll.detection().max(self.notification.detection())
    }
}

/// From a fault of a side to the last of its sessions on the other, at worst; for phones, to the vendor's
/// server-unavailable answer.
pub(crate) fn expected_delay(timing: &Timing) -> Duration {
    if timing.ippa() {
        return timing.detection();
    }
    let moved = timing.window(timing.sessions / if timing.even() { 2 } else { 1 });
    timing.detection() + timing.look() + moved + DESKTOP_RELOAD
}
