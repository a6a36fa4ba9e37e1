//! Places where a test may make the agent die: `LOCKSTEP_CRASH_AT=NAME`, or `NAME:N` for the N-th passing.

use crate::platform::process;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The environment variable. Nothing here does anything without it.
pub(crate) const VARIABLE: &str = "LOCKSTEP_CRASH_AT";

struct Wanted {
    point: String,
    passings: AtomicU64,
}

/// Passes a point: kills this process, without a word to anyone, when it is the one asked for.
pub(crate) fn point(name: &str) {
    static WANTED: OnceLock<Option<Wanted>> = OnceLock::new();
    let Some(wanted) = WANTED.get_or_init(wanted) else { return };
    if wanted.point == name && wanted.passings.fetch_sub(1, Ordering::Relaxed) == 1 {
        process::die();
    }
}

fn wanted() -> Option<Wanted> {
    let text = std::env::var(VARIABLE).ok()?;
    let (point, passings) = text.split_once(':').unwrap_or((&text, "1"));
    Some(Wanted { point: point.to_owned(), passings: AtomicU64::new(passings.parse().ok()?) })
}
