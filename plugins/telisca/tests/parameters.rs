//! The parameters, as an edge meets them: the schema's refusals, T9's lint, T10's delay and the explanation.

use lockstep_policy::host::{InstanceError, Library};
use lockstep_policy::scenario::Scenario;
use lockstep_policy::sdk::Period;
use lockstep_policy::setup::{Detect, SideSetup};
use lockstep_policy::{Level, Setup, Sides};
use lockstep_telisca::{Balancer, Config};
use serde_json::{Value, json};
use std::time::Duration;

fn library() -> Library {
    let this = std::env::current_exe().expect("this test has a file");
    let file = this.parent().expect("it lies in a folder").join("liblockstep_telisca.so");
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
fn refused(parameters: &Value) -> Vec<String> {
    let errors = library().check_parameters(&setup(parameters).parameters).expect_err("they are refused");
    errors.iter().map(ToString::to_string).collect()
}

#[test]
fn a_parameter_out_of_its_range_is_refused_with_key_value_and_range() {
    assert_eq!(
        refused(&json!({ "failures_to_switch": 0 })),
        ["`failures_to_switch = 0` is out of its range; valid: a whole number, from 1 to 100"]
    );
    let period = "a length of time such as \"600ms\" or \"30s\"";
    assert_eq!(
        refused(&json!({ "heartbeat_interval": "10ms" })),
        [format!("`heartbeat_interval = \"10ms\"` is out of its range; valid: {period}, from 1s to 10m")]
    );
    assert_eq!(
        refused(&json!({ "heartbeat_timeout": "ten" })),
        [format!(
            "`heartbeat_timeout = \"ten\"` is not a length of time with its unit; valid: {period}, from 100ms to 5m"
        )]
    );
    assert_eq!(
        refused(&json!({ "balancer": { "interval": "2h", "failures": 5 } })),
        [format!("`balancer.interval = \"2h\"` is out of its range; valid: {period}, from 100ms to 1h")]
    );
}

#[test]
fn a_parameter_of_another_type_is_refused_with_the_type() {
    assert_eq!(refused(&json!({ "fast": "yes" })), ["`fast = \"yes\"` has the wrong type; valid: true or false"]);
    let said = refused(&json!({ "heartbeat_interval": 30 }));
    assert!(said[0].starts_with("`heartbeat_interval = 30` has the wrong type; valid: a length of time"), "{said:?}");
    let said = refused(&json!({ "balancer": 5 }));
    assert_eq!(said, ["`balancer = 5` has the wrong type; valid: a table"]);
    let said = refused(&json!({ "rollback_after": 5 }));
    assert!(said[0].contains("valid: a length of time such as \"600ms\" or \"30s\", from 0s to 24h"), "{said:?}");
}

#[test]
fn an_unknown_parameter_is_refused_with_the_nearest() {
    assert_eq!(
        refused(&json!({ "hartbeat_intervall": "30s" })),
        ["`hartbeat_intervall = \"30s\"` is not a parameter of policy `telisca`; did you mean `heartbeat_interval`?"]
    );
    assert_eq!(
        refused(&json!({ "cti_startup": { "conect": "3s" } })),
        ["`cti_startup.conect = \"3s\"` is not a parameter of policy `telisca`; did you mean `cti_startup.connect`?"]
    );
    let said = refused(&json!({ "x": 1 }));
    assert!(said[0].contains("; valid: ") && said[0].contains("monitor_path"), "{said:?}");
    assert_eq!(
        refused(&json!({ "balancer": { "interval": "30s" } })),
        ["`balancer.failures` is missing; valid: a whole number, from 1 to 100"]
    );
}

#[test]
fn all_errors_are_told_at_once() {
    assert_eq!(refused(&json!({ "fast": 1, "failures_to_switch": 0, "heartbeat_interval": "1ms", "y": 1 })).len(), 4);
}

/// What an edge is told that uses parameters which the schema allows.
#[track_caller]
fn not_made(parameters: &Value) -> String {
    let library = library();
    library.check_parameters(&setup(parameters).parameters).expect("the schema allows it");
    let error = library.instance(&setup(parameters), 0).expect_err("it is refused");
    assert!(matches!(error, InstanceError::Refused { .. }), "{error}");
    error.to_string()
}

#[test]
fn a_test_of_the_vip_that_cannot_work_is_refused() {
    let url = "http://10.0.0.100/page";
    for (parameters, part) in [
        (json!({ "test_vip_destination": true }), "`test_vip_destination = true` needs `vip_url`; valid: \"http://IP"),
        (json!({ "vip_url": "10.0.0.100" }), "`vip_url = \"10.0.0.100\"` is not valid; valid: "),
        (json!({ "vip_url": "http://vip.example/" }), "`vip_url = \"http://vip.example/\"` is not valid; valid: "),
        (
            json!({ "test_vip_destination": true, "vip_url": url, "vip_name_a": "x", "vip_name_b": "X" }),
            "both servers are named `x`",
        ),
        (json!({ "name_a": "one", "name_b": "One" }), "`name_b = \"One\"` is `name_a` too"),
    ] {
        let said = not_made(&parameters);
        assert!(said.contains(part), "{said}");
    }
    for url in ["http://10.0.0.100", url, "https://10.0.0.100:8443/?a=b", "http://[2001:db8::1]:81/", "http://[::1]/"] {
        let parameters = json!({ "test_vip_destination": true, "vip_url": url });
        library().instance(&setup(&parameters), 0).expect("it is a URL");
    }
}

#[test]
fn a_time_of_day_that_there_is_not_is_refused() {
    for time in ["24:00", "3:30", "03:60", "soon"] {
        let said = refused(&json!({ "cti_restart_at": time }));
        assert!(said[0].starts_with(&format!("`cti_restart_at = \"{time}\"`")), "{said:?}");
    }
}

#[test]
fn t7_the_vip_must_be_somebody_elses() {
    let lint = |on: bool, url: &str| {
        library().lint(&setup(&json!({ "test_vip_destination": on, "vip_url": url }))).expect("it checks")
    };
    let found = lint(true, "http://10.0.0.100/");
    assert_eq!((found.len(), found[0].rule.as_ref(), found[0].level), (1, "T7", Level::Info));
    assert!(found[0].text.contains("must not be one on which this edge listens"), "{}", found[0]);
    let found = lint(true, "http://192.0.2.2/");
    assert_eq!(found[0].level, Level::Warning);
    assert!(found[0].text.contains("it always reaches b"), "{}", found[0]);
    assert!(lint(false, "http://10.0.0.100/")[0].text.contains("is not used"));
}

#[test]
fn t5_a_daily_restart_needs_agents() {
    let mut setup = setup(&json!({ "cti_restart_at": "03:30" }));
    assert!(library().lint(&setup).expect("it checks").is_empty());
    setup.sides.b.agent = false;
    let found = library().lint(&setup).expect("it checks");
    assert_eq!((found[0].rule.as_ref(), found[0].level), ("T5", Level::Warning));
}

#[test]
fn t9_a_restart_must_not_look_like_a_failure() {
    let lint = |parameters: &Value| library().lint(&setup(parameters)).expect("it checks");
    assert!(lint(&json!({})).is_empty(), "the vendor's defaults go together");
    let found = lint(&json!({ "failures_to_switch": 3 }));
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].rule.as_ref(), found[0].level), ("T9", Level::Warning));
    assert_eq!(
        found[0].text,
        "(failures_to_switch - 1) × heartbeat_interval = (3 - 1) × 30s = 1m, which is not more than restart_time = 1m: a \
         restart of IPS Framework moves the role. Set failures_to_switch to at least 4, or heartbeat_interval to more"
    );
    assert!(lint(&json!({ "failures_to_switch": 4 })).is_empty(), "its advice is right");
}

#[test]
fn t9_an_external_balancer_must_switch_at_the_same_time() {
    let lint = |failures: u32| {
        let balancer = json!({ "balancer": { "interval": "30s", "failures": failures } });
        library().lint(&setup(&balancer)).expect("it checks")
    };
    assert!(lint(5).is_empty());
    let found = lint(3);
    assert!(found[0].text.contains("checks 3 × 30s = 1m 30s, this policy 5 × 30s = 2m 30s"), "{}", found[0]);
}

#[test]
fn t10_the_expected_delay_is_the_vendors_formula() {
    let delay = |parameters: &Value| library().expected_delay(&setup(parameters)).expect("it tells");
    assert_eq!(delay(&json!({})), Duration::from_secs(5 * 30 + 10 + 3));
    let startup = json!({ "cti_startup": { "connect": "2s", "ports": 10, "devices": 40 } });
    assert_eq!(delay(&startup), Duration::from_secs(5 * 30 + 10 + 2 + 50 / 5));
    assert_eq!(delay(&json!({ "fast": true })), Duration::from_millis(6 * 100 + 200 + 3_000));
}

#[test]
fn the_explanation_has_the_rules_the_parameters_and_the_delay() {
    let text = library().explain(&setup(&json!({ "failures_to_switch": 4 }))).expect("it explains");
    for rule in library().rules() {
        assert!(text.contains(&format!("\n{:<4} ", rule.id)), "{} is missing:\n{text}", rule.id);
    }
    for part in ["failures_to_switch                     4\n", "4 × 30s + 10s + 3s CTI start = 2m 13s"] {
        assert!(text.contains(part), "`{part}` is missing:\n{text}");
    }
}

/// A line of the example that begins with `#` and a key shows the default.
#[test]
fn the_example_shows_the_defaults() {
    let example = include_str!("../../../config/telisca-edge.toml");
    let (_, policy) = example.split_once("plugin = \"telisca\"").expect("it names the plugin");
    let (policy, _) = policy.split_once("\n[pair.detect]").expect("the next table");
    let keys = policy.lines().skip(1).map(|line| line.strip_prefix('#').unwrap_or(line));
    // What is still a sentence is a remark.
    let keys = keys.filter(|line| line.starts_with('[') || line.split_whitespace().nth(1) == Some("="));
    let keys: Vec<String> = keys.map(|line| line.replace("[pair.policy.", "[parameters.")).collect();
    let text = format!("title = \"\"\nrules = []\nplugin = \"telisca\"\n[parameters]\n{}\n---\n", keys.join("\n"));
    let scenario = Scenario::parse("telisca-edge.toml", &text).expect("it is well formed");
    let parameters = &scenario.setup().parameters;
    library().check_parameters(parameters).expect("the schema allows it");
    let shown: Config = serde_json::from_value(Value::Object(parameters.clone())).expect("it is a configuration");
    let defaults = Config::default();
    // What has no default is shown as it could be, and `fast` as it usually is.
    let some = |text: &str| Some(text.to_owned());
    let expected = Config {
        fast: true,
        rollback_after: Some(Period::secs(0)),
        cti_restart_at: some("03:30"),
        vip_url: some("http://10.0.0.200/IPSCFG/admin/monitor.aspx?mod=FT"),
        vip_header: some("X-Server"),
        vip_name_a: some("10.0.0.1"),
        vip_name_b: some("10.0.0.2"),
        name_a: some("telisca1.example"),
        name_b: some("telisca2.example"),
        balancer: Some(Balancer { interval: Period::secs(30), failures: 5 }),
        ..defaults
    };
    assert_eq!(shown, expected);
    library().instance(scenario.setup(), 0).expect("nothing of it is refused");
}
