//! Parameters that are valid, and do not go together.

use crate::config::{Config, Module};
use lockstep_policy::sdk::Period;
use lockstep_policy::{Level, Lint};

pub(crate) fn lint(config: &Config) -> Vec<Lint> {
    let found =
        [qos(config), aux(config), manual(config), nettest(config), gateway(config), never(config), drill(config)];
    found.into_iter().flatten().collect()
}

fn found(rule: &'static str, level: Level, text: impl Into<String>) -> Option<Lint> {
    Some(Lint { rule: rule.into(), level, text: text.into() })
}

fn qos(config: &Config) -> Option<Lint> {
    if !config.use_qos_for_ping || config.ping_on_aux_connection {
        return None;
    }
    let text = "`use_qos_for_ping` has no effect without `ping_on_aux_connection = true`: pings of the main connection are \
                not marked";
    found("C2", Level::Warning, text)
}

fn aux(config: &Config) -> Option<Lint> {
    if config.module != Module::Ip || !config.ping_on_aux_connection {
        return None;
    }
    found(
        "C2",
        Level::Warning,
        "`ping_on_aux_connection` has no effect with `module = \"IP\"`: the ping is an ICMP one",
    )
}

fn manual(config: &Config) -> Option<Lint> {
    if !config.manual_switch_only {
        return None;
    }
    let text = "`manual_switch_only` is on: nothing moves when the primary fails. Not for ordinary operation";
    found("C7", Level::Warning, text)
}

fn nettest(config: &Config) -> Option<Lint> {
    let (has, key) = match (config.nettest_a.is_empty(), config.nettest_b.is_empty()) {
        (true, false) => ("nettest_b", "nettest_a"),
        (false, true) => ("nettest_a", "nettest_b"),
        _ => return None,
    };
    let text = format!(
        "`{has}` is set and `{key}` is not: a severed WAN link is told from a dead primary in one direction only. Set both"
    );
    found("C15", Level::Warning, text)
}

fn gateway(config: &Config) -> Option<Lint> {
    if !config.gateway_ping || (config.nettest_a.is_empty() && config.nettest_b.is_empty()) {
        return None;
    }
    let text = "`gateway_ping` comes before `nettest_a` and `nettest_b`, which are then never pinged: on a WAN leave \
                `gateway_ping` off";
    found("C5", Level::Warning, text)
}

fn never(config: &Config) -> Option<Lint> {
    if config.unreachable_ping_count != -1 {
        return None;
    }
    let text = "`unreachable_ping_count = -1`: a primary whose address does not answer is waited for, for ever";
    found("C9", Level::Info, text)
}

fn drill(config: &Config) -> Option<Lint> {
    let days = config.drill_every?;
    if config.manual_switch_only {
        return found("C16", Level::Warning, "`drill_every` has no effect while `manual_switch_only` is on");
    }
    if days <= 60 {
        return None;
    }
    let text = format!(
        "drills are {} apart; the vendor advises about 30 days",
        Period(config.drill_period().unwrap_or_default())
    );
    found("C16", Level::Info, text)
}
