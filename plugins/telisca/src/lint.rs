//! T9: parameters that are valid, and do not go together.

use crate::config::Config;
use lockstep_policy::sdk::Period;
use lockstep_policy::{Level, Lint};
use std::time::Duration;

/// The AXL timeout of the vendor's default, and the 3 s that the heartbeat's timeout should add to it.
const AXL_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) fn lint(config: &Config) -> Vec<Lint> {
    [restart(config), balancer(config), axl(config)].into_iter().flatten().collect()
}

fn found(level: Level, text: String) -> Option<Lint> {
    Some(Lint { rule: "T9".into(), level, text })
}

/// A framework that restarts must not look like one that has failed (section 3.1.2.6).
fn restart(config: &Config) -> Option<Lint> {
    let Config { heartbeat_interval: interval, failures_to_switch: failures, restart_time, .. } = config;
    if config.fast {
        let text = format!(
            "with `fast = true` a restart of IPS Framework ({restart_time}) on the active side moves the role: it takes \
             longer than the detection"
        );
        return found(Level::Info, text);
    }
    let patience = Period(interval.0 * failures.saturating_sub(1));
    if patience > *restart_time {
        return None;
    }
    let enough = restart_time.0.as_millis() / interval.0.as_millis().max(1) + 2;
    let text = format!(
        "(failures_to_switch - 1) × heartbeat_interval = ({failures} - 1) × {interval} = {patience}, which is not more \
         than restart_time = {restart_time}: a restart of IPS Framework moves the role. Set failures_to_switch to at \
         least {enough}, or heartbeat_interval to more"
    );
    found(Level::Warning, text)
}

/// Both must redirect within about the same time (section 6.3.4.2).
fn balancer(config: &Config) -> Option<Lint> {
    let balancer = config.balancer?;
    let ours = (config.heartbeat_interval, config.failures_to_switch);
    if config.fast || (balancer.interval, balancer.failures) == ours {
        return None;
    }
    let text = format!(
        "the external balancer checks {} × {} = {}, this policy {} × {} = {}: they switch at different times. Give both \
         the same interval and count",
        balancer.failures,
        balancer.interval,
        Period(balancer.interval.0 * balancer.failures),
        ours.1,
        ours.0,
        Period(ours.0.0 * ours.1),
    );
    found(Level::Warning, text)
}

/// The monitor page may read from AXL before it answers (section 3.1.2.4).
fn axl(config: &Config) -> Option<Lint> {
    if config.fast || config.heartbeat_timeout.0 >= AXL_TIMEOUT {
        return None;
    }
    let text = format!(
        "heartbeat_timeout = {} is less than the AXL timeout (7s by default) and 3s more: a slow AXL answer counts as a \
         failure",
        config.heartbeat_timeout
    );
    found(Level::Info, text)
}
