//! The demo judges rightly, and leaves nothing behind.

use lockstep_demo::play::processes::of_demo;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

fn demo(dir: &Path) -> Command {
    let plugin = Path::new(env!("CARGO_BIN_EXE_lockstep")).with_file_name("liblockstep_telisca.so");
    assert!(
        plugin.exists(),
        "{} is missing: `cargo build --workspace` makes it, as `make test` does",
        plugin.display()
    );
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockstep"));
    command.args(["demo", "--rate", "200", "--cti-start", "150ms", "--dir"]).arg(dir);
    command
}

fn text(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// I1, I2, I6 on real processes, through every fault of the demo.
#[test]
fn the_play_loses_nothing_that_it_must_not() {
    let dir = tempfile::tempdir().unwrap();
    let output = demo(dir.path()).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).contains("both CTI services at once: never"), "{}", text(&output));
    assert!(of_demo(&dir.path().canonicalize().unwrap()).unwrap().is_empty());
}

/// The check can fail: agents that do not fence are found out.
#[test]
#[cfg(debug_assertions)]
fn the_play_notices_when_fencing_is_disabled() {
    let dir = tempfile::tempdir().unwrap();
    let output = demo(dir.path()).arg("--unfenced-on-purpose").output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("both CTI services at once: "), "{}", text(&output));
    assert!(!text(&output).contains("both CTI services at once: never"), "{}", text(&output));
}

#[test]
fn nothing_outlives_a_demo_that_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let mut killed = demo(dir.path()).stdout(Stdio::null()).spawn().unwrap();
    let dir = dir.path().canonicalize().unwrap();
    let begin = Instant::now();
    let patience = Duration::from_secs(60);
    // Edge, agents, guards, applications, one CTI, client.
    while of_demo(&dir).unwrap().len() < 10 {
        assert!(begin.elapsed() < patience, "it does not start: {:?}", of_demo(&dir));
        assert!(killed.try_wait().unwrap().is_none(), "it has ended");
        std::thread::sleep(Duration::from_millis(20));
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    let begin = Instant::now();
    while !of_demo(&dir).unwrap().is_empty() {
        assert!(begin.elapsed() < patience, "it lives on: {:?}", of_demo(&dir));
        std::thread::sleep(Duration::from_millis(20));
    }
}
