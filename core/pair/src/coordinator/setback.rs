//! When a handover goes wrong: deadlines, refusals and failures, the way back, and the case without one.

use super::handover::{Handover, Step};
use super::{Coordinator, Leftover, Output, State};
use crate::protocol::Answer;
use crate::record::{Outcome, Phase};
use crate::route::{Route, RouteKind};
use lockstep_policy::action::Urgency;
use lockstep_policy::event::Stage;
use lockstep_policy::{At, Side};

impl Coordinator {
    pub(super) fn handover_answered(&mut self, now: At, side: Side, answer: &Answer) {
        let Some(handover) = self.handover().filter(|handover| handover.epoch == answer.epoch()) else { return };
        let (step, new, planned) = (handover.step, handover.to == side, handover.urgency == Urgency::Planned);
        let rolling_back = handover.rolling_back;
        match (step, answer) {
            (Step::Prepare, Answer::Prepared { .. }) if new => self.hold(now),
            // The node knows later epochs than the store did; they are known here now.
            (Step::Prepare, Answer::Refused { why, .. }) if new => {
                self.give_up(now, &format!("side {side} refused to prepare: {why}"));
            }
            (Step::Prepare, Answer::Failed { why, .. }) if new && planned => {
                self.give_up(now, &format!("side {side} could not prepare: {why}"));
            }
            (Step::Fence, Answer::Failed { why, .. } | Answer::Refused { why, .. })
                if !new && planned && !rolling_back =>
            {
                self.roll_back(now, &format!("side {side} did not stand down: {why}"));
            }
            (Step::Activate { .. }, Answer::Activated { .. }) if new => self.commit(now),
            // Not begun: the next report brings a fresh stamp, or the end of what was in the way.
            (Step::Activate { attempts, .. }, Answer::Refused { why, highest, .. }) if new => {
                if *highest > answer.epoch() {
                    self.activation_failed(now, &format!("side {side} refused: {why} (epoch {highest})"));
                } else if let Some(handover) = self.handover() {
                    handover.step = Step::Activate { attempts, sent: false };
                }
            }
            (Step::Activate { attempts, .. }, Answer::Failed { why, .. }) if new => {
                if attempts >= self.settings.activate_attempts {
                    return self.activation_failed(now, &format!("side {side} did not become active: {why}"));
                }
                if let Some(handover) = self.handover() {
                    handover.step = Step::Activate { attempts, sent: false };
                }
                self.activate_pending(now, side);
            }
            _ => {}
        }
    }

    pub(super) fn handover_deadline(&self, handover: &Handover) -> Option<At> {
        let fencing = handover.step == Step::Fence;
        let fenced = self.sides[handover.to.other()].fenced_at(&self.settings).filter(|_| fencing);
        let hook = handover.hook_at.filter(|_| fencing);
        [Some(handover.until), fenced, hook].into_iter().flatten().min()
    }

    pub(super) fn pass_handover_time(&mut self, now: At) {
        self.pass_stand_down_time(now);
        let Some(handover) = self.handover() else { return };
        let (step, to, epoch, until) = (handover.step, handover.to, handover.epoch, handover.until);
        let (planned, rolling_back) = (handover.urgency == Urgency::Planned, handover.rolling_back);
        if step == Step::Fence && self.sides[to.other()].is_fenced(&self.settings, epoch, now) {
            return self.activate(now);
        }
        self.run_hook_when_due(now);
        if now < until {
            return;
        }
        match step {
            // A write that takes so long may still be done: without its answer nothing is begun.
            Step::Intent { .. } if rolling_back => self.no_active(now, "the store did not answer"),
            Step::Intent { .. } => self.give_up(now, "the store did not answer"),
            Step::Prepare if planned => self.give_up(now, &format!("side {to} was not ready in time")),
            Step::Prepare => self.hold(now),
            Step::Drain => {
                if let Some(side) = self.handover().and_then(|handover| handover.from)
                    && self.settings.leftover == Leftover::Cut
                {
                    self.outputs.push_back(Output::Cut { side, before: epoch });
                }
                self.fence(now);
            }
            Step::Fence if planned && !rolling_back => {
                self.roll_back(now, &format!("side {} did not stand down in time", to.other()));
            }
            Step::Fence => {
                let why = self.sides[to.other()].why_not_fenced();
                self.no_active(now, &format!("side {} {why}", to.other()));
            }
            Step::Activate { .. } => self.activation_failed(now, &format!("side {to} did not become active in time")),
        }
    }

    fn activation_failed(&mut self, now: At, why: &str) {
        let Some(handover) = self.handover() else { return };
        let (old, rolling_back) = (handover.to.other(), handover.rolling_back);
        let from_old = handover.from == Some(old);
        if !rolling_back && from_old && self.sides[old].is_fit() {
            self.roll_back(now, why);
        } else {
            self.no_active(now, why);
        }
    }

    /// Before anything was changed.
    pub(super) fn give_up(&mut self, now: At, why: &str) {
        self.stored.intent = None;
        self.finish(now, Outcome::RolledBack, why);
    }

    /// Makes the old side active again, in an epoch of its own.
    fn roll_back(&mut self, now: At, why: &str) {
        let epoch = self.stored.epoch.next();
        let until = now + self.settings.prepare;
        let Some(handover) = self.handover() else { return };
        let old = handover.to.other();
        handover.to = old;
        handover.epoch = epoch;
        handover.rolling_back = true;
        handover.unsafe_because = None;
        handover.until = until;
        handover.record.why = why.to_owned();
        let ticket = self.store_intent(epoch, old);
        if let Some(handover) = self.handover() {
            handover.step = Step::Intent { ticket };
        }
        self.enter(now, Phase::Prepare);
        self.set_route(Route { epoch, kind: RouteKind::Hold });
    }

    pub(super) fn no_active(&mut self, now: At, why: &str) {
        self.stored.active = None;
        self.stored.intent = None;
        self.outputs.push_back(Output::Alert(format!("no side is active: {why}")));
        self.finish(now, Outcome::NoActive, why);
    }

    fn finish(&mut self, now: At, outcome: Outcome, why: &str) {
        let State::Handover(handover) = std::mem::replace(&mut self.state, State::Settled) else { return };
        let Handover { orders, to, epoch, mut record, .. } = *handover;
        record.end_phase(now, why);
        record.outcome = Some(outcome);
        record.why = if record.why.is_empty() { why.to_owned() } else { format!("{}; then: {why}", record.why) };
        self.store();
        self.refresh_route(now);
        let stage = if outcome == Outcome::NoActive { Stage::NoActive } else { Stage::RolledBack };
        self.tell(epoch, to, stage);
        self.end(orders, outcome, &record.why);
        self.outputs.push_back(Output::Record(Box::new(record)));
    }
}
