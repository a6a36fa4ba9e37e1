//! What a configuration may say, and the sentence for what it may not.

use super::*;
use std::path::Path;

fn parse(text: &str) -> Result<Config, String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("agent.toml");
    std::fs::write(&path, text).unwrap();
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
fn what_is_left_out_is_safe() {
    let config = parse(HEAD).unwrap();
    assert_eq!(config.listen.to_string(), "127.0.0.1:7401");
    assert_eq!(config.state, Path::new("/var/lib/lockstep-agent"));
    assert!(config.services.is_empty());
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
