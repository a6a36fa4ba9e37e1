//! What a client saw, one exchange at a time, and what that comes to.

use crate::clock::nanos;
use crate::lines;
use lockstep_policy::Side;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

/// One request and what became of it. All times are `CLOCK_BOOTTIME` in nanoseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    /// Counts from 0.
    pub n: u64,
    /// `GET` or `POST`.
    pub method: String,
    /// When it was to be sent.
    pub due: u64,
    /// When it was begun to be sent.
    pub sent: u64,
    /// When its answer was there in full, or it had failed.
    pub ended: u64,
    /// The answer's status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The side that answered, as it said itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub side: Option<Side>,
    /// The server that answered, where it has a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// Whether that side's CTI was active, as it said itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<bool>,
    /// After how many seconds the answer wants the request to be sent again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
    /// Why there is no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Exchange {
    /// Answered with success.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.error.is_none() && self.status.is_some_and(|status| (200..300).contains(&status))
    }

    /// Answered by a side that said that its CTI was not active.
    #[must_use]
    pub fn by_standby(&self) -> bool {
        self.active == Some(false)
    }

    fn failure(&self) -> Option<String> {
        match (&self.error, self.status) {
            (Some(error), _) => Some(error.clone()),
            (None, Some(status)) if !(200..300).contains(&status) => {
                Some(format!("status {status} to {}", self.method))
            }
            _ => None,
        }
    }
}

/// What a number of exchanges comes to. Latencies are of good answers, from the sending on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// How many requests.
    pub requests: u64,
    /// How many were not answered with success.
    pub failed: u64,
    /// How many failed for which cause.
    pub failures: BTreeMap<String, u64>,
    /// How many were answered by a side whose CTI was not active.
    pub by_standby: u64,
    /// How many good answers came from A.
    pub from_a: u64,
    /// How many good answers came from B.
    pub from_b: u64,
    /// The longest time without a good answer.
    pub longest_gap_ms: f64,
    /// Half of the good answers took no longer.
    pub p50_ms: f64,
    /// 99 of 100 good answers took no longer.
    pub p99_ms: f64,
    /// The slowest good answer.
    pub max_ms: f64,
    /// The longest time by which a request was sent after it was due: how far the client itself is to be trusted.
    pub client_late_ms: f64,
}

/// Sums up the exchanges that were due in `from..to`.
#[must_use]
pub fn summarise(all: &[Exchange], from: u64, to: u64) -> Summary {
    let within: Vec<_> = all.iter().filter(|exchange| (from..to).contains(&exchange.due)).collect();
    let mut summary = Summary { requests: within.len() as u64, ..Summary::default() };
    let mut latencies = Vec::with_capacity(within.len());
    for exchange in &within {
        summary.by_standby += u64::from(exchange.by_standby());
        summary.client_late_ms = summary.client_late_ms.max(millis(exchange.sent.saturating_sub(exchange.due)));
        if let Some(cause) = exchange.failure() {
            summary.failed += 1;
            *summary.failures.entry(cause).or_default() += 1;
            continue;
        }
        latencies.push(exchange.ended - exchange.sent);
        summary.from_a += u64::from(exchange.side == Some(Side::A));
        summary.from_b += u64::from(exchange.side == Some(Side::B));
    }
    latencies.sort_unstable();
    summary.p50_ms = millis(percentile(&latencies, 50));
    summary.p99_ms = millis(percentile(&latencies, 99));
    summary.max_ms = millis(latencies.last().copied().unwrap_or(0));
    summary.longest_gap_ms = longest_gap(all, from, to).as_secs_f64() * 1_000.0;
    summary
}

/// Sums up all exchanges, from the first one's sending to the last one's end.
#[must_use]
pub fn summarise_all(all: &[Exchange]) -> Summary {
    let from = all.iter().map(|exchange| exchange.due).min().unwrap_or(0);
    let to = all.iter().map(|exchange| exchange.due).max().map_or(0, |last| last + 1);
    summarise(all, from, to)
}

/// The longest time within `from..to` in which no good answer came. The window's own ends count as answers, so that a
/// silence which goes on to the end is not overlooked.
#[must_use]
pub fn longest_gap(all: &[Exchange], from: u64, to: u64) -> Duration {
    let (begin, end) = longest_silence(all, from, to);
    Duration::from_nanos(end - begin)
}

/// How long after `fault` the longest silence in `fault..to` was over: the first good answer, when the fault has
/// silenced the service.
#[must_use]
pub fn good_again(all: &[Exchange], fault: u64, to: u64) -> Duration {
    let (_, end) = longest_silence(all, fault, to);
    Duration::from_nanos(end - fault)
}

fn longest_silence(all: &[Exchange], from: u64, to: u64) -> (u64, u64) {
    let good = all.iter().filter(|exchange| exchange.is_good() && (from..to).contains(&exchange.ended));
    let mut instants: Vec<_> = good.map(|exchange| exchange.ended).chain([from, to]).collect();
    instants.sort_unstable();
    let pairs = instants.windows(2).map(|pair| (pair[0], pair[1]));
    pairs.max_by_key(|(begin, end)| end - begin).unwrap_or((from, to))
}

/// Reads a client's log. A last line that is still being written is left out; a missing file is an empty log.
///
/// # Errors
/// The file cannot be read, or a whole line is not an exchange.
pub fn read(path: &Path) -> io::Result<Vec<Exchange>> {
    lines::read(path, |line| serde_json::from_str(line))
}

/// The value below which `percent` of the sorted values lie; zero without values.
fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0)
}

#[expect(clippy::cast_precision_loss, reason = "a time of hours in nanoseconds is exact to the microsecond")]
fn millis(ns: u64) -> f64 {
    ns as f64 / nanos(Duration::from_millis(1)) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn good(n: u64, sent: u64, took: u64, side: Side) -> Exchange {
        Exchange {
            n,
            method: "GET".into(),
            due: sent * MS,
            sent: sent * MS,
            ended: (sent + took) * MS,
            status: Some(200),
            side: Some(side),
            server: None,
            active: Some(true),
            retry_after: None,
            error: None,
        }
    }

    #[test]
    fn counts_what_failed_and_why_and_who_served() {
        let refused = Exchange { status: Some(503), side: None, active: None, ..good(1, 10, 1, Side::A) };
        let reset = Exchange { error: Some("reset".into()), status: None, ..good(2, 20, 1, Side::A) };
        let standby = Exchange { active: Some(false), ..good(3, 30, 1, Side::B) };
        let summary = summarise_all(&[good(0, 0, 1, Side::A), refused, reset, standby]);
        assert_eq!((summary.requests, summary.failed, summary.by_standby), (4, 2, 1));
        assert_eq!((summary.from_a, summary.from_b), (1, 1));
        assert_eq!(summary.failures, BTreeMap::from([("reset".to_owned(), 1), ("status 503 to GET".to_owned(), 1)]));
    }

    #[test]
    fn the_longest_gap_is_between_answers_and_reaches_to_the_windows_ends() {
        let all =
            [good(0, 0, 1, Side::A), good(1, 10, 1, Side::A), good(2, 20, 300, Side::B), good(3, 330, 1, Side::B)];
        assert_eq!(longest_gap(&all, 0, 331 * MS), Duration::from_millis(309));
        assert_eq!(longest_gap(&all, 0, 2_000 * MS), Duration::from_millis(1_669));
        assert_eq!(longest_gap(&[], 0, 500 * MS), Duration::from_millis(500));
    }

    #[test]
    fn the_service_is_good_again_when_the_longest_silence_ends() {
        let all =
            [good(0, 0, 10, Side::A), good(1, 51, 3, Side::A), good(2, 60, 300, Side::B), good(3, 361, 1, Side::B)];
        assert_eq!(good_again(&all, 50 * MS, 400 * MS), Duration::from_millis(310));
        assert_eq!(good_again(&all, 370 * MS, 400 * MS), Duration::from_millis(30), "it never was");
    }

    #[test]
    fn percentiles_are_of_the_answers_there_are() {
        let all: Vec<_> = (0..100).map(|n| good(n, n, n + 1, Side::A)).collect();
        let summary = summarise_all(&all);
        assert!((summary.p50_ms - 50.0).abs() < 1e-9 && (summary.p99_ms - 99.0).abs() < 1e-9);
        assert!((summary.max_ms - 100.0).abs() < 1e-9);
        assert!(summarise_all(&[]).p99_ms.abs() < 1e-9);
    }
}
