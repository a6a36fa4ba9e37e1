//! Orders to move the active role: which are taken up, and how a handover begins.

use super::handover::{Handover, Step};
use super::{Coordinator, Intent, Order, State, Ticket};
use crate::record::{HandoverRecord, Motive, Phase};
use lockstep_policy::action::Urgency;
use lockstep_policy::event::Stage;
use lockstep_policy::{At, Epoch, Side};

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

    /// A failover to where a planned handover is already going makes it a failover, and a person's word that the other
    /// side is off is taken at any time before the activation.
    fn joins(&mut self, now: At, order: &Order) -> bool {
        let State::Handover(handover) = &mut self.state else { return false };
        let same = handover.to == order.to && !handover.rolling_back;
        let adds = handover.urgency == Urgency::Planned
            || order.unsafe_because.is_some() && handover.unsafe_because.is_none() && !handover.is_activating();
        if !same || order.urgency == Urgency::Planned || !adds {
            return false;
        }
        handover.unsafe_because = handover.unsafe_because.take().or_else(|| order.unsafe_because.clone());
        handover.urgency = Urgency::Failover;
        handover.record.urgency = Urgency::Failover;
        handover.record.reason = format!("{}; then: {}", handover.record.reason, order.reason);
        handover.orders.push(order.id);
        match handover.step {
            Step::Prepare => self.hold(now),
            // Once more from the start: in a hurry, with what a failover may use.
            Step::Drain | Step::Fence => self.fence(now),
            Step::Intent { .. } | Step::Activate { .. } => {}
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

    pub(super) fn busy(&self) -> Option<String> {
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
        let motive = Motive { reason: order.reason, by: order.by, evidence: order.evidence };
        let record = HandoverRecord::new(now, epoch, from, order.to, order.urgency, motive);
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
            hook_at: None,
            unsafe_because: order.unsafe_because,
            record,
        }));
        self.enter(now, Phase::Prepare);
        self.tell(epoch, order.to, Stage::Begun);
    }

    pub(super) fn store_intent(&mut self, epoch: Epoch, to: Side) -> Ticket {
        self.stored.epoch = epoch;
        self.stored.intent = Some(Intent { epoch, to });
        self.store()
    }

    /// Continues an activation that an earlier life of this edge had ordered, and the node is carrying out.
    pub(super) fn resume(&mut self, now: At, intent: &Intent) {
        let from = self.stored.active.map(|(side, _)| side);
        let motive = Motive {
            reason: "goes on after a restart of the edge".into(),
            by: "recovery".into(),
            evidence: Vec::new(),
        };
        self.state = State::Handover(Box::new(Handover {
            orders: Vec::new(),
            epoch: intent.epoch,
            to: intent.to,
            from,
            urgency: Urgency::Failover,
            rolling_back: false,
            step: Step::Activate { attempts: 1, sent: true },
            until: now + self.settings.activate,
            hook_at: None,
            unsafe_because: None,
            record: HandoverRecord::new(now, intent.epoch, from, intent.to, Urgency::Failover, motive),
        }));
        // It was ordered only after the other side had been fenced for this epoch.
        self.sides[intent.to.other()].stood_down(intent.epoch);
        self.enter(now, Phase::Activate);
        self.tell(intent.epoch, intent.to, Stage::Begun);
    }
}
