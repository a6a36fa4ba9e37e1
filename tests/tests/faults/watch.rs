//! Witnesses of what is gone afterwards: the epochs that each agent has stored, one after the other (I3), and how long the edge's threads have
//! waited for a processor.

use lockstep_demo::play::processes::{Process, of_demo};
use lockstep_policy::Side;
use std::collections::BTreeMap;
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

/// A thread of the edge has waited for a processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Late {
    /// Between this instant and `to`, on `CLOCK_BOOTTIME`, in nanoseconds, it was given one again.
    pub from: u64,
    /// See `from`.
    pub to: u64,
    /// So long it had waited, in nanoseconds.
    pub waited: u64,
}

/// What was seen.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The nodes' epochs.
    pub epochs: Vec<Seen>,
    /// The edge's waits.
    pub late: Vec<Late>,
}

/// Waits for a processor that are noted, in nanoseconds: from half of the margin on by which leases end later than the edge believes.
const NOTED: u64 = 10_000_000;
/// From one look for new edges to the next, in looks.
const REFRESH: usize = 20;

/// The thread that looks.
#[derive(Debug)]
pub struct Watch {
    over: Arc<AtomicBool>,
    seen: Arc<Mutex<Report>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Begins to look.
    pub fn begin(dir: &Path) -> Watch {
        let (over, seen) = (Arc::new(AtomicBool::new(false)), Arc::<Mutex<Report>>::default());
        let thread = std::thread::spawn({
            let (over, seen, dir) = (Arc::clone(&over), Arc::clone(&seen), dir.to_owned());
            move || watch(&dir, &over, &seen)
        });
        Watch { over, seen, thread: Some(thread) }
    }

    /// What was seen.
    pub fn end(&self) -> Report {
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

fn watch(dir: &Path, over: &AtomicBool, seen: &Mutex<Report>) {
    let (mut latest, mut edge) = ([None; 2], Waits::default());
    while !over.load(Ordering::Relaxed) {
        for (latest, side) in latest.iter_mut().zip(Side::BOTH) {
            let Some(epoch) = crate::stored::node(dir, side).map(|node| node.epoch) else { continue };
            if *latest != Some(epoch) {
                *latest = Some(epoch);
                let new = Seen { at: lockstep_demo::now(), side, epoch };
                seen.lock().unwrap_or_else(PoisonError::into_inner).epochs.push(new);
            }
        }
        let late = edge.look(dir);
        seen.lock().unwrap_or_else(PoisonError::into_inner).late.extend(late);
        std::thread::sleep(LOOK);
    }
}

/// How long each thread of the edge has waited for a processor in its life, as the kernel counts.
#[derive(Debug, Default)]
struct Waits {
    looks: usize,
    edges: Vec<Process>,
    of_thread: BTreeMap<PathBuf, u64>,
    looked: u64,
}

impl Waits {
    fn look(&mut self, dir: &Path) -> Option<Late> {
        if self.looks.is_multiple_of(REFRESH) {
            self.edges = of_demo(dir).unwrap().into_iter().filter(|process| process.runs(&["edge"])).collect();
        }
        self.looks += 1;
        let (from, mut waited) = (self.looked, 0);
        for edge in &self.edges {
            let threads = std::fs::read_dir(format!("/proc/{}/task", edge.pid)).into_iter().flatten();
            for thread in threads.filter_map(Result::ok).map(|thread| thread.path().join("schedstat")) {
                // Nanoseconds on a processor, nanoseconds of waiting for one, and how often it got one.
                let Ok(text) = std::fs::read_to_string(&thread) else { continue };
                let Some(total) = text.split(' ').nth(1).and_then(|total| total.parse().ok()) else { continue };
                let before: u64 = self.of_thread.insert(thread, total).unwrap_or(total);
                waited = waited.max(total.saturating_sub(before));
            }
        }
        self.looked = lockstep_demo::now();
        (waited >= NOTED).then_some(Late { from, to: self.looked, waited })
    }
}

/// Where an agent keeps what survives it.
pub fn file(dir: &Path, side: Side) -> PathBuf {
    dir.join(format!("agent-{side}/node.json"))
}
