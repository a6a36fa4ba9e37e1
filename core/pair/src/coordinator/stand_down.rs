//! Stopping one side without making the other active.

use super::{Coordinator, Order, OrderId, State, Ticket};
use crate::record::Outcome;
use lockstep_policy::{At, Epoch, Side};

/// An order to stop one side, under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct StandDown {
    id: OrderId,
    pub(super) side: Side,
    pub(super) epoch: Epoch,
    /// The write that must be durable first; none when it is.
    pub(super) ticket: Option<Ticket>,
    pub(super) until: At,
}

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
        let clear_at = self.sides[side].begin_to_fence(now).unwrap_or(now);
        let until = now.max(clear_at) + self.settings.fence;
        self.state =
            State::StandingDown(Box::new(StandDown { id: order.id, side, epoch, ticket: Some(ticket), until }));
    }

    pub(super) fn stand_down_deadline(&self, order: &StandDown) -> Option<At> {
        // Before its epoch is durable, nothing that the side does ends it.
        let fenced = self.sides[order.side].fenced_at(&self.settings).filter(|_| order.ticket.is_none());
        Some(fenced.map_or(order.until, |at| at.min(order.until)))
    }

    pub(super) fn pass_stand_down_time(&mut self, now: At) {
        let State::StandingDown(order) = &self.state else { return };
        let durable = order.ticket.is_none();
        if durable && self.sides[order.side].is_fenced(&self.settings, order.epoch, now) {
            self.end_stand_down("");
        } else if now >= order.until {
            self.end_stand_down("it did not confirm in time");
        }
    }

    pub(super) fn end_stand_down(&mut self, why: &str) {
        let State::StandingDown(order) = std::mem::replace(&mut self.state, State::Settled) else { return };
        let outcome = if why.is_empty() { Outcome::Completed } else { Outcome::NoActive };
        self.end(vec![order.id], outcome, why);
    }
}
