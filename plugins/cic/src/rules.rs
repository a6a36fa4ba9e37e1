//! The rules in words, and with the parameters in force.

use crate::Cic;
use crate::change::AT_ONCE;
use crate::config::{Config, Module};
use crate::timing::{Delays, Timing};
use lockstep_policy::sdk::attempts::{HANDOVER_MAX, RETRIES, SLOW_RETRY};
use lockstep_policy::sdk::{Period, wrapped};
use lockstep_policy::{Rule, Setup};
use std::fmt::Write;

pub(crate) const RULES: &[Rule] = &[
    Rule::new(
        "C1",
        "States. Each side is shown as Init, Primary, Backup, Reconnecting, UpgradeHigher, UpgradeLower, Inactive, \
         Stopping or Error.",
    ),
    Rule::new(
        "C2",
        "Module ping. While all is well the monitored module of the primary is pinged once in `module_timeout`. A ping \
         without an answer is repeated after `module_retry_delay`; one that the agent rejects at once, because the process \
         is not well, when the next one would have been due. After `module_max_failures` failures on the main connection \
         the count begins anew on the auxiliary one; after as many there the module is down. A success goes back to the \
         main connection. What could not be asked, because the connection is not up, counts as nothing. With `module = \
         \"IP\"` the primary's address is pinged instead, and there is no second connection.",
    ),
    Rule::new(
        "C3",
        "Restarts. The process id in the answers has changed more than `max_restarts` times in `max_restarts_period`, or \
         at more than `max_sequential_restarts` pings in a row: the module is down.",
    ),
    Rule::new(
        "C4",
        "Primary monitor. The notifier (the primary's agent itself) is pinged all the time. After a timeout come \
         `primary_retry_count` retries, then a diagnosis, during which the module monitor stands still. A module monitor \
         that says nothing for longer than its ping can take is a fault of its own, and diagnosed as well.",
    ),
    Rule::new(
        "C5",
        "Diagnosis. The backup's own network is judged by the first of these that applies: the edge's gateways with \
         `gateway_ping` (GatewayReached, GatewayUnreachable), the NetTest addresses of the backup, of which one must answer \
         (NetTestReached, NetTestUnreachable), or nothing (NetTestUnavailable). The primary's address is pinged throughout \
         (PrimaryReached, PrimaryUnreachable). A backup whose agent finds itself off the LAN has a bad network as well. \
         The pings leave from the edge.",
    ),
    Rule::new(
        "C6",
        "Bad network of the backup: no switch. The backup goes to Reconnecting, operators are told loudly, and replication \
         counts as stopped, until a look each `unreachable_ping_delay` finds the network good again.",
    ),
    Rule::new(
        "C7",
        "Module down, network good, both connections up, and no answer to as many more pings on the main connection: \
         switch at once. With `manual_switch_only` the backup goes to Stopping instead. While the backup is still starting \
         the switch is scheduled for when it is up, and not made if the primary has recovered by then. A primary whose \
         agent says that it has failed is left at once.",
    ),
    Rule::new(
        "C8",
        "Notifier down: Reconnecting, with an attempt each `notifier_reconnect_delay`. When it is back, the backup copies \
         everything afresh (`resynchronise_hook`) and is Backup again. After `reconnect_timeout` the switch is made, unless \
         the backup's own network has gone bad meanwhile. Zero: switch at once.",
    ),
    Rule::new(
        "C9",
        "Primary unreachable: its address gets a set of pings each `unreachable_ping_delay`, as many as \
         `unreachable_ping_count` says (0 to 3 mean three), then the switch is made; with -1 it is waited for, for ever.",
    ),
    Rule::new(
        "C10",
        "After a switch the old side is Inactive (stale) until `backup_service` has been started anew there, which its \
         agent is asked for with `restart_stale`; any service does when the agent has none of that name. There is no \
         automatic way back. Until a backup is in place no switch can happen, and operators are told; but a primary that \
         does not work may be left for a stale side by a confirmed order (C12).",
    ),
    Rule::new(
        "C11",
        "Releases differ, by the agents' word: the backup is UpgradeHigher or UpgradeLower, nothing is monitored, and only \
         an operator can switch.",
    ),
    Rule::new(
        "C12",
        "Manual switch. Needs the right `remote-control`. When replication is not known to be current, releases differ, or \
         the side is stale and the primary does not work, the first answer is a warning, and a second, confirmed order is needed. Replication that is not current for \
         `mirror.health_interval` and `mirror.health_timeout` is told.",
    ),
    Rule::new(
        "C13",
        "Changes of `module_max_failures`, `module_retry_delay`, `module_timeout` and `mirror.custom` take effect at once; \
         all others at the next start of monitoring, and the reply to the change names them. The command `monitor` starts \
         monitoring anew.",
    ),
    Rule::new(
        "C14",
        "Start-up. A side that finds no primary becomes it: the first one to be up, and A when both are. One that is \
         active already stays it, and the `force_backup` side does not become it by itself. The same holds whenever no \
         side is active. A primary that has lost its role, because its lease ran out, becomes primary again.",
    ),
    Rule::new(
        "C15",
        "WAN. With NetTest addresses a severed link never makes two primaries (C6). When both sides say that they are \
         active, the one with the lower epoch stands down.",
    ),
    Rule::new(
        "C16",
        "Drill. Each `drill_every` days at `drill_at` a planned switch is made and reported, if all is well, the releases \
         agree and replication is current; otherwise operators are told, and it is tried the next day. A handover for any \
         reason begins the count anew. Also by the command `drill`.",
    ),
];

pub(crate) fn explain(setup: &Setup, config: &Config) -> String {
    let timing = Timing::new(&setup.detect, config);
    let mut text = format!("Policy cic for pair `{}`\n\n", setup.pair);
    for rule in RULES {
        for (number, line) in wrapped(&rule.text, 100).into_iter().enumerate() {
            let id = if number == 0 { rule.id.as_ref() } else { "" };
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{id:<4} {line}");
        }
    }
    text.push_str("\nIn force\n");
    for (key, value) in in_force(config, &timing) {
        let _ = writeln!(text, "  {key:<40} {value}");
    }
    let delays = Delays::new(config, &timing);
    text.push_str("\nExpected delay, from the first failed ping to the decision to switch\n");
    let unreachable = delays.unreachable.map_or("never".to_owned(), |delay| Period(delay).to_string());
    for (fault, delay) in [
        ("module not well, by its agent (C2)", Period(delays.rejected).to_string()),
        ("module silent (C2)", Period(delays.silent).to_string()),
        ("both connections lost (C8)", Period(delays.connections).to_string()),
        ("server unreachable (C9), at most", unreachable),
    ] {
        let _ = writeln!(text, "  {fault:<40} {delay}");
    }
    text
}

fn in_force(config: &Config, timing: &Timing) -> Vec<(&'static str, String)> {
    let from = |value: String| if timing.fast { format!("{value}  (from detect: fast = true)") } else { value };
    let list = |list: &[String]| if list.is_empty() { "none".to_owned() } else { list.join(", ") };
    let module = match config.module {
        Module::TsServer => format!("TsServer, service `{}` of the agent", config.service),
        Module::Ip => "IP, by ICMP".to_owned(),
    };
    let pings = if config.ping_on_aux_connection { "auxiliary" } else { "main, then auxiliary" };
    let dscp = if config.dscp() == 0 { "off".to_owned() } else { format!("DSCP {}", config.dscp()) };
    let sets = timing.unreachable_sets.map_or("for ever".to_owned(), |sets| format!("{sets} more sets of pings"));
    vec![
        ("module", module),
        ("module ping each", from(Period(timing.module_interval).to_string())),
        ("module_timeout", from(Period(timing.module_timeout).to_string())),
        ("module_retry_delay", from(Period(timing.module_retry_delay).to_string())),
        ("module_max_failures", from(timing.module_max_failures.to_string())),
        ("module ping connections", format!("{pings}; QoS {dscp}")),
        (
            "max_restarts, sequential",
            format!(
                "{} in {}, {} in a row",
                config.max_restarts, config.max_restarts_period, config.max_sequential_restarts
            ),
        ),
        (
            "notifier ping each, timeout",
            from(format!("{}, {}", Period(timing.notifier_interval), Period(timing.notifier_timeout))),
        ),
        (
            "primary_retry_count, pause before each",
            from(format!("{}, {}", timing.notifier_retries, Period(timing.notifier_retry_delay))),
        ),
        (
            "reconnect_timeout, attempt each",
            from(format!("{}, {}", Period(timing.reconnect_timeout), Period(timing.reconnect_delay))),
        ),
        ("gateway_ping", config.gateway_ping.to_string()),
        ("nettest_a, while A is the backup", list(&config.nettest_a)),
        ("nettest_b, while B is the backup", list(&config.nettest_b)),
        ("nettest_timeout", Period(timing.icmp_timeout).to_string()),
        ("unreachable primary", format!("{sets}, one each {}", Period(timing.unreachable_delay))),
        ("manual_switch_only", config.manual_switch_only.to_string()),
        ("force_backup", config.force_backup.map_or("none".to_owned(), |side| side.to_string())),
        (
            "started anew on a stale side",
            format!("`{}`{}", config.backup_service, if config.restart_stale { "" } else { ", by hand" }),
        ),
        ("drills", Cic::drills_in_words(config.drill_every, &config.drill_at)),
        ("in force at once when changed", AT_ONCE.join(", ")),
        ("grace at the start", Period(timing.start_grace).to_string()),
        (
            "switch without success: again after",
            format!("{}, doubling {RETRIES} times, then every {}", Period(timing.first_retry), Period(SLOW_RETRY)),
        ),
        ("handover without an end: given up after", Period(HANDOVER_MAX).to_string()),
    ]
}
