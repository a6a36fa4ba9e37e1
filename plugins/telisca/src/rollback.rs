//! T2: the role goes back to A when A has been well for long enough.

use crate::Telisca;
use crate::attempt::Why;
use lockstep_policy::action::Urgency;
use lockstep_policy::sdk::{Actions, Period};
use lockstep_policy::{At, Side};

impl Telisca {
    pub(crate) fn roll_back(&mut self, active: Side, at: At, out: &mut Actions) {
        if active != Side::B || !self.rolls_back || !self.attempts.free(at) {
            return;
        }
        let Some(reason) = self.a_is_back(at) else { return };
        let evidence = self.sides.a.report.as_ref().map(|report| report.seq).into_iter().collect();
        self.switch(Side::A, Urgency::Planned, Why::new(reason, evidence), at, out);
    }

    /// Why A may have its role back now, if it may.
    fn a_is_back(&self, at: At) -> Option<String> {
        let a = &self.sides.a;
        let well_for = a.well_for(at);
        if !a.connected() || !a.answering() || !a.fit() || well_for < self.timing.rollback_after {
            return None;
        }
        let good = a.probes.good;
        if good >= self.timing.failures {
            return Some(format!("T2: a is to be active and has answered {good} monitor probes in a row"));
        }
        // Section 6.3.2: `or IPS Framework has successfully started`. On a second's scale one start proves too little.
        let started = a.started.filter(|_| !self.timing.fast)?;
        let ago = Period(at.since(started));
        Some(format!("T2: a is to be active and has started again, by its agent's word {ago} ago"))
    }

    /// The count comes with probes; the length of time comes by itself.
    pub(crate) fn rollback_deadline(&self) -> Option<At> {
        let since = self.sides.a.probes.good_since.filter(|_| self.active == Some(Side::B) && self.rolls_back)?;
        Some(since + self.timing.rollback_after)
    }
}
