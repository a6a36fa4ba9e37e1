//! One pair's directory: the segment that is written, and the ones before it.

use super::slot::{Base, Slot};
use lockstep_policy::At;
use lockstep_policy::journal::{self, EXTENSION, FORMAT, Gap, Header, Raw, block, kind};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Each life of an edge counts its events from a round number on, beyond all that an earlier life may not have
/// written any more: no number is ever used twice.
pub(crate) const LIFE: u64 = 10_000;

/// How large and how old a segment gets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub bytes: u64,
    pub age: Duration,
}

/// One pair's directory, as the journal's thread has it.
pub(super) struct PairFiles {
    pub name: String,
    pub slot: Arc<Slot>,
    edge: String,
    directory: PathBuf,
    limits: Limits,
    open: Option<Segment>,
    /// The present life's record, and the first event's number.
    life: Vec<u8>,
    snapshot: Option<(u64, Vec<u8>)>,
    /// The number from which on events are needed beside life and snapshot.
    since: u64,
    /// Bytes written since then, at most.
    since_bytes: u64,
    /// All of that stands in the open segment.
    complete: bool,
    /// The number of the next event that is written.
    next: u64,
    /// What could not be written.
    pub failing: Option<Gap>,
}

/// A segment that is written.
struct Segment {
    path: PathBuf,
    file: File,
    /// Bytes of whole blocks.
    size: u64,
    /// The number of its own first event.
    first: u64,
    begun: SystemTime,
}

impl PairFiles {
    pub fn new(root: &Path, edge: &str, name: &str, slot: Arc<Slot>, limits: Limits) -> PairFiles {
        PairFiles {
            name: name.to_owned(),
            slot,
            edge: edge.to_owned(),
            directory: directory(root, name),
            limits,
            open: None,
            life: Vec::new(),
            snapshot: None,
            since: 0,
            since_bytes: 0,
            complete: true,
            next: 0,
            failing: None,
        }
    }

    /// The segment that is written: it is not taken away.
    pub fn open_path(&self) -> Option<&Path> {
        self.open.as_ref().map(|segment| segment.path.as_path())
    }

    /// Writes a finished block, in one write. True: a new segment was begun.
    pub fn write(&mut self, block: &mut [u8], next: u64, at: At, base: Base) -> io::Result<bool> {
        let first = self.first_event(block, next);
        let begun = self.turn_page(first, at)?;
        block::seal(block, 0);
        let Some(segment) = &mut self.open else { return Ok(false) };
        if let Err(error) = segment.file.write_all(block) {
            // A part of a block would end the segment for its readers.
            if segment.file.set_len(segment.size).is_err() {
                self.open = None;
            }
            return Err(error);
        }
        segment.size += block.len() as u64;
        self.next = self.next.max(next);
        self.adopt(base, block.len() as u64);
        Ok(begun)
    }

    /// Brings all that was written to the disk.
    pub fn sync(&self) -> io::Result<()> {
        self.open.as_ref().map_or(Ok(()), |segment| segment.file.sync_data())
    }

    /// The number of the first event of a block; that of the next one when none is in it.
    fn first_event(&self, block: &[u8], next: u64) -> u64 {
        let records = journal::records(block.get(block::HEAD..).unwrap_or_default()).flatten();
        let first = records.filter(|raw| raw.is_event() || raw.kind == kind::LIFE).map(|raw| raw.seq).next();
        first.unwrap_or(next).max(self.next)
    }

    /// Begins a segment when there is none, or the present one is full.
    fn turn_page(&mut self, next: u64, at: At) -> io::Result<bool> {
        let full = self.open.as_ref().is_some_and(|segment| {
            let old = segment.begun.elapsed().is_ok_and(|age| age > self.limits.age);
            let large = segment.size >= self.limits.bytes;
            // Better just after a snapshot: what stands between the two is written twice.
            let cheap = self.since_bytes <= self.limits.bytes / 8 || segment.size >= self.limits.bytes * 3 / 2;
            next > segment.first && (old || large && cheap)
        });
        if self.open.is_some() && !full {
            return Ok(false);
        }
        let carried = self.carried();
        let mut head = Vec::new();
        block::begin(&mut head);
        journal::put_header(&self.header(at), next, at, &mut head);
        head.extend_from_slice(&self.life);
        if let Some((_, snapshot)) = &self.snapshot {
            head.extend_from_slice(snapshot);
        }
        let whole = match carried {
            Some(records) => {
                head.extend_from_slice(&records);
                true
            }
            None => false,
        };
        journal::put_begins(next, at, whole, &mut head);
        block::seal(&mut head, 0);
        self.open = Some(self.create(next, &head)?);
        self.complete = whole;
        self.next = next;
        Ok(true)
    }

    fn create(&self, first: u64, head: &[u8]) -> io::Result<Segment> {
        std::fs::create_dir_all(&self.directory)?;
        let path = self.directory.join(format!("{first:020}.{EXTENSION}"));
        let mut file = OpenOptions::new().append(true).create(true).open(&path)?;
        let there = file.metadata()?.len();
        if let Err(error) = file.write_all(head) {
            let _ = if there == 0 { std::fs::remove_file(&path) } else { file.set_len(there) };
            return Err(error);
        }
        // The file's name, too, is to be there after a power cut. Best effort: some filesystems refuse it.
        let _ = File::open(&self.directory).and_then(|directory| directory.sync_all());
        let size = there + head.len() as u64;
        Ok(Segment { path, file, size, first, begun: SystemTime::now() })
    }

    fn header(&self, at: At) -> Header {
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Header {
            format: FORMAT,
            abi_minor: lockstep_policy::abi::MINOR,
            edge: self.edge.clone(),
            pair: self.name.clone(),
            at,
            unix_ms: u64::try_from(unix.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// The events since life and snapshot, and their answers; none when not all of them are at hand.
    fn carried(&self) -> Option<Vec<u8>> {
        let Some(segment) = &self.open else { return self.complete.then(Vec::new) };
        if !self.complete || self.since_bytes > self.limits.bytes / 2 {
            return None;
        }
        let mut file = io::BufReader::new(File::open(&segment.path).ok()?);
        let (mut carried, mut block, mut wanted) = (Vec::new(), Vec::new(), false);
        while block::next(&mut file, &mut block).ok()? {
            for raw in journal::records(&block) {
                let raw: Raw<'_> = raw?;
                // Actions follow their answer.
                wanted = match raw.kind {
                    kind::ANSWER | kind::SKIPPED => raw.seq >= self.since,
                    _ if raw.is_event() => raw.seq >= self.since,
                    _ if raw.is_action() => wanted,
                    _ => false,
                };
                if wanted {
                    carried.extend_from_slice(raw.bytes);
                }
            }
        }
        Some(carried)
    }

    /// Takes over what has changed in a block that was written.
    fn adopt(&mut self, base: Base, bytes: u64) {
        self.since_bytes += bytes;
        let first = self.open.as_ref().map_or(0, |segment| segment.first);
        if let Some(life) = base.life {
            self.since = seq_of(&life);
            self.since_bytes = bytes;
            self.complete = true;
            self.life = life;
            self.snapshot = None;
        }
        if let Some(gap) = base.gap {
            self.complete &= self.since > gap;
        }
        if let Some((seq, snapshot)) = base.snapshot {
            self.since = seq + 1;
            self.since_bytes = bytes;
            self.complete |= base.gap.is_none_or(|gap| gap <= seq) && self.since >= first;
            self.snapshot = Some((seq, snapshot));
        }
    }
}

/// The number that a record belongs to.
fn seq_of(record: &[u8]) -> u64 {
    journal::records(record).flatten().next().map_or(0, |raw| raw.seq)
}

/// Where a pair's segments lie.
pub(super) fn directory(root: &Path, pair: &str) -> PathBuf {
    // A name may begin with a dot, and must not lead out of the journal.
    match pair.strip_prefix('.') {
        Some(rest) => root.join(format!("%2E{rest}")),
        None => root.join(pair),
    }
}

/// The number that a segment's name says its first event has.
pub(super) fn first_of(path: &Path) -> Option<u64> {
    path.file_stem()?.to_str()?.parse().ok()
}

/// A number that no event of an earlier life has had, nor any later one. What a crash has torn off the last segment is
/// cut off for good.
pub(super) fn next_seq(directory: &Path) -> u64 {
    let Some(last) = journal::files(directory).unwrap_or_default().pop() else { return 1 };
    let mut highest = first_of(&last).unwrap_or(0);
    if let Ok(mut reader) = journal::Reader::open(&last) {
        let mut torn = None;
        for entry in reader.by_ref() {
            match entry {
                Ok(journal::Entry::Event(event)) => highest = highest.max(event.seq),
                Ok(journal::Entry::Skipped(skipped)) => highest = highest.max(skipped.seq),
                Ok(journal::Entry::Gap(gap)) => highest = highest.max(gap.to),
                Ok(_) => {}
                Err(error) => torn = Some(error),
            }
        }
        match torn {
            Some(torn) if torn.cut_off => {
                tracing::info!(file = %last.display(), %torn, "the journal's last moments were lost");
                let _ = OpenOptions::new().write(true).open(&last).and_then(|file| file.set_len(torn.after));
            }
            Some(torn) => tracing::warn!(file = %last.display(), %torn, "a segment of the journal is damaged"),
            None => {}
        }
    }
    round_up(highest)
}

/// The next round number.
pub(crate) fn round_up(highest: u64) -> u64 {
    if highest == 0 { 1 } else { (highest / LIFE + 1).saturating_mul(LIFE).saturating_add(1) }
}
