//! The keys of services: of each driver, of starts, stops and restarts.

use super::*;

fn service(text: &str) -> Result<Service, String> {
    parse(&format!("{HEAD}[[service]]\n{text}\n")).map(|config| config.services[0].clone())
}

const EXEC: &str = "name = \"cti\"\ndriver = \"exec\"\ncommand = [\"/opt/cti\"]\n";
const RUN: &str = "name = \"disk\"\ndriver = \"run\"\ncommand = [\"/opt/mount\"]\n";
const HTTP: &str = "name = \"cti\"\ndriver = \"http\"\nstart = { url = \"http://10.0.0.9/on\" }\nstop = { url = \"http://10.0.0.9/off\" }\n";

#[test]
fn how_a_start_is_tried_and_what_is_started_again() {
    let plain = service(EXEC).unwrap();
    assert_eq!((plain.start.timeout, plain.start.retries, plain.stop_timeout, plain.restarts), (None, 0, None, None));
    let text = "exclusive = true\nstart_timeout = \"30s\"\nstop_timeout = \"400ms\"\nretries = 2\nretry_pause = \"5s\"\n\
                restarts = 3\nwindow = \"5m\"\nalive = { tcp = \"h:1\", interval = \"2s\", failures = 5 }";
    let full = service(&format!("{EXEC}{text}")).unwrap();
    let seconds = Duration::from_secs;
    assert_eq!(full.start, Attempts { timeout: Some(seconds(30)), retries: 2, pause: seconds(5) });
    assert_eq!(full.stop_timeout, Some(Duration::from_millis(400)));
    assert_eq!(full.restarts, Some(Restarts { most: 3, window: seconds(300) }));
    assert_eq!(full.alive.map(|alive| (alive.interval, alive.failures)), Some((seconds(2), 5)));
}

#[test]
fn a_step_is_done_by_one_program_and_taken_back_by_another() {
    let text = "exclusive = true\nundo = [\"/opt/umount\"]\nexpected = [0, 32]";
    let step = service(&format!("{RUN}{text}")).unwrap();
    let words = |word: &str| vec![word.to_owned()];
    let expected =
        Driver::Run { command: words("/opt/mount"), undo: Some(words("/opt/umount")), expected: vec![0, 32] };
    assert_eq!((step.driver, step.start.timeout), (expected, Some(Duration::from_secs(60))));
    assert!(matches!(service(RUN).unwrap().driver, Driver::Run { undo: None, expected, .. } if expected == [0]));
}

#[test]
fn calls_are_understood() {
    let text = r#"
name = "cti"
driver = "http"
exclusive = true
ca = "/etc/lockstep/ca.pem"
login = "/etc/lockstep/cti.login"
kill = ["/opt/power-off"]
[service.start]
url = "https://cti.example:8443/api/start?side=a"
method = "PUT"
headers = { X-Api-Key = "k" }
body = "{}"
expect = [200, "202-204"]
contains = "started"
timeout = "2s"
[service.stop]
url = "https://cti.example:8443/api/stop"
expect = 204
[service.status]
url = "https://cti.example:8443/api"
interval = "1s"
running = { contains = "RUNNING" }
stopped = { expect = "404" }
"#;
    let Driver::Http(remote) = service(text).unwrap().driver else { panic!("another driver") };
    let HttpService { start, stop, status, ca, login, kill } = *remote;
    assert_eq!((start.method.as_str(), start.uri.path(), start.body.as_str()), ("PUT", "/api/start", "{}"));
    assert_eq!((start.headers[0].0.as_str(), start.timeout), ("x-api-key", Duration::from_secs(2)));
    let expected = Expected { statuses: vec![200..=200, 202..=204], contains: "started".to_owned() };
    assert_eq!(start.expected, expected);
    assert_eq!(
        (stop.method.as_str(), stop.expected.statuses, stop.timeout),
        ("POST", vec![204..=204], Duration::from_secs(5))
    );
    let status = status.unwrap();
    assert_eq!((status.running.method.as_str(), status.running.expected.statuses), ("GET", vec![200..=299]));
    assert_eq!((status.stopped.statuses, status.interval), (vec![404..=404], Duration::from_secs(1)));
    assert_eq!(ca.as_deref(), Some(Path::new("/etc/lockstep/ca.pem")));
    assert_eq!((login.as_deref(), kill.map(|kill| kill.len())), (Some(Path::new("/etc/lockstep/cti.login")), Some(1)));
}

#[test]
fn the_machines_watchdog_is_used_when_it_is_named() {
    assert_eq!(parse(HEAD).unwrap().watchdog, None);
    let watchdog = parse(&format!("{HEAD}[watchdog]\ndevice = \"/dev/watchdog0\"\n")).unwrap().watchdog.unwrap();
    assert_eq!((watchdog.device.as_path(), watchdog.timeout), (Path::new("/dev/watchdog0"), None));
}

/// Each fault with its place and the words that a reader needs.
#[test]
fn each_fault_is_named_with_its_place_and_remedy() {
    let exec = |text: &str| format!("{EXEC}{text}");
    let exclusive = |text: &str| format!("{EXEC}exclusive = true\n{text}");
    let run = |text: &str| format!("{RUN}{text}");
    let http = |text: &str| format!("{HTTP}{text}");
    let start = |text: &str| HTTP.replace("{ url = \"http://10.0.0.9/on\" }", text);
    let status = |text: &str| http(&format!("status = {{ url = \"http://h/\", {text} }}"));
    let cases: Vec<(String, &str, &[&str])> = vec![
        (exec("start_timeout = \"5\""), ":8:17:", &["`5`", "`start_timeout` with a unit"]),
        (exec("stop_timeout = \"2h\""), ":8:16:", &["`stop_timeout` is 10ms to 3600s"]),
        (exec("retries = 1"), ":8:11:", &["for exclusive services", "`restarts` and `window`"]),
        (exclusive("retries = 101"), ":9:11:", &["`retries` is 0 to 100"]),
        (exclusive("retry_pause = \"1ms\""), ":9:15:", &["`retry_pause` is 10ms"]),
        (exec("restarts = 1001"), ":8:12:", &["0 to 1000"]),
        (exec("window = \"10m\""), ":8:10:", &["`window` goes with `restarts`"]),
        (exec("undo = [\"x\"]"), ":8:8:", &["`undo` belongs to `driver = \"run\"`", "is \"exec\""]),
        (exec("kill = [\"x\"]"), ":8:8:", &["`kill` belongs to `driver = \"http\"`"]),
        (exec("stop = { url = \"http://h/\" }"), ":8:8:", &["`stop` belongs to `driver = \"http\"`"]),
        (exec("alive = { tcp = \"h:1\", failures = 2 }"), ":8:35:", &["go with `restarts`"]),
        (exec("restarts = 1\nalive = { tcp = \"h:1\", failures = 0 }"), ":9:35:", &["1 to 100"]),
        ("name = \"go\"\ndriver = \"gate\"\nrestarts = 1".into(), ":7:12:", &["a gate runs nothing"]),
        (run("alive = { tcp = \"h:1\" }"), ":8:9:", &["of a step nothing runs on"]),
        (run("ready = { notify = true }"), ":8:20:", &["nobody else has a socket"]),
        (run("expected = []"), ":8:12:", &["`expected` is 1 to 16"]),
        (run("expected = [256]"), ":8:12:", &["0 to 255"]),
        (run("exclusive = true\nrestarts = 1"), ":9:12:", &["tried again by `retries`"]),
        ("name = \"disk\"\ndriver = \"run\"".into(), ":4:1:", &["`disk`", "no `command`"]),
        ("name = \"cti\"\ndriver = \"http\"\nstart = { url = \"http://h/\" }".into(), ":4:1:", &["no `stop`"]),
        (http("kill = [\"x\"]"), ":9:8:", &["`kill` is for exclusive services"]),
        (http("command = [\"x\"]"), ":9:11:", &["`command` belongs to", "\"exec\"", "\"run\""]),
        (start("{ url = \"10.0.0.9/on\" }"), ":7:17:", &["`10.0.0.9/on`", "`start.url`", "https://HOST/PATH"]),
        (start("{ url = \"http://eva:secret@h/\" }"), ":7:17:", &["a password does not belong here", "`login`"]),
        (start("{ url = \"http://h/\", method = \"get it\" }"), ":7:39:", &["`get it` is no method"]),
        (start("{ url = \"http://h/\", expect = \"20x\" }"), ":7:39:", &["100 to 599"]),
        (start("{ url = \"http://h/\", expect = [] }"), ":7:39:", &["a list"]),
        (start("{ url = \"http://h/\", expect = \"299-200\" }"), ":7:39:", &["a range"]),
        (start("{ url = \"http://h/\", expct = 200 }"), ":7:30:", &["did you mean `expect`?"]),
        (start("{ url = \"http://h/\", timeout = \"1h\" }"), ":7:40:", &["`timeout` is 10ms to 600s"]),
        (start("{ url = \"http://h/\", headers = { Host = \"x\" } }"), ":7:42:", &["`host` is the agent's own"]),
        (start("{ url = \"http://h/\", headers = { \"a b\" = \"x\" } }"), ":7:42:", &["no header's name"]),
        (http("login = \"/l\""), ":7:17:", &["unencrypted to 10.0.0.9", "https://"]),
        (status("running = {}, stopped = {}"), ":9:55:", &["`stopped` is the answer that `running` is"]),
        (status("running = {}"), ":9:10:", &["missing field `stopped`"]),
    ];
    for (text, place, words) in cases {
        let error = service(&text).unwrap_err();
        assert!(error.starts_with(&format!("agent.toml{place}")), "{error}\n{text}");
        for word in words {
            assert!(error.contains(word), "{error} has no {word}");
        }
    }
    let error = parse(&format!("{HEAD}[watchdog]\ndevice = \"watchdog\"")).unwrap_err();
    assert!(error.starts_with("agent.toml:5:10:") && error.contains("a whole path"), "{error}");
}

#[test]
fn what_is_valid_and_odd_is_said() {
    let lints = |text: &str| parse(&format!("{HEAD}{text}")).unwrap().lints();
    assert_eq!(lints(&format!("[[service]]\n{EXEC}")), Vec::<String>::new());
    let status = "status = { url = \"http://h/\", running = {}, stopped = { expect = 404 } }\nexclusive = true\n";
    let unbound = lints(&format!("[[service]]\n{HTTP}{status}"));
    assert!(
        matches!(&unbound[..], [lint] if lint.contains("`cti` is unbound") && lint.contains("`kill`")),
        "{unbound:?}"
    );
    assert_eq!(lints(&format!("[[service]]\n{HTTP}{status}kill = [\"x\"]")), Vec::<String>::new());
    let found = lints(&format!("[[service]]\n{HTTP}ca = \"/no/such\"\n[watchdog]\ndevice = \"/no/such\""));
    for word in ["has no `status`", "`cti`: /no/such", "[watchdog]"] {
        assert!(found.iter().any(|lint| lint.contains(word)), "{word}: {found:?}");
    }
}
