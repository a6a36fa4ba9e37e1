//! The simulated programs as processes, and the verbs' exit codes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic, in the functions that it calls too")]

use lockstep_demo::activity::{self, Mark};
use lockstep_demo::lock::ActiveLock;
use lockstep_demo::play::processes::{DEMO, of_demo};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// No step of these programs takes nearly as long.
const PATIENCE: Duration = Duration::from_secs(20);

fn lockstep() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockstep"));
    command.env_remove("LOCKSTEP_ADMIN").env_remove("LOCKSTEP_TOKEN_FILE");
    command
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap())
}

fn until(what: &str, mut is: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is() {
        assert!(begin.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A CTI service that has said READY.
fn ready_cti(dir: &Path) -> Child {
    let notify = UnixDatagram::bind(dir.join("notify")).unwrap();
    notify.set_read_timeout(Some(PATIENCE)).unwrap();
    let cti = lockstep()
        .args(["simulate", "cti", "--side", "a", "--start-time", "20ms", "--stop-time", "300ms"])
        .arg("--lock")
        .arg(dir.join("lock"))
        .arg("--log")
        .arg(dir.join("log"))
        .env("NOTIFY_SOCKET", dir.join("notify"))
        .spawn()
        .unwrap();
    let mut word = [0u8; 64];
    let length = notify.recv(&mut word).unwrap();
    assert_eq!(&word[..length], b"READY=1");
    cti
}

#[test]
fn a_cti_is_active_from_ready_until_it_is_told_to_stop_and_runs_until_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let lock = ActiveLock::open(&dir.path().join("lock")).unwrap();
    let mut cti = ready_cti(dir.path());
    assert!(lock.held_by_another().unwrap());
    kill(pid(&cti), Signal::SIGTERM).unwrap();
    until("the lock's release", || !lock.held_by_another().unwrap());
    assert!(cti.try_wait().unwrap().is_none(), "it takes 300 ms to stop");
    assert!(cti.wait().unwrap().success());

    let log = activity::read(&dir.path().join("log")).unwrap();
    let marks: Vec<_> = log.iter().map(|instant| instant.mark).filter(|mark| *mark != Mark::Alive).collect();
    assert_eq!(marks, [Mark::Start, Mark::Active, Mark::Stopping, Mark::End]);
    let stopping = log.iter().find(|instant| instant.mark == Mark::Stopping).unwrap();
    assert!(
        log.iter().any(|instant| instant.mark == Mark::Alive && instant.at > stopping.at),
        "it ticks while it stops"
    );
}

#[test]
fn a_killed_cti_is_active_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let lock = ActiveLock::open(&dir.path().join("lock")).unwrap();
    let mut cti = ready_cti(dir.path());
    cti.kill().unwrap();
    cti.wait().unwrap();
    assert!(!lock.held_by_another().unwrap());
}

#[test]
fn the_keeper_kills_what_is_left_also_what_is_stopped_or_has_left_its_session() {
    let dir = tempfile::tempdir().unwrap();
    let mut keeper =
        lockstep().args(["simulate", "keeper", "--dir"]).arg(dir.path()).stdin(Stdio::piped()).spawn().unwrap();
    let mut stopped = Command::new("sleep").arg("1000").env(DEMO, dir.path()).spawn().unwrap();
    kill(pid(&stopped), Signal::SIGSTOP).unwrap();
    let mut detached = Command::new("setsid").args(["sleep", "1000"]).env(DEMO, dir.path()).spawn().unwrap();
    until("both", || of_demo(dir.path()).unwrap().len() == 2);
    drop(keeper.stdin.take());
    assert!(keeper.wait().unwrap().success());
    assert!(of_demo(dir.path()).unwrap().is_empty());
    stopped.wait().unwrap();
    detached.wait().unwrap();
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn exit_codes_are_as_the_help_says() {
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, "0123").unwrap();

    let usage = lockstep().args(["switch", "telisca", "--to", "c"]).output().unwrap();
    assert_eq!(usage.status.code(), Some(2), "{}", said(&usage));
    assert!(said(&usage).contains("`c` is not a side"), "{}", said(&usage));

    // Nobody listens on port 1.
    let nobody = lockstep().args(["status", "--admin", "127.0.0.1:1", "--token-file"]).arg(&token).output().unwrap();
    assert_eq!(nobody.status.code(), Some(3), "{}", said(&nobody));
    assert!(said(&nobody).contains("is `lockstep edge` running?"), "{}", said(&nobody));

    let file = dir.path().join("edge.toml");
    std::fs::write(&file, "[edge]\nnmae = \"x\"\n").unwrap();
    let invalid = lockstep().arg("check").arg(&file).output().unwrap();
    assert_eq!(invalid.status.code(), Some(1), "{}", said(&invalid));
    assert!(said(&invalid).contains("edge.toml:2:"), "{}", said(&invalid));
    assert!(said(&invalid).contains("`name`"), "{}", said(&invalid));
}

#[test]
fn check_takes_an_agents_configuration_too_and_warns_of_what_nothing_bounds() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("agent.toml");
    let good = r#"[agent]
pair = "telisca"
side = "a"
tls = { insecure = true }

[[service]]
name = "cti"
driver = "http"
exclusive = true
start = { url = "http://10.0.0.9/on" }
stop = { url = "http://10.0.0.9/off" }
"#;
    let told = |output: &Output| String::from_utf8_lossy(&output.stdout).into_owned() + &said(output);
    let check = |text: &str| {
        std::fs::write(&file, text).unwrap();
        lockstep().arg("check").arg(&file).output().unwrap()
    };
    let valid = check(good);
    assert_eq!(valid.status.code(), Some(0), "{}", told(&valid));
    for word in ["agent.toml: valid", "warning: service `cti` is unbound", "`kill`"] {
        assert!(told(&valid).contains(word), "{}", told(&valid));
    }
    let bound = check(&format!("{good}kill = [\"/opt/power-off\"]\n"));
    assert!(!told(&bound).contains("unbound"), "{}", told(&bound));
    let invalid = check(&format!("{good}retrys = 3\n"));
    assert_eq!(invalid.status.code(), Some(1), "{}", told(&invalid));
    for word in ["agent.toml:12:1:", "`retrys`", "did you mean `retries`?"] {
        assert!(told(&invalid).contains(word), "{}", told(&invalid));
    }
}
