//! The parameters, as an edge meets them: the schema's refusals, the lints, the delay and the explanation.

use lockstep_cic::{Cic, Config};
use lockstep_policy::host::{InstanceError, Library};
use lockstep_policy::scenario::Scenario;
use lockstep_policy::sdk::Policy;
use lockstep_policy::setup::{Detect, SideSetup};
use lockstep_policy::{Setup, Side, Sides};
use serde_json::{Value, json};
use std::time::Duration;

fn library() -> Library {
    let this = std::env::current_exe().expect("this test has a file");
    let file = this.parent().expect("it lies in a folder").join("liblockstep_cic.so");
    Library::open(&file).expect("Cargo has built it beside this test")
}

fn setup(parameters: &Value) -> Setup {
    let side = |server: &str| SideSetup { servers: vec![server.to_owned()], pools: Vec::new(), agent: true };
    Setup {
        pair: "phones".to_owned(),
        parameters: parameters.as_object().cloned().expect("parameters are a table"),
        detect: Detect { interval_ms: 100, timeout_ms: 200, failures: 3 },
        sides: Sides { a: side("192.0.2.1:80"), b: side("192.0.2.2:80") },
    }
}

/// What is said about parameters that are wrong.
#[track_caller]
fn refused(parameters: &Value) -> String {
    let errors = library().check_parameters(&setup(parameters).parameters).expect_err("they are refused");
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_parameter_keeps_the_vendors_range() {
    for (key, bad, range) in [
        ("module_timeout", json!("4s"), "from 5s to 60s"),
        ("module_timeout", json!("61s"), "from 5s to 60s"),
        ("module_retry_delay", json!("0s"), "from 1ms to 10m"),
        ("module_max_failures", json!(0), "from 1 to 1000"),
        ("qos_dscp", json!(64), "from 0 to 63"),
        ("primary_timeout", json!("301s"), "from 0s to 300s"),
        ("primary_ping_delay", json!("301s"), "from 0s to 300s"),
        ("primary_retry_ping_delay", json!("301s"), "from 0s to 300s"),
        ("primary_retry_count", json!(0), "from 1 to 50"),
        ("primary_retry_count", json!(51), "from 1 to 50"),
        ("notifier_reconnect_delay", json!("4s"), "from 5s to 60s"),
        ("unreachable_ping_count", json!(-2), "from -1 to 1000000"),
        ("unreachable_ping_delay", json!("0s"), "from 1s to 300s"),
        ("drill_every", json!(0), "from 1 to 3650"),
    ] {
        let said = refused(&json!({ key: bad }));
        assert!(said.contains(&format!("`{key} = {bad}` is out of its range")) && said.contains(range), "{said}");
    }
}

#[test]
fn what_is_not_one_of_the_values_is_refused() {
    for parameters in [
        json!({ "module": "Notifier" }),
        json!({ "force_backup": "c" }),
        json!({ "drill_at": "24:00" }),
        json!({ "mirror": { "hook": "" } }),
        json!({ "nettest_a": "203.0.113.1" }),
    ] {
        refused(&parameters);
    }
    let said = refused(&json!({ "module_timout": "5s" }));
    assert!(said.contains("did you mean `module_timeout`?"), "{said}");
    let said = refused(&json!({ "mirror": { "custm": "" } }));
    assert!(said.contains("did you mean `mirror.custom`?"), "{said}");
}

#[test]
fn what_the_schema_cannot_tell_is_refused_with_key_and_value() {
    for (parameters, part) in [
        (json!({ "nettest_b": ["router"] }), "`nettest_b` has `router`; valid: IPv4 or IPv6 addresses, no names"),
        (json!({ "main_address_a": "server-a" }), "`main_address_a = \"server-a\"` is not an address"),
        (json!({ "force_fqdns": true, "fqdn_a": "a.example" }), "`force_fqdns = true` needs `fqdn_b`"),
    ] {
        let error = library().instance(&setup(&parameters), 0).expect_err("it is refused");
        assert!(matches!(error, InstanceError::Refused { .. }) && error.to_string().contains(part), "{error}");
    }
    let mut without = setup(&json!({}));
    without.sides.b.agent = false;
    let error = library().instance(&without, 0).expect_err("it is refused");
    assert!(error.to_string().contains("side b has no agent"), "{error}");
}

#[test]
fn the_defaults_are_the_vendors_and_go_together() {
    assert!(library().lint(&setup(&json!({}))).expect("it checks").is_empty());
}

#[test]
fn parameters_that_do_not_go_together_are_told() {
    for (parameters, rule, part) in [
        (json!({ "use_qos_for_ping": true }), "C2", "has no effect without `ping_on_aux_connection = true`"),
        (json!({ "module": "IP", "ping_on_aux_connection": true }), "C2", "has no effect with `module = \"IP\"`"),
        (json!({ "manual_switch_only": true }), "C7", "nothing moves when the primary fails"),
        (json!({ "nettest_a": ["203.0.113.1"] }), "C15", "`nettest_a` is set and `nettest_b` is not"),
        (
            json!({ "gateway_ping": true, "nettest_a": ["203.0.113.1"], "nettest_b": ["203.0.113.2"] }),
            "C5",
            "comes before",
        ),
        (json!({ "unreachable_ping_count": -1 }), "C9", "for ever"),
        (json!({ "drill_every": 90 }), "C16", "the vendor advises about 30 days"),
    ] {
        let found = library().lint(&setup(&parameters)).expect("it checks");
        assert!(found.iter().any(|lint| lint.rule == rule && lint.text.contains(part)), "{parameters}: {found:?}");
    }
}

/// The worst of the vendor's faults that end: a server that is off. 5s and two retries of 5s, the auxiliary connection
/// 5s, three sets 10s apart, the last one's 5s.
#[test]
fn the_expected_delay_is_that_of_the_slowest_fault() {
    let delay = |parameters: &Value| library().expected_delay(&setup(parameters)).expect("it tells");
    assert_eq!(delay(&json!({})), Duration::from_secs(15 + 5 + 3 * 10 + 5));
    // For ever is no delay: then it is the module that hangs, 43s and two more pings of 5s.
    assert_eq!(delay(&json!({ "unreachable_ping_count": -1 })), Duration::from_secs(43 + 10));
    assert!(delay(&json!({ "fast": true })) < Duration::from_secs(3));
}

#[test]
fn the_explanation_has_the_rules_the_parameters_and_the_delays() {
    let text = library().explain(&setup(&json!({ "module_max_failures": 4, "drill_every": 30 }))).expect("it explains");
    for rule in library().rules() {
        assert!(text.contains(&format!("\n{:<4} ", rule.id)), "{} is missing:\n{text}", rule.id);
    }
    for part in [
        "module_max_failures                      4\n",
        "drills                                   each 30days at 03:00\n",
        // 8 pings, 10s apart.
        "module not well, by its agent (C2)       1m 10s\n",
        "both connections lost (C8)               30s\n",
    ] {
        assert!(text.contains(part), "`{part}` is missing:\n{text}");
    }
}

#[test]
fn it_takes_its_commands_from_operators() {
    let names: Vec<&str> = Cic::commands().iter().map(|command| command.name.as_ref()).collect();
    assert_eq!(names, ["drill", "monitor", "backup"]);
}

/// A line of the example that begins with `#` and a key shows the default.
#[test]
fn the_example_shows_the_defaults() {
    let example = include_str!("../../../config/cic-edge.toml");
    let (_, policy) = example.split_once("plugin = \"cic\"").expect("it names the plugin");
    let (policy, _) = policy.split_once("\n[pair.detect]").expect("the next table");
    let keys = policy.lines().skip(1).map(|line| line.strip_prefix('#').unwrap_or(line));
    // What is still a sentence is a remark.
    let keys = keys.filter(|line| line.starts_with('[') || line.split_whitespace().nth(1) == Some("="));
    let keys: Vec<String> = keys.map(|line| line.replace("[pair.policy.", "[parameters.")).collect();
    let text = format!("title = \"\"\nrules = []\nplugin = \"cic\"\n[parameters]\n{}\n---\n", keys.join("\n"));
    let scenario = Scenario::parse("cic-edge.toml", &text).expect("it is well formed");
    let parameters = &scenario.setup().parameters;
    library().check_parameters(parameters).expect("the schema allows it");
    let shown: Config = serde_json::from_value(Value::Object(parameters.clone())).expect("it is a configuration");
    // What is none by default is shown as it usually is.
    let expected = Config {
        force_backup: Some(Side::A),
        main_address_a: Some("10.1.0.1".to_owned()),
        main_address_b: Some("10.1.0.2".to_owned()),
        fqdn_a: Some("cic-a.example.org".to_owned()),
        fqdn_b: Some("cic-b.example.org".to_owned()),
        drill_every: Some(30),
        ..Config::default()
    };
    assert_eq!(shown, expected);
    let all = serde_json::to_value(Config::default()).expect("it is plain data");
    let missing: Vec<_> =
        all.as_object().expect("a table").keys().filter(|key| !parameters.contains_key(key.as_str())).collect();
    assert!(missing.is_empty(), "the example does not show {missing:?}");
}
