//! One attempt to move the active role: the phases of `docs/handover.md`, each with its deadline.

use super::{Coordinator, Leftover, OrderId, Output, State, Ticket};
use crate::protocol::ToNode;
use crate::record::{Fenced, HandoverRecord, Outcome, Phase};
use crate::route::{Route, RouteKind};
use lockstep_policy::action::Urgency;
use lockstep_policy::event::{Role, Stage};
use lockstep_policy::{At, Epoch, Side};

/// A handover under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Handover {
    /// Who waits for its end.
    pub(super) orders: Vec<OrderId>,
    /// Of the present attempt: a roll-back has its own.
    pub(super) epoch: Epoch,
    pub(super) to: Side,
    pub(super) from: Option<Side>,
    pub(super) urgency: Urgency,
    pub(super) rolling_back: bool,
    pub(super) step: Step,
    /// When the step's time is over.
    pub(super) until: At,
    /// When the other side's fencing hook is due; none: it is not, or not again.
    pub(super) hook_at: Option<At>,
    /// The word, with its reason, by which the other side is not waited for.
    pub(super) unsafe_because: Option<String>,
    pub(super) record: HandoverRecord,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Step {
    Intent {
        ticket: Ticket,
    },
    Prepare,
    Drain,
    Fence,
    Activate {
        attempts: u32,
        /// The order to activate is on its way, or being carried out.
        sent: bool,
    },
}

impl Handover {
    /// The phase, as records name it.
    pub(super) fn phase(&self) -> Phase {
        match self.step {
            Step::Intent { .. } | Step::Prepare => Phase::Prepare,
            Step::Drain => Phase::Drain,
            Step::Fence => Phase::Fence,
            Step::Activate { .. } => Phase::Activate,
        }
    }

    /// The new side has, or is about to get, the right to be active.
    pub(super) fn is_activating(&self) -> bool {
        matches!(self.step, Step::Activate { .. })
    }

    /// The other side has lost its right to be active.
    pub(super) fn is_fencing(&self) -> bool {
        self.rolling_back || matches!(self.step, Step::Fence | Step::Activate { .. })
    }

    /// Requests still go where they went before.
    pub(super) fn still_serves(&self) -> bool {
        !self.rolling_back && matches!(self.step, Step::Intent { .. } | Step::Prepare)
    }
}

impl Coordinator {
    /// The handover under way. Only called from its own steps.
    pub(super) fn handover(&mut self) -> Option<&mut Handover> {
        match &mut self.state {
            State::Handover(handover) => Some(handover),
            _ => None,
        }
    }

    pub(super) fn enter(&mut self, now: At, phase: Phase) {
        let Some(handover) = self.handover() else { return };
        handover.record.begin_phase(now, handover.epoch, phase);
        let record = handover.record.clone();
        self.outputs.push_back(Output::Record(Box::new(record)));
    }

    pub(super) fn intent_stored(&mut self, now: At, ticket: Ticket) {
        if let State::StandingDown(order) = &mut self.state
            && order.ticket == Some(ticket)
        {
            order.ticket = None;
            let side = order.side;
            return self.fence_pending(side);
        }
        let Some(handover) = self.handover().filter(|handover| handover.step == (Step::Intent { ticket })) else {
            return;
        };
        let (to, epoch, urgency) = (handover.to, handover.epoch, handover.urgency);
        if handover.rolling_back {
            self.fence(now);
        } else if urgency == Urgency::Failover && self.sides[to].is_fit() {
            self.hold(now);
        } else {
            if let Some(handover) = self.handover() {
                handover.step = Step::Prepare;
            }
            self.send(to, ToNode::Prepare { epoch });
        }
    }

    /// Whether the write was an intent's, whose attempt then ends.
    pub(super) fn intent_not_stored(&mut self, now: At, ticket: Ticket, why: &str) -> bool {
        if matches!(&self.state, State::StandingDown(order) if order.ticket == Some(ticket)) {
            self.end_stand_down(&format!("the epoch could not be stored: {why}"));
            return true;
        }
        let Some(handover) = self.handover().filter(|handover| handover.step == (Step::Intent { ticket })) else {
            return false;
        };
        if handover.rolling_back {
            self.no_active(now, &format!("the intent to roll back could not be stored: {why}"));
        } else {
            self.give_up(now, &format!("the intent could not be stored: {why}"));
        }
        true
    }

    pub(super) fn hold(&mut self, now: At) {
        let Some(handover) = self.handover() else { return };
        let (epoch, from, planned) = (handover.epoch, handover.from, handover.urgency == Urgency::Planned);
        // A side that is activated anew has nothing to drain.
        let drained = from.filter(|from| planned && *from != handover.to);
        let until = now + self.settings.drain;
        self.enter(now, Phase::Hold);
        self.set_route(Route { epoch, kind: RouteKind::Hold });
        let Some(side) = drained else { return self.fence(now) };
        if let Some(handover) = self.handover() {
            handover.step = Step::Drain;
            handover.until = until;
        }
        self.enter(now, Phase::Drain);
        self.outputs.push_back(Output::Drain { side, epoch });
    }

    pub(super) fn drained(&mut self, now: At, epoch: Epoch) {
        if self.handover().is_some_and(|handover| handover.step == Step::Drain && handover.epoch == epoch) {
            self.fence(now);
        }
    }

    pub(super) fn fence(&mut self, now: At) {
        let Some(handover) = self.handover() else { return };
        let (old, epoch) = (handover.to.other(), handover.epoch);
        let planned = handover.urgency == Urgency::Planned && !handover.rolling_back;
        let by_word = handover.unsafe_because.is_some();
        handover.step = Step::Fence;
        // Without a confirmation, a failover and a roll-back wait for the lease, and for the hook.
        let hook = self.settings.fencing[old].hook.filter(|_| !planned && !by_word);
        let hook_ends = hook.map_or(now, |hook| now + hook.after + hook.timeout);
        let clear_at = if planned { None } else { self.sides[old].begin_to_fence(now) };
        let until = now.max(clear_at.unwrap_or(now)).max(hook_ends) + self.settings.fence;
        if let Some(handover) = self.handover() {
            handover.until = until;
            handover.hook_at = hook.map(|hook| now + hook.after);
        }
        self.enter(now, Phase::Fence);
        if !planned {
            // A side that hung may wake up at any moment: what it answers while it is being fenced must reach nobody.
            self.outputs.push_back(Output::Cut { side: old, before: epoch });
        }
        self.fence_pending(old);
        if by_word {
            self.sides[old].stood_down(epoch);
        }
    }

    /// The side that is being fenced has neither confirmed nor lost its lease: the hook's turn.
    pub(super) fn run_hook_when_due(&mut self, now: At) {
        let Some(handover) = self.handover().filter(|handover| handover.step == Step::Fence) else { return };
        if handover.hook_at.take_if(|at| now >= *at).is_some() {
            let (side, epoch) = (handover.to.other(), handover.epoch);
            self.outputs.push_back(Output::Fence { side, epoch });
        }
    }

    pub(super) fn hook_ended(&mut self, side: Side, epoch: Epoch, result: Result<(), String>) {
        match result {
            // Whatever is under way by now: off is off, for this epoch.
            Ok(()) => self.sides[side].turned_off(epoch),
            Err(why) => {
                self.outputs.push_back(Output::Alert(format!("the fencing hook of side {side} has failed: {why}")));
            }
        }
    }

    fn note_how_fenced(&mut self, old: Side) {
        let Some(handover) = self.handover() else { return };
        let (epoch, to, because) = (handover.epoch, handover.to, handover.unsafe_because.clone());
        let fenced = match because {
            Some(reason) => Fenced::Unsafe { reason },
            None => self.sides[old].fenced_by(epoch),
        };
        match &fenced {
            Fenced::Unsafe { reason } => self.outputs.push_back(Output::Alert(format!(
                "side {to} is activated although side {old} is not known to have stopped, on a person's word: {reason}"
            ))),
            Fenced::Unfenced => self.outputs.push_back(Output::Alert(format!(
                "side {to} is activated although side {old}, which has no lease, has not confirmed that it has stopped: \
                 make sure that it is off"
            ))),
            Fenced::Confirmed | Fenced::LeaseOver | Fenced::Hook => {}
        }
        if let Some(handover) = self.handover() {
            handover.record.fenced = Some(fenced);
        }
    }

    /// Tells a side that shall stand down so, now and whenever its agent connects again.
    pub(super) fn fence_pending(&mut self, side: Side) {
        let command = match &self.state {
            State::Handover(handover) if handover.step == Step::Fence && handover.to != side => {
                let urgency = if handover.rolling_back { Urgency::Failover } else { handover.urgency };
                Some(ToNode::StandDown { epoch: handover.epoch, urgency })
            }
            State::StandingDown(order) if order.ticket.is_none() && order.side == side => {
                Some(ToNode::StandDown { epoch: order.epoch, urgency: Urgency::Failover })
            }
            _ => None,
        };
        if let Some(command) = command.filter(|_| self.sides[side].linked) {
            self.send(side, command);
        }
    }

    /// An activation whose connection broke is ordered anew with the next report.
    pub(super) fn forget_activation(&mut self, side: Side) {
        if let State::Handover(handover) = &mut self.state
            && handover.to == side
            && let Step::Activate { sent, .. } = &mut handover.step
        {
            *sent = false;
        }
    }

    pub(super) fn activate(&mut self, now: At) {
        let until = now + self.settings.activate;
        let leftover = self.settings.leftover;
        let Some(handover) = self.handover() else { return };
        let (old, epoch, to) = (handover.to.other(), handover.epoch, handover.to);
        let cut = leftover == Leftover::Cut || handover.urgency == Urgency::Failover || handover.rolling_back;
        handover.step = Step::Activate { attempts: 0, sent: false };
        handover.until = until;
        self.note_how_fenced(old);
        self.enter(now, Phase::Activate);
        if cut {
            self.outputs.push_back(Output::Cut { side: old, before: epoch });
        }
        self.activate_pending(now, to);
    }

    /// Orders the activation as soon as there is a fresh stamp to count the lease from.
    pub(super) fn activate_pending(&mut self, now: At, side: Side) {
        let Some((epoch, attempts, sent)) = self.activating(side) else { return };
        let view = &self.sides[side];
        if view.serves(epoch) {
            return self.commit(now);
        }
        let under_way = view.is_in(epoch, &[Role::Active, Role::Activating]);
        let stopping = view.report.as_ref().is_some_and(|report| report.role == Role::StandingDown);
        if sent || under_way || stopping {
            return;
        }
        if let Some(lease) = view.lease(&self.settings, now) {
            self.sides[side].grant(&self.settings, now, epoch, lease);
            self.send(side, ToNode::Activate { epoch, lease });
            if let Some(handover) = self.handover() {
                handover.step = Step::Activate { attempts: attempts + 1, sent: true };
            }
        }
    }

    fn activating(&self, side: Side) -> Option<(Epoch, u32, bool)> {
        match &self.state {
            State::Handover(handover) if handover.to == side => match handover.step {
                Step::Activate { attempts, sent } => Some((handover.epoch, attempts, sent)),
                _ => None,
            },
            _ => None,
        }
    }

    pub(super) fn commit(&mut self, now: At) {
        let settle_until = now + self.settings.settle;
        let State::Handover(handover) = std::mem::replace(&mut self.state, State::Settled) else { return };
        let Handover { orders, epoch, to, rolling_back, mut record, .. } = *handover;
        let outcome = if rolling_back { Outcome::RolledBack } else { Outcome::Completed };
        record.activated_at = Some(now);
        record.outcome = Some(outcome);
        record.begin_phase(now, epoch, Phase::Commit);
        self.stored.active = Some((to, epoch));
        self.stored.intent = None;
        // The route first: the intent is durable, so a crash before this write is done comes to the same outcome.
        self.refresh_route(now);
        self.store();
        self.outputs.push_back(Output::Record(Box::new(record.clone())));
        record.begin_phase(now, epoch, Phase::Settle);
        self.tell(epoch, to, if rolling_back { Stage::RolledBack } else { Stage::Completed });
        self.end(orders, outcome, &record.why);
        self.outputs.push_back(Output::Record(Box::new(record.clone())));
        self.settling = Some((record, settle_until));
    }
}
