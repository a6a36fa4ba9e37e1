//! T1 on a scale of milliseconds: silence may be the edge's own, the network's, or that of a process that has to wait.
//!
//! - A machine that is overloaded, or cut off, hears nobody, and must not take that for the active side's failure.
//! - Where packets are lost, probes are, and now and then several in a row: silence counts when so many in a row are improbable by
//!   what was lost lately.
//!   What is lost at random is not lost for as long as it takes to give up an agent's connection, too.
//! - A process may stand still for half a second and go on (with a detect profile of 100 ms). While the side's agent is connected, its lease protects nobody from waiting
//!   that long; when the agent falls silent too, its connection ends, and with it the patience.

use crate::Telisca;
use lockstep_policy::event::{ProbeResult, Verdict};
use lockstep_policy::{At, Side};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The other side's last answer may be so many intervals old: its probes end one interval apart, more or less.
const FRESH: u32 = 2;
/// For so many intervals silence is borne while the agent is connected: with those of 100 ms that is half a second, and the time to
/// catch up.
pub(crate) const BORNE: u32 = 6;
/// So many silent probes in a row are improbable which come about once in a million by chance.
const IMPROBABLE: f64 = 1e-6;
/// No loss makes it wait for more than that: what hardly ever answers is of no use.
const MOST: u32 = 40;
/// Answers and silences that loss is told from: those of the last seconds, so that its beginning is noticed, and those of the last
/// minutes, so that a rare one is not forgotten. From so many on the older half counts half.
const LATELY: u32 = 64;
const LONG: u32 = 4_096;

/// A silence that ended by itself is remembered as one of so many at the most, and as one less after so many answers.
const REMEMBERED: u32 = 12;
const FORGOTTEN: u32 = 64;

/// How many probes were lost of those that were sent to a side that answered afterwards.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Loss {
    lately: Tally,
    long: Tally,
    /// The longest silence that ended by itself: where everything has to wait, nothing is lost at random.
    longest: u32,
    answers: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Tally {
    lost: u32,
    answered: u32,
}

impl Tally {
    fn add(&mut self, lost: u32, most: u32) {
        self.lost = self.lost.saturating_add(lost);
        self.answered = self.answered.saturating_add(1);
        if self.lost.saturating_add(self.answered) >= most {
            self.lost /= 2;
            self.answered /= 2;
        }
    }

    fn part(self) -> f64 {
        // A single one of few says little.
        f64::from(self.lost) / f64::from((self.lost + self.answered).max(LATELY / 2))
    }
}

impl Loss {
    /// A side has answered after so many silences, and it was well.
    pub(crate) fn answered_after(&mut self, silences: u32) {
        self.lately.add(silences, LATELY);
        self.long.add(silences, LONG);
        self.answers += 1;
        if self.answers >= FORGOTTEN {
            (self.answers, self.longest) = (0, self.longest.saturating_sub(1));
        }
        self.longest = self.longest.max(silences.min(REMEMBERED));
    }

    /// How many silent probes in a row are no chance.
    fn needed(&self) -> u32 {
        let part = self.lately.part().max(self.long.part());
        let improbable = |count: &u32| part.powi(i32::try_from(*count).unwrap_or(i32::MAX)) <= IMPROBABLE;
        (1..MOST).find(improbable).unwrap_or(MOST).max(self.longest + self.longest.div_ceil(2))
    }
}

impl Telisca {
    /// A probe whose time has ended much later than it should was ended by an edge that is late itself.
    pub(crate) fn notice_lateness(&mut self, result: &ProbeResult, at: At) {
        let late = result.latency > self.timing.timeout + self.timing.interval;
        if late && result.verdict == Verdict::Silent {
            self.late = Some(at);
        }
    }

    /// The policy's own timer is overdue: whichever event comes first says so.
    pub(crate) fn notice_late_timer(&mut self, at: At) {
        if self.armed.is_some_and(|due| at.since(due) > self.timing.interval) {
            self.late = Some(at);
        }
    }

    /// Whether the last failure of the active side's probes is the side's. With `fast`, silence is not always.
    pub(crate) fn believed(&self, active: Side, at: At) -> bool {
        if !self.timing.fast || self.sides[active].probes.last != Some(Verdict::Silent) {
            return true;
        }
        let view = &self.sides[active];
        let agent_is_silent_too = view.agent && !view.connected();
        self.others_are_heard(active, at)
            && (agent_is_silent_too || self.is_no_chance(active) && self.is_no_standstill(active, at))
    }

    /// The other side's probes are answered, and have been for one interval; and the edge keeps time.
    fn others_are_heard(&self, active: Side, at: At) -> bool {
        let other = &self.sides[active.other()];
        let calm = |trouble: Option<At>| trouble.is_none_or(|trouble| at.since(trouble) >= self.timing.interval);
        let heard = other.heard.is_some_and(|heard| at.since(heard) < self.timing.interval * FRESH);
        heard && other.probes.last != Some(Verdict::Silent) && calm(other.silent) && calm(self.late)
    }

    fn is_no_chance(&self, active: Side) -> bool {
        self.sides[active].silence.count >= self.loss[active].needed()
    }

    fn is_no_standstill(&self, active: Side, at: At) -> bool {
        let view = &self.sides[active];
        let silence = view.silence.since.map_or(Duration::ZERO, |since| at.since(since));
        !view.agent || silence >= self.timing.interval * BORNE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers of which that part in a hundred was lost, one after the other.
    fn loss(percent: u32, answers: u32) -> Loss {
        let mut loss = Loss::default();
        for answer in 0..answers {
            loss.answered_after(u32::from(answer % 100 < percent));
        }
        loss
    }

    #[test]
    fn without_loss_no_silence_is_chance() {
        assert_eq!(Loss::default().needed(), 1);
        assert_eq!(loss(0, 10_000).needed(), 1);
    }

    #[test]
    fn the_more_is_lost_the_more_silences_are_needed() {
        let needed = [1, 5, 20, 50].map(|percent| loss(percent, 10_000).needed());
        assert!(needed.is_sorted() && needed[0] >= 3 && needed[3] >= 12, "{needed:?}");
    }

    #[test]
    fn loss_that_begins_is_noticed_within_seconds_and_remembered_for_minutes() {
        let mut loss = loss(0, 10_000);
        (0..60).for_each(|answer| loss.answered_after(u32::from(answer % 3 == 0)));
        assert!(loss.needed() >= 8, "{}", loss.needed());
        (0..1_000).for_each(|_| loss.answered_after(0));
        assert!(loss.needed() >= 3, "{}", loss.needed());
        (0..100_000).for_each(|_| loss.answered_after(0));
        assert_eq!(loss.needed(), 1);
    }

    #[test]
    fn what_has_waited_and_gone_on_may_wait_a_little_longer_the_next_time() {
        let mut loss = loss(0, 10_000);
        loss.answered_after(8);
        assert_eq!(loss.needed(), 12);
        (0..FORGOTTEN * 8).for_each(|_| loss.answered_after(0));
        assert!(loss.needed() < 8, "{}", loss.needed());
    }

    #[test]
    fn what_hardly_ever_answers_is_not_waited_for_without_end() {
        let mut loss = Loss::default();
        (0..10_000).for_each(|_| loss.answered_after(1_000));
        assert_eq!(loss.needed(), MOST);
    }
}
