//! T3: two sides must not stay active (section 6.3.3).

use crate::Telisca;
use lockstep_policy::action::{Action, Alert, Level, StandDown};
use lockstep_policy::event::{ActionResult, Outcome, Role};
use lockstep_policy::sdk::Actions;
use lockstep_policy::sdk::attempts::HANDOVER_MAX;
use lockstep_policy::{At, Side, Sides};
use serde::{Deserialize, Serialize};

/// How often both sides were seen active in a row.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Dual {
    next_check: Option<At>,
    count: u32,
    /// The reports that the last check saw: only newer ones count again, so that the last word of a node that has
    /// fallen silent is counted once.
    seen: Sides<u64>,
    asked: Option<Asked>,
}

/// An order to stand down whose result has not come yet.
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
        self.next_check
    }
}

impl Telisca {
    pub(crate) fn end_two_active_sides(&mut self, at: At, out: &mut Actions) {
        let Some(reports) = self.both_active() else {
            self.dual = Dual { asked: self.dual.asked, ..Dual::default() };
            return;
        };
        match self.dual.next_check {
            None => self.dual.next_check = Some(at + self.timing.interval),
            Some(due) if at >= due => {
                self.dual.next_check = Some(at + self.timing.interval);
                self.check_two_active_sides(reports, at, out);
            }
            Some(_) => {}
        }
    }

    /// The event numbers of the reports by which both sides are active.
    fn both_active(&self) -> Option<Sides<u64>> {
        if self.attempts.busy() {
            return None;
        }
        let says_active =
            |side: Side| self.sides[side].word().filter(|report| report.role == Role::Active).map(|report| report.seq);
        Some(Sides { a: says_active(Side::A)?, b: says_active(Side::B)? })
    }

    fn check_two_active_sides(&mut self, reports: Sides<u64>, at: At, out: &mut Actions) {
        if reports.a <= self.dual.seen.a || reports.b <= self.dual.seen.b {
            return;
        }
        self.dual.seen = reports;
        self.dual.count += 1;
        let (count, failures) = (self.dual.count, self.timing.failures);
        // The vendor's second server gives way. The first one does when that did not help, unless the VIP sends to it.
        let vip_sends_to_a = self.vip_test.is_some() && self.vip.side() == Some(Side::A);
        let side = match count {
            count if count == failures => Side::B,
            count if count == 2 * failures && vip_sends_to_a => Side::B,
            count if count == 2 * failures => Side::A,
            _ => return,
        };
        if count == 2 * failures {
            self.dual.count = 0;
        }
        let reason =
            format!("T3: both sides have said {count} times in a row that they are active: {side} stands down");
        out.push(Action::Alert(Alert { level: Level::Critical, text: reason.clone() }));
        let evidence = vec![reports.a, reports.b];
        let action = out.push(Action::StandDown(StandDown { side, reason, evidence }));
        self.dual.asked = Some(Asked { action, side, since: at });
    }

    /// A side that has stood down is not the active one any more.
    pub(crate) fn on_stand_down_result(&mut self, result: &ActionResult, at: At) {
        let Some(Asked { side, .. }) = self.dual.asked.filter(|asked| asked.action == result.action) else { return };
        self.dual.asked = None;
        if result.outcome == Outcome::Done && self.active == Some(side) {
            self.becomes_active(None, at);
        }
    }
}
