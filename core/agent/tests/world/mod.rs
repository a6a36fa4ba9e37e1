//! What the tests of this room share: a guard driven by hand, an agent as a process, an edge that speaks to it.
#![allow(dead_code, reason = "each test uses its part")]

pub mod agent;
pub mod edge;
pub mod guard;
pub mod http;
pub mod network;
pub mod process;
pub mod remote;

use std::time::{Duration, Instant};

/// The program that is agent and guard.
pub const RIG: &str = env!("CARGO_BIN_EXE_lockstep-agent-rig");

/// Far more than anything here takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until something is there.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "waited {PATIENCE:?} for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Waits until something is so.
pub fn wait_until(what: &str, mut look: impl FnMut() -> bool) {
    wait_for(what, || look().then_some(()));
}
