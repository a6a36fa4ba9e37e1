//! The rules in words, and with the parameters in force.

use crate::config::Config;
use crate::timing::{HANDOVER_MAX, RETRIES, SLOW_RETRY, Timing, cti_startup, expected_delay};
use lockstep_policy::sdk::Period;
use lockstep_policy::{Rule, Setup};
use std::fmt::Write;

pub(crate) const RULES: &[Rule] = &[
    Rule::new(
        "T1",
        "Failover. The active side fails `failures_to_switch` monitor probes in a row, and the other side is connected \
         and answers or is fit: the role moves. The other side is warmed up at the first failure. What an agent says \
         outright is not counted but believed: a side that says it has lost the role is left at once, or activated anew \
         when the other cannot take over; with `fast` also a side of which a needed service has ended. A side whose \
         agent is away has no lease and stands down by itself: it is left after as long as the probes would have taken, \
         whatever they say (with `fast`: three times as long, unless its probes fail too). When the other side cannot \
         take over, nothing moves and operators are told. A switch that comes to nothing is tried again.",
    ),
    Rule::new(
        "T2",
        "Rollback. B is active, `first_server_auto_restart_as_active` is on, A is fit and has answered \
         `failures_to_switch` probes in a row since B became active, or A's agent says that it has started again and A \
         answers: a planned switch to A. `rollback_after` adds a time for which A must have been well; with `fast` it is \
         5 s unless set, and a start alone is not enough. When A fails again soon after a rollback, the time for which it \
         must be well doubles.",
    ),
    Rule::new(
        "T3",
        "Two active sides. Both agents say at `failures_to_switch` checks in a row, one each `heartbeat_interval`, that \
         they are active: B stands down. If it still lasts at twice as many, A stands down. A report is counted once.",
    ),
    Rule::new(
        "T5",
        "Watchdog. An exclusive service of the active side has ended: it is restarted, the restarts are counted, and \
         operators are told.",
    ),
    Rule::new(
        "T6",
        "Start-up. A side that is active keeps the role, and one that appears beside it stays standby. When no side is \
         active, A becomes it; B does when A cannot and the start's grace is over. Whenever a pair is left without an \
         active side, the same holds, and the side that failed last comes last.",
    ),
    Rule::new(
        "T8",
        "Manual. An operator moves the role either way at any time, to a side that is connected and fit. Moving it to B \
         asks for confirmation when A is well and T2 would undo it.",
    ),
    Rule::new(
        "T9",
        "Lint. (failures_to_switch - 1) × heartbeat_interval must be more than `restart_time`; an external balancer's \
         interval and count should be the policy's; the timeout should leave room for AXL.",
    ),
    Rule::new(
        "T10",
        "Expected delay = failures_to_switch × heartbeat_interval + heartbeat_timeout + the CTI service's start \
         (connect + (ports + devices) × per_item).",
    ),
];

pub(crate) fn explain(setup: &Setup, config: &Config) -> String {
    let timing = Timing::new(setup, config);
    let mut text = format!("Policy telisca for pair `{}`\n\n", setup.pair);
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
    let Timing { interval, timeout, failures, .. } = timing;
    let startup = &config.cti_startup;
    let _ = writeln!(
        text,
        "\nExpected delay (T10)\n  {failures} × {} + {} + {} CTI start = {}",
        Period(interval),
        Period(timeout),
        Period(cti_startup(startup)),
        Period(expected_delay(&timing, startup)),
    );
    text
}

fn in_force(config: &Config, timing: &Timing) -> Vec<(&'static str, String)> {
    let source = if timing.fast { "  (from detect: fast = true)" } else { "" };
    let module = if config.switch_on_application_error { "IPSWS, must say IPSWS=OK" } else { "NONE, any 200" };
    let away = if timing.fast { ", or with failing probes after " } else { "" };
    let away_and_silent = if timing.fast { Period(timing.away_and_silent).to_string() } else { String::new() };
    vec![
        ("heartbeat_interval", format!("{}{source}", Period(timing.interval))),
        ("heartbeat_timeout", format!("{}{source}", Period(timing.timeout))),
        ("failures_to_switch", format!("{}{source}", timing.failures)),
        ("monitor probe", format!("{}, mod={module}", config.monitor_path)),
        ("first_server_auto_restart_as_active", config.first_server_auto_restart_as_active.to_string()),
        ("rollback to a after about", Period(timing.rollback()).to_string()),
        ("agent away: left after", format!("{}{away}{away_and_silent}", Period(timing.away))),
        ("grace at the start", Period(timing.start_grace).to_string()),
        ("restart_time", config.restart_time.to_string()),
        (
            "switch without success: again after",
            format!("{}, doubling {RETRIES} times, then every {}", Period(timing.first_retry), Period(SLOW_RETRY)),
        ),
        ("handover without an end: given up after", Period(HANDOVER_MAX).to_string()),
    ]
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.len() + 1 + word.len() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
