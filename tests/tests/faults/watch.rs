//! A witness of what each agent has stored, all the time: epochs that go back are seen at once (I3).

use lockstep_policy::Side;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// From one look to the next.
const LOOK: Duration = Duration::from_millis(5);

/// A state that a node's file was seen with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// When, on `CLOCK_BOOTTIME`, in nanoseconds.
    pub at: u64,
    /// Whose.
    pub side: Side,
    /// The epoch.
    pub epoch: u64,
}

/// The thread that looks.
#[derive(Debug)]
pub struct Watch {
    over: Arc<AtomicBool>,
    seen: Arc<Mutex<Vec<Seen>>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Begins to look.
    pub fn begin(dir: &Path) -> Watch {
        let (over, seen) = (Arc::new(AtomicBool::new(false)), Arc::<Mutex<Vec<Seen>>>::default());
        let thread = std::thread::spawn({
            let (over, seen, dir) = (Arc::clone(&over), Arc::clone(&seen), dir.to_owned());
            move || watch(&dir, &over, &seen)
        });
        Watch { over, seen, thread: Some(thread) }
    }

    /// Every change that was seen.
    pub fn end(&self) -> Vec<Seen> {
        self.over.store(true, Ordering::Relaxed);
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn watch(dir: &Path, over: &AtomicBool, seen: &Mutex<Vec<Seen>>) {
    let mut latest: [Option<u64>; 2] = [None; 2];
    while !over.load(Ordering::Relaxed) {
        for (latest, side) in latest.iter_mut().zip(Side::BOTH) {
            let Some(epoch) = crate::stored::node(dir, side).map(|node| node.epoch) else { continue };
            if *latest != Some(epoch) {
                *latest = Some(epoch);
                let new = Seen { at: lockstep_demo::now(), side, epoch };
                seen.lock().unwrap_or_else(PoisonError::into_inner).push(new);
            }
        }
        std::thread::sleep(LOOK);
    }
}

/// Where an agent keeps what survives it.
pub fn file(dir: &Path, side: Side) -> PathBuf {
    dir.join(format!("agent-{side}/node.json"))
}
