//! A program and what it has started, ended together: a process group.

use rustix::process::{Pid, Signal, kill_process_group};
use std::io;
use std::process::Stdio;
use tokio::io::AsyncRead;
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};

/// A process group; killed when dropped.
#[derive(Debug)]
pub(crate) struct Family(Option<Pid>);

impl Family {
    /// Starts a program in a group of its own. The words that come back are those of both of its outputs, in their order.
    pub(crate) fn start(mut command: Command) -> io::Result<(Child, Family, impl AsyncRead + Unpin)> {
        let (reader, writer) = io::pipe()?;
        command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer).process_group(0).kill_on_drop(true);
        let child = command.spawn()?;
        // It holds the writing end too.
        drop(command);
        let words = pipe::Receiver::from_owned_fd(reader.into())?;
        let family = Family(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)));
        Ok((child, family, words))
    }

    /// Kills all of it.
    pub(crate) fn kill(&mut self) {
        if let Some(pid) = self.0 {
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }

    /// What is left of it is its own business: it is not killed any more.
    pub(crate) fn leave(mut self) {
        self.0 = None;
    }
}

impl Drop for Family {
    fn drop(&mut self) {
        self.kill();
    }
}
