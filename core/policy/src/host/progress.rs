//! What a worker is doing at this moment: a page that edge and worker share.
//!
//! The worker writes down what it begins before it begins it. So the edge knows which event a worker died of, and how
//! long the present one takes, without asking a process that may not be able to answer.
#![allow(unsafe_code, reason = "memory that two processes share")]

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

const PAGE: usize = 4096;

/// Words of the page. A plugin could write anything there: whatever is read is a number without power.
#[repr(C)]
struct Cells {
    /// Odd while something is being done.
    turn: AtomicU64,
    task: AtomicU64,
    instance: AtomicU64,
    number: AtomicU64,
    /// The worker's thread.
    thread: AtomicU64,
    /// The system call that it died of, and one.
    forbidden: AtomicU64,
}

/// The kinds of work, as [`super::frame::is`] numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Work {
    /// Another one each time.
    pub turn: u64,
    /// The frame's kind; 0: nothing, although there is something to read.
    pub task: u32,
    pub instance: u64,
    pub number: u64,
}

/// The page, in one of the two processes.
#[derive(Debug)]
pub(super) struct Progress {
    cells: NonNull<Cells>,
    memory: OwnedFd,
}

// SAFETY: the cells are atomics, valid for the life of the mapping, which `Progress` owns.
unsafe impl Send for Progress {}
// SAFETY: as above.
unsafe impl Sync for Progress {}

impl Progress {
    pub fn new() -> io::Result<Progress> {
        let memory = memfd_create("lockstep-progress", MemfdFlags::CLOEXEC)?;
        ftruncate(&memory, PAGE as u64)?;
        Progress::of(memory)
    }

    /// The page that the other end has made.
    pub fn of(memory: OwnedFd) -> io::Result<Progress> {
        if rustix::fs::fstat(&memory)?.st_size < PAGE as i64 {
            return Err(io::Error::other("the page of progress is too small"));
        }
        // SAFETY: a fresh mapping where the kernel likes it; the file is a page long, and nobody makes it shorter.
        let page = unsafe {
            mmap(std::ptr::null_mut(), PAGE, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, &memory, 0)
        }?;
        let cells = NonNull::new(page.cast()).ok_or_else(|| io::Error::other("the page of progress lies at 0"))?;
        Ok(Progress { cells, memory })
    }

    pub fn memory(&self) -> BorrowedFd<'_> {
        self.memory.as_fd()
    }

    fn cells(&self) -> &Cells {
        // SAFETY: mapped, aligned to a page, zeroed by the kernel, and all fields are atomics.
        unsafe { self.cells.as_ref() }
    }

    /// Says what is being begun.
    pub fn begin(&self, task: u32, instance: u64, number: u64) {
        let cells = self.cells();
        cells.task.store(task.into(), Ordering::Relaxed);
        cells.instance.store(instance, Ordering::Relaxed);
        cells.number.store(number, Ordering::Relaxed);
        let turn = cells.turn.load(Ordering::Relaxed);
        cells.turn.store((turn | 1).wrapping_add(2 * (turn & 1)), Ordering::Release);
    }

    /// Says that it is done.
    pub fn end(&self) {
        let cells = self.cells();
        let turn = cells.turn.load(Ordering::Relaxed);
        cells.turn.store((turn | 1).wrapping_add(1), Ordering::Release);
    }

    /// What is being done, and whether anything is.
    pub fn work(&self) -> (Work, bool) {
        let cells = self.cells();
        let turn = cells.turn.load(Ordering::Acquire);
        let work = Work {
            turn,
            task: u32::try_from(cells.task.load(Ordering::Relaxed)).unwrap_or(0),
            instance: cells.instance.load(Ordering::Relaxed),
            number: cells.number.load(Ordering::Relaxed),
        };
        (work, turn & 1 == 1)
    }

    pub fn set_thread(&self, thread: u64) {
        self.cells().thread.store(thread, Ordering::Relaxed);
    }

    /// The worker's thread; 0: not known yet.
    pub fn thread(&self) -> u64 {
        self.cells().thread.load(Ordering::Relaxed)
    }

    /// Where a handler of signals writes the number of a system call, and one.
    pub fn forbidden_cell(&self) -> *const AtomicU64 {
        &raw const self.cells().forbidden
    }

    /// The system call that the worker died of.
    pub fn forbidden(&self) -> Option<i64> {
        i64::try_from(self.cells().forbidden.load(Ordering::Relaxed)).ok()?.checked_sub(1).filter(|number| *number >= 0)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        // SAFETY: mapped by `of`, with this length; nobody has a reference to it any more.
        let _ = unsafe { munmap(self.cells.as_ptr().cast(), PAGE) };
    }
}
