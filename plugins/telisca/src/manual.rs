//! T8: an operator moves the role either way, at any time.

use crate::Telisca;
use crate::attempt::Why;
use lockstep_policy::action::{Action, OrderAnswer, Urgency};
use lockstep_policy::event::Order;
use lockstep_policy::sdk::{Actions, Period};
use lockstep_policy::{At, Side};

impl Telisca {
    pub(crate) fn on_order(&mut self, order: &Order, seq: u64, at: At, out: &mut Actions) {
        if let Err(text) = self.possible(order.to) {
            out.push(Action::RefuseOrder(OrderAnswer { order: order.order, text }));
            return;
        }
        if self.vip_test.is_some() && self.vip.side() == Some(order.to.other()) && !order.confirmed {
            let (to, vip) = (order.to, order.to.other());
            let text = format!(
                "T8: the VIP sends to {vip}, and `test_vip_destination` is on: T7 will move the role back to {vip} after \
                 about {}, unless the VIP's balancer follows. Move it to {to} all the same?",
                Period(self.timing.interval * self.timing.failures)
            );
            out.push(Action::AskConfirmation(OrderAnswer { order: order.order, text }));
            return;
        }
        let from_a = self.active == Some(Side::A) && self.sides.a.works();
        if order.to == Side::B && from_a && self.rolls_back && !order.confirmed {
            let text = format!(
                "T8: a is well, and `first_server_auto_restart_as_active` is on: T2 will move the role back to a after \
                 about {}. Move it to b all the same?",
                Period(self.timing.rollback())
            );
            out.push(Action::AskConfirmation(OrderAnswer { order: order.order, text }));
            return;
        }
        let old_works = self.active.is_some_and(|active| active != order.to && self.sides[active].works());
        let urgency = if old_works { Urgency::Planned } else { Urgency::Failover };
        let reason = format!("T8: {} asks for it", if order.by.is_empty() { "an operator" } else { &order.by });
        self.switch(order.to, urgency, Why { reason, evidence: vec![seq], order: order.order }, at, out);
    }

    /// Why an order cannot be carried out now.
    fn possible(&self, to: Side) -> Result<(), String> {
        let refused = |why: String| Err(format!("T8: the role cannot be moved to {to} now: {why}"));
        let view = &self.sides[to];
        if self.attempts.busy() {
            return refused("a handover is under way; ask again when it has ended".to_owned());
        }
        if self.active == Some(to) && view.works() {
            return refused("it is active already".to_owned());
        }
        if let Err(why_not) = view.can_take_over() {
            return refused(why_not);
        }
        if !view.fit() {
            return refused("its agent does not say that it is fit".to_owned());
        }
        Ok(())
    }
}
