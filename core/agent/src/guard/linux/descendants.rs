//! This process's children, adopted ones too, and their end.

use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;
use rustix::process::{Signal, kill_process, kill_process_group};
use std::fs;

/// What reaping has found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reaped {
    /// The service's own program has ended, so.
    pub(super) main: Option<WaitStatus>,
    /// No child is left.
    pub(super) none_left: bool,
}

/// Reaps all children that have ended. When `main` is among them, what is left of its process group is killed first:
/// as long as it is not reaped, no stranger can have its number.
pub(super) fn reap(main: Pid) -> Reaped {
    let mut reaped = Reaped { main: None, none_left: false };
    loop {
        match waitid(Id::All, WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT) {
            Ok(WaitStatus::StillAlive) => return reaped,
            Ok(status) => {
                let Some(pid) = status.pid() else { return reaped };
                if pid == main {
                    kill_group(main);
                    reaped.main = Some(status);
                }
                let _ = waitpid(pid, None);
            }
            Err(nix::errno::Errno::EINTR) => {}
            Err(_) => return Reaped { none_left: true, ..reaped },
        }
    }
}

/// Sends a signal to the service's process group; only while its leader is not reaped.
pub(super) fn signal_group(main: Pid, signal: Signal) {
    if let Some(group) = rustix::process::Pid::from_raw(main.as_raw()) {
        let _ = kill_process_group(group, signal);
    }
}

/// Kills the service's process group; only while its leader is not reaped.
pub(super) fn kill_group(main: Pid) {
    signal_group(main, Signal::KILL);
}

/// Kills every child. A grandchild becomes a child when its parent has died: called again until none is left, this
/// reaches all descendants, in whatever group or session they are.
pub(super) fn kill_children() {
    for child in children() {
        let _ = kill_process(child, Signal::KILL);
    }
}

fn children() -> Vec<rustix::process::Pid> {
    let listed = fs::read_to_string("/proc/thread-self/children");
    let numbers: Vec<i32> = match listed {
        Ok(text) => text.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect(),
        Err(_) => children_by_search(),
    };
    numbers.into_iter().filter_map(rustix::process::Pid::from_raw).collect()
}

/// For kernels that are built without `CONFIG_PROC_CHILDREN`.
fn children_by_search() -> Vec<i32> {
    let own = std::process::id();
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| parent(*pid) == Some(own))
        .collect()
}

/// From `/proc/PID/stat`: the second field after the name, and a name may hold anything but ends at the last `)`.
fn parent(pid: i32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_to_find_children_agree() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let found = children_by_search().contains(&i32::try_from(child.id()).unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(found);
    }
}
