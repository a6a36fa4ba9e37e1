//! Named points at which a test can have the edge killed, to see that another life of it finds the way.
//!
//! `LOCKSTEP_CRASH_AT=NAME[:N]` kills the process with SIGKILL at the Nth passing of the point.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

struct Wanted {
    name: String,
    /// Passings that are still survived, and the one that is not.
    left: AtomicU64,
}

static WANTED: OnceLock<Option<Wanted>> = OnceLock::new();

/// Passes a point.
pub(crate) fn point(name: &str) {
    let Some(wanted) = wanted() else { return };
    if wanted.name == name && wanted.left.fetch_sub(1, Ordering::Relaxed) == 1 {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

fn wanted() -> Option<&'static Wanted> {
    let read = || {
        let text = std::env::var("LOCKSTEP_CRASH_AT").ok()?;
        let (name, left) = match text.rsplit_once(':') {
            Some((name, left)) => (name.to_owned(), left.parse().ok()?),
            None => (text, 1),
        };
        Some(Wanted { name, left: AtomicU64::new(left) })
    };
    WANTED.get_or_init(read).as_ref()
}
