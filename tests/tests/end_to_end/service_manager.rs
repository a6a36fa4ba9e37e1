//! The edge as the unit that is shipped, under a real systemd: reload, upgrade, death and stop are what systemd takes them for.
//! Where no systemd can be had, this says so and proves nothing, and fails in CI.

#[path = "../../../core/agent/tests/systemd/manager.rs"]
mod manager;

use crate::configuration;
use crate::knocks::Knocks;
use lockstep_tests::lockstep;
use manager::Manager;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

const EDGE: &str = "lockstep-edge.service";
const SHIPPED: &str = include_str!("../../../deploy/systemd/lockstep-edge.service");
/// What says how systemd treats it. The rest is of the machine's own manager: another user, capabilities, a file system that is read only.
const TREATMENT: [&str; 6] = ["Type", "NotifyAccess", "ExecReload", "Restart", "RestartSec", "TimeoutStopSec"];

/// The unit that is shipped, for a user's manager and a program that is not installed.
fn unit(program: &Path, config: &Path) -> String {
    let is_kept =
        |line: &&str| line.starts_with('[') || line.split_once('=').is_some_and(|(key, _)| TREATMENT.contains(&key));
    let mut lines: Vec<&str> = SHIPPED.lines().filter(is_kept).collect();
    let given = TREATMENT.iter().filter(|key| lines.iter().any(|line| line.starts_with(&format!("{key}="))));
    assert_eq!(given.count(), TREATMENT.len(), "{lines:?}");
    let start = format!("ExecStart={} edge --config {}", program.display(), config.display());
    let service = lines.iter().position(|line| *line == "[Service]").unwrap();
    lines.insert(service + 1, &start);
    lines.join("\n") + "\n"
}

/// A vendor's appliance, whose role moves by its web page.
struct Appliance(Child);

impl Appliance {
    fn start(dir: &Path, [page, app]: [SocketAddr; 2]) -> Appliance {
        let mut command = Command::new(lockstep());
        command.args(["simulate", "appliance", "--side", "a"]);
        command.args(["--listen", &page.to_string(), "--app", &app.to_string()]);
        for file in ["lock", "log", "activity", "calls", "stuck"] {
            command.arg(format!("--{file}")).arg(dir.join(file));
        }
        Appliance(command.process_group(0).spawn().unwrap())
    }
}

impl Drop for Appliance {
    fn drop(&mut self) {
        // And the application that it has started.
        killpg(Pid::from_raw(self.0.id().try_into().unwrap()), Signal::SIGKILL).unwrap();
        self.0.wait().unwrap();
    }
}

/// A pair of which side A is there.
fn configuration(dir: &Path, [listen, admin, page, app]: [SocketAddr; 4]) -> String {
    configuration::trust_plugin(dir, "telisca");
    let (state, plugin) = (dir.join("edge"), lockstep_tests::plugin("telisca"));
    let side = |side: char, app: SocketAddr| {
        format!(
            "[pair.{side}]\nservers = [\"{app}\"]\nactivate = {{ url = \"http://{page}/start\" }}\n\
             stand_down = {{ url = \"http://{page}/stop\" }}\n"
        )
    };
    // Nobody listens on port 1.
    let (a, b) = (side('a', app), side('b', SocketAddr::new(app.ip(), 1)));
    format!(
        "[edge]\nname = \"edge-1\"\nstate = {state:?}\nadmin = \"{admin}\"\n\n[[pair]]\nname = \"telisca\"\n\
         listen = [\"{listen}\"]\n[pair.policy]\nplugin = {plugin:?}\nfast = true\n{a}{b}"
    )
}

fn knock(at: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect(at) else { return false };
    let asked = stream.write_all(b"GET /work HTTP/1.1\r\nHost: vip\r\nConnection: close\r\n\r\n");
    let mut answer = String::new();
    asked.is_ok() && stream.read_to_string(&mut answer).is_ok() && answer.starts_with("HTTP/1.1 200 ")
}

/// How many processes are the edge of that configuration; the manager's numbers of them are of its own namespace.
fn edges(config: &Path) -> usize {
    let lines =
        std::fs::read_dir("/proc").unwrap().filter_map(|entry| std::fs::read(entry.ok()?.path().join("cmdline")).ok());
    let config = config.as_os_str().as_bytes();
    lines.filter(|line| line.split(|byte| *byte == 0).any(|word| word == config)).count()
}

fn until(what: &str, mut is: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is() {
        assert!(begin.elapsed() < Duration::from_secs(20), "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn an_edge_that_is_upgraded_reloaded_killed_and_stopped_is_one_service() {
    let Some(manager) = Manager::start() else { return };
    let dir = manager.directory();
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let on = |port| SocketAddr::from(([127, 1 + high % 250, low, 251], port));
    let [listen, admin, page, app] = [8080, 7480, 8000, 8081].map(on);
    let config = dir.join("edge.toml");
    std::fs::write(&config, configuration(dir, [listen, admin, page, app])).unwrap();
    let _appliance = Appliance::start(dir, [page, app]);
    manager.write(EDGE, &unit(&lockstep(), &config));
    let main = || manager.of(EDGE, "MainPID");
    let restarts = || manager.is(EDGE, "active").then(|| manager.of(EDGE, "NRestarts"));
    let operate = |words: &[&str]| {
        let token = dir.join("edge/admin.token");
        let admin = admin.to_string();
        let said = Command::new(lockstep()).args(words).args(["--admin", &admin, "--token-file"]).arg(token).output();
        let said = said.unwrap();
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        String::from_utf8(said.stdout).unwrap()
    };

    manager.ctl(&["start", EDGE]).expect("it says that it is ready");
    until("side A to serve", || knock(listen));
    let first = main();
    let knocks = Knocks::begin(listen);

    let second = operate(&["upgrade"]).trim().rsplit_once(' ').unwrap().1.to_owned();
    assert_ne!(first, second);
    until("systemd to know who goes on", || main() == second);
    until("the first process to end", || edges(&config) == 1);
    assert_eq!(restarts().as_deref(), Some("0"));

    let text = std::fs::read_to_string(&config).unwrap();
    let further = on(8082);
    std::fs::write(&config, text.replace(&format!("[\"{listen}\"]"), &format!("[\"{listen}\", \"{further}\"]")))
        .unwrap();
    manager.ctl(&["reload", EDGE]).expect("the unit says how");
    until("the one that has taken over to listen there too", || knock(further));
    assert_eq!((main(), restarts().as_deref()), (second.clone(), Some("0")));
    knocks.nothing_lost();

    manager.ctl(&["kill", "-s", "KILL", "--kill-who=main", EDGE]).unwrap();
    until("another", || !["0", &first, &second].contains(&main().as_str()) && knock(listen));
    assert_eq!(restarts().as_deref(), Some("1"));
    manager.ctl(&["stop", EDGE]).unwrap();
    assert!(manager.is(EDGE, "inactive"));
    assert_eq!(manager.of(EDGE, "Result"), "success");
    assert!(!knock(listen));
}
