//! The tests of the agent's own rooms, built for Windows and run under Wine.

use crate::site::{story, under_wine};
use std::process::Command;

fn pass(program: &str) {
    let output = under_wine(Command::new("wine"), program).arg("--test-threads=2").output().unwrap();
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    println!("{}", said.lines().rev().find(|line| line.starts_with("test result")).unwrap_or(""));
    assert!(output.status.success(), "{said}");
}

#[test]
fn of_the_wire() {
    story(|_| pass("lockstep-wire-tests.exe"));
}

#[test]
fn of_the_agent() {
    story(|_| pass("lockstep-agent-tests.exe"));
}
