//! The agent's end of a guard.

use super::lines;
use crate::guard::order::Order;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use tokio::process::{ChildStdin, Command};

/// The program that is started as `PROGRAM guard …`: the agent's own build, even while its file is being replaced.
pub(crate) fn program() -> PathBuf {
    PathBuf::from("/proc/self/exe")
}

/// A guard that is to be started.
pub(crate) fn command(program: &Path, name: &str) -> Command {
    let mut command = Command::new(program);
    // A group of its own: what a terminal sends to the agent is not for its guards.
    command.arg0("lockstep").args(["guard", name]).process_group(0);
    command
}

/// The pipe to a guard.
#[derive(Debug)]
pub(crate) struct Orders(OwnedFd);

impl Orders {
    pub(crate) fn new(pipe: ChildStdin) -> io::Result<Orders> {
        let pipe = pipe.into_owned_fd()?;
        lines::never_wait(pipe.as_fd())?;
        Ok(Orders(pipe))
    }

    /// At once or not at all.
    pub(crate) fn write(&self, order: &Order) -> io::Result<()> {
        lines::write(&self.0, order)
    }
}
