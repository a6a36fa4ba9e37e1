//! Who gets sessions now, and how the edge is told: one share at a time, taken back when the edge does not do it.

use crate::Finesse;
use crate::maintenance::Maintenance;
use crate::moves::Move;
use crate::timing::RETRY;
use lockstep_policy::action::{Action, Alert, Level, Share};
use lockstep_policy::event::{ActionResult, Outcome};
use lockstep_policy::sdk::{Actions, Period};
use lockstep_policy::{At, Side, Sides};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Where sessions are put.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Stand {
    /// The side that has the pair's sessions, or had them last; with `even`, the last one that got some.
    pub(crate) home: Option<Side>,
    /// The sides that new sessions are given to. None: they are refused.
    pub(crate) takes: Sides<bool>,
    /// The sides that may have sessions for which something must be done when the side is lost.
    pub(crate) holds: Sides<bool>,
    pub(crate) moving: Option<Move>,
    pub(crate) maintenance: Option<Maintenance>,
}

impl Stand {
    /// New sessions are refused.
    pub(crate) fn refuses(&self) -> bool {
        !self.takes.a && !self.takes.b
    }

    /// New sessions go to this side, and to no other.
    pub(crate) fn only(&mut self, side: Side) {
        self.takes = Sides::from_fn(|each| each == side);
        self.holds[side] = true;
        self.home = Some(side);
    }

    /// New sessions go to this side as well.
    pub(crate) fn also(&mut self, side: Side) {
        self.takes[side] = true;
        self.holds[side] = true;
        self.home = Some(side);
    }

    /// The side whose sessions are being moved.
    pub(crate) fn moves_from(&self) -> Option<Side> {
        self.moving.as_ref().map(|moving| moving.from)
    }
}

/// A share whose result has not come yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Asked {
    action: u64,
    order: u64,
    /// How things stood before it.
    before: Stand,
}

/// What a share is for.
#[derive(Default)]
pub(crate) struct Why {
    pub(crate) reason: String,
    pub(crate) evidence: Vec<u64>,
    /// The operator's order; 0: none.
    pub(crate) order: u64,
}

impl Why {
    pub(crate) fn new(reason: String, evidence: Vec<u64>) -> Why {
        Why { reason, evidence, order: 0 }
    }
}

/// How sessions are moved.
#[derive(Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) from: Side,
    pub(crate) window: Duration,
    pub(crate) warning: Duration,
}

impl Finesse {
    /// Tells the edge who gets sessions now. `before`: how things stood until now, should the edge not do it. Returns the
    /// share's number.
    pub(crate) fn share(&mut self, before: Stand, pace: Option<Pace>, why: Why, out: &mut Actions) -> u64 {
        let Why { reason, evidence, order } = why;
        let parts = Sides::from_fn(|side| u32::from(self.stand.takes[side]));
        let (from, window, warning) = match pace {
            Some(Pace { from, window, warning }) => (Some(from), window, warning),
            None => (None, Duration::ZERO, Duration::ZERO),
        };
        let share = Share { parts, rules: Vec::new(), from, window, warning, reason, evidence, order };
        let action = out.push(Action::Share(share));
        self.asked = Some(Asked { action, order, before });
        action
    }

    /// A result came; it may be that of the share in force.
    pub(crate) fn on_share_result(&mut self, result: &ActionResult, at: At, out: &mut Actions) {
        let Some(asked) = self.asked.take_if(|asked| asked.action == result.action) else { return };
        // By the edge's own counting it is in force: what has failed are sessions, which are told of otherwise.
        let in_force = result.outcome == Outcome::Failed && self.counted_for == asked.action;
        if result.outcome == Outcome::Done || in_force {
            self.told_refused = false;
            return;
        }
        self.unsure = result.outcome == Outcome::Failed;
        let maintenance = self.stand.maintenance.take().filter(|_| asked.before.maintenance.is_none());
        self.stand = asked.before;
        self.not_before = at + RETRY;
        if let Some(maintenance) = maintenance {
            let text = format!("F9: the maintenance of {} was not begun: {}", maintenance.side, result.why);
            out.push(Action::Alert(Alert { level: Level::Warning, text }));
        } else if asked.order == 0 && !self.told_refused {
            self.told_refused = true;
            let text = format!(
                "the edge did not share sessions out as asked: {}; it is asked again every {} while it is needed",
                result.why,
                Period(RETRY)
            );
            out.push(Action::Alert(Alert { level: Level::Warning, text }));
        }
    }
    /// After a share that has failed nobody knows what is in force: what should be is said again.
    pub(crate) fn make_sure(&mut self, at: At, out: &mut Actions) {
        if self.unsure && self.look.is_none() && at >= self.not_before {
            self.unsure = false;
            let before = self.stand.clone();
            let reason = "as before the share that has failed: every session stays where it is".to_owned();
            self.share(before, None, Why::new(reason, Vec::new()), out);
        }
    }
}
