//! The journal's own records to bytes, and any record's bytes found again.

use super::{Gap, Header, MAX_RECORD, Note, Skipped, kind};
use crate::abi::layout::Head;
use crate::host::{LifeRecord, Snapshot};
use crate::{Action, At, Event, abi};
use serde::Serialize;

/// The size of a record's head.
pub(super) const HEAD: usize = size_of::<Head>();
/// Head, life, number of actions.
pub(super) const ANSWER: usize = HEAD + 16;
/// Head, actions given so far, version of the state, length of the policy's id, length of the state.
pub(super) const SNAPSHOT: usize = HEAD + 24;

/// Appends an event, as the ABI has it.
pub fn put_event(event: &Event, out: &mut Vec<u8>) {
    abi::encode_event(event, out);
}

/// Appends the answer to an event: which it is, and the actions, the first one numbered `first`, as the ABI has them.
pub fn put_answer(life: u64, seq: u64, at: At, first: u64, actions: &[Action], out: &mut Vec<u8>) {
    let start = begin(out, kind::ANSWER, ANSWER, seq, at);
    out.extend(life.to_le_bytes());
    out.extend(u64::try_from(actions.len()).unwrap_or(u64::MAX).to_le_bytes());
    end(out, start);
    for (number, action) in (first..).zip(actions) {
        abi::encode_action(number, at, action, out);
    }
}

/// Appends what a segment begins with.
pub fn put_header(header: &Header, next: u64, at: At, out: &mut Vec<u8>) {
    put_json(kind::SEGMENT, next, at, header, out);
}

/// Appends a life, with the snapshot that it went on from; `next` is the number of its first event.
pub fn put_life(life: &LifeRecord, next: u64, at: At, out: &mut Vec<u8>) {
    // The snapshot follows as bytes, which JSON would make four times as many.
    let bare = LifeRecord { restored: None, ..life.clone() };
    put_json(kind::LIFE, next, at, &bare, out);
    if let Some(snapshot) = &life.restored {
        put_state(kind::RESTORED, next, at, snapshot, out);
    }
}

/// Appends what the instance knew after the event `seq`.
pub fn put_snapshot(seq: u64, at: At, snapshot: &Snapshot, out: &mut Vec<u8>) {
    put_state(kind::SNAPSHOT, seq, at, snapshot, out);
}

/// Appends the end of what only prepares a segment: `next` is the number of its first event. `whole` says that nothing
/// is missing before it: a replay may begin at once.
pub fn put_begins(next: u64, at: At, whole: bool, out: &mut Vec<u8>) {
    let start = begin(out, kind::BEGINS, HEAD + 8, next, at);
    out.extend(u64::from(whole).to_le_bytes());
    end(out, start);
}

/// Appends that an event was not handed to the policy.
pub fn put_skipped(skipped: &Skipped, at: At, out: &mut Vec<u8>) {
    put_json(kind::SKIPPED, skipped.seq, at, skipped, out);
}

/// Appends that something was not written down.
pub fn put_gap(gap: &Gap, at: At, out: &mut Vec<u8>) {
    put_json(kind::GAP, gap.from, at, gap, out);
}

/// Appends what somebody said after the event `seq`.
pub fn put_note(seq: u64, at: At, note: &Note, out: &mut Vec<u8>) {
    put_json(kind::NOTE, seq, at, note, out);
}

fn put_json(kind: u16, seq: u64, at: At, body: &impl Serialize, out: &mut Vec<u8>) {
    let start = begin(out, kind, HEAD, seq, at);
    // The bodies are ours, with string keys only: they always serialize. An empty one is read as damage.
    let _ = serde_json::to_writer(&mut *out, body);
    end(out, start);
}

fn put_state(kind: u16, seq: u64, at: At, snapshot: &Snapshot, out: &mut Vec<u8>) {
    let start = begin(out, kind, SNAPSHOT, seq, at);
    out.extend(snapshot.given.to_le_bytes());
    out.extend(snapshot.state_version.to_le_bytes());
    out.extend(length(snapshot.policy.len()).to_le_bytes());
    out.extend(u64::from(length(snapshot.state.len())).to_le_bytes());
    out.extend_from_slice(snapshot.policy.as_bytes());
    out.extend_from_slice(&snapshot.state);
    end(out, start);
}

/// A head whose size is not known yet.
fn begin(out: &mut Vec<u8>, kind: u16, fixed: usize, seq: u64, at: At) -> usize {
    debug_assert!(out.len().is_multiple_of(8), "records begin at a multiple of 8");
    let start = out.len();
    out.extend([0; 4]);
    out.extend(kind.to_le_bytes());
    out.extend([0; 2]);
    out.extend(length(fixed).to_le_bytes());
    out.extend([0; 4]);
    out.extend(seq.to_le_bytes());
    out.extend(at.0.to_le_bytes());
    start
}

fn end(out: &mut Vec<u8>, start: usize) {
    // White space, so that a JSON body needs no length of its own.
    out.resize(out.len().next_multiple_of(8), b' ');
    let size = length(out.len() - start).to_le_bytes();
    out[start..start + 4].copy_from_slice(&size);
}

/// A length that a record can state. A larger one makes the record unreadable, and its writer refuses it before.
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// A record of any kind, as it lies in its block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raw<'a> {
    /// Its kind: the ABI's, or one of [`kind`].
    pub kind: u16,
    /// Its flags.
    pub flags: u16,
    /// Its number: an event's or an action's own; otherwise that of the event it belongs to.
    pub seq: u64,
    /// Its time.
    pub at: At,
    /// All of it.
    pub bytes: &'a [u8],
}

impl<'a> Raw<'a> {
    /// The first record of `bytes`, and what follows it; none when no record begins there.
    pub(super) fn split(bytes: &'a [u8]) -> Option<(Raw<'a>, &'a [u8])> {
        let size = u32_at(bytes, 0)? as usize;
        let fixed = u32_at(bytes, 8)? as usize;
        if !size.is_multiple_of(8) || fixed < HEAD || size < fixed || size > MAX_RECORD {
            return None;
        }
        let (record, rest) = bytes.split_at_checked(size)?;
        let raw = Raw {
            kind: u16_at(record, 4)?,
            flags: u16_at(record, 6)?,
            seq: u64_at(record, 16)?,
            at: At(u64_at(record, 24)?),
            bytes: record,
        };
        Some((raw, rest))
    }

    /// Whether it is an event, of whatever kind.
    #[must_use]
    pub fn is_event(&self) -> bool {
        self.kind < 256
    }

    /// Whether it is an action, of whatever kind.
    #[must_use]
    pub fn is_action(&self) -> bool {
        (256..512).contains(&self.kind)
    }
}

/// The records of a block; `None` is where the bytes are no record any more.
pub fn records(block: &[u8]) -> impl Iterator<Item = Option<Raw<'_>>> {
    let mut rest = Some(block);
    std::iter::from_fn(move || {
        let bytes = rest.filter(|bytes| !bytes.is_empty())?;
        let split = Raw::split(bytes);
        rest = split.map(|(_, after)| after);
        Some(split.map(|(raw, _)| raw))
    })
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_le_bytes)
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes)
}
