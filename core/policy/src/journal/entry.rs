//! What stands in a journal, as values.

use super::record::{self, Raw, u32_at, u64_at};
use super::{FORMAT, kind};
use crate::abi::{self, Decoded, Given};
use crate::host::{LifeRecord, Snapshot};
use crate::{Action, At, Event};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// One thing that stands in a journal.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    /// A segment begins. What follows until [`Entry::Begins`] stands in earlier segments, too, when these are there.
    Segment(Header),
    /// An instance is put to work.
    Life(Box<LifeRecord>),
    /// What the instance knew after an event.
    Snapshot(Snapped),
    /// The segment's own events begin.
    Begins {
        /// The number of the first one.
        next: u64,
        /// Nothing is missing before it.
        whole: bool,
    },
    /// An event.
    Event(Event),
    /// The answer to an event.
    Answer(Answered),
    /// An event was not handed to the policy.
    Skipped(Skipped),
    /// Something was not written down.
    Gap(Gap),
    /// What operators, the edge and alerts say.
    Note {
        /// The event that it follows.
        seq: u64,
        /// When.
        at: At,
        /// What.
        note: Note,
    },
    /// Of a kind that this version does not know.
    Unknown {
        /// Its kind.
        kind: u16,
        /// Its number.
        seq: u64,
    },
}

/// What a segment begins with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The format's version.
    pub format: u32,
    /// The ABI's minor version that events and actions were written by.
    pub abi_minor: u32,
    /// The edge's name.
    pub edge: String,
    /// The pair's name.
    pub pair: String,
    /// The edge's own clock …
    pub at: At,
    /// … and the time of day then, in milliseconds since 1970 in UTC.
    pub unix_ms: u64,
}

impl Header {
    /// The time of day of a point of the edge's clock, in milliseconds since 1970.
    #[must_use]
    pub fn unix_ms(&self, at: At) -> u64 {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.unix_ms.saturating_add(ms(at.since(self.at))).saturating_sub(ms(self.at.since(at)))
    }
}

/// What an instance knew after an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapped {
    /// The event.
    pub seq: u64,
    /// What it knew.
    pub snapshot: Snapshot,
}

/// The answer to an event. That of an event without any action need not be there: an answer says that those before have
/// been answered, too.
#[derive(Clone, Debug, PartialEq)]
pub struct Answered {
    /// The event.
    pub seq: u64,
    /// The event's time, which is that of the actions.
    pub at: At,
    /// The life of the policy that answers.
    pub life: u64,
    /// The actions.
    pub actions: Vec<Action>,
    /// Their records, as the plugin gave them.
    pub bytes: Vec<u8>,
}

/// An event was not handed to the policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// The event.
    pub seq: u64,
    /// Why.
    pub why: String,
}

/// Something was not written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The first event that may be missing, or whose answer may be.
    pub from: u64,
    /// The last one.
    pub to: u64,
    /// How many records are missing.
    pub lost: u64,
    /// Why.
    pub why: String,
}

/// What operators, the edge and alerts say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Note {
    /// `operator`, `edge`, `alert`.
    pub kind: String,
    /// What.
    pub what: serde_json::Value,
}

/// Takes the next entry off `records`, which begin with `raw`. An error is a sentence: the bytes are not as they should be.
pub(super) fn take(raw: &Raw<'_>, rest: &mut &[u8]) -> Result<Entry, String> {
    match raw.kind {
        kind::SEGMENT => {
            let header: Header = json(raw)?;
            if header.format != FORMAT {
                return Err(format!("it has format {}, and this lockstep reads {FORMAT}", header.format));
            }
            Ok(Entry::Segment(header))
        }
        kind::LIFE => {
            let mut life: LifeRecord = json(raw)?;
            if let Some((next, after)) = Raw::split(rest).filter(|(next, _)| next.kind == kind::RESTORED) {
                life.restored = Some(state(&next)?);
                *rest = after;
            }
            Ok(Entry::Life(Box::new(life)))
        }
        kind::SNAPSHOT => Ok(Entry::Snapshot(Snapped { seq: raw.seq, snapshot: state(raw)? })),
        kind::BEGINS => {
            Ok(Entry::Begins { next: raw.seq, whole: u64_at(raw.bytes, record::HEAD).is_some_and(|whole| whole != 0) })
        }
        kind::ANSWER => answer(raw, rest),
        kind::SKIPPED => Ok(Entry::Skipped(json(raw)?)),
        kind::GAP => Ok(Entry::Gap(json(raw)?)),
        kind::NOTE => Ok(Entry::Note { seq: raw.seq, at: raw.at, note: json(raw)? }),
        _ if raw.is_event() => match abi::event(raw.bytes) {
            Ok((Decoded::Known(event), _)) => Ok(Entry::Event(event)),
            // An event that this version cannot read was of a newer one; the policy may have understood it.
            Ok((Decoded::Unknown { .. }, _)) | Err(abi::Malformed::MustKnow { .. }) => unknown(raw),
            Err(error) => Err(error.to_string()),
        },
        _ => unknown(raw),
    }
}

#[expect(clippy::unnecessary_wraps, reason = "an arm of `take`")]
fn unknown(raw: &Raw<'_>) -> Result<Entry, String> {
    Ok(Entry::Unknown { kind: raw.kind, seq: raw.seq })
}

fn answer(raw: &Raw<'_>, rest: &mut &[u8]) -> Result<Entry, String> {
    let short = || "an answer is too short".to_owned();
    let life = u64_at(raw.bytes, record::HEAD).ok_or_else(short)?;
    let count = u64_at(raw.bytes, record::HEAD + 8).ok_or_else(short)?;
    let (all, mut actions) = (*rest, Vec::new());
    for _ in 0..count {
        let (action, after) = Raw::split(rest).filter(|(next, _)| next.is_action()).ok_or("an action is missing")?;
        match abi::action(action.bytes).map_err(|error| error.to_string())? {
            (Decoded::Known(Given::Action(_, action)), _) => actions.push(action),
            // Its bytes are compared all the same.
            (Decoded::Known(Given::Fault(_)) | Decoded::Unknown { .. }, _) => {}
        }
        *rest = after;
    }
    let bytes = all[..all.len() - rest.len()].to_vec();
    Ok(Entry::Answer(Answered { seq: raw.seq, at: raw.at, life, actions, bytes }))
}

fn state(raw: &Raw<'_>) -> Result<Snapshot, String> {
    let read = || {
        let given = u64_at(raw.bytes, record::HEAD)?;
        let state_version = u32_at(raw.bytes, record::HEAD + 8)?;
        let id = u32_at(raw.bytes, record::HEAD + 12)? as usize;
        let state = usize::try_from(u64_at(raw.bytes, record::HEAD + 16)?).ok()?;
        let (policy, rest) = raw.bytes.get(record::SNAPSHOT..)?.split_at_checked(id)?;
        let policy = std::str::from_utf8(policy).ok()?.to_owned();
        Some(Snapshot { policy, state_version, given, state: rest.get(..state)?.to_vec() })
    };
    read().ok_or_else(|| "a snapshot is not as it should be".to_owned())
}

fn json<T: DeserializeOwned>(raw: &Raw<'_>) -> Result<T, String> {
    let body = raw.bytes.get(record::HEAD..).unwrap_or_default();
    serde_json::from_slice(body).map_err(|error| format!("a record of kind {}: {error}", raw.kind))
}
