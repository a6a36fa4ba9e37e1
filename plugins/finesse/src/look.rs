//! F3 and F4, the second look: before anything moves, both sides are asked once more, and only what they answer then
//! counts. It is bounded in time: who has not answered by its end has not recovered, and is not eligible.

use crate::Finesse;
use crate::probes;
use crate::view::Cause;
use lockstep_policy::action::{Action, Alert, Level};
use lockstep_policy::sdk::Actions;
use lockstep_policy::{At, Side};
use serde::{Deserialize, Serialize};

/// A second look that goes on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Look {
    pub(crate) purpose: Purpose,
    since: At,
    pub(crate) until: At,
}

/// What is decided when it has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Purpose {
    /// Whether sessions leave a side that is out of service.
    Leave(Side),
    /// Whether an operator's order is carried out: sessions move to a side.
    Order(Asker),
    /// Whether an operator's maintenance of a side begins.
    Maintenance(Asker),
}

/// An operator who waits for an answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Asker {
    pub(crate) order: u64,
    /// The event of the order.
    pub(crate) seq: u64,
    pub(crate) by: String,
    /// The side that gets the sessions.
    pub(crate) to: Side,
}

impl Finesse {
    pub(crate) fn look_again(&mut self, purpose: Purpose, at: At, out: &mut Actions) {
        let asked = match &purpose {
            Purpose::Leave(side) => vec![*side, side.other()],
            Purpose::Order(asker) | Purpose::Maintenance(asker) => vec![asker.to],
        };
        for side in asked {
            out.push(Action::ProbeNow(probes::system_info(side)));
            out.push(Action::ProbeNow(probes::notification(side)));
            if self.watches_presence(side) {
                out.push(Action::ProbeNow(probes::presence(side)));
            }
        }
        self.look = Some(Look { purpose, since: at, until: at + self.timing.look() });
    }

    /// Ends the look when it has shown enough, or is over.
    pub(crate) fn conclude_look(&mut self, at: At, out: &mut Actions) {
        let Some(Look { purpose, since, until }) = self.look.clone() else { return };
        let seen = match &purpose {
            Purpose::Leave(side) => self.seen_enough(*side, since),
            Purpose::Order(asker) | Purpose::Maintenance(asker) => self.sides[asker.to].asked_since(since),
        };
        if !seen && at < until {
            return;
        }
        self.look = None;
        match purpose {
            Purpose::Leave(side) => self.conclude_leaving(side, since, at, out),
            Purpose::Order(asker) => self.conclude_order(&asker, since, at, out),
            Purpose::Maintenance(asker) => self.conclude_maintenance(&asker, since, at, out),
        }
    }

    /// The side has recovered; or it surely has not, and the other has answered.
    fn seen_enough(&self, side: Side, since: At) -> bool {
        let view = &self.sides[side];
        let lost = view.confirmed(&self.timing, since).is_some();
        if view.asked_since(since) && !lost {
            return true;
        }
        lost && self.sides[side.other()].asked_since(since)
    }

    fn conclude_leaving(&mut self, side: Side, since: At, at: At, out: &mut Actions) {
        let Some(cause) = self.cause_to_leave(side) else {
            if self.stand.takes[side] {
                let text =
                    format!("F3: {side} was out of service, and has recovered by the second look: nothing moves");
                out.push(Action::Alert(Alert { level: Level::Info, text }));
            }
            return;
        };
        let to = side.other();
        match self.sides[to].eligible_since(since) {
            Ok(()) => self.fail_over(side, cause, at, out),
            Err(why_not) if self.stand.takes[side] => self.serve_no_more(side, cause, &why_not, out),
            // It was refused before, and still is.
            Err(_) => self.not_before = at + crate::timing::RETRY,
        }
    }

    /// F2; while new sessions are refused, not being eligible is enough, by what was heard.
    pub(crate) fn cause_to_leave(&self, side: Side) -> Option<Cause> {
        let view = &self.sides[side];
        view.out(&self.timing).or_else(|| {
            let why_not = view.eligible().err().filter(|_| self.stand.refuses() && view.known())?;
            Some(Cause::new(why_not, "", view.evidence()))
        })
    }
}
