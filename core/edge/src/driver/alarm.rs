//! Alarms: timers of the local time of day.
//!
//! The next occurrence is looked for from the time of the last look, each minute at least: so neither a clock that is
//! set nor a zone that changes is missed. A time that does not exist because clocks go forward is as much later as they
//! go; of one that comes twice the first counts.

use super::Driver;
use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use lockstep_policy::At;
use lockstep_policy::event::{TimerId, What};
use lockstep_wire::clock;
use std::collections::BTreeMap;
use std::time::Duration;

/// Alarms that one policy may have set.
const ALARMS: usize = 256;

/// From one look at the time of day to the next.
const LOOK: Duration = Duration::from_secs(60);

/// When the time of day and the edge's own clock come apart by more than this between two looks, it was set. Forward by
/// less counts as time that has passed.
const SET_BACK: f64 = 2.0;
const SET_FORWARD: f64 = 60.0;

const MINUTES: u16 = 24 * 60;

/// All alarms of one policy.
#[derive(Debug, Default)]
pub struct Alarms {
    set: BTreeMap<TimerId, Alarm>,
    looked: Option<(At, Timestamp)>,
    wake: Option<At>,
}

#[derive(Debug)]
struct Alarm {
    minute: u16,
    /// The occurrence after this time is meant.
    after: Timestamp,
}

impl Alarms {
    /// Sets one, for the next time at which the day is so many minutes old.
    ///
    /// # Errors
    ///
    /// There is no such minute, or there are too many alarms.
    pub fn set(&mut self, timer: TimerId, minute: u16, now: At, today: &Today) -> Result<(), String> {
        if minute >= MINUTES {
            return Err(format!("minute {minute} is not one of a day: 0 to {}", MINUTES - 1));
        }
        if self.set.len() >= ALARMS && !self.set.contains_key(&timer) {
            return Err(format!("a policy may have set {ALARMS} alarms"));
        }
        self.set.insert(timer, Alarm { minute, after: today.wall });
        self.looked.get_or_insert((now, today.wall));
        self.plan(now, today);
        Ok(())
    }

    /// Forgets one.
    pub fn cancel(&mut self, timer: TimerId) {
        self.set.remove(&timer);
        if self.set.is_empty() {
            self.clear();
        }
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        *self = Alarms::default();
    }

    /// Looks at the time of day. The alarms that are due are set no more.
    pub fn look(&mut self, now: At, today: &Today) -> Vec<TimerId> {
        // Where a clock that was set stood at the last look, had it been set then.
        let was_set = self.looked.and_then(|(at, wall)| {
            let passed = SignedDuration::try_from(now.since(at)).ok()?;
            let apart = (today.wall.duration_since(wall) - passed).as_secs_f64();
            (!(-SET_BACK..=SET_FORWARD).contains(&apart)).then(|| today.wall.checked_sub(passed).ok()).flatten()
        });
        let mut due = Vec::new();
        self.set.retain(|timer, alarm| {
            alarm.after = was_set.unwrap_or(alarm.after);
            let is_due = today.next(alarm.minute, alarm.after).is_some_and(|at| at <= today.wall);
            alarm.after = alarm.after.max(today.wall);
            if is_due {
                due.push(*timer);
            }
            !is_due
        });
        self.looked = Some((now, today.wall));
        self.plan(now, today);
        due
    }

    /// When to look next; none while no alarm is set.
    #[must_use]
    pub fn wake(&self) -> Option<At> {
        self.wake
    }

    fn plan(&mut self, now: At, today: &Today) {
        let wait = |alarm: &Alarm| {
            let at = today.next(alarm.minute, alarm.after)?;
            Duration::try_from(at.duration_since(today.wall)).ok()
        };
        let wait = self.set.values().filter_map(wait).fold(LOOK, Duration::min);
        self.wake = (!self.set.is_empty()).then(|| now + wait);
    }
}

/// The time of day, and where.
#[derive(Clone, Debug)]
pub struct Today {
    wall: Timestamp,
    zone: TimeZone,
}

impl Today {
    /// So many milliseconds after 1970 began, in UTC; the beginning, when that is no time.
    #[must_use]
    pub fn utc(milliseconds: i64) -> Today {
        Today { wall: Timestamp::from_millisecond(milliseconds).unwrap_or(Timestamp::UNIX_EPOCH), zone: TimeZone::UTC }
    }

    fn now() -> Today {
        Today { wall: Timestamp::now(), zone: TimeZone::system() }
    }

    /// The first time after `after` at which a day is so many minutes old by its clocks.
    fn next(&self, minute: u16, after: Timestamp) -> Option<Timestamp> {
        let (hour, minute) = (i8::try_from(minute / 60).ok()?, i8::try_from(minute % 60).ok()?);
        let time = Time::new(hour, minute, 0, 0).ok()?;
        // From the day before: its last hour may be one that clocks have moved into this day.
        let mut day = after.to_zoned(self.zone.clone()).date().yesterday().ok()?;
        for _ in 0..4 {
            let at = day.to_datetime(time).to_zoned(self.zone.clone()).ok()?.timestamp();
            if at > after {
                return Some(at);
            }
            day = day.tomorrow().ok()?;
        }
        None
    }
}

impl Driver {
    pub(super) fn set_alarm(&mut self, timer: TimerId, minute: u16) -> Result<(), String> {
        self.alarms.set(timer, minute, clock::now(), &Today::now())?;
        // Numbered with the timers: there is one of each number.
        self.seat.timers.cancel(timer);
        Ok(())
    }

    pub(super) fn cancel_alarm(&mut self, timer: TimerId) {
        self.alarms.cancel(timer);
    }

    /// An instance that begins anew has set none.
    pub(super) fn clear_alarms(&mut self) {
        self.alarms.clear();
    }

    pub(super) fn ring_alarms(&mut self, now: At) {
        if self.alarms.wake.is_none_or(|at| now < at) {
            return;
        }
        for timer in self.alarms.look(now, &Today::now()) {
            self.tell(What::Timer(timer));
        }
    }

    pub(super) fn alarm_deadline(&self) -> Option<At> {
        self.alarms.wake
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3600;
    const THREE: u16 = 3 * 60;

    /// An edge in Berlin, whose own clock starts at that time.
    struct Edge {
        alarms: Alarms,
        zone: TimeZone,
        wall: Timestamp,
        now: At,
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    impl Edge {
        fn new(wall: &str) -> Edge {
            // POSIX rules need no database: clocks change on the last Sundays of March and October.
            let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
            Edge { alarms: Alarms::default(), zone, wall: at(wall), now: At::from_millis(5_000) }
        }

        fn today(&self) -> Today {
            Today { wall: self.wall, zone: self.zone.clone() }
        }

        fn set(&mut self, minute: u16) {
            let (now, today) = (self.now, self.today());
            self.alarms.set(TimerId(1), minute, now, &today).unwrap();
        }

        fn pass(&mut self, time: Duration) {
            self.now = self.now + time;
            self.wall += SignedDuration::try_from(time).unwrap();
        }

        /// Lives as the driver does; when the alarm rings, within that time.
        fn rings_within(&mut self, time: Duration) -> Option<Timestamp> {
            let end = self.now + time;
            while let Some(wake) = self.alarms.wake.filter(|wake| *wake <= end) {
                assert!(wake.since(self.now) <= LOOK);
                self.pass(wake.since(self.now));
                let today = self.today();
                if !self.alarms.look(self.now, &today).is_empty() {
                    assert_eq!(self.alarms.wake, None, "it rings once");
                    return Some(self.wall);
                }
            }
            None
        }

        fn rings(&mut self) -> Timestamp {
            self.rings_within(Duration::from_secs(50 * HOUR)).expect("it rings within two days")
        }
    }

    #[test]
    fn an_alarm_rings_at_the_next_such_time_of_day() {
        let mut edge = Edge::new("2026-01-10T01:30:00Z");
        edge.set(THREE);
        assert_eq!(edge.rings(), at("2026-01-10T02:00:00Z"));
        edge.set(THREE);
        assert_eq!(edge.rings(), at("2026-01-11T02:00:00Z"), "set anew in that minute it is for the next day");
        edge.set(0);
        assert_eq!(edge.rings(), at("2026-01-11T23:00:00Z"));
    }

    #[test]
    fn when_clocks_change_it_rings_once_and_by_the_clocks() {
        let mut edge = Edge::new("2026-03-28T12:00:00Z");
        edge.set(2 * 60 + 30);
        assert_eq!(edge.rings(), at("2026-03-29T01:30:00Z"), "half past two does not exist that day: half past three");
        edge.set(2 * 60 + 30);
        assert_eq!(edge.rings(), at("2026-03-30T00:30:00Z"));
        let mut edge = Edge::new("2026-10-24T12:00:00Z");
        edge.set(2 * 60 + 30);
        assert_eq!(edge.rings(), at("2026-10-25T00:30:00Z"), "the first of two");
        edge.set(2 * 60 + 30);
        assert_eq!(edge.rings(), at("2026-10-26T01:30:00Z"), "not the second");
    }

    #[test]
    fn a_clock_that_is_set_moves_the_alarm_along() {
        let mut edge = Edge::new("2026-01-10T01:00:00Z");
        edge.set(THREE);
        edge.wall = at("2026-01-09T22:00:00Z");
        assert_eq!(edge.rings(), at("2026-01-10T02:00:00Z"), "set back: the time is still to come");
        edge.set(THREE);
        edge.wall = at("2026-01-11T05:00:00Z");
        assert_eq!(edge.rings(), at("2026-01-12T02:00:00Z"), "set forward past it: that time never was");
        edge.set(THREE);
        edge.wall = at("2026-01-05T01:59:30Z");
        let rang = edge.rings();
        assert!(rang >= at("2026-01-05T02:00:00Z") && rang <= at("2026-01-05T02:01:00Z"), "{rang}");
    }

    #[test]
    fn a_clock_that_is_corrected_a_little_does_not_skip_it() {
        let mut edge = Edge::new("2026-01-10T01:59:00Z");
        edge.set(THREE);
        edge.wall = at("2026-01-10T01:59:40Z");
        let rang = edge.rings_within(2 * LOOK).expect("it rings");
        assert!(rang >= at("2026-01-10T02:00:00Z") && rang <= at("2026-01-10T02:01:00Z"), "{rang}");
    }

    #[test]
    fn alarms_are_forgotten_and_bounded() {
        let mut edge = Edge::new("2026-01-10T01:00:00Z");
        let today = edge.today();
        assert!(edge.alarms.set(TimerId(1), 1440, edge.now, &today).is_err());
        for timer in 0..256 {
            edge.alarms.set(TimerId(timer), THREE, edge.now, &today).unwrap();
        }
        assert!(edge.alarms.set(TimerId(256), THREE, edge.now, &today).is_err());
        (0..256).for_each(|timer| edge.alarms.cancel(TimerId(timer)));
        assert_eq!(edge.alarms.wake, None);
    }
}
