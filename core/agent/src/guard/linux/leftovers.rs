//! What an earlier life of the agent has left of a service.
//!
//! The proof that nothing is left has two halves. The service's lock is free: neither a guard nor anything that has
//! inherited the lock lives. And no process carries the service's mark in its environment: nothing lives that has closed
//! what it inherited. A process that has done both (closed the lock, and was started anew with an empty environment), or
//! that belongs to a user whose processes the agent may not look at, is not found.

use super::{MARK, NAME};
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Whether nothing is left. What has lost its guard would never end by itself, and is killed; with `force` everything is.
/// It is found dead the next time.
pub(crate) fn sweep(lock: &Path, search: bool, force: bool) -> io::Result<bool> {
    let free = is_free(lock)?;
    if !free && !search {
        return Ok(false);
    }
    let left = processes(|pid| holds(pid, lock) || carries_mark(pid, lock));
    if force || free || !left.iter().any(|pid| is_guard(*pid)) {
        kill(&left);
    }
    Ok(free && left.is_empty())
}

/// A guard that lives ends its service by itself, and in order.
fn is_guard(pid: i32) -> bool {
    fs::read(format!("/proc/{pid}/comm")).is_ok_and(|name| name.strip_suffix(b"\n") == Some(NAME.to_bytes()))
}

fn is_free(lock: &Path) -> io::Result<bool> {
    let file = match File::open(lock) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
    };
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn processes(wanted: impl Fn(i32) -> bool) -> Vec<i32> {
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != own && wanted(*pid))
        .collect()
}

/// Whether the process has the lock file open.
fn holds(pid: i32, lock: &Path) -> bool {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    entries.filter_map(Result::ok).any(|entry| fs::read_link(entry.path()).is_ok_and(|target| target == lock))
}

/// Whether the process was started with the service's mark.
fn carries_mark(pid: i32, lock: &Path) -> bool {
    let mark = [MARK.as_bytes(), b"=", lock.as_os_str().as_bytes()].concat();
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|variable| variable == mark)
}

fn kill(pids: &[i32]) {
    for pid in pids.iter().copied() {
        tracing::warn!(pid, "kills a process that an earlier life of the agent has left");
        if let Some(pid) = Pid::from_raw(pid) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}
