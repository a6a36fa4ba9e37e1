//! The rules in words, and with the parameters in force.

use crate::commands::COMMANDS;
use crate::config::Config;
use crate::lint::shown;
use crate::runbook::Step;
use crate::settings::Settings;
use lockstep_policy::sdk::Period;
use lockstep_policy::{Rule, Setup, Side};
use std::fmt::Write;
use std::time::Duration;

pub(crate) const RULES: &[Rule] = &[
    Rule::new(
        "E1",
        "Pools. Within a site the servers of a pool are N+1, none of them first: each connection of a client tries them in \
         a shuffled order, and goes on to the next when one cannot be connected to. A server that fails `failures` probes \
         in a row is left out until it answers again, and is asked each `retry_delay` meanwhile; operators are told when \
         a pool has none to spare. When all are lost, those that were only silent are tried all the same, for the edge may be \
         at fault itself; a pool of which all refuse is refused at once.",
    ),
    Rule::new(
        "E2",
        "Which site. The site that is set for the user counts, then the group's, the tenant's, and last the application's. \
         Without one: the first site in the list, A before B, that is available, which means that each of its pools has a \
         server that answers. Where one site is active at a time, this decides only which one becomes active when none ever \
         was.",
    ),
    Rule::new(
        "E3",
        "Moving. A site is moved by an operator (an order to switch, the commands `site` and `runbook`) or by a rule that he \
         armed (`arm`), and by nothing else: no failure moves it. Sessions of the old site come to the new one spread over \
         `random_delay_range`. A site that its own agent says is active keeps the role, and an active one whose agent has \
         lost it is activated anew, at the same site. An armed rule fires once, and only when the other site can take over.",
    ),
    Rule::new(
        "E4",
        "Passive. The proxies of a passive site do not listen: a refused connection there is normal. One that does listen is \
         told as a warning.",
    ),
    Rule::new(
        "E5",
        "Runbook. A switch of the site in the vendor's order: stop, suspend, database, core, proxies, site-option, clients. \
         Each step is confirmed by an agent, by the edge's own probes or by a person with a name; the database always by a \
         person, which also opens the gate `runbook.database_gate` at which the new site's node waits. It can be stopped at \
         any step and resumed; a step that comes to nothing stops it. `runbook show` tells who did what, and when.",
    ),
    Rule::new(
        "E6",
        "Store. When the site option cannot be written because its store is away, it is tried again until it can be, at \
         growing distances of at most a minute. A changed configuration of the sites is read afresh, and moves whom it \
         concerns.",
    ),
    Rule::new(
        "E7",
        "Load. Sessions are split between sites by static rules, and each site must be able to carry all of them: it is \
         pointed out when its declared capacity is less than `agents`, or than the sessions that are open.",
    ),
];

/// E1: a lost proxy is noticed, and its clients are back at another one.
pub(crate) fn expected_delay(settings: &Settings, config: &Config) -> Duration {
    settings.interval * settings.failures + settings.timeout + config.reconnection_random_delay_range.0
}

pub(crate) fn explain(setup: &Setup, config: &Config) -> String {
    let settings = match Settings::new(setup, config) {
        Ok(settings) => settings,
        Err(refused) => return format!("These parameters are refused: {refused}\n"),
    };
    let mut text = format!("Policy eservices for pair `{}`\n\n", setup.pair);
    for rule in RULES {
        paragraph(&mut text, &rule.id, &rule.text);
    }
    text.push_str("\nHow the sites run\n");
    paragraph(&mut text, "", if settings.both { BOTH } else { ACTIVE_PASSIVE });
    text.push_str("\nIn force\n");
    for (key, value) in in_force(config, &settings) {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {key:<34} {value}");
    }
    text.push_str("\nRunbook (E5)\n");
    for (number, step) in Step::ALL.into_iter().enumerate() {
        let _ = writeln!(text, "  {}  {:<12} {}: {}", number + 1, step.name(), step.task(), done_by(step, &settings));
    }
    text.push_str("\nCommands\n");
    for command in COMMANDS {
        let _ = writeln!(text, "  {:<8} {}", command.name, command.argument);
    }
    let _ = writeln!(
        text,
        "\nExpected delay, for a client that loses its proxy (E1)\n  {} × {} + {} + {} until clients reconnect = {}\n  A \
         site is moved by people: how long that takes is theirs to say.",
        settings.failures,
        Period(settings.interval),
        Period(settings.timeout),
        config.reconnection_random_delay_range,
        Period(expected_delay(&settings, config)),
    );
    text
}

const ACTIVE_PASSIVE: &str = "`sites = \"active-passive\"`, as the vendor's data centers run: the database is primary at one site, the core pairs \
     run there only, and only its proxies listen. So the active role is exclusive: it moves by lease and handover, and the \
     agents' configurations name core and proxies as exclusive services. The vendor's static split of agents between two \
     data centers needs `sites = \"both\"`: then nothing is exclusive, sessions are shared out by the rules of `site`, and \
     what must run once is the operators' care.";

const BOTH: &str = "`sites = \"both\"`: both sites serve, and sessions are shared out by the rules of `site`. Nothing is exclusive: no lease \
     and no handover keeps a core that may run once from running twice. For such a core use `sites = \"active-passive\"`, \
     the default.";

fn in_force(config: &Config, settings: &Settings) -> Vec<(&'static str, String)> {
    let source = if config.fast { "  (from detect: fast = true)" } else { "" };
    let probe = config
        .probe_path
        .as_ref()
        .map_or_else(|| "a connection is accepted".to_owned(), |path| format!("GET {path}, 2xx"));
    let site = settings.site.map_or_else(
        || "not set: the first that is available".to_owned(),
        |side| format!("{} ({side})", settings.names[side]),
    );
    let pools = |side: Side| {
        let pools = settings.pools(side).into_iter().map(|pool| {
            let count = settings.servers[side].iter().filter(|server| server.pool == pool).count();
            let name = if pool.is_empty() { "servers" } else { pool };
            format!("{name} {count}")
        });
        format!("{}: {}", settings.names[side], pools.collect::<Vec<_>>().join(", "))
    };
    let media = if config.session_restore_media.is_empty() {
        "not set".to_owned()
    } else {
        config.session_restore_media.join(", ")
    };
    let mut all = vec![
        ("side a", pools(Side::A)),
        ("side b", pools(Side::B)),
        ("application's site", site),
        ("tenants, groups, users with a site", settings.placed.len().to_string()),
        ("random_delay_range", Period(settings.window).to_string()),
        ("reconnection_random_delay_range", format!("{}  (the clients' own)", config.reconnection_random_delay_range)),
        ("retry_delay", format!("{}{source}", Period(settings.retry))),
        ("addp_local: probe each", format!("{}{source}", Period(settings.interval))),
        ("addp_remote: probe's timeout", format!("{}{source}", Period(settings.timeout))),
        ("failures", format!("{}{source}", settings.failures)),
        ("probe", probe),
        ("session_restore_media", format!("{media}  (the clients' own)")),
        ("session_restore_timeout", format!("{}  (the clients' own)", shown(config.session_restore_timeout))),
    ];
    for (key, side) in [("capacity_a", Side::A), ("capacity_b", Side::B)] {
        all.push((key, settings.capacity[side].map_or_else(|| "not set".to_owned(), |capacity| capacity.to_string())));
    }
    all
}

fn done_by(step: Step, settings: &Settings) -> String {
    let steps = &settings.steps;
    let hook = |hook: &Option<String>| match hook {
        Some(hook) => format!("hook `{hook}` on the new site's node"),
        None => "a person confirms".to_owned(),
    };
    match step {
        Step::Stop if settings.both => hook(&steps.stop_hook),
        Step::Stop => "the old site's agent; a person, when it is away".to_owned(),
        Step::Suspend => hook(&steps.suspend_hook),
        Step::Database => format!("a person confirms, and gate `{}` opens", steps.database_gate),
        Step::Core if settings.both => hook(&steps.core_hook),
        Step::Core => "a handover, confirmed by the new site's agent".to_owned(),
        Step::Proxies => "a server of each pool answers the edge's probes".to_owned(),
        Step::SiteOption => hook(&steps.site_option_hook),
        Step::Clients => "requests are answered well there".to_owned(),
    }
}

/// A rule, wrapped.
fn paragraph(text: &mut String, id: &str, words: &str) {
    let mut line = format!("{id:<4}");
    for word in words.split_whitespace() {
        if line.len() + 1 + word.len() > 105 {
            let _ = writeln!(text, "{line}");
            line = "    ".to_owned();
        }
        line.push(' ');
        line.push_str(word);
    }
    let _ = writeln!(text, "{line}");
}
