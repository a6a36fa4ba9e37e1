//! The time of day, for people only: nothing is decided by it.

use std::time::{Duration, SystemTime};

/// Now, as RFC 3339 in UTC with milliseconds.
pub(crate) fn now() -> String {
    text(SystemTime::now())
}

/// A number of milliseconds after 1970. One beyond the calendar's end is that end.
pub(crate) fn of_unix_ms(ms: u64) -> String {
    text(SystemTime::UNIX_EPOCH + Duration::from_millis(ms.min(253_402_300_799_999)))
}

/// A point of the edge's own clock that is `ago` in the past.
pub(crate) fn before(ago: Duration) -> String {
    text(SystemTime::now().checked_sub(ago).unwrap_or(SystemTime::UNIX_EPOCH))
}

/// How long ago a time was that was written by [`now`]; none when it is no such text, or still to come.
pub(crate) fn since(text: &str) -> Option<Duration> {
    SystemTime::now().duration_since(humantime::parse_rfc3339(text).ok()?).ok()
}

fn text(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}
