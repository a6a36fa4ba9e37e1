//! What this policy does about its own attempts to switch, beside counting and pacing them.

use crate::Cic;
use lockstep_policy::action::{Action, Switch, Urgency};
use lockstep_policy::event::ActionResult;
use lockstep_policy::sdk::Actions;
use lockstep_policy::sdk::attempts::CameToNothing;
use lockstep_policy::{At, Side};

impl Cic {
    /// Asks for a switch. Only when nothing is under way.
    pub(crate) fn switch(&mut self, to: Side, urgency: Urgency, why: Why, at: At, out: &mut Actions) {
        let Why { reason, evidence, order } = why;
        self.attempts.switch(Switch { to, urgency, reason, evidence, order }, at, out);
    }

    /// A result came; it may be that of the switch.
    pub(crate) fn on_switch_result(&mut self, result: &ActionResult, at: At, out: &mut Actions) {
        if let Some(failed) = self.attempts.on_result(result, self.active, self.timing.first_retry, at) {
            self.came_to_nothing(failed, at, out);
        }
    }

    pub(crate) fn give_up_waiting(&mut self, at: At, out: &mut Actions) {
        if let Some(failed) = self.attempts.give_up_waiting(self.timing.first_retry, at) {
            self.came_to_nothing(failed, at, out);
        }
    }

    fn came_to_nothing(&mut self, failed: CameToNothing, at: At, out: &mut Actions) {
        self.drill_came_to_nothing(&failed.why, out);
        self.decide_again(at);
        out.extend(failed.alert.map(Action::Alert));
    }
}

/// What a switch is for.
pub(crate) struct Why {
    pub(crate) reason: String,
    pub(crate) evidence: Vec<u64>,
    /// The operator's order; 0: none.
    pub(crate) order: u64,
}
