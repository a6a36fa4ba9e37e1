//! The program as who installs it meets it: what it says, and its exit codes. What the agent does is tested in its own room, and end to end.
#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

use std::path::PathBuf;
use std::process::{Command, Output};

const AGENT: &str = "[agent]\npair = \"telisca\"\nside = \"a\"\ntls = { insecure = true }\n";

fn said(words: &[&str]) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_lockstep-agent")).args(words).output().unwrap();
    (status.code(), String::from_utf8([stdout, stderr].concat()).unwrap())
}

fn configured(dir: &tempfile::TempDir, text: &str) -> PathBuf {
    let file = dir.path().join("agent.toml");
    std::fs::write(&file, text).unwrap();
    file
}

#[test]
fn it_says_its_version() {
    assert_eq!(said(&["--version"]), (Some(0), format!("lockstep-agent {}\n", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn a_configuration_is_checked_before_it_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let file = configured(&dir, AGENT);
    let name = file.to_str().unwrap();
    assert_eq!(said(&["check", name]), (Some(0), format!("{name}: valid\n")));

    configured(&dir, &AGENT.replace("side = \"a\"", "side = \"c\""));
    for words in [["check", name], ["--config", name]] {
        let (code, text) = said(&words);
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains("agent.toml:3"), "it names the line: {text}");
    }
    assert_eq!(said(&["edge"]).0, Some(2), "the edge is another program");
}
