//! The guard: one small process for each service that the agent runs itself.
//!
//! It exists for one sentence: *when it has gone, the service has gone*. Each of these ends the service:
//!
//! | what happens | what ends the service | and what the service has started |
//! |---|---|---|
//! | the agent says stop | TERM, then KILL, by the guard | TERM with the process group; KILL by the guard, each by each |
//! | the agent dies | the same, [`ORPHAN_GRACE`] later | the same |
//! | the agent hangs, or is stopped | KILL by the guard at [`order::Reach::kill`] | the same |
//! | the guard too is stopped (SIGSTOP) | a kernel timer wakes it at [`order::Reach::kill`], and it kills | the same |
//! | the guard hangs, or is frozen | a kernel timer kills it at [`order::Reach::end`], and the service dies by its parent-death signal | goes on until an agent starts again and finds it |
//! | somebody kills the guard | the parent-death signal | the agent finds and kills it |
//!
//! The kernel needs no user space for what stands in the last two rows. A process that has left the service's process
//! group, and even one that has left its session, is still the guard's descendant: the guard is its subreaper.
//!
//! The guard holds an exclusive lock on the service's lock file, and the service and all that it starts inherit the
//! descriptor: as long as the lock is held, something of the service lives.
//!
//! No part of this runs in the agent's process. That is Linux; what stands in its place on Windows is told in `windows`.

#[cfg(not(windows))]
mod linux;
pub(crate) mod order;
#[cfg(windows)]
mod windows;

#[cfg(not(windows))]
use linux as system;
#[cfg(windows)]
use windows as system;

#[cfg(not(windows))]
pub(crate) use linux::{OwnSwitch, alarm};
pub(crate) use system::{Orders, command, program, sweep};

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

/// How long a service goes on after its agent has died: the edge sees the broken connection within this, and holds
/// requests before the service is gone.
pub const ORPHAN_GRACE: Duration = Duration::from_millis(100);

/// How much longer an exclusive service goes on then: a guard for each means no common order, and an application that
/// outlives its CTI by a moment answers as a standby in it.
const ORPHAN_LEAD: Duration = Duration::from_millis(30);

/// The hidden subcommand `lockstep guard`: `args` is what follows the word `guard`.
///
/// The agent starts `PROGRAM guard NAME`, where `PROGRAM` is the agent's own build.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut args = args.into_iter();
    match args.next() {
        Some(first) => system::run(first, args),
        None => {
            eprintln!("lockstep guard: started by an agent for one of its services, never by hand");
            ExitCode::from(2)
        }
    }
}
