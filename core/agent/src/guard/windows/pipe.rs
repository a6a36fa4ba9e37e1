//! The agent's end of a guard.

use crate::guard::order::{LINE_MAX, Order};
use crate::platform::family::CREATE_NO_WINDOW;
use std::io;
use std::path::{Path, PathBuf};
use tokio::io::AsyncWriteExt as _;
use tokio::process::{ChildStdin, Command};
use tokio::sync::mpsc;

/// A group of its own: what a console sends to the agent is not for its guards.
const CREATE_NEW_PROCESS_GROUP: u32 = 0x0000_0200;
/// So many orders may wait for a guard: far more than it is ever behind.
const WAITING: usize = 64;

/// The program that is started as `PROGRAM guard …`: this one, whose file cannot be replaced while it runs.
pub(crate) fn program() -> PathBuf {
    std::env::current_exe().unwrap_or_else(|_| PathBuf::from("lockstep.exe"))
}

/// A guard that is to be started.
pub(crate) fn command(program: &Path, name: &str) -> Command {
    let mut command = Command::new(program);
    command.args(["guard", name]).creation_flags(CREATE_NO_WINDOW | CREATE_NEW_PROCESS_GROUP);
    command
}

/// The pipe to a guard. A task writes to it, because a pipe of Windows cannot be told never to wait.
#[derive(Debug)]
pub(crate) struct Orders(mpsc::Sender<Vec<u8>>);

impl Orders {
    pub(crate) fn new(mut pipe: ChildStdin) -> io::Result<Orders> {
        let (lines, mut queue) = mpsc::channel::<Vec<u8>>(WAITING);
        tokio::spawn(async move {
            while let Some(line) = queue.recv().await {
                if pipe.write_all(&line).await.is_err() || pipe.flush().await.is_err() {
                    return;
                }
            }
        });
        Ok(Orders(lines))
    }

    /// Hands it to the task, at once or not at all.
    pub(crate) fn write(&self, order: &Order) -> io::Result<()> {
        let mut line = serde_json::to_vec(order)?;
        line.push(b'\n');
        if line.len() > LINE_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.try_send(line).map_err(io::Error::other)
    }
}
