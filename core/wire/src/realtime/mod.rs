//! A process whose leases are short asks the kernel to be served first, and to stay in memory.
//!
//! The threads that carry leases get a real-time priority; what they start does not inherit it. A refusal is no failure: leases are
//! then as sure as the machine is idle, and the log says what would permit more.

#[cfg(target_os = "linux")]
mod linux;

use std::time::Duration;

/// With a lease shorter than that, a busy machine's delays are a good part of it: it is asked.
pub const SHORT: Duration = Duration::from_secs(1);
/// With one shorter than that, they may be all of it: a refusal is a warning.
pub const VERY_SHORT: Duration = Duration::from_millis(300);

/// Asks once in a process's life, when it has a lease that is so short. `whom` is for the log: the agent, the edge. Waits for nothing;
/// to be called on a runtime.
pub fn ask_once(ttl: Duration, whom: &'static str) {
    if ttl < SHORT {
        ask(whom, ttl < VERY_SHORT);
    }
}

#[cfg(target_os = "linux")]
fn ask(whom: &'static str, needed: bool) {
    static ASKED: std::sync::Once = std::sync::Once::new();
    // It starts programs, which takes some milliseconds.
    ASKED.call_once(|| drop(tokio::task::spawn_blocking(move || linux::ask().note(whom, needed))));
}

/// Elsewhere threads are as they are.
#[cfg(not(target_os = "linux"))]
fn ask(_: &'static str, _: bool) {}
