//! The demo's processes, wherever they are in the tree: each carries a mark in its environment, which its descendants
//! inherit.
//!
//! So a whole node can be stopped like a machine that hangs, and nothing outlives the demo: a *keeper* waits for the
//! demo's end, also by SIGKILL, and then kills what carries the mark, whether it is stopped, orphaned or in a session
//! of its own.

use lockstep_policy::Side;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

/// The mark of all processes of a demo; its value is the demo's directory.
pub const DEMO: &str = "LOCKSTEP_DEMO";
/// The mark of all processes of a node; its value is the side.
pub const NODE: &str = "LOCKSTEP_DEMO_NODE";

/// One process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: Pid,
    /// The words that it was started with.
    pub command: Vec<String>,
}

impl Process {
    /// Whether it runs one of the binary's verbs: `["agent"]`, `["simulate", "app"]`.
    #[must_use]
    pub fn runs(&self, verb: &[&str]) -> bool {
        self.command.len() > verb.len() && self.command[1..].iter().zip(verb).all(|(word, wanted)| word == wanted)
    }
}

/// The processes of a demo, in the order of their numbers.
///
/// # Errors
/// `/proc` cannot be read.
pub fn of_demo(dir: &Path) -> io::Result<Vec<Process>> {
    marked(&[(DEMO, dir.as_os_str().as_encoded_bytes())])
}

/// The processes of one node of a demo.
///
/// # Errors
/// `/proc` cannot be read.
pub fn of_node(dir: &Path, side: Side) -> io::Result<Vec<Process>> {
    marked(&[(DEMO, dir.as_os_str().as_encoded_bytes()), (NODE, side.to_string().as_bytes())])
}

fn marked(marks: &[(&str, &[u8])]) -> io::Result<Vec<Process>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // It may have ended by now, or be somebody else's.
        let Ok(environment) = std::fs::read(format!("/proc/{pid}/environ")) else { continue };
        let has = |(name, value): &(&str, &[u8])| {
            environment.split(|byte| *byte == 0).any(|entry| {
                entry
                    .strip_prefix(name.as_bytes())
                    .and_then(|rest| rest.strip_prefix(b"="))
                    .is_some_and(|is| is == *value)
            })
        };
        if marks.iter().all(has) {
            let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let command =
                words.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
            found.push(Process { pid: Pid::from_raw(pid), command });
        }
    }
    found.sort_by_key(|process| process.pid);
    Ok(found)
}

/// Sends a signal to each; one that has ended is passed over.
pub fn signal_all(processes: &[Process], signal: Signal) {
    for process in processes {
        let _ = kill(process.pid, signal);
    }
}

/// Waits until whoever holds the other end of its input has gone, then kills every process of the demo.
///
/// # Errors
/// Some could not be killed.
pub fn keep(dir: &Path) -> anyhow::Result<()> {
    let mut ignored = [0u8; 64];
    let mut input = io::stdin().lock();
    while matches!(input.read(&mut ignored), Ok(1..)) {}
    // A process may start another while it is being killed: look again until there is none.
    for _ in 0..200 {
        let left = of_demo(dir)?;
        if left.is_empty() {
            return Ok(());
        }
        signal_all(&left, Signal::SIGKILL);
        std::thread::sleep(Duration::from_millis(25));
    }
    anyhow::bail!("processes of the demo in {} cannot be killed: {:?}", dir.display(), of_demo(dir)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn finds_marked_processes_and_no_others() {
        let dir = tempfile::tempdir().unwrap();
        let mut node = Command::new("sleep").arg("100").env(DEMO, dir.path()).env(NODE, "a").spawn().unwrap();
        let mut other = Command::new("sleep").arg("100").spawn().unwrap();
        // Between fork and exec a process has no environment of its own.
        let patience = std::time::Instant::now() + Duration::from_secs(10);
        while of_demo(dir.path()).unwrap().is_empty() && std::time::Instant::now() < patience {
            std::thread::yield_now();
        }
        let pids =
            |found: Vec<Process>| found.iter().map(|process| process.pid.as_raw().unsigned_abs()).collect::<Vec<_>>();
        assert_eq!(pids(of_demo(dir.path()).unwrap()), [node.id()]);
        assert_eq!(pids(of_node(dir.path(), Side::A).unwrap()), [node.id()]);
        assert!(of_node(dir.path(), Side::B).unwrap().is_empty());
        assert!(of_demo(dir.path()).unwrap()[0].runs(&["100"]));
        signal_all(&of_demo(dir.path()).unwrap(), Signal::SIGKILL);
        node.wait().unwrap();
        assert!(other.try_wait().unwrap().is_none());
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
