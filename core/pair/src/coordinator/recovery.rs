//! After a start: where was the pair? The store says what was intended, the agents say what is (I4).

use super::{Coordinator, Order, OrderId, State};
use lockstep_policy::action::Urgency;
use lockstep_policy::event::{Role, Stage};
use lockstep_policy::{At, Side};

impl Coordinator {
    /// Ends the recovery as soon as what was heard allows for one conclusion only, or when its time is over.
    pub(super) fn resolve(&mut self, now: At, time_is_over: bool) {
        let heard = Side::BOTH.map(|side| self.sides[side].report.is_some());
        let over = heard == [true, true] || time_is_over;
        if self.adopt_active(over) || self.resume_activation(now) {
            return;
        }
        if over {
            self.conclude_without_active(now);
        }
    }

    /// A side that says it is active has a lease, so nobody else has: it goes on undisturbed. One that has none may be
    /// wrong about the right that it has: it goes on when nobody knows better.
    fn adopt_active(&mut self, nobody_else: bool) -> bool {
        let active = Side::BOTH.into_iter().filter_map(|side| {
            let report = self.sides[side].report.as_ref()?;
            (report.role == Role::Active && !report.lease_left.is_zero()).then_some((side, report.epoch))
        });
        let stored = self.stored.active.map(|(side, _)| side);
        let weight = |(side, epoch): &(Side, _)| (self.sides[*side].is_leased(), stored == Some(*side), *epoch);
        let Some((side, epoch)) = active.max_by_key(weight) else { return false };
        let undoubted = self.sides[side].is_leased() || stored == Some(side) && self.stored.intent.is_none();
        if !undoubted && !nobody_else {
            return false;
        }
        let known = self.stored.active == Some((side, epoch)) && self.stored.intent.is_none();
        let other_than_stored = self.stored.active.is_none_or(|(stored, _)| stored != side);
        self.stored.active = Some((side, epoch));
        self.stored.intent = None;
        self.state = State::Settled;
        if !known {
            self.store();
        }
        if other_than_stored {
            // The policy may have begun with what the store said.
            self.tell(epoch, side, Stage::Completed);
        }
        true
    }

    /// A side that is becoming active as was intended goes on doing so.
    fn resume_activation(&mut self, now: At) -> bool {
        let Some(intent) = self.stored.intent.clone() else { return false };
        if !self.sides[intent.to].is_in(intent.epoch, &[Role::Activating]) {
            return false;
        }
        self.resume(now, &intent);
        true
    }

    /// No side is active. An interrupted handover is finished in a new epoch; otherwise the policy decides.
    fn conclude_without_active(&mut self, now: At) {
        self.state = State::Settled;
        let Some(intent) = self.stored.intent.take() else { return };
        let to = if self.sides[intent.to].is_fit() { intent.to } else { intent.to.other() };
        if self.sides[to].is_fit() {
            self.begin(
                now,
                Order {
                    id: OrderId(0),
                    to,
                    urgency: Urgency::Failover,
                    reason: format!(
                        "finishes the handover of epoch {}, interrupted by a restart of the edge",
                        intent.epoch
                    ),
                    by: "recovery".into(),
                    evidence: Vec::new(),
                    unsafe_because: None,
                },
            );
        } else {
            self.store();
        }
    }
}
