//! Times as people write them: `600ms`, `1.5s`, `2m40s`.

use crate::At;
use std::time::Duration;

/// Reads a length of time; `None` when it is none.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| c.is_ascii_alphabetic())?;
        let (number, after) = rest.split_at(unit_at);
        let unit_len = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_len);
        let nanos = match unit {
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3_600e9,
            _ => return None,
        };
        let number: f64 = number.parse().ok().filter(|number| (0.0..1e9).contains(number))?;
        // At most some thirty years in nanoseconds, which both types hold.
        total = total.checked_add(Duration::from_nanos((number * nanos).round() as u64))?;
        rest = after;
    }
    if text.is_empty() { None } else { Some(total) }
}

/// Writes a length of time.
pub(super) fn duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis < 1_000 {
        return if millis == 0 { "0s".to_owned() } else { format!("{millis}ms") };
    }
    let (hours, minutes, rest) = (millis / 3_600_000, millis / 60_000 % 60, millis % 60_000);
    let mut text = String::new();
    if hours > 0 {
        text += &format!("{hours}h");
    }
    if minutes > 0 {
        text += &format!("{minutes}m");
    }
    if rest > 0 {
        let seconds = format!("{}.{:03}", rest / 1_000, rest % 1_000);
        text += seconds.trim_end_matches('0').trim_end_matches('.');
        text.push('s');
    }
    text
}

/// Writes a time since the start.
pub(super) fn at(at: At) -> String {
    duration(at.since(At::ZERO))
}
