//! What lies between the two sockets of a direction: a pipe, through which the kernel passes bytes without copying them
//! (splice(2)); where it refuses to, a buffer.

use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// What a direction may hold. A kernel that is short of pipe memory gives less, which is no harm.
const PIPE_SIZE: usize = 256 * 1024;
const BUFFER_SIZE: usize = 32 * 1024;
/// Empty pipes that a thread keeps for the next ones: making one costs more than what it passes as a rule.
const SPARE_MAX: usize = 64;

thread_local! {
    static SPARE: RefCell<Vec<Pipe>> = const { RefCell::new(Vec::new()) };
}

#[derive(Debug)]
struct Pipe {
    out: OwnedFd,
    into: OwnedFd,
}

impl Pipe {
    fn take() -> io::Result<Pipe> {
        if let Some(spare) = SPARE.with_borrow_mut(Vec::pop) {
            return Ok(spare);
        }
        let (out, into) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // Beyond what a user may have, it stays as it was made.
        let _ = fcntl_setpipe_size(&into, PIPE_SIZE);
        Ok(Pipe { out, into })
    }

    /// For the next one. It must be empty.
    fn keep(self) {
        SPARE.with_borrow_mut(|spare| {
            if spare.len() < SPARE_MAX {
                spare.push(self);
            }
        });
    }
}

#[derive(Debug)]
enum By {
    Pipe(Pipe),
    Buffer(Box<[u8]>),
}

/// Holds what has been read of one direction and not yet been written.
#[derive(Debug)]
pub(in crate::proxy) struct Between {
    by: Option<By>,
    held: usize,
    /// In the buffer, before what is held.
    gone: usize,
    splices: bool,
}

impl Default for Between {
    fn default() -> Between {
        Between { by: None, held: 0, gone: 0, splices: true }
    }
}

impl Between {
    /// One that asks the kernel for nothing.
    pub(super) fn buffered() -> Between {
        Between { splices: false, ..Between::default() }
    }

    pub(in crate::proxy) fn held(&self) -> usize {
        self.held
    }

    /// Reads what there is, as much as there is room for. 0: the other end has sent all. To be called while nothing is held.
    pub(super) fn fill(&mut self, from: impl AsFd) -> io::Result<usize> {
        self.fill_at_most(from, PIPE_SIZE)
    }

    /// As [`fill`](Between::fill) does, and no more than so many bytes.
    pub(in crate::proxy) fn fill_at_most(&mut self, from: impl AsFd, most: usize) -> io::Result<usize> {
        let read = loop {
            let by = match &mut self.by {
                Some(by) => by,
                none => none.insert(Between::means(&mut self.splices)),
            };
            match by {
                By::Pipe(pipe) => match splice(&from, None, &pipe.into, None, most.min(PIPE_SIZE), SPLICE) {
                    Err(Errno::INVAL | Errno::NOSYS | Errno::PERM) => {
                        self.splices = false;
                        self.by = None;
                    }
                    read => break read?,
                },
                By::Buffer(buffer) => {
                    let most = most.min(buffer.len());
                    break rustix::io::read(&from, &mut buffer[..most])?;
                }
            }
        };
        self.held = read;
        Ok(read)
    }

    fn means(splices: &mut bool) -> By {
        match splices.then(Pipe::take) {
            Some(Ok(pipe)) => By::Pipe(pipe),
            // No descriptor, as a rule: the next time there may be one.
            Some(Err(_)) | None => By::Buffer(vec![0; BUFFER_SIZE].into()),
        }
    }

    /// Writes what is held, as much as is taken.
    pub(in crate::proxy) fn empty(&mut self, into: impl AsFd) -> io::Result<usize> {
        let written = loop {
            match &self.by {
                None => return Ok(0),
                Some(By::Pipe(pipe)) => match splice(&pipe.out, None, &into, None, self.held, SPLICE) {
                    Err(Errno::INVAL | Errno::NOSYS | Errno::PERM) => {
                        self.splices = false;
                        let mut buffer = vec![0; self.held].into_boxed_slice();
                        let mut read = 0;
                        while read < self.held {
                            read += rustix::io::read(&pipe.out, &mut buffer[read..])?;
                        }
                        (self.by, self.gone) = (Some(By::Buffer(buffer)), 0);
                    }
                    written => break written?,
                },
                Some(By::Buffer(buffer)) => {
                    let held = &buffer[self.gone..self.gone + self.held];
                    break send(&into, held, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)?;
                }
            }
        };
        self.gave(written);
        Ok(written)
    }

    /// Room for what is read otherwise than from a socket, of one that is buffered. To be called while nothing is held.
    pub(super) fn room(&mut self) -> &mut [u8] {
        if !matches!(self.by, Some(By::Buffer(_))) {
            self.by = Some(By::Buffer(vec![0; BUFFER_SIZE].into()));
        }
        match &mut self.by {
            Some(By::Buffer(buffer)) => buffer,
            _ => &mut [],
        }
    }

    /// So many bytes were put where there was room.
    pub(super) fn holds(&mut self, bytes: usize) {
        (self.held, self.gone) = (bytes, 0);
    }

    /// What is held, of one that is buffered.
    pub(super) fn bytes(&self) -> &[u8] {
        match &self.by {
            Some(By::Buffer(buffer)) => &buffer[self.gone..self.gone + self.held],
            _ => &[],
        }
    }

    /// So many of these were written.
    pub(super) fn gave(&mut self, bytes: usize) {
        self.held -= bytes;
        self.gone = if self.held == 0 { 0 } else { self.gone + bytes };
    }

    /// Gives back what an idle direction does not need.
    pub(in crate::proxy) fn rest(&mut self) {
        if self.held == 0
            && let Some(By::Pipe(pipe)) = self.by.take()
        {
            pipe.keep();
        }
    }
}

const SPLICE: SpliceFlags = SpliceFlags::NONBLOCK.union(SpliceFlags::MOVE);
