//! The rules in words, and with the parameters in force.

use crate::config::{Config, Transport};
use crate::timing::{DESKTOP_RELOAD, LOOK_SLACK, RETRY, Timing, WINDOW_SESSIONS, expected_delay};
use lockstep_policy::sdk::{Period, wrapped};
use lockstep_policy::{Rule, Setup};
use std::fmt::Write;

pub(crate) const RULES: &[Rule] = &[
    Rule::new(
        "F1",
        "Eligible. A side may be given sessions only when its SystemInfo says `IN_SERVICE`, its Notification Service \
         answers, and its last CTI heartbeat was a success. A side that does not tell one of them, that has not been \
         heard yet, or that is in the vendor's own maintenance mode is not eligible.",
    ),
    Rule::new(
        "F2",
        "Out of service. Three things take a side out: its SystemInfo says another status than `IN_SERVICE` (for desktops \
         at once; a side that does not answer, `poll_failures` times in a row); its Notification Service did not answer \
         `notification_attempts` times in a row; the presence of its user `finesse` is unavailable, which is watched when \
         `notification.user` is given. Less than that, such as one CTI heartbeat that failed, keeps sessions from coming \
         and does not send them away. Requests that fail at a side have it asked at once.",
    ),
    Rule::new(
        "F3",
        "Second look. Before sessions leave a side that is out, the publisher or the one that had them, both sides are \
         asked once more at once; if it has recovered, they stay. The look ends with the answers, and at the latest with \
         the longer timeout. A side that recovers while its sessions are being moved keeps those that have not moved yet.",
    ),
    Rule::new(
        "F4",
        "Eligible at that moment. Sessions move only to a side that is eligible by what it answered to the second look: a \
         CTI failure can take both sides down, and the one that notices later must not get everybody. When it loses that \
         while sessions move, the move stops, and goes on when it is eligible again.",
    ),
    Rule::new(
        "F5",
        "No way back by itself. After a failover sessions stay where they are when the other side recovers, and new ones go \
         where they are. An operator's order to switch moves the sessions of the other side to the one that he names, \
         each warned and paced.",
    ),
    Rule::new(
        "F6",
        "Neither side. When a side is out and the other is not eligible, new requests are answered 503 with `Retry-After` \
         at once, and connections that are open are left. The side that had the sessions gets them again when it is \
         eligible; if the other one is so first, they move there by F3 and F4.",
    ),
    Rule::new(
        "F7",
        "CTI servers. A side that loses its CTI server says that it is out of service, and tries its CTI hosts in turn; it \
         counts as eligible again when all of F1 holds, not before. With `cti_probe` the CTI hosts are asked as well: a \
         standby (status 92) is no fault; that none is active is told to operators, and decides nothing.",
    ),
    Rule::new(
        "F8",
        "Pace. Sessions that move are spread evenly over `reload_window` for 2,000 of them, and over proportionally less \
         for fewer; never all at once. Those that did not come back are listed.",
    ),
    Rule::new(
        "F9",
        "Maintenance mode. `maintenance start` empties a side: each session is warned `maintenance_warning` before, then \
         moved at the pace of F8, and moved, left and failed ones are shown. When the other side becomes ineligible, or \
         `maintenance_max` passes, it is abandoned: who has moved stays there, the rest remain, and new sessions go where \
         they went before. It ends with `maintenance stop`, when the side was down and is eligible again, and when the \
         other side is lost.",
    ),
    Rule::new(
        "F10",
        "Even. With `distribute = \"even\"` new sessions go to the sides in turn, as long as they are in service, and each \
         stays on its side. When a side fails, its sessions move, and the others are not touched; when it is eligible \
         again it gets new ones.",
    ),
    Rule::new(
        "F11",
        "Phones. With `profile = \"ippa\"` a side is out of service after `poll_failures` polls in a row that do not say \
         `IN_SERVICE`, or when its Notification Service is disconnected. Its phones are then answered 503, the vendor's \
         server-unavailable answer, and nothing moves; when both services are back, users sign in again. An operator who \
         moves them is asked first.",
    ),
];

pub(crate) fn explain(setup: &Setup, config: &Config) -> String {
    let timing = Timing::new(setup, config);
    let mut text = format!("Policy finesse for pair `{}`\n\n", setup.pair);
    for rule in RULES {
        for (number, line) in wrapped(&rule.text, 100).into_iter().enumerate() {
            let id = if number == 0 { rule.id.as_ref() } else { "" };
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{id:<4} {line}");
        }
    }
    text.push_str("\nIn force\n");
    for (key, value) in in_force(config, &timing) {
        let _ = writeln!(text, "  {key:<38} {value}");
    }
    text.push_str("\nExpected delay\n");
    for line in delay(config, &timing).iter().flat_map(|sentence| wrapped(sentence, 100)) {
        let _ = writeln!(text, "  {line}");
    }
    text
}

fn in_force(config: &Config, timing: &Timing) -> Vec<(&'static str, String)> {
    let source = if config.fast { "  (from detect: fast = true)" } else { "" };
    let (poll, service) = (timing.poll, timing.notification);
    let over = match config.notification.transport {
        Transport::Bosh => "BOSH",
        Transport::Xmpp => "XMPP",
    };
    let presence = match config.notification.user.as_str() {
        "" => "not watched".to_owned(),
        user => format!("watched, as {user}"),
    };
    let cti = match &config.cti_probe {
        None => "not asked themselves".to_owned(),
        Some(cti) => {
            let (interval, misses) = (Period(timing.cti.interval), timing.cti.failures);
            format!("port {}, every {interval}, lost after {misses}", cti.port)
        }
    };
    let distribute = if timing.even() { "even" } else { "prefer-publisher" };
    vec![
        ("profile", if timing.ippa() { "ippa" } else { "desktop" }.to_owned()),
        ("distribute", distribute.to_owned()),
        ("SystemInfo", format!("port {}, {}", config.system_info_port, config.system_info_path)),
        ("poll_interval", format!("{}{source}", Period(poll.interval))),
        ("poll_timeout", format!("{}{source}", Period(poll.timeout))),
        ("poll_failures", format!("{}{source}", poll.failures)),
        (
            "Notification Service",
            format!("{over}, every {}, timeout {}{source}", Period(service.interval), Period(service.timeout)),
        ),
        ("notification_attempts", format!("{}{source}", service.failures)),
        ("presence of `finesse`", presence),
        ("CTI servers", cti),
        ("second look: at most", Period(timing.look()).to_string()),
        ("reload_window", format!("{} for {WINDOW_SESSIONS} sessions", Period(timing.reload_window))),
        ("maintenance_warning", Period(timing.maintenance_warning).to_string()),
        ("maintenance_max", Period(timing.maintenance_max).to_string()),
        ("share without success: again after", Period(RETRY).to_string()),
    ]
}

/// How long it takes, and why.
fn delay(config: &Config, timing: &Timing) -> Vec<String> {
    let (poll, service) = (timing.poll, timing.notification);
    let mut lines = vec![format!(
        "A side that falls silent is noticed within {} × {} + {} = {} by its SystemInfo, within {} × {} + {} = {} by its \
         Notification Service.",
        poll.failures,
        Period(poll.interval),
        Period(poll.timeout),
        Period(poll.detection()),
        service.failures,
        Period(service.interval),
        Period(service.timeout),
        Period(service.detection()),
    )];
    let total = Period(expected_delay(timing));
    if timing.ippa() {
        lines.push(format!("From then on phones are answered that the server is unavailable: {total} at worst."));
    } else {
        let sessions = timing.sessions / if timing.even() { 2 } else { 1 };
        lines.push(format!(
            "From the fault to the last of {sessions} sessions: {} + {} second look ({} more than the longer timeout) + {} \
             reload window + {} for the last desktop's reload = {total} at worst.",
            Period(timing.detection()),
            Period(timing.look()),
            Period(LOOK_SLACK),
            Period(timing.window(sessions)),
            Period(DESKTOP_RELOAD),
        ));
        let measured = if config.wan {
            "80 to 110 seconds for 2,000 over a WAN of 400 ms"
        } else {
            "50 to 55 seconds for 1,000 and 70 to 80 seconds for 2,000 on a LAN"
        };
        let old = if config.old_agent_pg { ", and some 40 seconds more with this Agent PG" } else { "" };
        lines.push(format!(
            "The vendor's numbers for reconnecting desktops once a server in service is found: {measured}{old}."
        ));
    }
    let cti = if config.old_agent_pg { "75 to 120" } else { "35 to 75" };
    lines.push(format!(
        "When the CTI server is lost both sides may be out at once: Finesse notices after {} × {} = {}, and needs {cti} \
         seconds (vendor's numbers) to be in service again at another one. Until then requests are answered 503.",
        timing.cti.failures,
        Period(timing.cti.interval),
        Period(timing.cti.interval * timing.cti.failures),
    ));
    lines
}
