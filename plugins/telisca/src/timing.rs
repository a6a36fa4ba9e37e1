//! The times in force: the vendor's, or the pair's `detect` profile.

use crate::config::{Config, CtiStartup};
use crate::doubt::BORNE;
use lockstep_policy::Setup;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Agents report at least once a second: an older report is a node's last word, not its present one, and one that comes
/// sooner after a handover may have been sent before it.
pub(crate) const STALE_REPORT: Duration = Duration::from_secs(2);

/// The times in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Timing {
    pub(crate) fast: bool,
    /// From one probe to the next; also from one check for two active sides to the next.
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
    /// Consecutive failures or successes to act on.
    pub(crate) failures: u32,
    /// How long A must have been well for a rollback.
    pub(crate) rollback_after: Duration,
    /// How long to wait at the start for a side that has not been heard.
    pub(crate) start_grace: Duration,
    /// How long the active side's agent may be away while its probes fail too.
    pub(crate) away_and_silent: Duration,
    /// How long it may be away whatever its probes say: it has no lease any more.
    pub(crate) away: Duration,
    /// The pause before the second attempt; it doubles.
    pub(crate) first_retry: Duration,
}

impl Timing {
    pub(crate) fn new(setup: &Setup, config: &Config) -> Timing {
        let rollback_after = config.rollback_after.map(|period| period.0);
        if config.fast {
            let interval = Duration::from_millis(setup.detect.interval_ms.max(1));
            let failures = setup.detect.failures.max(1);
            let patience = interval * failures;
            return Timing {
                fast: true,
                interval,
                timeout: Duration::from_millis(setup.detect.timeout_ms),
                failures,
                rollback_after: rollback_after.unwrap_or(Duration::from_secs(5)).max(patience),
                start_grace: Duration::from_millis(1_500),
                away_and_silent: patience,
                away: patience * 3,
                first_retry: patience.max(Duration::from_millis(250)),
            };
        }
        let (interval, timeout) = (config.heartbeat_interval.0, config.heartbeat_timeout.0);
        let patience = interval * config.failures_to_switch + timeout;
        Timing {
            fast: false,
            interval,
            timeout,
            failures: config.failures_to_switch,
            rollback_after: rollback_after.unwrap_or_default(),
            start_grace: interval,
            away_and_silent: patience,
            away: patience,
            first_retry: Duration::from_secs(1),
        }
    }

    /// From a fault to the decision, at worst: the fault comes just after a probe was answered. With `fast`, a process that stands
    /// still on a node whose agent answers is borne for a while.
    pub(crate) fn detection(&self) -> Duration {
        let counted = self.interval * self.failures + self.timeout;
        if self.fast { counted.max(self.interval * (BORNE + 2)) } else { counted }
    }

    /// About how long after A is well again it is rolled back to.
    pub(crate) fn rollback(&self) -> Duration {
        if self.fast { self.rollback_after } else { self.rollback_after.max(self.interval * self.failures) }
    }
}

/// T10: from a fault to the new side's CTI service, by the vendor's formula (section 6.2).
pub(crate) fn expected_delay(timing: &Timing, startup: &CtiStartup) -> Duration {
    timing.detection() + cti_startup(startup)
}

/// How long the CTI service takes to start.
pub(crate) fn cti_startup(startup: &CtiStartup) -> Duration {
    startup.connect.0 + startup.per_item.0 * startup.ports.saturating_add(startup.devices)
}
