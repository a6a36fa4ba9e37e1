//! The rules in words, and with the parameters in force.

use crate::config::Config;
use crate::timing::{Timing, cti_startup, expected_delay};
use crate::vip::VipTest;
use lockstep_policy::sdk::attempts::{HANDOVER_MAX, RETRIES, SLOW_RETRY};
use lockstep_policy::sdk::{Period, wrapped};
use lockstep_policy::{Rule, Setup, Sides};
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
         take over, nothing moves and operators are told. A switch that comes to nothing is tried again. With `fast`, \
         silence is believed only while the other side's probes are answered, and have been for one interval, and while \
         the edge's own timers come in time: an edge that hears nobody is likelier to be at fault itself. While the side's \
         agent is connected, silence is borne for six intervals: a process may stand still for a moment; and where probes are \
         lost, so many in a row are needed that loss alone would bring them about once in a million; and half as many \
         again as in the longest silence that has ended by itself of late.",
    ),
    Rule::new(
        "T2",
        "Rollback. B is active, `first_server_auto_restart_as_active` is on, A is fit and has answered \
         `failures_to_switch` probes in a row since B became active, or A's agent says that it has started again and A \
         answers: a planned switch to A. `rollback_after` adds a time for which A must have been well; with `fast` it is \
         5 s unless set, and a start alone is not enough. With `test_vip_destination` the VIP must also reach A. When A fails again soon after a rollback, the time for which it \
         must be well doubles.",
    ),
    Rule::new(
        "T3",
        "Two active sides. Both agents say at `failures_to_switch` checks in a row, one each `heartbeat_interval`, that \
         they are active: B stands down. If it still lasts at twice as many, A stands down; but when \
         `test_vip_destination` is on and the VIP reaches A, it is B that is told again. A report is counted once.",
    ),
    Rule::new(
        "T4",
        "Isolated. An agent that finds its node off the LAN, as often in a row as its own configuration says, stands the \
         active side down by itself, with no edge needed. The policy tells operators, and moves the role at once when the \
         other side can take over. A side that is off the LAN is never made active.",
    ),
    Rule::new(
        "T5",
        "Watchdog. An exclusive service of the active side has ended: it is restarted, the restarts are counted, and \
         operators are told. At `cti_restart_at`, each day, the exclusive services of the active side are restarted; not \
         during a handover, nor while either side is unwell, so that the other could always take over: then it waits for up \
         to 30 minutes, and otherwise is left out until the next day, and operators are told. A handover within the last \
         hour has started the services afresh, and takes the restart's place.",
    ),
    Rule::new(
        "T6",
        "Start-up. A side that is active keeps the role, and one that appears beside it stays standby. When no side is \
         active, A becomes it; B does when A cannot and the start's grace is over. Whenever a pair is left without an \
         active side, the same holds, and the side that failed last comes last.",
    ),
    Rule::new(
        "T7",
        "VIP destination. With `test_vip_destination` the VIP is asked at each `heartbeat_interval` which server it reaches, \
         and the one that `failures_to_switch` answers in a row have named becomes active when it can. The answer names it \
         by `vip_name_a` or `vip_name_b`, or says `ACTIVE` or `STANDBY` while one side alone is active. For a pair behind \
         somebody else's balancer, never for a VIP that this edge serves.",
    ),
    Rule::new(
        "T8",
        "Manual. An operator moves the role either way at any time, to a side that is connected and fit. Moving it asks for \
         confirmation when T2 would undo it, because A is well, or T7, because the VIP reaches the other side.",
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
    Rule::new(
        "T11",
        "Balancer view. On the pair's `answer` listeners this edge answers `monitor_path` itself: `mod=NONE` with 200 and \
         `mod=IPSWS` with `IPSWS=OK` as long as it runs; `mod=FT&side=a` (or `b`) with `ACTIVE` while the route leads to \
         that side and `STANDBY` while it does not, and so `mod=FT` sent to `name_a` or `name_b`; `mod=FT` alone with \
         `ACTIVE` while the route leads to either side.",
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
    for (key, value) in in_force(setup, config, &timing) {
        let _ = writeln!(text, "  {key:<38} {value}");
    }
    let Timing { interval, timeout, failures, .. } = timing;
    let startup = &config.cti_startup;
    let formula = format!("{failures} × {} + {}", Period(interval), Period(timeout));
    let detection = if timing.detection() > interval * failures + timeout {
        // A process that stands still on a node whose agent answers.
        format!("{} (more than {formula})", Period(timing.detection()))
    } else {
        formula
    };
    let _ = writeln!(
        text,
        "\nExpected delay (T10)\n  {detection} + {} CTI start = {}",
        Period(cti_startup(startup)),
        Period(expected_delay(&timing, startup)),
    );
    text
}

fn in_force(setup: &Setup, config: &Config, timing: &Timing) -> Vec<(&'static str, String)> {
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
        ("vip destination followed", vip(setup, config)),
        ("cti_restart_at", config.cti_restart_at.clone().unwrap_or_else(|| "never".to_owned())),
        (
            "switch without success: again after",
            format!("{}, doubling {RETRIES} times, then every {}", Period(timing.first_retry), Period(SLOW_RETRY)),
        ),
        ("handover without an end: given up after", Period(HANDOVER_MAX).to_string()),
    ]
}

fn vip(setup: &Setup, config: &Config) -> String {
    match VipTest::new(setup, config) {
        Ok(Some(VipTest { probe, names: Sides { a, b } })) => {
            format!("{}{}, a is named `{a}`, b `{b}`", probe.address, probe.path)
        }
        Ok(None) | Err(_) => "no".to_owned(),
    }
}
