//! The journal's format: every event and every action of a pair, as the flat records of the ABI, in blocks with a checksum.
//!
//! A file is a row of segments; a segment is a row of blocks ([`block`]); a block is a row of records. Events and actions
//! are the ABI's own records, byte for byte as the plugin was handed them and gave them. Records of the journal's own
//! have kinds from 1024 on ([`kind`]).
//!
//! ```text
//! SEGMENT                      whose it is, and what time of day it was
//!   LIFE [RESTORED]            what the policy's instance is made from      ┐
//!   SNAPSHOT                   what it knew after an event                  │ all that a replay
//!   events since, and answers                                               │ of what follows needs
//! BEGINS                       the number of the next event                 ┘
//!   event
//!   ANSWER, action, action     which event these actions answer
//!   event …
//! ```
//!
//! Segments may be joined by plain concatenation: what stands before `BEGINS` is passed over by a reader that comes from
//! the segment before. A block that is torn or damaged ends its file: it is noticed, and never misread.

pub mod block;
mod entry;
mod read;
mod record;
mod render;

pub use entry::{Answered, Entry, Gap, Header, Note, Skipped, Snapped};
pub use read::{Reader, Torn, files};
pub use record::{
    Raw, put_answer, put_begins, put_event, put_gap, put_header, put_life, put_note, put_skipped, put_snapshot, records,
};
pub use render::{Transcript, action_text, event_text, moment, transcript};

/// The format's version: another one is refused.
pub const FORMAT: u32 = 1;

/// A segment's file name ends so.
pub const EXTENSION: &str = "lsj";

/// The most bytes of one record.
pub const MAX_RECORD: usize = 4 << 20;

/// Kinds of the journal's own records. Events and actions keep the ABI's.
pub mod kind {
    /// [`super::Header`]: a segment begins.
    pub const SEGMENT: u16 = 1024;
    /// [`crate::host::LifeRecord`]: an instance is put to work.
    pub const LIFE: u16 = 1025;
    /// The snapshot that the life just before went on from.
    pub const RESTORED: u16 = 1026;
    /// [`super::Snapped`]: what the instance knew after an event.
    pub const SNAPSHOT: u16 = 1027;
    /// The segment's own events begin, with this number.
    pub const BEGINS: u16 = 1028;
    /// [`super::Answered`]: the actions that follow answer an event.
    pub const ANSWER: u16 = 1029;
    /// [`super::Skipped`]: an event was not handed to the policy.
    pub const SKIPPED: u16 = 1030;
    /// [`super::Gap`]: something was not written down.
    pub const GAP: u16 = 1031;
    /// [`super::Note`]: what operators, the edge and alerts say.
    pub const NOTE: u16 = 1032;
}

#[cfg(test)]
mod tests;
