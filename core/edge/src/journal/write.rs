//! The journal's one writing thread.

use super::keep;
use super::pair::{Limits, PairFiles};
use super::slot::{Held, News, Slot};
use crate::config::JournalConfig;
use lockstep_policy::journal::{self, Gap, block};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// From one turn to the next: a killed edge loses no more.
const TURN: Duration = Duration::from_millis(100);

/// From one try of a disk that takes nothing to the next.
const AGAIN: Duration = Duration::from_secs(1);

/// From one look at sizes and ages to the next.
const TRIM: Duration = Duration::from_secs(60);

/// The largest segment.
const SEGMENT_MAX: u64 = 4 << 20;

/// The smallest one, however many pairs share the space.
const SEGMENT_MIN: u64 = 16 << 10;

/// A pair's share has room for so many segments: what is taken away at once is that part of it.
const SEGMENTS: u64 = 8;

/// Memory that a quiet pair keeps for its next block.
const SPARE: usize = 64 << 10;

pub(super) enum Job {
    /// Write what waits.
    Flush {
        /// Told when that is done.
        written: Option<oneshot::Sender<()>>,
    },
    /// Write this pair's, too, from now on.
    Open { pair: String, slot: Arc<Slot> },
    /// Write what waits, and end.
    Close {
        /// Told when that is done.
        closed: oneshot::Sender<()>,
    },
}

pub(super) struct Writer {
    root: PathBuf,
    edge: String,
    config: JournalConfig,
    pairs: Vec<PairFiles>,
    /// The memory of the next block.
    spare: Vec<u8>,
    trimmed: Instant,
    again: Instant,
}

impl Writer {
    pub fn new(root: PathBuf, edge: &str, config: JournalConfig, slots: &BTreeMap<String, Arc<Slot>>) -> Writer {
        let limits = limits(config, slots.len());
        let pair = |(name, slot): (&String, &Arc<Slot>)| PairFiles::new(&root, edge, name, Arc::clone(slot), limits);
        let pairs = slots.iter().map(pair).collect();
        let now = Instant::now();
        Writer { root, edge: edge.to_owned(), config, pairs, spare: Vec::new(), trimmed: now, again: now }
    }

    /// Writes until it is closed, or nobody can append any more.
    pub fn run(&mut self, inbox: &Receiver<Job>) {
        self.trim();
        let mut next = Instant::now() + TURN;
        loop {
            let job = inbox.recv_timeout(next.saturating_duration_since(Instant::now()));
            next = Instant::now() + TURN;
            self.turn();
            match job {
                Ok(Job::Flush { written }) => drop(written.map(|written| written.send(()))),
                Ok(Job::Open { pair, slot }) => {
                    let limits = limits(self.config, self.pairs.len() + 1);
                    self.pairs.push(PairFiles::new(&self.root, &self.edge, &pair, slot, limits));
                }
                Ok(Job::Close { closed }) => {
                    self.end();
                    let _ = closed.send(());
                    return;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.end(),
            }
        }
    }

    /// One write for each pair that has something to write.
    fn turn(&mut self) {
        let mut begun = false;
        let retry = Instant::now() >= self.again;
        for pair in &mut self.pairs {
            if pair.failing.is_some() && !retry {
                continue;
            }
            begun |= write(pair, &mut self.spare);
        }
        if retry {
            self.again = Instant::now() + AGAIN;
        }
        if begun || self.trimmed.elapsed() >= TRIM {
            self.trim();
        }
    }

    fn trim(&mut self) {
        self.trimmed = Instant::now();
        let open: Vec<&Path> = self.pairs.iter().filter_map(PairFiles::open_path).collect();
        keep::trim(&self.root, self.config, &open);
    }

    fn end(&mut self) {
        for pair in &self.pairs {
            if let Err(error) = pair.sync() {
                tracing::warn!(pair = pair.name, %error, "the journal's end may be lost");
            }
        }
    }
}

fn limits(config: JournalConfig, pairs: usize) -> Limits {
    let share = config.max_size / u64::try_from(pairs.max(1)).unwrap_or(1) / SEGMENTS;
    Limits { bytes: share.clamp(SEGMENT_MIN, SEGMENT_MAX), age: config.max_age / u32::try_from(SEGMENTS).unwrap_or(1) }
}

/// Writes what waits of a pair. True: a segment was begun.
fn write(pair: &mut PairFiles, spare: &mut Vec<u8>) -> bool {
    let slot = Arc::clone(&pair.slot);
    let mut held = slot.held();
    if !held.finish() {
        return false;
    }
    if let Some(gap) = &pair.failing {
        put_gap_first(&mut held, gap);
    }
    std::mem::swap(&mut held.block, spare);
    let (next, at, sync) = (held.next, held.at, std::mem::take(&mut held.sync));
    let base = std::mem::take(&mut held.base);
    drop(held);
    let written = pair.write(spare, next, at, base);
    let synced = if sync && written.is_ok() { pair.sync() } else { Ok(()) };
    let begun = match written {
        Ok(begun) => {
            works(pair);
            begun
        }
        Err(error) => {
            fails(pair, spare, next, &error);
            false
        }
    };
    if let Err(error) = synced {
        tracing::warn!(pair = pair.name, %error, "the journal cannot be made durable");
    }
    spare.clear();
    spare.shrink_to(SPARE);
    begun
}

/// What could not be written before comes before what can be now.
fn put_gap_first(held: &mut Held, gap: &Gap) {
    let mut block = Vec::new();
    block::begin(&mut block);
    journal::put_gap(gap, held.at, &mut block);
    block.extend_from_slice(held.block.get(block::HEAD..).unwrap_or_default());
    held.block = block;
    held.base.gap = Some(held.base.gap.unwrap_or(0).max(gap.to));
}

fn works(pair: &mut PairFiles) {
    if let Some(gap) = pair.failing.take() {
        tracing::info!(pair = pair.name, lost = gap.lost, "the journal takes writes again");
        pair.slot.tell(News::Works(gap.lost));
    }
}

/// What was to be written is lost: memory is bounded.
fn fails(pair: &mut PairFiles, block: &[u8], next: u64, error: &io::Error) {
    let records: Vec<_> = journal::records(block.get(block::HEAD..).unwrap_or_default()).flatten().collect();
    let own = |kind: u16| kind != journal::kind::GAP;
    let lost = records.iter().filter(|raw| own(raw.kind)).count() as u64;
    let from = records.iter().filter(|raw| raw.is_event()).map(|raw| raw.seq).min().unwrap_or(next);
    let to = next.saturating_sub(1).max(from);
    pair.slot.lose(lost);
    match &mut pair.failing {
        Some(gap) => {
            gap.to = gap.to.max(to);
            gap.lost += lost;
        }
        None => {
            tracing::error!(pair = pair.name, %error, "the journal takes no writes");
            pair.slot.tell(News::Fails(error.to_string()));
            pair.failing = Some(Gap { from, to, lost, why: error.to_string() });
        }
    }
}
