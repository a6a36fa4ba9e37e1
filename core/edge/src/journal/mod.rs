//! The journal: every event and every action of each pair, in segments that a replay can begin with.
//!
//! A driver appends records to its pair's [`slot`] in memory; one thread ([`write`]) brings them to the disk, one write
//! for each pair and turn, into the pair's directory ([`pair`]), and keeps all of it within its bounds ([`keep`]). What
//! finds no room, in memory or on the disk, is counted and written down as a gap as soon as there is room again. No
//! request, no lease and no state waits for it.
//!
//! The format is `lockstep_policy::journal`'s.

mod keep;
mod pair;
mod read;
mod slot;
#[cfg(test)]
mod tests;
mod write;

pub(crate) use pair::LIFE;
pub(crate) use read::{Piece, Reader, Since};
pub(crate) use slot::{News, PairJournal};

use crate::config::JournalConfig;
use slot::Slot;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use write::{Job, Writer};

/// The journal's directory in the state directory.
pub(crate) const DIRECTORY: &str = "journal";

/// What a reader waits for the latest records to be written. It then reads what there is.
const FLUSH: Duration = Duration::from_secs(2);

/// What is not written by then when an edge ends is lost.
const CLOSE: Duration = Duration::from_secs(5);

/// Jobs that may wait: each is a reader's, and the admin API bounds those.
const QUEUE: usize = 256;

/// The journals of one edge's pairs. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Journal {
    directory: PathBuf,
    slots: Arc<Mutex<BTreeMap<String, Arc<Slot>>>>,
    jobs: SyncSender<Job>,
}

impl Journal {
    /// Opens the journals of these pairs in an edge's state directory, and starts the thread that writes them. A disk
    /// that takes nothing is no error: the journal says so, and tries again.
    pub fn open(state: &Path, edge: &str, config: JournalConfig, pairs: &[&str]) -> io::Result<Journal> {
        let directory = state.join(DIRECTORY);
        let slots: BTreeMap<String, Arc<Slot>> =
            pairs.iter().map(|pair| ((*pair).to_owned(), Arc::new(Slot::default()))).collect();
        let (jobs, inbox) = sync_channel(QUEUE);
        let mut writer = Writer::new(directory.clone(), edge, config, &slots);
        std::thread::Builder::new().name("journal".to_owned()).spawn(move || writer.run(&inbox))?;
        Ok(Journal { directory, slots: Arc::new(Mutex::new(slots)), jobs })
    }

    fn slots(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of the next event of a pair whose driver has left, in this life of the edge.
    pub fn goes_on(&self, pair: &str) -> Option<u64> {
        let slot = self.slots().get(pair).cloned()?;
        let next = slot.held().next;
        (next > 0).then_some(next)
    }

    /// A pair's journal, for its driver, whose next event has this number. One that was not opened is opened now.
    pub fn pair(&self, pair: &str, next_seq: u64) -> PairJournal {
        let known = self.slots().get(pair).cloned();
        let slot = known.unwrap_or_else(|| {
            let slot = Arc::<Slot>::default();
            self.slots().insert(pair.to_owned(), Arc::clone(&slot));
            if self.jobs.try_send(Job::Open { pair: pair.to_owned(), slot: Arc::clone(&slot) }).is_err() {
                tracing::warn!(
                    pair,
                    "the journal is busy: nothing of this pair is written until the edge is restarted"
                );
            }
            slot
        });
        slot.held().next = next_seq;
        PairJournal::new(slot, self.jobs.clone())
    }

    /// No event of the pair that is in the journal has this number or a higher one. Waits for the disk.
    pub fn next_seq(&self, pair: &str) -> u64 {
        pair::next_seq(&pair::directory(&self.directory, pair))
    }

    /// Records that found no room since the edge started.
    pub fn lost(&self) -> u64 {
        self.slots().values().map(|slot| slot.lost_in_all()).sum()
    }

    /// Reads what is written, and first has written what is not. Its answers wait for the disk.
    pub async fn reader(&self, pair: &str) -> Reader {
        let (written, wait) = oneshot::channel();
        if self.jobs.try_send(Job::Flush { written: Some(written) }).is_ok() {
            let _ = tokio::time::timeout(FLUSH, wait).await;
        }
        Reader::new(pair::directory(&self.directory, pair))
    }

    /// Writes what was put before, and ends.
    pub async fn close(&self) {
        let (closed, wait) = oneshot::channel();
        let sent = self.jobs.try_send(Job::Close { closed }).is_ok();
        if !sent || tokio::time::timeout(CLOSE, wait).await.is_err() {
            tracing::warn!("the journal has not written everything; its last records are lost");
        }
    }
}
