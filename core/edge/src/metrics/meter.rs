//! What is counted on a request's way: atomics without locks, and nothing that grows.

use crate::admin::api::{Latencies, SideSeen};
use lockstep_policy::{Side, Sides};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The upper bounds of a histogram's buckets, in milliseconds; what took longer is in one more.
pub const BUCKETS_MS: [u64; 15] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000];

/// One for each bucket.
pub const COUNTS: usize = BUCKETS_MS.len() + 1;

/// How long something took, counted in fixed buckets.
#[derive(Debug, Default)]
pub struct Histogram {
    counts: [AtomicU64; COUNTS],
    /// A sum of half a million years fits.
    micros: AtomicU64,
}

impl Histogram {
    /// Counts one.
    pub fn count(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS_MS.iter().position(|bound| micros <= bound * 1000).unwrap_or(BUCKETS_MS.len());
        self.counts[bucket].fetch_add(1, Relaxed);
        self.micros.fetch_add(micros, Relaxed);
    }

    fn read(&self) -> Latencies {
        let sum = Duration::from_micros(self.micros.load(Relaxed));
        Latencies { counts: self.counts.each_ref().map(|count| count.load(Relaxed)), sum_ms: sum.as_secs_f64() * 1e3 }
    }
}

/// Answers by the first digit of their status.
#[derive(Debug, Default)]
pub struct Classes([AtomicU64; 5]);

impl Classes {
    /// Counts an answer. What is no status of HTTP is counted with 5xx.
    pub fn count(&self, status: u16) {
        self.0[usize::from(status / 100).wrapping_sub(1).min(4)].fetch_add(1, Relaxed);
    }

    /// 1xx to 5xx.
    #[must_use]
    pub fn read(&self) -> [u64; 5] {
        self.0.each_ref().map(|count| count.load(Relaxed))
    }
}

/// What the requests of one pair come to.
#[derive(Debug, Default)]
pub struct Meters {
    sides: Sides<SideMeters>,
    /// Answers of the edge's own.
    pub own: Classes,
    /// Requests whose client left before it was answered, or whose answer broke off before it began.
    pub unanswered: AtomicU64,
    /// What was refused before it was a request.
    pub malformed: AtomicU64,
}

#[derive(Debug, Default)]
struct SideMeters {
    classes: Classes,
    first_byte: Histogram,
    whole: Histogram,
    received: AtomicU64,
    sent: AtomicU64,
}

/// A request that a side has answered.
#[derive(Clone, Copy, Debug)]
pub struct Answered {
    /// The answer's status.
    pub status: u16,
    /// From the request's beginning to the answer's head.
    pub first_byte: Duration,
    /// From the request's beginning to its end.
    pub total: Duration,
    /// Bytes of the body from the client.
    pub received: u64,
    /// Bytes of the body to the client.
    pub sent: u64,
}

impl Meters {
    /// Counts a request that a side has answered.
    pub fn answered(&self, side: Side, answered: &Answered) {
        let Answered { status, first_byte, total, received, sent } = *answered;
        let meters = &self.sides[side];
        meters.classes.count(status);
        meters.first_byte.count(first_byte);
        // A connection that carries another protocol from then on lasts as long as its users like.
        if status != 101 {
            meters.whole.count(total);
        }
        self.carried(side, received, sent);
    }

    /// Counts bytes of bodies.
    pub fn carried(&self, side: Side, received: u64, sent: u64) {
        let meters = &self.sides[side];
        if received > 0 {
            meters.received.fetch_add(received, Relaxed);
        }
        if sent > 0 {
            meters.sent.fetch_add(sent, Relaxed);
        }
    }

    /// What a side has come to.
    #[must_use]
    pub fn side(&self, side: Side) -> SideSeen {
        let meters = &self.sides[side];
        SideSeen {
            answers: meters.classes.read(),
            first_byte: meters.first_byte.read(),
            whole: meters.whole.read(),
            bytes_in: meters.received.load(Relaxed),
            bytes_out: meters.sent.load(Relaxed),
            ..SideSeen::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_takes_what_is_at_most_its_bound() {
        let histogram = Histogram::default();
        for micros in [0, 1_000, 1_001, 2_000, 60_000_000, 60_000_001, u64::MAX / 4] {
            histogram.count(Duration::from_micros(micros));
        }
        let read = histogram.read();
        assert_eq!((read.counts[0], read.counts[1], read.counts[14], read.counts[15]), (2, 2, 1, 2));
        assert_eq!(read.counts.iter().sum::<u64>(), 7);
    }

    #[test]
    fn an_answer_counts_once_and_an_upgrade_lasts_as_long_as_it_likes() {
        let meters = Meters::default();
        let answered = Answered {
            status: 200,
            first_byte: Duration::from_millis(3),
            total: Duration::from_millis(7),
            received: 0,
            sent: 5,
        };
        meters.answered(Side::A, &answered);
        meters.answered(Side::A, &Answered { status: 101, total: Duration::from_secs(3600), ..answered });
        let seen = meters.side(Side::A);
        assert_eq!(seen.answers, [1, 1, 0, 0, 0]);
        assert_eq!((seen.first_byte.counts[2], seen.whole.counts[3], seen.bytes_out), (2, 1, 10));
        assert_eq!(seen.whole.counts.iter().sum::<u64>(), 1);
        assert_eq!(meters.side(Side::B), SideSeen::default());
    }

    #[test]
    fn no_status_is_beyond_the_classes() {
        let classes = Classes::default();
        [100, 599, 600, 65_535, 99, 0].into_iter().for_each(|status| classes.count(status));
        assert_eq!(classes.read(), [1, 0, 0, 0, 5]);
    }
}
