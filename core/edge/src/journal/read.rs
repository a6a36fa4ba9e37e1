//! Reading the journal back: for operators, for the evidence of a handover, for an export.

use super::pair::first_of;
use crate::admin::api::JournalEntry;
use crate::wall;
use lockstep_policy::journal::{self, Entry, Header, Note};
use lockstep_policy::{Action, At};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Answers may stand so many records behind their events: these are read, too, before a page is cut.
const BEHIND: usize = 4096;

/// Events that are looked up for one handover.
const EVIDENCE: usize = 256;

/// Bytes that are handed over at once in an export.
pub(crate) const PIECE: usize = 256 << 10;

/// Reads one pair's journal. Its methods wait for the disk.
#[derive(Debug)]
pub(crate) struct Reader {
    directory: PathBuf,
}

/// An export cannot go on.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub(crate) struct ExportError {
    path: PathBuf,
    source: io::Error,
}

/// A part of an export.
pub(crate) type Piece = Result<Vec<u8>, ExportError>;

/// From where on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Since {
    /// An event's number.
    Seq(u64),
    /// So long ago.
    Ago(Duration),
}

impl Reader {
    pub(super) fn new(directory: PathBuf) -> Reader {
        Reader { directory }
    }

    /// The segments, each with the number of its first event, oldest first.
    fn segments(&self) -> Vec<(u64, PathBuf)> {
        let files = journal::files(&self.directory).unwrap_or_default();
        files.into_iter().filter_map(|path| Some((first_of(&path)?, path))).collect()
    }

    /// The segments from the one on in which an event stands.
    fn segments_from(&self, seq: u64) -> Vec<(u64, PathBuf)> {
        let mut segments = self.segments();
        let begin = segments.iter().rposition(|(first, _)| *first <= seq).unwrap_or(0);
        segments.drain(..begin);
        segments
    }

    /// A page of entries from a number on, in the order of their numbers, and the number that the next page begins with.
    /// Actions have the number of their event, and are not torn from it: a page may have more than was wanted.
    pub fn page(&self, from: u64, wanted: usize) -> (Vec<JournalEntry>, Option<u64>) {
        let mut limit = wanted;
        loop {
            let (mut entries, more) = self.entries(from, limit);
            if !more {
                return (entries, None);
            }
            // The last number may not be complete.
            let last = entries.last().map_or(from, |entry| entry.seq);
            let whole = entries.partition_point(|entry| entry.seq < last);
            if whole > 0 {
                // As many whole numbers as are wanted, and one at least.
                let beyond = entries.get(wanted).filter(|_| whole > wanted).map_or(last, |entry| entry.seq);
                let below = entries.partition_point(|entry| entry.seq < beyond);
                let cut = if below > 0 { below } else { entries.partition_point(|entry| entry.seq <= beyond) };
                let next = entries[cut].seq;
                entries.truncate(cut);
                return (entries, Some(next));
            }
            if limit > wanted + BEHIND {
                return (entries, Some(last.saturating_add(1)));
            }
            limit *= 2;
        }
    }

    /// Some entries from a number on, in the order of their numbers; and whether there may be more.
    fn entries(&self, from: u64, limit: usize) -> (Vec<JournalEntry>, bool) {
        let mut found = Vec::new();
        'segments: for (_, path) in self.segments_from(from) {
            // A segment that has just been taken away as too old is none.
            let Ok(reader) = journal::Reader::open(&path) else { continue };
            let mut scribe = Scribe::default();
            for entry in reader.map_while(Result::ok) {
                found.extend(scribe.entries(&entry).into_iter().filter(|entry| entry.seq >= from));
                if found.len() >= limit + BEHIND {
                    break 'segments;
                }
            }
        }
        found.sort_by_key(|entry| entry.seq);
        let more = found.len() > limit;
        found.truncate(limit);
        (found, more)
    }

    /// The events with these numbers, as far as they are still kept.
    pub fn events(&self, seqs: &[u64]) -> Vec<JournalEntry> {
        let mut wanted: Vec<u64> = seqs.iter().copied().take(EVIDENCE).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let segments = self.segments();
        let mut found = Vec::new();
        while let Some(seq) = wanted.first().copied() {
            let place = segments.iter().rposition(|(first, _)| *first <= seq);
            let end = place.and_then(|place| segments.get(place + 1)).map_or(u64::MAX, |(first, _)| *first);
            let (here, later) = wanted.split_at(wanted.partition_point(|seq| *seq < end));
            if let Some(reader) = place.and_then(|place| journal::Reader::open(&segments[place].1).ok()) {
                let mut scribe = Scribe::default();
                let is_wanted = |entry: &Entry| match entry {
                    Entry::Event(event) => here.contains(&event.seq),
                    Entry::Segment(_) | Entry::Begins { .. } => true,
                    _ => false,
                };
                let entries = reader.map_while(Result::ok).filter(is_wanted);
                found.extend(entries.flat_map(|entry| scribe.entries(&entry)));
            }
            wanted = later.to_vec();
        }
        found
    }

    /// The bytes of all segments from a point on, without what a crash has torn off: one file that a replay can begin
    /// with. It begins with the segment in which that point lies. Stops when `put` is false.
    pub fn export(&self, since: Since, mut put: impl FnMut(Piece) -> bool) {
        let segments = match since {
            Since::Seq(seq) => self.segments_from(seq),
            Since::Ago(ago) => self.written_since(ago),
        };
        for (_, path) in segments {
            match pieces(&path, &mut put) {
                Ok(true) => {}
                Ok(false) => return,
                // As too old, in this very moment.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => {
                    put(Err(ExportError { path, source }));
                    return;
                }
            }
        }
    }

    /// The last segment that begins before that time, and all after it.
    fn written_since(&self, ago: Duration) -> Vec<(u64, PathBuf)> {
        let Some(time) = SystemTime::now().checked_sub(ago) else { return self.segments() };
        let mut segments = self.segments();
        // The one before ends where the next begins.
        let ended_before = |path: &PathBuf| path.metadata().and_then(|file| file.modified()).is_ok_and(|at| at < time);
        let begin = segments.iter().position(|(_, path)| !ended_before(path));
        segments.drain(..begin.unwrap_or(segments.len().saturating_sub(1)));
        segments
    }
}

/// Hands over a file, as far as it is whole. False: no more is wanted.
fn pieces(path: &Path, put: &mut impl FnMut(Piece) -> bool) -> io::Result<bool> {
    let mut file = File::open(path)?.take(sound(path)?);
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        if file.by_ref().take(PIECE as u64).read_to_end(&mut piece)? == 0 {
            return Ok(true);
        }
        if !put(Ok(piece)) {
            return Ok(false);
        }
    }
}

/// How much of a file is whole blocks.
fn sound(path: &Path) -> io::Result<u64> {
    let mut file = io::BufReader::new(File::open(path)?);
    let (mut sound, mut block) = (0, Vec::new());
    while let Ok(true) = journal::block::next(&mut file, &mut block) {
        sound += (journal::block::HEAD + block.len()) as u64;
    }
    Ok(sound)
}

/// Makes the API's entries of the journal's.
#[derive(Default)]
struct Scribe {
    header: Option<Header>,
    /// The segment's own events have begun.
    begun: bool,
}

impl Scribe {
    fn entries(&mut self, entry: &Entry) -> Vec<JournalEntry> {
        match entry {
            Entry::Segment(header) => {
                self.header = Some(header.clone());
                self.begun = false;
                Vec::new()
            }
            Entry::Begins { .. } => {
                self.begun = true;
                Vec::new()
            }
            _ if !self.begun => Vec::new(),
            Entry::Event(event) => vec![self.one(event.seq, event.at, "event", to_json(&event.what))],
            Entry::Answer(answer) => {
                let numbers =
                    answer.bytes.get(16..24).and_then(|seq| seq.try_into().ok()).map_or(0, u64::from_le_bytes);
                let action = |(number, action): (u64, &Action)| {
                    self.one(answer.seq, answer.at, "action", json!({ "number": number, "action": to_json(action) }))
                };
                (numbers..).zip(&answer.actions).map(action).collect()
            }
            Entry::Note { seq, at, note: Note { kind, what } } => vec![self.one(*seq, *at, kind, what.clone())],
            Entry::Skipped(skipped) => vec![self.one(skipped.seq, At::ZERO, "skipped", to_json(skipped))],
            Entry::Gap(gap) => vec![self.one(gap.from, At::ZERO, "gap", to_json(gap))],
            Entry::Life(_) | Entry::Snapshot(_) | Entry::Unknown { .. } => Vec::new(),
        }
    }

    fn one(&self, seq: u64, at: At, kind: &str, what: Value) -> JournalEntry {
        let when = self.header.as_ref().filter(|_| at != At::ZERO);
        let when = when.map(|header| wall::of_unix_ms(header.unix_ms(at))).unwrap_or_default();
        let at_ms = (at.since(At::ZERO).as_secs_f64() * 1e6).round() / 1e3;
        JournalEntry { seq, at_ms, when, kind: kind.to_owned(), what }
    }
}

fn to_json(value: &impl serde::Serialize) -> Value {
    // Events and actions are ours, with string keys only: they always serialize.
    serde_json::to_value(value).unwrap_or(Value::Null)
}
