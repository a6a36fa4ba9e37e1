//! Events that end where memory ends, and a sink that takes nothing: a plugin that reads too far, or does not listen,
//! shows it at once.
#![allow(unsafe_code, reason = "maps memory, and calls a plugin's functions")]

use crate::abi::{self, Sink};
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};
use std::ffi::c_void;
use std::io;
use std::ptr;

/// More than the largest batch of the checks.
const ROOM: usize = 1 << 20;
/// No machine's pages are larger.
const PAGE: usize = 64 * 1024;

/// Memory behind whose end any access is a fault.
pub(super) struct Fenced {
    start: *mut c_void,
}

impl Fenced {
    pub(super) fn new() -> io::Result<Fenced> {
        // SAFETY: a new mapping at an address of the kernel's choice touches nothing that is there.
        let start = unsafe {
            mmap_anonymous(ptr::null_mut(), ROOM + PAGE, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)
        }?;
        let fenced = Fenced { start };
        // SAFETY: the last part of our own mapping; nobody refers into it.
        unsafe { mprotect(start.byte_add(ROOM), PAGE, MprotectFlags::empty()) }?;
        Ok(fenced)
    }

    /// The bytes again, with their last one before the fence. They must be a multiple of 8, as records are.
    pub(super) fn put(&mut self, bytes: &[u8]) -> &[u8] {
        assert!(bytes.len() <= ROOM && bytes.len().is_multiple_of(8), "the checks' batches are small and whole");
        // SAFETY: both ranges are valid for so many bytes, and a private mapping overlaps nothing of `bytes`; the result
        // lives no longer than the borrow of `self`.
        unsafe {
            let place = self.start.cast::<u8>().add(ROOM - bytes.len());
            ptr::copy_nonoverlapping(bytes.as_ptr(), place, bytes.len());
            std::slice::from_raw_parts(place, bytes.len())
        }
    }
}

impl Drop for Fenced {
    fn drop(&mut self) {
        // SAFETY: our own mapping, which nobody can refer to any more.
        let _ = unsafe { munmap(self.start, ROOM + PAGE) };
    }
}

/// A sink that is full from the start.
pub(super) fn full_sink() -> Sink {
    unsafe extern "C" fn put(_: *mut Sink, _: *const u8, _: usize) -> i32 {
        abi::FULL
    }
    Sink { put: Some(put) }
}
