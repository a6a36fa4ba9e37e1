//! Room for what passes through: made once, and used by one exchange after the other.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

/// What is read from a server at once.
const ROOM: usize = 32 * 1024;

/// A longer text is not kept.
const TEXT_MAX: usize = 16 * 1024;

/// Rooms, and texts, that a thread keeps for the next exchanges.
const SPARE_MAX: usize = 32;

thread_local! {
    static ROOMS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
    static TEXTS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Bytes of a server that have not been passed on yet.
#[derive(Debug)]
pub(super) struct Room {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Room {
    pub(super) fn take() -> Room {
        let bytes = ROOMS.with_borrow_mut(Vec::pop).unwrap_or_else(|| vec![0; ROOM]);
        Room { bytes, start: 0, end: 0 }
    }

    /// What has been read.
    pub(super) fn held(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub(super) fn held_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.end]
    }

    /// So many bytes of what is held are done with.
    pub(super) fn done(&mut self, bytes: usize) {
        self.start = (self.start + bytes).min(self.end);
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Where more can be read to; none when it is full.
    pub(super) fn free(&mut self) -> &mut [u8] {
        &mut self.bytes[self.end..]
    }

    /// So many bytes have been read there.
    pub(super) fn came(&mut self, bytes: usize) {
        self.end = (self.end + bytes).min(self.bytes.len());
    }

    /// Makes room for more where there is none left, up to so many bytes: for a head that does not fit.
    pub(super) fn make_way(&mut self, most: usize) {
        if self.end < self.bytes.len() {
            return;
        }
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        } else {
            self.bytes.resize(most.max(self.bytes.len()), 0);
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        if bytes.len() == ROOM {
            keep(&ROOMS, bytes);
        }
    }
}

/// A text that is written to be sent.
#[derive(Debug)]
pub(super) struct Text(Vec<u8>);

impl Text {
    pub(super) fn take() -> Text {
        Text(TEXTS.with_borrow_mut(Vec::pop).unwrap_or_else(|| Vec::with_capacity(1024)))
    }
}

impl Deref for Text {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for Text {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl Drop for Text {
    fn drop(&mut self) {
        let mut text = std::mem::take(&mut self.0);
        if text.capacity() <= TEXT_MAX {
            text.clear();
            keep(&TEXTS, text);
        }
    }
}

fn keep(spare: &'static std::thread::LocalKey<RefCell<Vec<Vec<u8>>>>, bytes: Vec<u8>) {
    // A thread that ends keeps nothing.
    let _ = spare.try_with(|spare| {
        let mut spare = spare.borrow_mut();
        if spare.len() < SPARE_MAX {
            spare.push(bytes);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_done_with_bit_by_bit() {
        let mut room = Room::take();
        room.free()[..5].copy_from_slice(b"hello");
        room.came(5);
        room.done(2);
        assert_eq!(room.held(), b"llo");
        room.done(9);
        assert!(room.held().is_empty());
        assert_eq!(room.free().len(), ROOM, "all of it is free again");
    }

    #[test]
    fn a_full_room_makes_way() {
        let mut room = Room::take();
        room.free().fill(b'x');
        room.came(ROOM);
        room.done(10);
        room.make_way(ROOM * 2);
        assert_eq!((room.held().len(), room.free().len()), (ROOM - 10, 10), "what is done with makes way");
        room.came(10);
        room.make_way(ROOM * 2);
        assert_eq!((room.held().len(), room.free().len()), (ROOM, ROOM), "then it grows");
    }

    #[test]
    fn a_room_is_used_again_and_one_that_has_grown_is_not() {
        let mut room = Room::take();
        let at = room.free().as_ptr();
        drop(room);
        let mut room = Room::take();
        assert_eq!(room.free().as_ptr(), at);
        room.came(ROOM);
        room.make_way(ROOM * 2);
        drop(room);
        assert_eq!(Room::take().free().len(), ROOM);
    }
}
