//! The access log: one line for each request and for each stream, written where nobody waits for the disk.
//!
//! Whoever has an [`Entry`] puts it: it becomes a line ([`line`]) in a bounded queue, and one thread ([`write`]) brings lines to the
//! file. What finds no room, in the queue or on the disk, is counted; no request waits for it, and none fails.

mod calendar;
mod line;
mod write;

pub use line::{Entry, Id, Request};

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use write::{Job, Sink, Writer};

/// Lines that may wait for the disk.
const QUEUE: usize = 32 * 1024;

/// What waiting lines may take together, in bytes.
const QUEUE_BYTES: usize = 16 << 20;

/// What is not written by then when an edge ends is lost.
const CLOSE: Duration = Duration::from_secs(2);

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// One JSON object.
    #[default]
    Json,
    /// As Apache's combined format, with more at its end.
    Combined,
}

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum To {
    /// A file, which is appended to.
    File(PathBuf),
    /// The process' standard output.
    Stdout,
}

/// `[edge.access_log]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where lines go.
    pub to: To,
    /// How a line looks.
    pub format: Format,
}

/// What has become of the lines since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Lines written.
    pub written: u64,
    /// Lines that found no room, in memory or on the disk.
    pub lost: u64,
}

/// The access log of one edge. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AccessLog {
    format: Format,
    jobs: SyncSender<Job>,
    state: Arc<State>,
}

/// What the threads that put lines share with the one that writes them.
#[derive(Debug, Default)]
struct State {
    /// Bytes of the lines in the queue.
    queued: AtomicUsize,
    written: AtomicU64,
    lost: AtomicU64,
    /// The file is to be opened again.
    reopen: AtomicBool,
}

impl AccessLog {
    /// Opens the file and starts the thread that writes it.
    ///
    /// # Errors
    ///
    /// The file cannot be appended to, or the system gives no thread.
    pub fn open(settings: &Settings) -> io::Result<AccessLog> {
        let sink = Sink::open(&settings.to)?;
        let (jobs, inbox) = sync_channel(QUEUE);
        let state = Arc::<State>::default();
        let mut writer = Writer::new(sink, Arc::clone(&state));
        std::thread::Builder::new().name("access-log".to_owned()).spawn(move || writer.run(&inbox))?;
        Ok(AccessLog { format: settings.format, jobs, state })
    }

    /// Puts a line. Never waits: a line that finds no room is counted as lost.
    pub fn put(&self, entry: &Entry<'_>) {
        let line = entry.line(self.format);
        let length = line.len();
        if self.state.queued.fetch_add(length, Relaxed) + length > QUEUE_BYTES
            || self.jobs.try_send(Job::Line(line)).is_err()
        {
            self.state.queued.fetch_sub(length, Relaxed);
            self.state.lost.fetch_add(1, Relaxed);
        }
    }

    /// Has the file opened again, after the lines put before: it was renamed, and its successor is to be begun.
    pub fn reopen(&self) {
        self.state.reopen.store(true, Relaxed);
        // Where the queue is full the thread is at work, and looks at the flag.
        let _ = self.jobs.try_send(Job::Look);
    }

    /// What has become of the lines.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts { written: self.state.written.load(Relaxed), lost: self.state.lost.load(Relaxed) }
    }

    /// Writes what was put before, and ends. What comes later is lost.
    pub async fn close(&self) {
        let begun = Instant::now();
        let (closed, wait) = oneshot::channel();
        let mut job = Job::Close(closed);
        while let Err(refused) = self.jobs.try_send(job) {
            let (std::sync::mpsc::TrySendError::Full(same) | std::sync::mpsc::TrySendError::Disconnected(same)) =
                refused;
            if begun.elapsed() >= CLOSE {
                break;
            }
            job = same;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        if !matches!(tokio::time::timeout(CLOSE, wait).await, Ok(Ok(()))) {
            tracing::warn!("the access log has not written everything; its last lines are lost");
        }
    }
}

#[cfg(test)]
mod tests;
