//! Parameters that are valid, and do not do all that one may expect of them.

use crate::config::{Config, Encryption, Transport};
use crate::timing::{Timing, WINDOW_SESSIONS};
use lockstep_policy::sdk::Period;
use lockstep_policy::{Level, Lint, Setup};
use std::time::Duration;

/// The vendor's own pace: 2,000 sessions in 70 seconds.
const VENDOR_WINDOW: Duration = Duration::from_secs(70);

pub(crate) fn lint(setup: &Setup, config: &Config) -> Vec<Lint> {
    let timing = Timing::new(setup, config);
    let found = [
        presence(config, &timing),
        plain_password(config),
        host_names(&timing),
        timeout(&timing),
        one_poll(config, &timing),
        pace(&timing),
        maintenance(&timing),
        all_on_one_side(&timing),
        phones_do_not_move(&timing),
        cti_host(config),
    ];
    found.into_iter().flatten().collect()
}

fn found(rule: &'static str, level: Level, text: String) -> Option<Lint> {
    Some(Lint { rule: rule.into(), level, text })
}

fn presence(config: &Config, timing: &Timing) -> Option<Lint> {
    if !config.notification.user.is_empty() || timing.ippa() {
        return None;
    }
    let text = "the third trigger, the presence of the user `finesse`, is not watched: that needs `notification.user`, \
                `notification.secret` and `notification.domain`";
    found("F2", Level::Info, text.to_owned())
}

fn plain_password(config: &Config) -> Option<Lint> {
    let asked = &config.notification;
    let plain = config.tls == Encryption::Off
        || (asked.transport == Transport::Xmpp && matches!(asked.port, None | Some(5_222)));
    if asked.user.is_empty() || !plain {
        return None;
    }
    let text = "the password of `notification.user` goes over a connection that is not encrypted from its start: use \
                `transport = \"bosh\"` with `tls`, or `port = 5223`";
    found("F2", Level::Warning, text.to_owned())
}

/// Desktops take the nodes' names from SystemInfo, and go to them.
fn host_names(timing: &Timing) -> Option<Lint> {
    if timing.ippa() {
        return None;
    }
    let text = "SystemInfo answers carry the nodes' own host names, and desktops follow them past this edge, which does not \
                rewrite them: sessions then move by the desktop's own logic, and are neither counted nor paced here. Let \
                the nodes' names lead to the VIP for clients";
    found("F8", Level::Warning, text.to_owned())
}

fn timeout(timing: &Timing) -> Option<Lint> {
    let poll = timing.poll;
    if poll.timeout <= poll.interval {
        return None;
    }
    let text = format!(
        "poll_timeout = {} is longer than poll_interval = {}: polls overlap, and the second look takes as long",
        Period(poll.timeout),
        Period(poll.interval)
    );
    found("F3", Level::Info, text)
}

/// Phones make three attempts.
fn one_poll(config: &Config, timing: &Timing) -> Option<Lint> {
    if !timing.ippa() || config.fast || timing.poll.failures >= 3 {
        return None;
    }
    let text = format!(
        "poll_failures = {}: phones make three attempts, and answer for themselves after about 15s; here they are refused \
         sooner, and no second look follows",
        timing.poll.failures
    );
    found("F11", Level::Warning, text)
}

fn pace(timing: &Timing) -> Option<Lint> {
    if timing.reload_window >= VENDOR_WINDOW {
        return None;
    }
    let text = format!(
        "reload_window = {} is shorter than the {} in which this vendor's servers reload {WINDOW_SESSIONS} desktops: a \
         failover may overload the side that is left",
        Period(timing.reload_window),
        Period(VENDOR_WINDOW)
    );
    found("F8", Level::Warning, text)
}

fn maintenance(timing: &Timing) -> Option<Lint> {
    let needed = timing.maintenance_warning + timing.window(timing.sessions);
    if needed < timing.maintenance_max {
        return None;
    }
    let text = format!(
        "moving {} sessions takes {} with the warning, and maintenance_max = {}: maintenance of a full side is always \
         abandoned",
        timing.sessions,
        Period(needed),
        Period(timing.maintenance_max)
    );
    found("F9", Level::Warning, text)
}

fn all_on_one_side(timing: &Timing) -> Option<Lint> {
    if timing.even() || timing.ippa() || timing.sessions <= WINDOW_SESSIONS {
        return None;
    }
    let text = format!(
        "one outage moves all {} sessions, over {}: the vendor advises to spread users evenly (`distribute = \"even\"`), \
         and supports {WINDOW_SESSIONS} users for each server",
        timing.sessions,
        Period(timing.window(timing.sessions))
    );
    found("F10", Level::Warning, text)
}

fn phones_do_not_move(timing: &Timing) -> Option<Lint> {
    if !timing.ippa() {
        return None;
    }
    let text = "with `profile = \"ippa\"` nothing moves to the other side by itself, whatever happens: desktops behind the \
                same pair do not either. Give them a pair of their own";
    found("F11", Level::Info, text.to_owned())
}

fn cti_host(config: &Config) -> Option<Lint> {
    let cti = config.cti_probe.as_ref()?;
    if !cti.pool.is_empty() {
        return None;
    }
    let text = format!(
        "`cti_probe` without `pool` asks for a CTI server on the Finesse nodes themselves, at port {}: it runs on the \
         hosts of the Agent PG; list those in a pool of each side and name it",
        cti.port
    );
    found("F7", Level::Info, text)
}
