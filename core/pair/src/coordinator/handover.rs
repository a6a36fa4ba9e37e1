//! One attempt to move the active role: the phases of `docs/handover.md`, each with its deadline.

use super::{Coordinator, Intent, Leftover, Order, OrderId, Output, State, Ticket};
use crate::protocol::{Answer, ToNode};
use crate::record::{HandoverRecord, Outcome, Phase, PhaseRecord};
use crate::route::{Route, RouteKind};
use lockstep_policy::action::Urgency;
use lockstep_policy::event::{Role, Stage};
use lockstep_policy::{At, Epoch, Side};

/// A handover under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Handover {
    /// Who waits for its end.
    orders: Vec<OrderId>,
    /// Of the present attempt: a roll-back has its own.
    pub(super) epoch: Epoch,
    pub(super) to: Side,
    from: Option<Side>,
    urgency: Urgency,
    rolling_back: bool,
    step: Step,
    /// When the step's time is over.
    until: At,
    record: HandoverRecord,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
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

/// An order to stop one side, under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StandDown {
    id: OrderId,
    pub(super) side: Side,
    epoch: Epoch,
    /// The write that must be durable first; none when it is.
    ticket: Option<Ticket>,
    until: At,
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

impl HandoverRecord {
    fn begin_phase(&mut self, now: At, epoch: Epoch, phase: Phase) {
        self.end_phase(now, "");
        self.phases.push(PhaseRecord { phase, epoch, began: now, ended: None, note: String::new() });
    }

    pub(super) fn end_phase(&mut self, now: At, note: &str) {
        if let Some(last) = self.phases.last_mut().filter(|last| last.ended.is_none()) {
            last.ended = Some(now);
            last.note = note.to_owned();
        }
    }

    /// Whether requests under this epoch's route are the first ones after this handover.
    pub(super) fn settles_in(&self, epoch: Epoch) -> bool {
        self.phases.last().is_some_and(|last| last.phase == Phase::Settle && last.epoch == epoch)
    }
}

/// Beginning.
impl Coordinator {
    pub(super) fn switch(&mut self, now: At, order: Order) {
        if self.joins(now, &order) {
            return;
        }
        match self.objection(now, &order) {
            Some(why) => self.refuse(order.id, why),
            None => self.begin(now, order),
        }
    }

    /// A failover to where a planned handover is already going makes it a failover.
    fn joins(&mut self, now: At, order: &Order) -> bool {
        let State::Handover(handover) = &mut self.state else { return false };
        let same = handover.to == order.to && !handover.rolling_back;
        if !same || order.urgency == Urgency::Planned || handover.urgency == Urgency::Failover {
            return false;
        }
        handover.urgency = Urgency::Failover;
        handover.record.urgency = Urgency::Failover;
        handover.record.reason = format!("{}; then: {}", handover.record.reason, order.reason);
        handover.orders.push(order.id);
        match handover.step {
            Step::Prepare => self.hold(now),
            Step::Drain => self.fence(now),
            Step::Intent { .. } | Step::Fence | Step::Activate { .. } => {}
        }
        true
    }

    fn objection(&self, now: At, order: &Order) -> Option<String> {
        let to = order.to;
        if let Some(why) = self.busy() {
            return Some(why);
        }
        if !self.sides[to].linked {
            return Some(format!("the agent of side {to} is not connected: nobody there can be made active"));
        }
        match self.stored.active {
            Some((side, epoch))
                if side == to && self.sides[side].serves(epoch) && now < self.sides[side].sure_until =>
            {
                Some(format!("side {to} is active already, in epoch {epoch}"))
            }
            _ => None,
        }
    }

    fn busy(&self) -> Option<String> {
        match &self.state {
            State::Settled => None,
            State::Recovering { .. } => Some("the edge has just started and is asking both agents; try again".into()),
            State::Handover(handover) => {
                Some(format!("a handover to side {} is under way (epoch {})", handover.to, handover.epoch))
            }
            State::StandingDown(order) => {
                Some(format!("side {} is being stood down (epoch {})", order.side, order.epoch))
            }
        }
    }

    pub(super) fn begin(&mut self, now: At, order: Order) {
        let epoch = self.stored.epoch.next();
        let from = self.stored.active.map(|(side, _)| side);
        let record = HandoverRecord {
            epoch,
            from,
            to: order.to,
            urgency: order.urgency,
            reason: order.reason,
            by: order.by,
            evidence: order.evidence,
            began: now,
            phases: Vec::new(),
            outcome: None,
            why: String::new(),
            activated_at: None,
            first_sent_at: None,
            first_answer_at: None,
        };
        self.settle(now, "the next handover began");
        let ticket = self.store_intent(epoch, order.to);
        self.state = State::Handover(Box::new(Handover {
            orders: vec![order.id],
            epoch,
            to: order.to,
            from,
            urgency: order.urgency,
            rolling_back: false,
            step: Step::Intent { ticket },
            until: now + self.settings.prepare,
            record,
        }));
        self.enter(now, Phase::Prepare);
        self.tell(epoch, order.to, Stage::Begun);
    }

    fn store_intent(&mut self, epoch: Epoch, to: Side) -> Ticket {
        self.stored.epoch = epoch;
        self.stored.intent = Some(Intent { epoch, to });
        self.store()
    }

    /// Continues an activation that an earlier life of this edge had ordered, and the node is carrying out.
    pub(super) fn resume(&mut self, now: At, intent: &Intent) {
        let from = self.stored.active.map(|(side, _)| side);
        self.state = State::Handover(Box::new(Handover {
            orders: Vec::new(),
            epoch: intent.epoch,
            to: intent.to,
            from,
            urgency: Urgency::Failover,
            rolling_back: false,
            step: Step::Activate { attempts: 1, sent: true },
            until: now + self.settings.activate,
            record: HandoverRecord {
                epoch: intent.epoch,
                from,
                to: intent.to,
                urgency: Urgency::Failover,
                reason: "goes on after a restart of the edge".into(),
                by: "recovery".into(),
                evidence: Vec::new(),
                began: now,
                phases: Vec::new(),
                outcome: None,
                why: String::new(),
                activated_at: None,
                first_sent_at: None,
                first_answer_at: None,
            },
        }));
        // It was ordered only after the other side had been fenced for this epoch.
        self.sides[intent.to.other()].stood_down(intent.epoch);
        self.enter(now, Phase::Activate);
    }
}

/// The phases, in their order.
impl Coordinator {
    /// The handover under way. Only called from its own steps.
    fn handover(&mut self) -> Option<&mut Handover> {
        match &mut self.state {
            State::Handover(handover) => Some(handover),
            _ => None,
        }
    }

    fn enter(&mut self, now: At, phase: Phase) {
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

    fn hold(&mut self, now: At) {
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

    fn fence(&mut self, now: At) {
        let Some(handover) = self.handover() else { return };
        let (old, planned) = (handover.to.other(), handover.urgency == Urgency::Planned && !handover.rolling_back);
        handover.step = Step::Fence;
        // Without a confirmation, a failover and a roll-back wait for the lease.
        let from = if planned { now } else { now.max(self.sides[old].clear_at()) };
        let until = from + self.settings.fence;
        if let Some(handover) = self.handover() {
            handover.until = until;
        }
        self.enter(now, Phase::Fence);
        self.fence_pending(old);
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

    fn activate(&mut self, now: At) {
        let until = now + self.settings.activate;
        let leftover = self.settings.leftover;
        let Some(handover) = self.handover() else { return };
        let (old, epoch, to) = (handover.to.other(), handover.epoch, handover.to);
        let cut = leftover == Leftover::Cut || handover.urgency == Urgency::Failover || handover.rolling_back;
        handover.step = Step::Activate { attempts: 0, sent: false };
        handover.until = until;
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
            self.sides[side].grant(&self.settings, now);
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

    fn commit(&mut self, now: At) {
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

/// When it goes wrong.
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
        let fenced = match handover.step {
            Step::Fence => self.sides[handover.to.other()].fenced_at(&self.settings),
            _ => None,
        };
        Some(fenced.map_or(handover.until, |at| at.min(handover.until)))
    }

    pub(super) fn pass_handover_time(&mut self, now: At) {
        self.pass_stand_down_time(now);
        let Some(handover) = self.handover() else { return };
        let (step, to, epoch, until) = (handover.step, handover.to, handover.epoch, handover.until);
        let (planned, rolling_back) = (handover.urgency == Urgency::Planned, handover.rolling_back);
        if step == Step::Fence && self.sides[to.other()].is_fenced(&self.settings, epoch, now) {
            return self.activate(now);
        }
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
                self.no_active(
                    now,
                    &format!("side {} says that its services still run, and is not to be stopped", to.other()),
                );
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
    fn give_up(&mut self, now: At, why: &str) {
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
        handover.until = until;
        handover.record.why = why.to_owned();
        let ticket = self.store_intent(epoch, old);
        if let Some(handover) = self.handover() {
            handover.step = Step::Intent { ticket };
        }
        self.enter(now, Phase::Prepare);
        self.set_route(Route { epoch, kind: RouteKind::Hold });
    }

    fn no_active(&mut self, now: At, why: &str) {
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

/// Stopping one side without making the other active.
impl Coordinator {
    pub(super) fn stand_down(&mut self, now: At, order: Order) {
        if let Some(why) = self.busy() {
            return self.refuse(order.id, why);
        }
        let side = order.to;
        let epoch = self.stored.epoch.next();
        self.stored.epoch = epoch;
        self.stored.active = self.stored.active.filter(|(active, _)| *active != side);
        let ticket = self.store();
        let until = now.max(self.sides[side].clear_at()) + self.settings.fence;
        self.state =
            State::StandingDown(Box::new(StandDown { id: order.id, side, epoch, ticket: Some(ticket), until }));
    }

    pub(super) fn stand_down_deadline(&self, order: &StandDown) -> Option<At> {
        // Before its epoch is durable, nothing that the side does ends it.
        let fenced = self.sides[order.side].fenced_at(&self.settings).filter(|_| order.ticket.is_none());
        Some(fenced.map_or(order.until, |at| at.min(order.until)))
    }

    fn pass_stand_down_time(&mut self, now: At) {
        let State::StandingDown(order) = &self.state else { return };
        let durable = order.ticket.is_none();
        if durable && self.sides[order.side].is_fenced(&self.settings, order.epoch, now) {
            self.end_stand_down("");
        } else if now >= order.until {
            self.end_stand_down("it did not confirm in time");
        }
    }

    fn end_stand_down(&mut self, why: &str) {
        let State::StandingDown(order) = std::mem::replace(&mut self.state, State::Settled) else { return };
        let outcome = if why.is_empty() { Outcome::Completed } else { Outcome::NoActive };
        self.end(vec![order.id], outcome, why);
    }
}
