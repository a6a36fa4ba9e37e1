//! The Linux half: the guard is the parent of its service, and the kernel's timers and signals are behind it.
//!
//! No part of this uses threads: a second start of the same program ([`stage`]) sets what must be set between fork and
//! exec.

pub(crate) mod alarm;
mod deadman;
mod descendants;
mod last;
mod leftovers;
mod lines;
mod own;
mod pipe;
mod stage;
mod watch;

pub(crate) use leftovers::sweep;
pub(crate) use own::OwnSwitch;
pub(crate) use pipe::{Orders, command, program};

use std::ffi::{CStr, OsString};
use std::process::ExitCode;

/// What a guard's process is called.
const NAME: &CStr = c"lockstep-guard";

/// A service's environment names its lock file here, so that what has closed the inherited lock is found too.
const MARK: &str = "LOCKSTEP_GUARDED";

/// A guard, or the stage between it and its service.
pub(super) fn run(first: OsString, rest: impl Iterator<Item = OsString>) -> ExitCode {
    if first == stage::FLAG { stage::run(rest) } else { watch::run(&first) }
}
