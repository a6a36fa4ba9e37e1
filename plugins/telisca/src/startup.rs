//! T6: who becomes active when nobody is: at the start, and whenever a pair was left without an active side.

use crate::Telisca;
use crate::attempt::Why;
use crate::timing::STALE_REPORT;
use lockstep_policy::action::{Action, Alert, Level, Urgency};
use lockstep_policy::event::Role;
use lockstep_policy::sdk::Actions;
use lockstep_policy::{At, Side};

impl Telisca {
    pub(crate) fn find_an_active_side(&mut self, at: At, out: &mut Actions) {
        if !self.attempts.free(at) {
            return;
        }
        let waiting = self.grace_end().is_some_and(|end| at < end);
        if waiting && !Side::BOTH.into_iter().all(|side| self.heard(side)) {
            return;
        }
        match self.candidate(waiting, at) {
            Some((side, reason)) => {
                let evidence = self.sides[side].report.as_ref().map(|report| report.seq).into_iter().collect();
                self.switch(side, Urgency::Failover, Why::new(reason, evidence), at, out);
            }
            None if !waiting && !self.told_of_none => {
                self.told_of_none = true;
                let why_not = |side: Side| self.sides[side].can_take_over().err().unwrap_or_default();
                let text = format!(
                    "T6: no side is active and none can become it. a: {}. b: {}",
                    why_not(Side::A),
                    why_not(Side::B)
                );
                out.push(Action::Alert(Alert { level: Level::Critical, text }));
            }
            None => {}
        }
    }

    /// The side to make active, and why. In the grace of the start B does not come before A.
    fn candidate(&self, waiting: bool, at: At) -> Option<(Side, String)> {
        let has_the_role = |side: Side| {
            let word = self.sides[side].word();
            word.is_some_and(|report| {
                report.role == Role::Active && !report.isolated && at.since(report.at) <= STALE_REPORT
            })
        };
        let mut sides: Vec<Side> = Side::BOTH.into_iter().filter(|side| has_the_role(*side)).collect();
        let rest =
            Side::BOTH.into_iter().filter(|side| !has_the_role(*side) && self.sides[*side].can_take_over().is_ok());
        sides.extend(rest.filter(|side| *side == Side::A || !waiting));
        // The side that failed last comes last.
        sides.sort_by_key(|side| self.attempts.failed_to() == Some(*side));
        let side = *sides.first()?;
        let reason = if has_the_role(side) {
            format!("T6: {side} is active already by its agent's word, and keeps the role")
        } else if side == Side::A {
            "T6: no side is active, and a can be: a comes first".to_owned()
        } else {
            let why_not = self.sides.a.can_take_over().err();
            format!("T6: no side is active, and b can be; not a: {}", why_not.as_deref().unwrap_or("it failed last"))
        };
        Some((side, reason))
    }

    /// Whether anything is known of a side.
    fn heard(&self, side: Side) -> bool {
        let view = &self.sides[side];
        if view.agent { view.word().is_some() } else { view.probes.last.is_some() }
    }

    fn grace_end(&self) -> Option<At> {
        self.started.map(|started| started + self.timing.start_grace)
    }

    pub(crate) fn startup_deadline(&self) -> Option<At> {
        self.grace_end().filter(|_| self.active.is_none())
    }
}
