//! Where a plugin puts its answers: copies, and takes no more than it should.
#![allow(unsafe_code, reason = "the host's side of the C boundary")]

use crate::abi::{self, Sink};
use std::slice;

/// The most bytes of one answer.
const MAX_BYTES: usize = 256 * 1024;
/// The most pieces of one answer: the actions of a step.
const MAX_PIECES: usize = 256;

/// Copies what a plugin puts into it.
#[repr(C)]
#[derive(Debug)]
pub(super) struct Collector {
    /// First, so that a pointer to it is a pointer to the collector.
    sink: Sink,
    bytes: Vec<u8>,
    /// Where each piece ends.
    ends: Vec<usize>,
    refused: Option<String>,
}

impl Collector {
    pub(super) fn new() -> Collector {
        Collector { sink: Sink { put: Some(put) }, bytes: Vec::new(), ends: Vec::new(), refused: None }
    }

    /// To hand to a plugin for one call.
    pub(super) fn as_sink(&mut self) -> *mut Sink {
        (&raw mut *self).cast()
    }

    /// Empties it, keeping its memory.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.refused = None;
    }

    /// Which bound was passed.
    pub(super) fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    /// Each piece that was put.
    pub(super) fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.bytes[start..*end])
    }

    /// All pieces joined, as text; what is not UTF-8 is replaced.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// All pieces joined.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn take(&mut self, piece: &[u8]) -> i32 {
        let refusal = if self.ends.len() >= MAX_PIECES {
            Some(format!("more than {MAX_PIECES} actions"))
        } else if self.bytes.len() + piece.len() > MAX_BYTES {
            Some(format!("more than {MAX_BYTES} bytes"))
        } else {
            None
        };
        if refusal.is_some() {
            self.refused = refusal;
            return abi::FULL;
        }
        self.bytes.extend_from_slice(piece);
        self.ends.push(self.bytes.len());
        abi::OK
    }
}

unsafe extern "C" fn put(sink: *mut Sink, ptr: *const u8, len: usize) -> i32 {
    if sink.is_null() || (ptr.is_null() && len > 0) || len > isize::MAX as usize {
        return abi::MALFORMED;
    }
    // SAFETY: only `Collector::as_sink` makes such sinks, and the plugin uses one only during the call it was lent for,
    // in which the host does not touch the collector.
    let collector = unsafe { &mut *sink.cast::<Collector>() };
    let piece = if len == 0 {
        &[]
    } else {
        // SAFETY: not null, and by the ABI valid for `len` bytes during this call.
        unsafe { slice::from_raw_parts(ptr, len) }
    };
    collector.take(piece)
}
