//! The parameters, as an edge meets them: the schema's refusals, what `create` refuses, the lints, the expected delay and
//! the explanation.

use lockstep_finesse::{Config, CtiServers, Finesse, Notification};
use lockstep_policy::host::{InstanceError, Library};
use lockstep_policy::scenario::Scenario;
use lockstep_policy::sdk::{Period, Policy};
use lockstep_policy::setup::{Detect, SideSetup};
use lockstep_policy::{Level, Lint, Setup, Sides};
use serde_json::{Value, json};
use std::time::Duration;

fn library() -> Library {
    let this = std::env::current_exe().expect("this test has a file");
    let file = this.parent().expect("it lies in a folder").join("liblockstep_finesse.so");
    Library::open(&file).expect("Cargo has built it beside this test")
}

fn setup(parameters: &Value) -> Setup {
    let side = |server: &str| SideSetup { servers: vec![server.to_owned()], pools: Vec::new(), agent: false };
    Setup {
        pair: "desktops".to_owned(),
        parameters: parameters.as_object().cloned().expect("parameters are a table"),
        detect: Detect { interval_ms: 100, timeout_ms: 200, failures: 3 },
        sides: Sides { a: side("192.0.2.1:8445"), b: side("192.0.2.2:8445") },
    }
}

/// What the schema says about parameters that are wrong.
#[track_caller]
fn refused(parameters: &Value) -> Vec<String> {
    let errors = library().check_parameters(&setup(parameters).parameters).expect_err("they are refused");
    errors.iter().map(ToString::to_string).collect()
}

/// What `create` says about a setup that the schema allows.
#[track_caller]
fn not_created(setup: &Setup) -> String {
    let library = library();
    library.check_parameters(&setup.parameters).expect("the schema allows it");
    match library.instance(setup, 0).expect_err("it is refused") {
        error @ InstanceError::Refused { .. } => error.to_string(),
        other => panic!("{other}"),
    }
}

fn lints(parameters: &Value) -> Vec<Lint> {
    library().lint(&setup(parameters)).expect("it checks")
}

/// The lints of a rule that speak of something.
fn found(parameters: &Value, rule: &str, part: &str) -> Vec<Lint> {
    lints(parameters).into_iter().filter(|lint| lint.rule == rule && lint.text.contains(part)).collect()
}

#[test]
fn a_parameter_out_of_its_range_is_refused_with_key_value_and_range() {
    let period = "a length of time such as \"600ms\" or \"30s\"";
    for (parameters, said) in [
        (
            json!({ "notification_attempts": 0 }),
            "`notification_attempts = 0` is out of its range; valid: a whole number, from 1 to 100".to_owned(),
        ),
        (
            json!({ "poll_interval": "100ms" }),
            format!("`poll_interval = \"100ms\"` is out of its range; valid: {period}, from 1s to 10m"),
        ),
        (
            json!({ "maintenance_max": "2d" }),
            format!("`maintenance_max = \"2d\"` is out of its range; valid: {period}, from 1m to 24h"),
        ),
        (
            json!({ "notification": { "timeout": "2m" } }),
            format!("`notification.timeout = \"2m\"` is out of its range; valid: {period}, from 100ms to 1m"),
        ),
        (
            json!({ "cti_probe": { "version": 0 } }),
            "`cti_probe.version = 0` is out of its range; valid: a whole number, from 1 to 100".to_owned(),
        ),
        (
            json!({ "profile": "phone" }),
            "`profile = \"phone\"` is not one of its values; valid: \"desktop\", \"ippa\"".to_owned(),
        ),
        (
            json!({ "distribute": "half" }),
            "`distribute = \"half\"` is not one of its values; valid: \"prefer-publisher\", \"even\"".to_owned(),
        ),
        (
            json!({ "notification": { "transport": "tcp" } }),
            "`notification.transport = \"tcp\"` is not one of its values; valid: \"bosh\", \"xmpp\"".to_owned(),
        ),
        (
            json!({ "system_info_path": "finesse" }),
            "`system_info_path = \"finesse\"` does not have the form of its values; valid: a text".to_owned(),
        ),
    ] {
        assert_eq!(refused(&parameters), [said]);
    }
}

#[test]
fn an_unknown_parameter_is_refused_with_the_nearest() {
    assert_eq!(
        refused(&json!({ "reload_windows": "70s" })),
        ["`reload_windows = \"70s\"` is not a parameter of policy `finesse`; did you mean `reload_window`?"]
    );
    assert_eq!(
        refused(&json!({ "notification": { "pathe": "/" } })),
        ["`notification.pathe = \"/\"` is not a parameter of policy `finesse`; did you mean `notification.path`?"]
    );
}

#[test]
fn a_user_needs_a_password_and_a_domain() {
    for (notification, part) in [
        (json!({ "user": "watcher" }), "`notification.user = \"watcher\"` needs `notification.secret`"),
        (json!({ "user": "watcher", "secret": "s" }), "`notification.user = \"watcher\"` needs `notification.domain`"),
        (
            json!({ "user": "watcher", "secret": "s", "domain": { "a": "pub.example.org" } }),
            "`notification.user = \"watcher\"` needs `notification.domain`",
        ),
        (json!({ "secret": "s" }), "`notification.secret = \"s\"` needs `notification.user`"),
    ] {
        let said = not_created(&setup(&json!({ "notification": notification })));
        assert!(said.contains(part), "{said}");
    }
    let whole = json!({ "notification": { "user": "watcher", "secret": "s", "domain": { "a": "pub.example.org", "b": "sub.example.org" } } });
    library().instance(&setup(&whole), 0).expect("it is whole");
}

#[test]
fn a_side_is_one_node() {
    let with = |servers: &[&str], pools: &[&str], parameters: &Value| {
        let mut setup = setup(parameters);
        setup.sides.a.servers = servers.iter().map(|server| (*server).to_owned()).collect();
        setup.sides.a.pools = pools.iter().map(|pool| (*pool).to_owned()).collect();
        setup
    };
    let none = json!({});
    let said = not_created(&with(&["192.0.2.1:8445", "192.0.2.3:8445"], &[], &none));
    assert!(said.contains("side a has servers on 2 hosts (192.0.2.1, 192.0.2.3)"), "{said}");
    let said = not_created(&with(&["192.0.2.1:8445"], &["desktops"], &none));
    assert!(said.contains("side a has no server without a pool's name"), "{said}");
    let library = library();
    library.instance(&with(&["192.0.2.1:8445", "192.0.2.1:7443"], &[], &none), 0).expect("one node, two ports");
    library.instance(&with(&["[2001:db8::1]:8445", "[2001:db8::1]:7443"], &[], &none), 0).expect("also by IPv6");

    let cti = json!({ "cti_probe": { "pool": "cti" } });
    let said = not_created(&with(&["192.0.2.1:8445"], &[], &cti));
    assert!(said.contains("`cti_probe.pool = \"cti\"` is no pool of side a"), "{said}");
    let many: Vec<String> = (0..10).map(|host| format!("192.0.2.{host}:42027")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let pools: Vec<&str> = std::iter::once("").chain(std::iter::repeat_n("cti", 9)).collect();
    let said = not_created(&with(&many, &pools, &cti));
    assert!(said.contains("has 9 servers on side a; valid: 1 to 8"), "{said}");
}

#[test]
fn f2_the_presence_needs_a_user() {
    let lint = &found(&json!({}), "F2", "the presence of the user `finesse`, is not watched")[0];
    assert_eq!(lint.level, Level::Info);
    let user =
        json!({ "user": "watcher", "secret": "s", "domain": { "a": "pub.example.org", "b": "sub.example.org" } });
    assert!(found(&json!({ "notification": user }), "F2", "is not watched").is_empty());
    assert!(found(&json!({ "profile": "ippa" }), "F2", "is not watched").is_empty(), "phones do not look at it");
}

#[test]
fn f2_a_password_is_not_sent_in_the_clear() {
    let user = |more: &Value| {
        let mut notification =
            json!({ "user": "watcher", "secret": "s", "domain": { "a": "pub.example.org", "b": "sub.example.org" } });
        let table = notification.as_object_mut().expect("it is a table");
        table.extend(more.as_object().cloned().expect("it is a table"));
        json!({ "notification": notification })
    };
    assert!(found(&user(&json!({})), "F2", "not encrypted").is_empty());
    assert_eq!(found(&user(&json!({ "transport": "xmpp" })), "F2", "not encrypted").len(), 1);
    assert!(found(&user(&json!({ "transport": "xmpp", "port": 5223 })), "F2", "not encrypted").is_empty());
}

#[test]
fn f8_the_vendors_names_lead_past_the_edge() {
    assert_eq!(found(&json!({}), "F8", "the nodes' own host names")[0].level, Level::Warning);
    assert!(found(&json!({ "profile": "ippa" }), "F8", "the nodes' own host names").is_empty());
}

#[test]
fn f8_f9_f10_paces_that_do_not_go_together_are_told() {
    assert!(found(&json!({}), "F8", "reload_window").is_empty());
    let lint = &found(&json!({ "reload_window": "30s" }), "F8", "reload_window = 30s is shorter than the 1m 10s")[0];
    assert_eq!(lint.level, Level::Warning);
    let lint = &found(&json!({ "maintenance_max": "1m" }), "F9", "takes 1m 25s with the warning")[0];
    assert_eq!(lint.level, Level::Warning);
    let lint = &found(&json!({ "sessions": 4000 }), "F10", "moves all 4000 sessions, over 2m 20s")[0];
    assert_eq!(lint.level, Level::Warning);
    assert!(found(&json!({ "sessions": 4000, "distribute": "even" }), "F10", "moves all").is_empty());
}

#[test]
fn f3_f7_f11_what_may_surprise_is_told() {
    assert_eq!(found(&json!({ "poll_timeout": "30s" }), "F3", "polls overlap")[0].level, Level::Info);
    assert_eq!(found(&json!({ "cti_probe": {} }), "F7", "at port 42027")[0].level, Level::Info);
    assert_eq!(found(&json!({ "profile": "ippa" }), "F11", "nothing moves")[0].level, Level::Info);
    let hasty = json!({ "profile": "ippa", "poll_failures": 1 });
    assert_eq!(found(&hasty, "F11", "phones make three attempts")[0].level, Level::Warning);
}

#[test]
fn the_expected_delay_is_detection_look_window_and_reload() {
    let delay = |parameters: &Value| library().expected_delay(&setup(parameters)).expect("it tells");
    // 1 × 20 s + 5 s; 5.5 s; 70 s; 15 s.
    assert_eq!(delay(&json!({})), Duration::from_millis(25_000 + 5_500 + 70_000 + 15_000));
    // Half of the sessions move.
    assert_eq!(delay(&json!({ "distribute": "even" })), Duration::from_millis(25_000 + 5_500 + 35_000 + 15_000));
    assert_eq!(delay(&json!({ "sessions": 1000 })), Duration::from_millis(25_000 + 5_500 + 35_000 + 15_000));
    // The Notification Service's attempts take longer than one poll.
    let slow = json!({ "poll_interval": "5s", "notification_attempts": 6 });
    assert_eq!(delay(&slow), Duration::from_millis(35_000 + 5_500 + 70_000 + 15_000));
    // Phones do not move: 3 × 5 s + 5 s to the vendor's answer.
    assert_eq!(delay(&json!({ "profile": "ippa" })), Duration::from_secs(20));
    assert_eq!(delay(&json!({ "fast": true })), Duration::from_millis(3 * 100 + 200 + 700 + 70_000 + 15_000));
}

#[test]
fn the_explanation_has_the_rules_the_parameters_and_the_delay() {
    let text = library().explain(&setup(&json!({ "sessions": 1000 }))).expect("it explains");
    for rule in library().rules() {
        assert!(text.contains(&format!("\n{:<4} ", rule.id)), "{} is missing:\n{text}", rule.id);
    }
    // Lines are wrapped.
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in [
        "reload_window 1m 10s for 2000 sessions",
        "= 1m 20s 500ms at worst",
        "50 to 55 seconds for 1,000",
        "needs 35 to 75 seconds",
    ] {
        assert!(words.contains(part), "`{part}` is missing:\n{text}");
    }
    let text = library().explain(&setup(&json!({ "profile": "ippa", "old_agent_pg": true }))).expect("it explains");
    assert!(text.contains("75 to 120") && text.contains("20s at worst"), "{text}");
}

#[test]
fn it_takes_the_command_maintenance_and_both_sides_may_serve() {
    let names: Vec<_> = Finesse::commands().iter().map(|command| (command.name.as_ref(), command.side)).collect();
    assert_eq!(names, [("maintenance", true)]);
    assert!(!Finesse::traits(&setup(&json!({})), &Config::default()).exclusive);
}

/// A line of the example that begins with `#` and a key shows the default.
#[test]
fn the_example_shows_the_defaults() {
    let example = include_str!("../../../config/finesse-edge.toml");
    let (_, policy) = example.split_once("plugin = \"finesse\"").expect("it names the plugin");
    let (policy, _) = policy.split_once("\n[pair.detect]").expect("the next table");
    let keys = policy.lines().skip(1).map(|line| line.strip_prefix('#').unwrap_or(line));
    // What is still a sentence is a remark.
    let keys = keys.filter(|line| line.starts_with('[') || line.split_whitespace().nth(1) == Some("="));
    let keys: Vec<String> = keys.map(|line| line.replace("[pair.policy.", "[parameters.")).collect();
    let text = format!("title = \"\"\nrules = []\nplugin = \"finesse\"\n[parameters]\n{}\n---\n", keys.join("\n"));
    let scenario = Scenario::parse("finesse-edge.toml", &text).expect("it is well formed");
    let parameters = &scenario.setup().parameters;
    library().check_parameters(parameters).expect("the schema allows it");
    let shown: Config = serde_json::from_value(Value::Object(parameters.clone())).expect("it is a configuration");
    let defaults = Config::default();
    // What depends on others, and what is asked for only by its table, is shown as it usually is.
    let expected = Config {
        poll_interval: Some(Period::secs(20)),
        poll_failures: Some(1),
        notification: Notification { port: Some(7_443), ..defaults.notification.clone() },
        cti_probe: Some(CtiServers { peripheral: Some(5_000), ..CtiServers::default() }),
        ..defaults
    };
    assert_eq!(shown, expected);
}
