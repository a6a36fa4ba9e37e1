//! C15: two sides must not stay active. When the link between them is back, the one with the lower epoch stands down.

use crate::Cic;
use crate::timing::STALE_REPORT;
use lockstep_policy::action::{Action, Alert, Level, StandDown};
use lockstep_policy::event::{ActionResult, Outcome, Role};
use lockstep_policy::sdk::Actions;
use lockstep_policy::sdk::attempts::HANDOVER_MAX;
use lockstep_policy::{At, Side};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A side that stays active is told again after this.
const AGAIN: Duration = Duration::from_secs(5);

/// The order to stand down.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Dual {
    asked: Option<Asked>,
    not_before: At,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Asked {
    action: u64,
    side: Side,
    since: At,
}

impl Dual {
    /// The side is standing down on this policy's own order: that it gives its role up is no surprise.
    pub(crate) fn stands_down(&self, side: Side, at: At) -> bool {
        self.asked.is_some_and(|asked| asked.side == side && at.since(asked.since) < HANDOVER_MAX)
    }

    pub(crate) fn deadline(&self) -> Option<At> {
        self.asked.map(|asked| asked.since + HANDOVER_MAX).or(Some(self.not_before))
    }
}

impl Cic {
    pub(crate) fn end_two_active_sides(&mut self, at: At, out: &mut Actions) {
        if self.dual.asked.is_some_and(|asked| at.since(asked.since) >= HANDOVER_MAX) {
            self.dual.asked = None;
        }
        if self.attempts.busy() || self.dual.asked.is_some() || at < self.dual.not_before {
            return;
        }
        let says_active = |side: Side| {
            let report = self.sides[side].word().filter(|report| report.role == Role::Active)?;
            // A report that was under way during a handover is a word of before.
            let new = report.at.since(self.since) >= STALE_REPORT && at.since(report.at) <= STALE_REPORT;
            new.then_some((report.epoch, report.seq))
        };
        let (Some((a, seq_a)), Some((b, seq_b))) = (says_active(Side::A), says_active(Side::B)) else { return };
        let side = match a.cmp(&b) {
            std::cmp::Ordering::Less => Side::A,
            std::cmp::Ordering::Greater => Side::B,
            std::cmp::Ordering::Equal => self.active.map_or(Side::B, Side::other),
        };
        let reason =
            format!("C15: both sides say that they are active, a by epoch {a}, b by epoch {b}: {side} stands down");
        out.push(Action::Alert(Alert { level: Level::Critical, text: reason.clone() }));
        let action = out.push(Action::StandDown(StandDown { side, reason, evidence: vec![seq_a, seq_b] }));
        self.dual.asked = Some(Asked { action, side, since: at });
    }

    /// A side that has stood down is not the active one any more, and not a backup before it was started anew.
    pub(crate) fn on_stand_down_result(&mut self, result: &ActionResult, at: At, out: &mut Actions) {
        let Some(Asked { side, .. }) = self.dual.asked.filter(|asked| asked.action == result.action) else { return };
        self.dual.asked = None;
        self.dual.not_before = at + AGAIN;
        if result.outcome != Outcome::Done {
            return;
        }
        self.goes_stale(side, at);
        if self.active == Some(side) {
            self.stop_monitoring(out);
            let other = side.other();
            let goes_on = self.sides[other].word().is_some_and(|report| report.role == Role::Active);
            self.becomes_active(goes_on.then_some(other), at);
        }
    }
}
