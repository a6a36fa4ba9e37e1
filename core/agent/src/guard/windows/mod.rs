//! The Windows half: the guard has a job object, and the kernel ends what is in it when the guard has gone.
//!
//! | what happens | what ends the service | and what the service has started |
//! |---|---|---|
//! | the agent says stop | its own way ([`program`], [`managed`]), then the guard by force | by force |
//! | the agent dies | the same, [`super::ORPHAN_GRACE`] later | the same |
//! | the agent hangs | the guard at [`super::order::Reach::kill`] | the same |
//! | somebody kills the guard | the kernel: the job has lost its last handle | the same |
//! | the guard hangs too | the agent's next life, which finds the guard by the lock | the same |
//!
//! The last row is where Windows has less than Linux: there is no timer that ends a process without anybody's processor
//! time. A guard is a process of high priority that does nothing but wait, in short steps: when a whole machine was stopped
//! and goes on, guards run before what they guard.
//!
//! A program's guard is in its job itself, so there is no moment at which the program is outside. A service of the service
//! control manager is put into its guard's job when its process is first seen.

mod leftovers;
mod managed;
mod pipe;
mod program;
mod watch;

pub(crate) use leftovers::sweep;
pub(crate) use pipe::{Orders, command, program};

use std::ffi::OsString;
use std::process::ExitCode;

/// A guard.
pub(super) fn run(name: OsString, _: impl Iterator<Item = OsString>) -> ExitCode {
    watch::run(&name)
}
