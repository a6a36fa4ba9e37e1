//! The parameters, as an edge meets them: the schema's refusals, the policy's own, the lints and the explanation.

use lockstep_eservices::{Config, Eservices, Site, SiteAttribute, Sites as How, Steps};
use lockstep_policy::host::Library;
use lockstep_policy::scenario::Scenario;
use lockstep_policy::sdk::{Period, Policy};
use lockstep_policy::setup::{Detect, SideSetup};
use lockstep_policy::{Level, Lint, Setup, Sides};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

fn library() -> Library {
    let this = std::env::current_exe().expect("this test has a file");
    let file = this.parent().expect("it lies in a folder").join("liblockstep_eservices.so");
    Library::open(&file).expect("Cargo has built it beside this test")
}

fn setup(parameters: &Value) -> Setup {
    let side = |net: u8| SideSetup {
        servers: (1..=4).map(|host| format!("192.0.2.{net}{host}:7000")).collect(),
        pools: ["interaction", "interaction", "ucs", "ucs"].map(str::to_owned).to_vec(),
        agent: true,
    };
    Setup {
        pair: "media".to_owned(),
        parameters: parameters.as_object().cloned().expect("parameters are a table"),
        detect: Detect { interval_ms: 100, timeout_ms: 200, failures: 3 },
        sides: Sides { a: side(1), b: side(2) },
    }
}

/// What the schema says about parameters that are wrong.
#[track_caller]
fn refused(parameters: &Value) -> String {
    let errors = library().check_parameters(&setup(parameters).parameters).expect_err("they are refused");
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// What the policy says about parameters that the schema allows.
#[track_caller]
fn not_made(parameters: &Value) -> String {
    library().check_parameters(&setup(parameters).parameters).expect("the schema allows it");
    library().instance(&setup(parameters), 0).expect_err("it is refused").to_string()
}

fn lint(parameters: &Value) -> Vec<Lint> {
    library().lint(&setup(parameters)).expect("it checks")
}

#[test]
fn parameters_out_of_their_range_are_refused_by_the_schema() {
    for (parameters, part) in [
        (json!({ "failures": 0 }), "`failures = 0` is out of its range; valid: a whole number, from 1 to 10"),
        (json!({ "addp_local": "1ms" }), "`addp_local = \"1ms\"` is out of its range"),
        (json!({ "random_delay_range": 10 }), "`random_delay_range = 10` has the wrong type"),
        (json!({ "adpp_remote": "9s" }), "did you mean `addp_remote`?"),
        (json!({ "site": { "tenent": {} } }), "did you mean `site.tenant`?"),
        (json!({ "sites": "one" }), "`sites = \"one\"`"),
        (json!({ "site_a": "" }), "`site_a = \"\"`"),
        (json!({ "probe_path": "health" }), "`probe_path = \"health\"`"),
        (json!({ "site_attribute": { "user": "a b" } }), "`site_attribute.user = \"a b\"`"),
        (json!({ "runbook": { "database_gate": "" } }), "`runbook.database_gate = \"\"`"),
    ] {
        let said = refused(&parameters);
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn sites_that_there_are_not_are_refused_with_those_that_there_are() {
    for (parameters, part) in [
        (
            json!({ "site": { "application": "Rome" } }),
            "`site.application = \"Rome\"` is no site; valid: \"Site_A\" or \"Site_B\"",
        ),
        (
            json!({ "site": { "user": { "anna": "Rome" } }, "site_attribute": { "user": "X-User" } }),
            "`site.user.anna = \"Rome\"` is no site",
        ),
        (json!({ "site": { "group": { "night": "Site_A" } } }), "`site.group` needs `site_attribute.group`; valid: "),
        (json!({ "site_b": "Site_A" }), "`site_b = \"Site_A\"` is `site_a` too"),
    ] {
        let said = not_made(&parameters);
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn what_is_not_bounded_is_refused() {
    let users: serde_json::Map<String, Value> = (0..301).map(|user| (format!("u{user}"), json!("Site_A"))).collect();
    let said = not_made(&json!({ "site": { "user": users }, "site_attribute": { "user": "X-User" } }));
    assert!(said.contains("301 tenants, groups and users; valid: at most 300"), "{said}");
    let mut setup = setup(&json!({}));
    setup.sides.b.servers = (0..51).map(|server| format!("192.0.2.1:{}", 7_000 + server)).collect();
    let said = library().instance(&setup, 0).expect_err("it is refused").to_string();
    assert!(said.contains("side b has 51 servers; valid: at most 50"), "{said}");
}

#[test]
fn e7_each_site_must_be_able_to_carry_everybody() {
    assert!(lint(&json!({ "agents": 900, "capacity_a": 900, "capacity_b": 1000 })).is_empty());
    let found = lint(&json!({ "agents": 900, "capacity_a": 900, "capacity_b": 700 }));
    assert_eq!((found.len(), found[0].rule.as_ref(), found[0].level), (1, "E7", Level::Warning));
    assert_eq!(
        found[0].text,
        "capacity_b = 700 is less than agents = 900: Site_B cannot carry everybody when the other site is lost. It lacks \
         room for 200"
    );
    let found = lint(&json!({ "agents": 900, "capacity_a": 900 }));
    assert!(found[0].text.contains("capacity_b is not set"), "{}", found[0]);
}

#[test]
fn e1_pools_have_a_server_to_spare_and_a_counterpart() {
    let mut setup = setup(&json!({}));
    setup.sides.b.pools[3] = "chat".to_owned();
    let found = library().lint(&setup).expect("it checks");
    let texts: Vec<&str> = found.iter().map(|lint| lint.text.as_str()).collect();
    assert_eq!(
        texts,
        [
            "pool `ucs` of Site_B has one server: N+1 needs at least two",
            "pool `chat` of Site_B has one server: N+1 needs at least two",
            "pool `chat` of Site_B has no counterpart at Site_A: Site_A cannot serve its requests"
        ]
    );
}

#[test]
fn what_has_no_effect_is_pointed_out() {
    let by = json!({ "site": { "user": { "anna": "Site_B" } }, "site_attribute": { "user": "X-User" } });
    assert_eq!(lint(&by)[0].rule, "E2");
    let late = json!({ "session_restore_timeout": "5s" });
    assert!(lint(&late)[0].text.contains("session_restore_timeout = 5s is less than the 10s"), "{}", lint(&late)[0]);
    let hook = json!({ "runbook": { "core_hook": "core" } });
    assert!(lint(&hook)[0].text.contains("is not used"), "{}", lint(&hook)[0]);
}

#[test]
fn e7_only_sites_that_take_turns_are_exclusive() {
    let exclusive = |sites| Eservices::traits(&setup(&json!({})), &Config { sites, ..Config::default() }).exclusive;
    assert!(exclusive(How::ActivePassive));
    assert!(!exclusive(How::Both));
    assert_eq!(Config::default().sites, How::ActivePassive);
}

#[test]
fn the_expected_delay_is_that_of_a_lost_proxy() {
    let delay = |parameters: &Value| library().expected_delay(&setup(parameters)).expect("it tells");
    assert_eq!(delay(&json!({})), Duration::from_secs(5 + 9 + 10));
    assert_eq!(delay(&json!({ "fast": true, "reconnection_random_delay_range": "0s" })), Duration::from_millis(500));
}

#[test]
fn the_explanation_has_the_rules_the_choice_the_parameters_and_the_runbook() {
    let explain = |parameters: &Value| library().explain(&setup(parameters)).expect("it explains");
    let text = explain(&json!({ "runbook": { "site_option_hook": "site-option" } }));
    for rule in library().rules() {
        assert!(text.contains(&format!("\n{:<4} ", rule.id)), "{} is missing:\n{text}", rule.id);
    }
    for part in [
        "`sites = \"active-passive\"`, as the vendor's data centers run",
        "Site_A: interaction 2, ucs 2",
        "3  database     make the new site's database the primary: a person confirms, and gate `database` opens",
        "hook `site-option` on the new site's node",
        "1 × 5s + 9s + 10s until clients reconnect = 24s",
    ] {
        assert!(text.contains(part), "`{part}` is missing:\n{text}");
    }
    assert!(explain(&json!({ "sites": "both" })).contains("no lease"), "the other choice is explained as well");
}

#[test]
fn the_commands_are_told() {
    let names: Vec<&str> = Eservices::commands().iter().map(|command| command.name.as_ref()).collect();
    assert_eq!(names, ["site", "arm", "disarm", "runbook"]);
}

/// A line of the example that begins with `#` and a key shows the default.
#[test]
fn the_example_shows_the_defaults() {
    let example = include_str!("../../../config/eservices-edge.toml");
    let (_, policy) = example.split_once("plugin = \"eservices\"").expect("it names the plugin");
    let (policy, _) = policy.split_once("\n[pair.detect]").expect("the next table");
    let keys = policy.lines().skip(1).map(|line| line.strip_prefix('#').unwrap_or(line));
    // What is still a sentence is a remark.
    let keys = keys.filter(|line| line.starts_with('[') || line.split_whitespace().nth(1) == Some("="));
    let keys: Vec<String> = keys.map(|line| line.replace("[pair.policy.", "[parameters.")).collect();
    let text = format!("title = \"\"\nrules = []\nplugin = \"eservices\"\n[parameters]\n{}\n---\n", keys.join("\n"));
    let scenario = Scenario::parse("eservices-edge.toml", &text).expect("it is well formed");
    let parameters = &scenario.setup().parameters;
    library().check_parameters(parameters).expect("the schema allows it");
    let shown: Config = serde_json::from_value(Value::Object(parameters.clone())).expect("it is a configuration");
    let defaults = Config::default();
    // What has no default is shown as it could be.
    let sites = |name: &str, site: &str| BTreeMap::from([(name.to_owned(), site.to_owned())]);
    let some = |text: &str| Some(text.to_owned());
    let expected = Config {
        probe_path: some("/health"),
        session_restore_media: vec!["chat".to_owned(), "email".to_owned()],
        session_restore_timeout: Some(Period::secs(60)),
        agents: Some(900),
        capacity_a: Some(900),
        capacity_b: Some(900),
        site: Site {
            application: some("Site_A"),
            tenant: sites("acme", "Site_B"),
            group: sites("night", "Site_B"),
            user: sites("anna", "Site_A"),
        },
        site_attribute: SiteAttribute {
            tenant: some("X-Tenant"),
            group: some("query:group"),
            user: some("cookie:user"),
        },
        runbook: Steps {
            stop_hook: some("stop"),
            suspend_hook: some("suspend"),
            core_hook: some("core"),
            site_option_hook: some("site-option"),
            ..Steps::default()
        },
        ..defaults
    };
    assert_eq!(shown, expected);
    library().instance(scenario.setup(), 0).expect("nothing of it is refused");
}
