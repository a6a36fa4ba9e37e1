//! Parameters that are valid, and that an operator should look at again.

use crate::config::{Config, Sites as How};
use crate::settings::Settings;
use lockstep_policy::sdk::Period;
use lockstep_policy::{Level, Lint, Setup, Side};

pub(crate) fn lint(setup: &Setup, config: &Config) -> Vec<Lint> {
    // What `create` refuses is told there.
    let Ok(settings) = Settings::new(setup, config) else { return Vec::new() };
    let mut all = pools(&settings);
    all.extend(scopes(config, &settings));
    all.extend(restore(config));
    all.extend(hooks(config, &settings));
    all.extend(capacity(config, &settings));
    all
}

fn found(rule: &'static str, level: Level, text: String) -> Lint {
    Lint { rule: rule.into(), level, text }
}

/// E1: N+1 needs a server to spare, and both sites need the same pools.
fn pools(settings: &Settings) -> Vec<Lint> {
    let mut all = Vec::new();
    for side in Side::BOTH {
        let (site, other) = (&settings.names[side], &settings.names[side.other()]);
        for pool in settings.pools(side) {
            let name = if pool.is_empty() { "the pool without a name".to_owned() } else { format!("pool `{pool}`") };
            if settings.servers[side].iter().filter(|server| server.pool == pool).count() == 1 {
                let text = format!("{name} of {site} has one server: N+1 needs at least two");
                all.push(found("E1", Level::Info, text));
            }
            if !settings.pools(side.other()).contains(&pool) {
                let text = format!("{name} of {site} has no counterpart at {other}: {other} cannot serve its requests");
                all.push(found("E1", Level::Warning, text));
            }
        }
    }
    all
}

/// E2: who has a site of his own, where only one serves.
fn scopes(config: &Config, settings: &Settings) -> Option<Lint> {
    let count = settings.placed.len();
    (config.sites == How::ActivePassive && count > 0).then(|| {
        let text = format!(
            "`site` gives {count} tenants, groups or users a site of their own, and with `sites = \"active-passive\"` only \
             the active site listens: it has no effect. Leave it out, or set `sites = \"both\"`"
        );
        found("E2", Level::Warning, text)
    })
}

/// E3: who comes back too late cannot have his interactions back.
fn restore(config: &Config) -> Option<Lint> {
    let timeout = config.session_restore_timeout?;
    let late = config.random_delay_range.max(config.reconnection_random_delay_range);
    (timeout < late).then(|| {
        let text = format!(
            "session_restore_timeout = {timeout} is less than the {late} over which clients come back: Interaction Server \
             may have given their interactions away. It depends on Interaction Server's agent-session-restore-timeout too"
        );
        found("E3", Level::Warning, text)
    })
}

/// E5: hooks are the agents' work.
fn hooks(config: &Config, settings: &Settings) -> Vec<Lint> {
    let steps = &config.runbook;
    let mut all = Vec::new();
    let keys = [
        ("stop_hook", &steps.stop_hook, true),
        ("suspend_hook", &steps.suspend_hook, false),
        ("core_hook", &steps.core_hook, true),
        ("site_option_hook", &steps.site_option_hook, false),
    ];
    for (key, hook, both_only) in keys {
        let Some(hook) = hook else { continue };
        if both_only && !settings.both {
            let text =
                format!("runbook.{key} = \"{hook}\" is not used: with one active site the handover does this step");
            all.push(found("E5", Level::Info, text));
        } else if let Some(side) = Side::BOTH.into_iter().find(|side| !settings.agents[*side]) {
            let site = &settings.names[side];
            let text = format!("runbook.{key} = \"{hook}\": {site} has no agent, so a person does this step there");
            all.push(found("E5", Level::Info, text));
        }
    }
    all
}

/// E7: each site must be able to carry everybody.
fn capacity(config: &Config, settings: &Settings) -> Vec<Lint> {
    let mut all = Vec::new();
    for side in Side::BOTH {
        let site = &settings.names[side];
        match (config.agents, settings.capacity[side]) {
            (Some(agents), Some(capacity)) if capacity < agents => {
                let text = format!(
                    "capacity_{side} = {capacity} is less than agents = {agents}: {site} cannot carry everybody when the \
                     other site is lost. It lacks room for {}",
                    agents - capacity
                );
                all.push(found("E7", Level::Warning, text));
            }
            (Some(agents), None) => {
                let text = format!(
                    "agents = {agents}, and capacity_{side} is not set: whether {site} carries all is not known"
                );
                all.push(found("E7", Level::Info, text));
            }
            (None, Some(capacity)) => {
                let text = format!(
                    "capacity_{side} = {capacity}, and agents is not set: it is compared only with the sessions that are open"
                );
                all.push(found("E7", Level::Info, text));
            }
            _ => {}
        }
    }
    all
}

/// A length of time that `explain` shows too.
pub(crate) fn shown(period: Option<Period>) -> String {
    period.map_or_else(|| "not set".to_owned(), |period| period.to_string())
}
