//! The time of day, for people only: nothing is decided by it.

use std::time::{Duration, SystemTime};

/// Now, as RFC 3339 in UTC with milliseconds.
pub(crate) fn now() -> String {
    text(SystemTime::now())
}

/// So many days ago.
pub(crate) fn days_ago(days: u64) -> String {
    text(SystemTime::now().checked_sub(Duration::from_secs(days * 86_400)).unwrap_or(SystemTime::UNIX_EPOCH))
}

/// A point of the edge's own clock that is `ago` in the past.
pub(crate) fn before(ago: Duration) -> String {
    text(SystemTime::now().checked_sub(ago).unwrap_or(SystemTime::UNIX_EPOCH))
}

fn text(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}
