//! T9, and what other rules find odd: parameters that are valid, and do not go together.

use crate::config::Config;
use crate::vip::{Url, host};
use lockstep_policy::sdk::Period;
use lockstep_policy::{Level, Lint, Setup, Side};
use std::time::Duration;

/// The AXL timeout of the vendor's default, and the 3 s that the heartbeat's timeout should add to it.
const AXL_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) fn lint(setup: &Setup, config: &Config) -> Vec<Lint> {
    let all = [restart(config), balancer(config), axl(config), vip(setup, config), daily(setup, config)];
    all.into_iter().flatten().collect()
}

fn found(level: Level, text: String) -> Option<Lint> {
    Some(Lint { rule: "T9".into(), level, text })
}

/// T7 is for a VIP that somebody else serves.
fn vip(setup: &Setup, config: &Config) -> Option<Lint> {
    let given = config.vip_url.as_deref()?;
    let lint = |level, text| Some(Lint { rule: "T7".into(), level, text });
    if !config.test_vip_destination {
        let text = format!("vip_url = \"{given}\" is not used: `test_vip_destination` is off");
        return lint(Level::Info, text);
    }
    let address = Url::parse(given).ok()?.address.ip().to_string();
    let owner = Side::BOTH.into_iter().find(|side| setup.sides[*side].servers.iter().any(|of| host(of) == address));
    if let Some(side) = owner {
        let text = format!(
            "vip_url = \"{given}\" is the address of a server of {side}: it always reaches {side}. Give the VIP of the \
             balancer in front of the pair"
        );
        return lint(Level::Warning, text);
    }
    let text = format!(
        "the active role follows the balancer behind {address}, and moves as often as that one switches. The address must \
         not be one on which this edge listens for the pair: it would follow itself"
    );
    lint(Level::Info, text)
}

/// The daily restart is the agents' work.
fn daily(setup: &Setup, config: &Config) -> Option<Lint> {
    let time = config.cti_restart_at.as_deref()?;
    let without = Side::BOTH.into_iter().find(|side| !setup.sides[*side].agent)?;
    let text = format!(
        "cti_restart_at = \"{time}\": {without} has no agent, so while it is active nothing is restarted. Install its \
         agent, or leave the key out"
    );
    Some(Lint { rule: "T5".into(), level: Level::Warning, text })
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
