//! What a configuration may say, and the sentence for what it may not.

use super::*;
use std::path::Path;

mod services;

fn parse(text: &str) -> Result<Config, String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("agent.toml");
    // At the end: the places of faults are counted.
    std::fs::write(&path, format!("{text}\n[agent.tls]\ninsecure = true\n")).unwrap();
    load(&path).map_err(|error| error.to_string().replace(path.to_str().unwrap(), "agent.toml"))
}

const HEAD: &str = "[agent]\npair = \"telisca\"\nside = \"a\"\n";

#[test]
fn a_whole_configuration_is_understood() {
    let text = r#"
[agent]
pair = "telisca"
side = "b"
listen = "10.0.0.2:7401"
state = "/srv/agent"
release = "7.2"
bus = "session"
[[service]]
name = "framework"
driver = "exec"
command = ["/opt/app", "--port", "80"]
ready = { http = "http://127.0.0.1:80/IPSCFG/admin/monitor.aspx?mod=NONE" }
[[service]]
name = "cti"
driver = "systemd"
unit = "cti.service"
exclusive = true
ready = { tcp = "127.0.0.1:2011" }
[[service]]
name = "guide"
driver = "exec"
command = ["/opt/guide"]
exclusive = true
ready = { notify = true }
"#;
    let config = parse(text).unwrap();
    assert_eq!((config.pair.as_str(), config.side, config.bus), ("telisca", Side::B, Bus::Session));
    assert_eq!(config.listen.to_string(), "10.0.0.2:7401");
    assert_eq!(config.services.len(), 3);
    assert!(matches!(&config.services[0].ready, Some(Ready::Http(uri)) if uri.port_u16() == Some(80)));
    assert_eq!(config.services[1].driver, Driver::Systemd { unit: "cti.service".to_owned() });
    assert!(config.services[1].exclusive && !config.services[0].exclusive);
    assert_eq!(config.services[2].ready, Some(Ready::Notify));
}

#[test]
fn what_is_beside_the_services_is_understood() {
    let text = format!(
        r#"{HEAD}release = {{ command = ["/opt/version"] }}
[[service]]
name = "promoted"
driver = "gate"
exclusive = true
[[service]]
name = "cti"
driver = "exec"
command = ["/opt/cti"]
alive = {{ http = "http://127.0.0.1:2011/alive", timeout = "500ms" }}
[[hook]]
name = "point-site"
command = ["/opt/point", "--here"]
[replication]
file = "/run/replication"
max_age = "5m"
[lan]
carrier = "eth0"
neighbours = ["10.0.0.2", "fd00::2"]
isolation = "report"
"#
    );
    let config = parse(&text).unwrap();
    assert_eq!(config.release, Release::Command(vec!["/opt/version".to_owned()]));
    assert_eq!((&config.services[0].driver, config.services[0].exclusive), (&Driver::Gate, true));
    let alive = config.services[1].alive.as_ref().unwrap();
    assert!(matches!(alive.check, Ready::Http(_)) && alive.timeout == Duration::from_millis(500));
    assert_eq!((config.hooks[0].name.as_str(), config.hooks[0].timeout), ("point-site", Duration::from_secs(60)));
    let replication = config.replication.unwrap();
    let path = PathBuf::from("/run/replication");
    assert_eq!(replication.source, ReplicationSource::File { path, max_age: Duration::from_secs(300) });
    let lan = config.lan.unwrap();
    assert_eq!((lan.carrier, lan.gateway), (Auto::Given("eth0".to_owned()), Auto::Auto));
    assert_eq!((lan.failures, lan.neighbours.len(), lan.binding), (3, 2, false));
}

#[test]
fn what_is_left_out_is_safe() {
    let config = parse(HEAD).unwrap();
    assert_eq!(config.listen.to_string(), "127.0.0.1:7401");
    assert_eq!(config.state, Path::new("/var/lib/lockstep-agent"));
    assert!(config.services.is_empty() && config.hooks.is_empty());
    assert_eq!((config.replication, config.lan), (None, None));
    let lan = parse(&format!("{HEAD}[lan]\n")).unwrap().lan.unwrap();
    assert!(lan.binding, "an isolated node stands down unless told otherwise");
}

#[test]
fn a_missing_file_is_named() {
    let error = load(Path::new("/no/such/agent.toml")).unwrap_err();
    assert_eq!(error.to_string(), "/no/such/agent.toml: cannot be read: No such file or directory (os error 2)");
}

/// Each fault with its place and the words that a reader needs.
#[test]
fn each_fault_is_named_with_its_place_and_remedy() {
    let service = |text: &str| format!("{HEAD}[[service]]\n{text}\n");
    let exec = |text: &str| service(&format!("name = \"cti\"\ndriver = \"exec\"\ncommand = [\"/opt/cti\"]\n{text}"));
    let cases: Vec<(String, &str, &[&str])> = vec![
        ("[agent]\npair = \"t\"\nsied = \"a\"\n".into(), ":3:1:", &["`sied`", "did you mean `side`?", "`listen`"]),
        ("[agent]\npair = \"t\"\nside = \"c\"\n".into(), ":3:8:", &["`c`", "`a`", "`b`"]),
        ("[agent]\npair = 5\nside = \"a\"\n".into(), ":2:8:", &["string"]),
        ("[agent]\npair = \"\"\nside = \"a\"\n".into(), ":2:8:", &["`pair` is empty"]),
        ("[agent]\npair = \"t\"\n".into(), ":1:1:", &["missing field `side`"]),
        (format!("{HEAD}listen = \"somewhere\"\n"), ":4:10:", &["socket address"]),
        (format!("{HEAD}state = \"/{}\"\n", "x".repeat(64)), ":4:9:", &["`state`", "64"]),
        (service("name = \"cti\"\ndriver = \"exec\""), ":4:1:", &["`cti`", "no `command`"]),
        (service("name = \"cti\"\ndriver = \"systemd\""), ":4:1:", &["`cti`", "no `unit`"]),
        (service("name = \"cti\"\ndriver = \"sytemd\""), ":6:10:", &["did you mean `systemd`?"]),
        (exec("unit = \"cti.service\""), ":8:8:", &["`unit` belongs to"]),
        (service("name = \"C T I\"\ndriver = \"exec\"\ncommand = [\"x\"]"), ":5:8:", &["`C T I`", "a-z"]),
        (service("name = \"cti\"\ndriver = \"exec\"\ncommand = []"), ":7:11:", &["`command` is empty"]),
        (service("name = \"cti\"\ndriver = \"systemd\"\nunit = \"cti\""), ":7:8:", &["`cti.service`"]),
        (exec("ready = { tcp = \"2011\" }"), ":8:17:", &["`2011`", "HOST:PORT"]),
        (exec("ready = { http = \"ftp://x/\" }"), ":8:18:", &["http://HOST:PORT/PATH"]),
        (exec("ready = { tcp = \"h:1\", notify = true }"), ":8:9:", &["one of"]),
        (exec("ready = { notfy = true }"), ":8:11:", &["did you mean `notify`?"]),
        (exec("ready = { notify = false }"), ":8:20:", &["leave `ready` out"]),
        (exec("alive = { tcp = \"h:1\", timeout = \"1\" }"), ":8:34:", &["`1`", "unit", "`timeout`"]),
        (exec("alive = { tcp = \"h:1\", timeout = \"2h\" }"), ":8:34:", &["`timeout` is 10ms to 60s"]),
        (exec("alive = { timeout = \"1s\" }"), ":8:9:", &["`alive` says one of"]),
        (exec("ready = { tcp = \"h:1\" }\nalive = { notify = true }"), ":9:9:", &["`alive.notify`", "`ready.notify`"]),
        (service("name = \"go\"\ndriver = \"gate\"\ncommand = [\"x\"]"), ":7:11:", &["a gate runs nothing"]),
        (service("name = \"go\"\ndriver = \"gate\"\nready = { tcp = \"h:1\" }"), ":7:9:", &["a person confirms"]),
        (service("name = \"go\"\ndriver = \"gate\"\nalive = { tcp = \"h:1\" }"), ":7:9:", &["a person confirms"]),
        (format!("{HEAD}[[hook]]\nname = \"h\"\ncommand = []"), ":6:11:", &["`command` is empty"]),
        (format!("{HEAD}[[hook]]\nname = \"H\"\ncommand = [\"x\"]"), ":5:8:", &["`H` cannot be a name"]),
        (format!("{HEAD}[replication]\ninterval = \"1s\""), ":4:1:", &["`command` and `file`"]),
        (format!("{HEAD}[replication]\nfile = \"/f\"\ntimeout = \"1s\""), ":6:11:", &["belongs to `command`"]),
        (format!("{HEAD}[lan]\ngateway = \"router\""), ":5:11:", &["`router`", "`auto`, `off` or an address"]),
        (format!("{HEAD}[lan]\ncarrier = \"off\"\ngateway = \"off\""), ":4:1:", &["looks at nothing"]),
        (format!("{HEAD}[lan]\nisolation = \"standdown\""), ":5:13:", &["did you mean `stand-down`?"]),
        (format!("{HEAD}[lan]\nfailures = 0"), ":5:12:", &["1 to 1000"]),
        (format!("{HEAD}[lan]\nneighbours = [\"gw\"]"), ":5:15:", &["`gw`"]),
        (format!("{HEAD}release = {{ fiel = \"x\" }}\n"), ":4:11:", &["`release`"]),
        (exec("[[service]]\nname = \"cti\"\ndriver = \"exec\"\ncommand = [\"x\"]"), ":9:8:", &["named twice"]),
    ];
    for (text, place, words) in cases {
        let error = parse(&text).unwrap_err();
        assert!(error.starts_with(&format!("agent.toml{place}")), "{error}\n{text}");
        for word in words {
            assert!(error.contains(word), "{error} has no {word}");
        }
    }
}
