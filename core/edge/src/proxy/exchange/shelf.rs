//! Connections to the servers of one side in one epoch that no request uses.
//!
//! The one that was used last is taken first. Nobody waits for another one here: a shelf has compartments, each behind a lock that
//! is only tried, and a thread begins at its own.

use crate::address::Address;
use crate::proxy::links::Linked;
use crate::proxy::table::Target;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, TryLockError};
use std::time::{Duration, Instant};

const COMPARTMENTS: usize = 8;

/// How often unused connections are looked at: those that a server has closed, and those that nobody wanted for long.
const TIDY_EVERY: Duration = Duration::from_millis(500);

/// A connection that is not used.
#[derive(Debug)]
struct Unused {
    linked: Linked,
    to: Address,
    since: Instant,
}

/// The unused connections of one target.
#[derive(Debug)]
pub(in crate::proxy) struct Shelf {
    compartments: [Mutex<VecDeque<Unused>>; COMPARTMENTS],
    count: AtomicUsize,
    /// How many there may be, and for how long.
    most: usize,
    longest: Duration,
    /// Somebody looks after it.
    is_tended: AtomicBool,
}

impl Shelf {
    pub(in crate::proxy) fn new(most: usize, longest: Duration) -> Shelf {
        Shelf {
            compartments: Default::default(),
            count: AtomicUsize::new(0),
            most,
            longest,
            is_tended: AtomicBool::new(false),
        }
    }

    /// A connection to the server that can be used. One that has bytes, or has ended, while nobody uses it, cannot.
    pub(super) fn take(&self, to: &Address) -> Option<Linked> {
        if self.count.load(Relaxed) == 0 {
            return None;
        }
        let begin = own();
        for number in 0..COMPARTMENTS {
            let Some(mut compartment) = open(&self.compartments[(begin + number) % COMPARTMENTS]) else { continue };
            while let Some(at) = compartment.iter().rposition(|unused| unused.to == *to) {
                let Some(unused) = compartment.remove(at) else { break };
                self.count.fetch_sub(1, Relaxed);
                if self.is_good(&unused) {
                    return Some(unused.linked);
                }
            }
        }
        None
    }

    fn is_good(&self, unused: &Unused) -> bool {
        unused.since.elapsed() < self.longest && is_quiet(&unused.linked)
    }

    /// Keeps a connection for the next request, unless there are enough.
    fn put(&self, linked: Linked, to: Address) {
        if self.count.fetch_add(1, Relaxed) >= self.most {
            self.count.fetch_sub(1, Relaxed);
            return;
        }
        let unused = Unused { linked, to, since: Instant::now() };
        let begin = own();
        for number in 0..COMPARTMENTS {
            if let Some(mut compartment) = open(&self.compartments[(begin + number) % COMPARTMENTS]) {
                compartment.push_back(unused);
                return;
            }
        }
        self.count.fetch_sub(1, Relaxed);
    }

    /// Lets go of what cannot be used any more.
    fn tidy(&self) {
        for compartment in &self.compartments {
            let Some(mut compartment) = open(compartment) else { continue };
            let before = compartment.len();
            compartment.retain(|unused| self.is_good(unused));
            self.count.fetch_sub(before - compartment.len(), Relaxed);
        }
    }
}

/// Keeps a connection of the target for its next request.
pub(super) fn put(target: &Arc<Target>, linked: Linked, to: Address) {
    let shelf = &target.shelf;
    shelf.put(linked, to);
    if !shelf.is_tended.load(Relaxed) && !shelf.is_tended.swap(true, SeqCst) {
        tend(target);
    }
}

/// Looks after the shelf for as long as something is on it.
fn tend(target: &Arc<Target>) {
    let target = Arc::downgrade(target);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(TIDY_EVERY).await;
            let Some(target) = target.upgrade() else { return };
            let shelf = &target.shelf;
            shelf.tidy();
            if shelf.count.load(SeqCst) == 0 {
                shelf.is_tended.store(false, SeqCst);
                // What was put meanwhile found it tended.
                if shelf.count.load(SeqCst) == 0 || shelf.is_tended.swap(true, SeqCst) {
                    return;
                }
            }
        }
    });
}

/// Whether nothing has come, and nobody has ended it. What the kernel has not told us of yet is not seen.
fn is_quiet(linked: &Linked) -> bool {
    let nothing = linked.socket.try_read(&mut [0]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
    nothing && !linked.kept.link.was_cut()
}

/// Asks the kernel itself whether a connection is quiet: for requests that are not sent twice.
pub(super) fn is_surely_quiet(linked: &Linked) -> bool {
    use rustix::io::Errno;
    use rustix::net::{RecvFlags, recv};
    let peeked = recv(&linked.socket, &mut [0], RecvFlags::PEEK | RecvFlags::DONTWAIT);
    matches!(peeked, Err(Errno::AGAIN))
}

fn open(compartment: &Mutex<VecDeque<Unused>>) -> Option<std::sync::MutexGuard<'_, VecDeque<Unused>>> {
    match compartment.try_lock() {
        Ok(open) => Some(open),
        Err(TryLockError::Poisoned(open)) => Some(open.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// The compartment at which this thread begins.
fn own() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: usize = NEXT.fetch_add(1, Relaxed);
    }
    OWN.with(|own| *own)
}
