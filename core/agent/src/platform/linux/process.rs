//! This process, and others by their number.

use rustix::process::{Signal, getpid, kill_process};

/// Whether a process is stopped or has ended, for a person to read; none: it is neither, or cannot be seen.
pub(crate) fn fault(pid: u32) -> Option<&'static str> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok().filter(|_| pid != 0)?;
    match stat.rsplit_once(") ")?.1.chars().next()? {
        'T' | 't' => Some("is stopped"),
        'Z' | 'X' => Some("has ended"),
        _ => None,
    }
}

/// Ends this process without a word to anyone.
pub(crate) fn die() {
    let _ = kill_process(getpid(), Signal::KILL);
}
