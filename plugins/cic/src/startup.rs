//! C14: who becomes primary when nobody is: at the start, and whenever a pair was left without an active side.

use crate::Cic;
use crate::attempt::Why;
use crate::timing::STALE_REPORT;
use lockstep_policy::action::{Action, Alert, Level, Urgency};
use lockstep_policy::event::Role;
use lockstep_policy::sdk::Actions;
use lockstep_policy::{At, Side};

impl Cic {
    pub(crate) fn find_a_primary(&mut self, at: At, out: &mut Actions) {
        if !self.attempts.free(at) {
            return;
        }
        let waiting = self.grace_end().is_some_and(|end| at < end);
        if waiting && !Side::BOTH.into_iter().all(|side| self.sides[side].word().is_some()) {
            return;
        }
        match self.candidate(at) {
            Some((side, reason)) => {
                let evidence = self.sides[side].report.as_ref().map(|report| report.seq).into_iter().collect();
                self.switch(side, Urgency::Failover, Why { reason, evidence, order: 0 }, at, out);
            }
            None if !waiting => self.tell_that_none_can(at, out),
            None => {}
        }
    }

    /// The side to make active, and why. One that is active already comes first, one that failed last or is forced to
    /// be the backup comes last.
    fn candidate(&self, at: At) -> Option<(Side, String)> {
        let has_the_role = |side: Side| {
            let word = self.sides[side].word();
            word.is_some_and(|report| report.role == Role::Active && at.since(report.at) <= STALE_REPORT)
        };
        if let Some(side) = Side::BOTH.into_iter().find(|side| has_the_role(*side)) {
            return Some((side, format!("C14: {side} is active already by its agent's word, and stays primary")));
        }
        let forced = |side: Side| self.config.force_backup == Some(side);
        let can = |side: &Side| self.sides[*side].can_take_over().is_ok() && !forced(*side);
        let mut sides: Vec<Side> = Side::BOTH.into_iter().filter(can).collect();
        // A stale side is an answer only when there is no other.
        sides.sort_by_key(|side| (self.attempts.failed_to() == Some(*side), self.stale[*side].is_some()));
        let side = *sides.first()?;
        let other = side.other();
        let why_not = if forced(other) {
            "it is forced to be the backup".to_owned()
        } else {
            match self.sides[other].can_take_over() {
                Err(why_not) => why_not,
                Ok(()) if self.attempts.failed_to() == Some(other) => "it failed last".to_owned(),
                Ok(()) => "a comes first".to_owned(),
            }
        };
        Some((side, format!("C14: {side} finds no primary and becomes it; not {other}: {why_not}")))
    }

    pub(crate) fn tell_that_none_can(&mut self, at: At, out: &mut Actions) {
        let settled = self.grace_end().is_none_or(|end| at >= end);
        if self.told.nobody || !settled {
            return;
        }
        self.told.nobody = true;
        let why_not = |side: Side| match self.sides[side].can_take_over() {
            Err(why_not) => why_not,
            Ok(()) if self.config.force_backup == Some(side) => "it is forced to be the backup".to_owned(),
            Ok(()) => "it could, but not by itself".to_owned(),
        };
        let text =
            format!("C14: no side is primary and none can become it. a: {}. b: {}", why_not(Side::A), why_not(Side::B));
        out.push(Action::Alert(Alert { level: Level::Critical, text }));
    }

    fn grace_end(&self) -> Option<At> {
        self.started.map(|started| started + self.timing.start_grace)
    }

    pub(crate) fn startup_deadline(&self) -> Option<At> {
        self.grace_end()
    }
}
