//! What an earlier life of the agent has left: waited for, and then ended by force.
//!
//! The proof that nothing is left has two halves. The service's lock is free: neither a guard nor anything that has
//! inherited the lock lives. And no process carries the service's mark in its environment: nothing lives that has closed
//! what it inherited. A process that has done both (closed the lock, and was started anew with an empty environment), or
//! that belongs to a user whose processes the agent may not look at, is not found.

use super::{Event, Order, Post};
use crate::guard::{self, MARK};
use lockstep_policy::At;
use lockstep_wire::clock;
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

/// How often the lock is tried.
const TRY: Duration = Duration::from_millis(5);
/// How often it is tried when the system does not let the agent look.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// At every so many tries it is looked for who holds it.
const SEARCH: u32 = 10;

/// A life that began in an earlier life of the agent, or whose guard has died: ends when nothing of the service runs any
/// more. What runs is left to end by itself until `kill_at`, or until an order says otherwise.
pub(crate) async fn end(lock: PathBuf, mut kill_at: Option<At>, mut orders: mpsc::Receiver<Order>, post: Post) {
    let mut listening = true;
    for tries in 0_u32.. {
        let force = kill_at.is_some_and(|at| at <= clock::now());
        let search = force || tries % SEARCH == SEARCH - 1;
        let path = lock.clone();
        let mut pause = TRY;
        match spawn_blocking(move || sweep(&path, search, force)).await {
            Ok(Ok(true)) => return post.say(Event::Gone).await,
            Ok(Ok(false)) => {}
            Ok(Err(error)) => {
                tracing::error!(lock = %lock.display(), %error, "cannot tell what an earlier life has left");
                pause = TRY_AGAIN;
            }
            // The agent is ending.
            Err(_) => return,
        }
        tokio::select! {
            order = orders.recv(), if listening => match order {
                Some(Order::Stop { kill_at: at }) => kill_at = Some(kill_at.map_or(at, |earlier| earlier.min(at))),
                Some(Order::Extend(_) | Order::Release) => {}
                None => listening = false,
            },
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Whether nothing is left. What has lost its guard would never end by itself, and is killed; with `force` everything is.
/// It is found dead the next time.
fn sweep(lock: &Path, search: bool, force: bool) -> io::Result<bool> {
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
    fs::read(format!("/proc/{pid}/comm")).is_ok_and(|name| name.strip_suffix(b"\n") == Some(guard::NAME.to_bytes()))
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
