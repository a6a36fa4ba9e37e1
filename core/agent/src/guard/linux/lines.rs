//! Lines from a pipe that is never waited for, and lines into one.

use crate::guard::order::LINE_MAX;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// Makes reads and writes return at once.
pub(super) fn never_wait(pipe: BorrowedFd<'_>) -> rustix::io::Result<()> {
    fcntl_setfl(pipe, fcntl_getfl(pipe)? | OFlags::NONBLOCK)
}

/// The reading end of a pipe, line by line.
#[derive(Debug, Default)]
pub(super) struct Lines {
    pending: Vec<u8>,
    /// The writer has gone, or has broken the rules: nothing more comes.
    pub(super) closed: bool,
}

impl Lines {
    /// Takes in what is there.
    pub(super) fn fill(&mut self, pipe: impl AsFd) {
        let mut chunk = [0; 4096];
        while !self.closed {
            match rustix::io::read(pipe.as_fd(), &mut chunk[..]) {
                Ok(0) => self.closed = true,
                Ok(count) => self.pending.extend_from_slice(&chunk[..count]),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(_) => self.closed = true,
            }
            self.closed |= self.pending.len() > 2 * LINE_MAX;
        }
    }

    /// The next whole line. One that cannot be read closes the pipe: an agent that cannot be understood is a dead one.
    pub(super) fn next<T: DeserializeOwned>(&mut self) -> Option<T> {
        let end = self.pending.iter().position(|byte| *byte == b'\n')?;
        let line: Vec<u8> = self.pending.drain(..=end).collect();
        match serde_json::from_slice(&line) {
            Ok(value) => Some(value),
            Err(_) => {
                self.closed = true;
                None
            }
        }
    }
}

/// Writes one line, at once or not at all: neither agent nor guard waits for the other.
pub(super) fn write(pipe: impl AsFd, value: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    if line.len() > LINE_MAX {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    match rustix::io::write(pipe.as_fd(), &line)? {
        count if count == line.len() => Ok(()),
        _ => Err(io::ErrorKind::WriteZero.into()),
    }
}
