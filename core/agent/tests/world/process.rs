//! Processes by their number.

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use std::path::Path;

/// Whether a process lives. One that has ended and is not reaped yet does not.
pub fn lives(pid: u32) -> bool {
    test_kill_process(number(pid)).is_ok() && state(pid).is_some_and(|state| state != 'Z' && state != 'X')
}

/// Whether a process is stopped.
pub fn is_stopped(pid: u32) -> bool {
    state(pid) == Some('T')
}

/// Whether a process waits for something.
pub fn sleeps(pid: u32) -> bool {
    state(pid) == Some('S')
}

fn state(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

pub fn send(pid: u32, signal: Signal) {
    kill_process(number(pid), signal).unwrap();
}

/// Stops a process and waits until it is.
pub fn stop(pid: u32) {
    send(pid, Signal::STOP);
    super::wait_until("a stopped process", || is_stopped(pid));
}

/// The number that a service has written to a file.
pub fn written(path: &Path) -> u32 {
    super::wait_for("a pid file", || std::fs::read_to_string(path).ok()?.strip_suffix('\n')?.parse().ok())
}

fn number(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).unwrap()).unwrap()
}
