//! What waits in memory for the disk: one pair's records, in the very bytes that will be written.

use super::write::Job;
use lockstep_policy::host::{LifeRecord, Snapshot};
use lockstep_policy::journal::{self, Gap, Note, Skipped, block};
use lockstep_policy::{Action, At, Event, abi};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of a pair that may wait. A second's storm is a tenth of it.
pub(super) const ROOM: usize = 1 << 20;

/// Without a life or a snapshot nothing after it could be replayed: these two find room for longer.
const ROOM_FOR_STATE: usize = 3 << 20;

/// One pair's place between its driver and the journal's thread.
#[derive(Debug, Default)]
pub(super) struct Slot {
    held: Mutex<Held>,
    lost: AtomicU64,
    /// There is news for the driver.
    news: AtomicBool,
}

/// What waits.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// A block: room for its head, then records. Empty: nothing waits.
    pub block: Vec<u8>,
    /// The number after the last event's.
    pub next: u64,
    /// The time of the last record.
    pub at: At,
    /// What is to be on the disk for sure at the end of this turn.
    pub sync: bool,
    /// What a segment that begins later must begin with.
    pub base: Base,
    /// What found no room.
    missing: Option<Gap>,
    /// Events until then were answered by nothing, which is not written down yet.
    answered: Option<(u64, u64, At)>,
    news: Option<News>,
}

/// What a segment that begins later must begin with, as far as it has changed since the last turn.
#[derive(Debug, Default)]
pub(super) struct Base {
    /// The present life's record.
    pub life: Option<Vec<u8>>,
    /// The latest snapshot's record in this life, and the event that it was taken after.
    pub snapshot: Option<(u64, Vec<u8>)>,
    /// Something is missing up to this event.
    pub gap: Option<u64>,
}

/// What a driver is told of its journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// It takes no writes.
    Fails(String),
    /// It does again; so many records are missing.
    Works(u64),
}

impl Slot {
    pub fn held(&self) -> MutexGuard<'_, Held> {
        // Whoever panicked with it left whole records: each is appended or taken off again in one go.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn lost_in_all(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Records are lost that had been taken.
    pub fn lose(&self, records: u64) {
        self.lost.fetch_add(records, Ordering::Relaxed);
    }

    /// Has the driver told.
    pub fn tell(&self, news: News) {
        self.held().news = Some(news);
        self.news.store(true, Ordering::Release);
    }

    /// Appends a record, if it finds room in the block.
    fn append(&self, held: &mut Held, seq: u64, at: At, room: usize, put: impl FnOnce(&mut Vec<u8>)) {
        held.at = at;
        held.open();
        held.write_gap();
        let start = held.block.len();
        put(&mut held.block);
        if held.block.len() > room {
            held.block.truncate(start);
            held.miss(seq, 1, "the disk was too slow");
            self.lose(1);
        }
    }
}

impl Held {
    fn open(&mut self) {
        if self.block.is_empty() {
            block::begin(&mut self.block);
        }
    }

    /// Something is not written down.
    pub fn miss(&mut self, seq: u64, records: u64, why: &str) {
        let gap = self.missing.get_or_insert_with(|| Gap { from: seq, to: seq, lost: 0, why: why.to_owned() });
        gap.from = gap.from.min(seq);
        gap.to = gap.to.max(seq);
        gap.lost += records;
    }

    /// What is missing is written down as soon as there is room.
    fn write_gap(&mut self) {
        if self.block.len() < ROOM
            && let Some(gap) = self.missing.take()
        {
            self.base.gap = Some(gap.to);
            journal::put_gap(&gap, self.at, &mut self.block);
        }
    }

    /// Makes the block whole, as far as it is not: the turn of the writer has come. False: nothing waits.
    pub fn finish(&mut self) -> bool {
        if self.answered.is_some() || self.missing.is_some() {
            self.open();
        }
        self.write_gap();
        if let Some((life, seq, at)) = self.answered.take() {
            journal::put_answer(life, seq, at, 0, &[], &mut self.block);
        }
        self.block.len() > block::HEAD
    }
}

/// One pair's journal, as its driver has it. Nothing here waits.
#[derive(Clone, Debug)]
pub(crate) struct PairJournal {
    slot: Arc<Slot>,
    jobs: SyncSender<Job>,
}

impl PairJournal {
    pub(super) fn new(slot: Arc<Slot>, jobs: SyncSender<Job>) -> PairJournal {
        PairJournal { slot, jobs }
    }

    /// An event. One that is too large for a record is not handed to policies either, and only named.
    pub fn event(&self, event: &Event) {
        let mut held = self.slot.held();
        held.next = event.seq + 1;
        self.slot.append(&mut held, event.seq, event.at, ROOM, |block| {
            let start = block.len();
            journal::put_event(event, block);
            let size = block.len() - start;
            if size > abi::MAX_RECORD {
                block.truncate(start);
                let why = format!("it needs {size} bytes, and a record has at most {}", abi::MAX_RECORD);
                journal::put_skipped(&Skipped { seq: event.seq, why }, event.at, block);
            }
        });
    }

    /// The answer of a life to an event of that time; the first action has the number `first`.
    pub fn answer(&self, life: u64, seq: u64, at: At, first: u64, actions: &[Action]) {
        let mut held = self.slot.held();
        // An answer says that the events before it were answered, too.
        held.answered = actions.is_empty().then_some((life, seq, at));
        if !actions.is_empty() {
            let put = |block: &mut Vec<u8>| journal::put_answer(life, seq, at, first, actions, block);
            self.slot.append(&mut held, seq, at, ROOM, put);
        }
    }

    /// An instance is put to work; the next event is the first that it is handed.
    pub fn life(&self, now: At, life: &LifeRecord) {
        let mut held = self.slot.held();
        held.write_answered();
        let (next, mut record) = (held.next, Vec::new());
        journal::put_life(life, next, now, &mut record);
        self.slot.append(&mut held, next, now, ROOM_FOR_STATE, |block| block.extend_from_slice(&record));
        held.base = Base { life: Some(record), ..Base::default() };
    }

    /// What the instance knew after an event.
    pub fn snapshot(&self, now: At, seq: u64, snapshot: &Snapshot) {
        let mut held = self.slot.held();
        held.write_answered();
        let mut record = Vec::new();
        journal::put_snapshot(seq, now, snapshot, &mut record);
        self.slot.append(&mut held, seq, now, ROOM_FOR_STATE, |block| block.extend_from_slice(&record));
        held.base.snapshot = Some((seq, record));
        held.sync = true;
    }

    /// An event that was written down was not handed to the policy.
    pub fn skipped(&self, now: At, seq: u64, why: &str) {
        let skipped = Skipped { seq, why: why.to_owned() };
        let put = |block: &mut Vec<u8>| journal::put_skipped(&skipped, now, block);
        self.slot.append(&mut self.slot.held(), seq, now, ROOM, put);
    }

    /// What somebody said after an event.
    pub fn note(&self, seq: u64, now: At, note: &Note) {
        let put = |block: &mut Vec<u8>| journal::put_note(seq, now, note, block);
        self.slot.append(&mut self.slot.held(), seq, now, ROOM, put);
    }

    /// Has all of it brought to the disk at once, for sure.
    pub fn sync(&self) {
        self.slot.held().sync = true;
        let _ = self.jobs.try_send(Job::Flush { written: None });
    }

    /// What the driver has not been told yet.
    pub fn news(&self) -> Option<News> {
        if !self.slot.news.load(Ordering::Acquire) {
            return None;
        }
        let mut held = self.slot.held();
        self.slot.news.store(false, Ordering::Release);
        held.news.take()
    }
}

impl Held {
    /// What was answered by nothing until now, before a record that makes it matter.
    fn write_answered(&mut self) {
        if let Some((life, seq, at)) = self.answered.take() {
            self.open();
            journal::put_answer(life, seq, at, 0, &[], &mut self.block);
        }
    }
}
