//! What is durable: one SQLite file that a person can read with `sqlite3`, written by one thread.
//!
//! A pair's state is on the disk before its write is answered. Handovers are written in batches behind it, and never make
//! a state wait for more than one small batch. Events and actions are not here: they are the journal's.

mod open;
mod read;
mod write;

pub use open::StoreError;
pub use read::Reader;

use crate::admin::api::{Maintenance, Measures, Pause};
use lockstep_pair::coordinator::Stored;
use lockstep_pair::record::HandoverRecord;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::time::Duration;

/// Writes that may wait for the disk.
const QUEUE: usize = 4096;

/// Of these, what nobody waits for may take: a state always finds a place.
const LATER_QUEUE: usize = 3072;

/// What is not written by then, when an edge ends, is lost.
const CLOSE: Duration = Duration::from_secs(5);

/// The store of one edge. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    file: PathBuf,
    jobs: SyncSender<Job>,
    /// Writes in the queue that nobody waits for.
    later_waiting: Arc<AtomicUsize>,
}

/// What a pair is found with when its edge starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Its state; the default when it is new.
    pub stored: Stored,
    /// Whether the policy's own switches are refused.
    pub pause: Option<Pause>,
    /// Whether clients are told that the pair is under maintenance.
    pub maintenance: Option<Maintenance>,
    /// No event of the pair has had this number or a higher one, as far as the store knows.
    pub next_seq: u64,
    /// When its latest handover was ordered.
    pub last_handover: Option<String>,
}

/// A handover to be kept.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptHandover {
    /// When it was ordered.
    pub when: String,
    /// The coordinator's record.
    pub record: HandoverRecord,
    /// What was measured.
    pub measures: Measures,
}

/// Called from the store's thread when a write is done, or was not. Must not block for long.
pub type Answer = Box<dyn FnOnce(Result<(), String>) + Send>;

enum Job {
    State {
        pair: String,
        stored: Stored,
        answer: Answer,
    },
    Pause {
        pair: String,
        pause: Option<Pause>,
        answer: Answer,
    },
    Maintenance {
        pair: String,
        maintenance: Option<Maintenance>,
        answer: Answer,
    },
    Handover {
        pair: String,
        kept: Box<KeptHandover>,
    },
    Numbers {
        pair: String,
        next: u64,
    },
    Close {
        answer: Answer,
    },
    #[cfg(test)]
    Wait(std::sync::mpsc::Receiver<()>),
}

impl Store {
    /// Opens the store in a directory, which is created when it is not there, and starts its thread. One edge at a
    /// time may have it open.
    pub fn open(directory: &Path) -> Result<Store, StoreError> {
        let opened = open::open(directory)?;
        let file = opened.file.clone();
        let (jobs, inbox) = sync_channel(QUEUE);
        let later_waiting = Arc::new(AtomicUsize::new(0));
        let waiting = Arc::clone(&later_waiting);
        std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || write::Writer::new(opened, waiting).run(&inbox))
            .map_err(|source| StoreError::Directory { path: directory.to_owned(), source })?;
        Ok(Store { file, jobs, later_waiting })
    }

    /// A second, read-only connection: long answers hold up no write.
    pub fn reader(&self) -> Result<Reader, StoreError> {
        Reader::open(&self.file)
    }

    /// What a pair is found with.
    pub fn find(&self, pair: &str) -> Result<Found, StoreError> {
        self.reader()?.find(pair)
    }

    /// Makes a pair's state durable, then answers. Never waits.
    pub fn put_state(&self, pair: &str, stored: Stored, answer: Answer) {
        self.answered(Job::State { pair: pair.to_owned(), stored, answer });
    }

    /// Makes a pause, or its end, durable, then answers. Never waits.
    pub fn put_pause(&self, pair: &str, pause: Option<Pause>, answer: Answer) {
        self.answered(Job::Pause { pair: pair.to_owned(), pause, answer });
    }

    /// Makes a pair's maintenance, or its end, durable, then answers. Never waits.
    pub fn put_maintenance(&self, pair: &str, maintenance: Option<Maintenance>, answer: Answer) {
        self.answered(Job::Maintenance { pair: pair.to_owned(), maintenance, answer });
    }

    /// Keeps a handover's record; a later one of the same epoch replaces it. Never waits.
    pub fn put_handover(&self, pair: &str, kept: KeptHandover) {
        self.later(Job::Handover { pair: pair.to_owned(), kept: Box::new(kept) });
    }

    /// Keeps that the pair's events have numbers below `next`, so that no later life uses one of them again, even
    /// without the journal. Never waits.
    pub fn put_numbers(&self, pair: &str, next: u64) {
        self.later(Job::Numbers { pair: pair.to_owned(), next });
    }

    /// Writes what was put before, and lets go of the file and of its lock; later writes are refused.
    pub async fn close(&self) {
        let (closed, wait) = tokio::sync::oneshot::channel();
        self.answered(Job::Close { answer: Box::new(move |result| drop(closed.send(result))) });
        if tokio::time::timeout(CLOSE, wait).await.is_err() {
            tracing::warn!("the store has not written everything; the last handover's record may be lost");
        }
    }

    fn answered(&self, job: Job) {
        let Err(error) = self.jobs.try_send(job) else { return };
        let (job, why) = match error {
            TrySendError::Full(job) => (job, format!("{QUEUE} writes wait for the disk already")),
            TrySendError::Disconnected(job) => (job, "its thread has ended".to_owned()),
        };
        if let Job::State { answer, .. }
        | Job::Pause { answer, .. }
        | Job::Maintenance { answer, .. }
        | Job::Close { answer } = job
        {
            answer(Err(why));
        }
    }

    fn later(&self, job: Job) {
        let waiting = self.later_waiting.fetch_add(1, Ordering::Relaxed);
        if waiting >= LATER_QUEUE || self.jobs.try_send(job).is_err() {
            self.later_waiting.fetch_sub(1, Ordering::Relaxed);
            tracing::warn!("the store's disk is too slow: a handover's record is not kept");
        }
    }
}

#[cfg(test)]
mod tests;
