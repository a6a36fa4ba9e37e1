//! Whether the machine itself kept time while a story was told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The LAN profile renews a lease of 600 ms every 50 ms, and serves on the word of a report for 530 ms: a machine on which nobody runs for
/// this long may not let some run for several times as long, and that costs the lease.
pub const STANDSTILL: Duration = Duration::from_millis(100);
const TICK: Duration = Duration::from_millis(5);

/// A thread that wants to run every few milliseconds, and notes the longest time for which it could not.
#[derive(Debug)]
pub struct Witness {
    over: Arc<AtomicBool>,
    longest: Arc<AtomicU64>,
    latest: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Witness {
    /// Begins to watch.
    pub fn begin() -> Witness {
        let (over, longest) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let latest = Arc::new(AtomicU64::new(0));
        let thread = std::thread::spawn({
            let (over, longest, latest) = (Arc::clone(&over), Arc::clone(&longest), Arc::clone(&latest));
            move || {
                while !over.load(Ordering::Relaxed) {
                    let begin = Instant::now();
                    std::thread::sleep(TICK);
                    let late = begin.elapsed().saturating_sub(TICK);
                    let late = u64::try_from(late.as_micros()).unwrap_or(u64::MAX);
                    longest.fetch_max(late, Ordering::Relaxed);
                    latest.fetch_max(late, Ordering::Relaxed);
                }
            }
        });
        Witness { over, longest, latest, thread: Some(thread) }
    }

    /// The longest time for which the machine has let it wait.
    pub fn longest_standstill(&self) -> Duration {
        Duration::from_micros(self.longest.load(Ordering::Relaxed))
    }

    /// The longest such time since this was last asked.
    pub fn latest_standstill(&self) -> Duration {
        Duration::from_micros(self.latest.swap(0, Ordering::Relaxed))
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
