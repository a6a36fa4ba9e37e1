//! The times in force: the vendor's, or the pair's `detect` profile.

use crate::config::{Config, Module};
use lockstep_policy::setup::Detect;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Agents report at least once a second: what came sooner after a handover may have been sent before it.
pub(crate) const STALE_REPORT: Duration = Duration::from_secs(2);
/// So much longer than its own timeout an answer may be on its way to the policy.
pub(crate) const SLACK: Duration = Duration::from_secs(2);
/// Notifier pings are not sent more often, whatever their delay.
const NOTIFIER_FLOOR: Duration = Duration::from_secs(1);

/// The times in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Timing {
    pub(crate) fast: bool,
    /// From one module ping to the next while they succeed.
    pub(crate) module_interval: Duration,
    pub(crate) module_timeout: Duration,
    pub(crate) module_retry_delay: Duration,
    pub(crate) module_max_failures: u32,
    /// From one notifier ping to the next while they succeed.
    pub(crate) notifier_interval: Duration,
    pub(crate) notifier_timeout: Duration,
    pub(crate) notifier_retry_delay: Duration,
    pub(crate) notifier_retries: u32,
    pub(crate) reconnect_timeout: Duration,
    pub(crate) reconnect_delay: Duration,
    pub(crate) icmp_timeout: Duration,
    /// Sets of pings before an unreachable primary is left; none: it never is.
    pub(crate) unreachable_sets: Option<u32>,
    pub(crate) unreachable_delay: Duration,
    /// How long a start waits to hear both sides.
    pub(crate) start_grace: Duration,
    /// The pause before the second attempt of a switch; it doubles.
    pub(crate) first_retry: Duration,
}

impl Timing {
    pub(crate) fn new(detect: &Detect, config: &Config) -> Timing {
        let unreachable_sets = u32::try_from(config.unreachable_ping_count).ok().map(|count| count.max(3));
        if config.fast {
            let interval = Duration::from_millis(detect.interval_ms.max(1));
            let timeout = Duration::from_millis(detect.timeout_ms.max(1));
            let failures = detect.failures.max(1);
            let patience = interval.saturating_mul(failures);
            return Timing {
                fast: true,
                module_interval: interval,
                module_timeout: timeout,
                module_retry_delay: Duration::from_millis(1),
                module_max_failures: failures,
                notifier_interval: interval,
                notifier_timeout: timeout,
                notifier_retry_delay: Duration::ZERO,
                notifier_retries: failures.saturating_sub(1).max(1),
                reconnect_timeout: patience,
                reconnect_delay: interval,
                icmp_timeout: config.nettest_timeout.0.min(timeout),
                unreachable_sets,
                unreachable_delay: interval,
                start_grace: Duration::from_millis(1_500),
                first_retry: patience.max(Duration::from_millis(250)),
            };
        }
        let half = config.module_timeout.0 / 2;
        Timing {
            fast: false,
            module_interval: config.module_timeout.0,
            module_timeout: config.module_timeout.0,
            module_retry_delay: config.module_retry_delay.0,
            module_max_failures: config.module_max_failures,
            notifier_interval: config.primary_ping_delay.0.max(NOTIFIER_FLOOR),
            notifier_timeout: if config.primary_timeout.0.is_zero() { half } else { config.primary_timeout.0 },
            notifier_retry_delay: config.primary_retry_ping_delay.0,
            notifier_retries: config.primary_retry_count,
            reconnect_timeout: config.reconnect_timeout.0,
            reconnect_delay: config.notifier_reconnect_delay.0,
            icmp_timeout: config.nettest_timeout.0,
            unreachable_sets,
            unreachable_delay: config.unreachable_ping_delay.0,
            start_grace: Duration::from_secs(5),
            first_retry: Duration::from_secs(1),
        }
    }

    /// How long a ping of a look may take that is repeated so often: looks do not wait for each other.
    pub(crate) fn look_timeout(&self, pause: Duration) -> Duration {
        self.notifier_timeout.min(pause.max(self.icmp_timeout))
    }

    /// C4: the longest silence of a module monitor that works.
    pub(crate) fn module_silence(&self) -> Duration {
        self.module_interval + self.module_timeout + SLACK
    }

    /// The longest silence of notifier pings that are sent.
    pub(crate) fn notifier_silence(&self) -> Duration {
        self.notifier_interval + self.notifier_timeout + SLACK
    }
}

/// From a fault to the decision to switch, by what the fault is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Delays {
    /// The agent says at once that the module is not well: the vendor's log sample, from the first failed ping.
    pub(crate) rejected: Duration,
    /// The module's process does not answer: from the first ping that fails.
    pub(crate) silent: Duration,
    /// Both connections are lost at once, and the primary's address answers.
    pub(crate) connections: Duration,
    /// The primary's address does not answer, nor anything on it; none: it is waited for.
    pub(crate) unreachable: Option<Duration>,
}

impl Delays {
    pub(crate) fn new(config: &Config, timing: &Timing) -> Delays {
        let connections: u32 = if config.ping_on_aux_connection || config.module == Module::Ip { 1 } else { 2 };
        let pings = timing.module_max_failures.saturating_mul(connections);
        let confirm = timing.notifier_timeout * timing.module_max_failures;
        let notifier = timing.notifier_timeout
            + (timing.notifier_retry_delay + timing.notifier_timeout) * timing.notifier_retries
            + timing.notifier_timeout.max(timing.icmp_timeout);
        let set = timing.look_timeout(timing.unreachable_delay).max(timing.icmp_timeout);
        let sets = timing.unreachable_sets.map(|sets| timing.unreachable_delay.saturating_mul(sets) + set);
        Delays {
            rejected: timing.module_interval * pings.saturating_sub(1),
            silent: timing.module_timeout * pings + timing.module_retry_delay * pings.saturating_sub(1) + confirm,
            connections: timing.reconnect_timeout,
            unreachable: sets.map(|sets| notifier + sets),
        }
    }

    /// The worst of those that end.
    pub(crate) fn worst(&self) -> Duration {
        self.rejected.max(self.silent).max(self.connections).max(self.unreachable.unwrap_or_default())
    }
}
