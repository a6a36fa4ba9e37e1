//! What an earlier life of the agent has left of a service.
//!
//! The guard, and a program that it guards, have the service's lock: when it is free, the guard has gone, and the kernel has
//! ended all that was in its job.

use crate::platform::disk::Lock;
use crate::platform::process;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Whether nothing is left. A guard ends its service by itself, and in order, once its agent has died; with `force` it is
/// killed, and its job with it.
pub(crate) fn sweep(lock: &Path, _: bool, force: bool) -> io::Result<bool> {
    if Lock::is_free(lock)? {
        return Ok(true);
    }
    let guard = fs::read_to_string(pid_file(lock)).ok().and_then(|text| text.trim().parse().ok());
    if let Some(pid) = guard.filter(|_| force) {
        tracing::warn!(pid, "kills a guard that an earlier life of the agent has left");
        // One that is no guard any more is not touched, and then the lock is free in a moment.
        let _ = process::terminate_own_kind(pid);
    }
    Ok(false)
}

/// Where a guard says which process it is: nobody can read the lock itself.
pub(super) fn pid_file(lock: &Path) -> PathBuf {
    lock.with_extension("guard")
}
