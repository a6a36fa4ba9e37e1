//! When probes that are sent again and again are sent.
//!
//! Probes of one pair that were declared together, with one interval, keep together: their results are news at one time. Those
//! of different pairs do not keep step. All fall on the beats of one clock: what is due within a beat wakes the edge once.

use std::sync::OnceLock;
use std::time::Duration;
use tokio::time::Instant;

/// The longest beat; shorter intervals have shorter ones.
const BEAT: Duration = Duration::from_millis(10);

/// The beats of an interval.
const BEATS: u32 = 100;

/// A pair's own; its probes share it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rhythm {
    seed: u64,
}

impl Rhythm {
    pub fn new() -> Rhythm {
        Rhythm { seed: fastrand::u64(..) }
    }

    /// The time of the next probe: an interval after the last one's, and up to a tenth of it earlier. `sent` is how many were
    /// sent before.
    pub fn next(self, last: Instant, interval: Duration, sent: u64) -> Instant {
        static BEGIN: OnceLock<Instant> = OnceLock::new();
        let begin = *BEGIN.get_or_init(|| last);
        begin + self.due(last.saturating_duration_since(begin), interval, sent)
    }

    fn due(self, last: Duration, interval: Duration, sent: u64) -> Duration {
        let beat = (interval / BEATS).min(BEAT);
        let due = last + interval - self.jitter(interval, sent);
        let late = due.as_nanos().checked_rem(beat.as_nanos()).unwrap_or(0);
        due - Duration::from_nanos(u64::try_from(late).unwrap_or(0))
    }

    /// Nine hundredths at most: the beat takes the last one.
    fn jitter(self, interval: Duration, sent: u64) -> Duration {
        // Neighbours' seeds must not meet: by so much, no two sequences do.
        let part = fastrand::Rng::with_seed(self.seed ^ sent.wrapping_mul(0x9e37_79b9_7f4a_7c15)).f64();
        interval.mul_f64(part * 0.09)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_next_probe_is_up_to_a_tenth_early_and_on_a_beat() {
        for interval in
            [Duration::from_millis(5), Duration::from_millis(100), Duration::from_secs(1), Duration::from_secs(60)]
        {
            let rhythm = Rhythm { seed: 7 };
            let mut last = Duration::from_millis(123);
            for sent in 0..1_000 {
                let due = rhythm.due(last, interval, sent);
                assert!(
                    due > last + interval * 9 / 10 - Duration::from_nanos(1) && due <= last + interval,
                    "{interval:?}"
                );
                assert_eq!(due.as_nanos() % (interval / BEATS).min(BEAT).as_nanos(), 0);
                last = due;
            }
        }
    }

    #[test]
    fn probes_of_a_pair_keep_together_and_pairs_do_not() {
        let second = Duration::from_secs(1);
        let times = |seed| {
            (0..50).scan(Duration::ZERO, move |last, sent| {
                *last = Rhythm { seed }.due(*last, second, sent);
                Some(*last)
            })
        };
        assert!(times(1).eq(times(1)));
        let ends: BTreeSet<Duration> = (0..100).filter_map(|seed| times(seed).last()).collect();
        assert!(ends.len() > 25, "{} of 100 pairs stand apart", ends.len());
    }
}
