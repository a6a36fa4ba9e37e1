//! T2: the role goes back to A when A has been well for long enough.

use crate::Telisca;
use crate::attempt::Why;
use crate::view::counted;
use lockstep_policy::action::Urgency;
use lockstep_policy::sdk::{Actions, Period};
use lockstep_policy::{At, Side};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A failover from A within this many rollback times after a rollback is a relapse.
const RELAPSE: u32 = 10;
/// A relapse doubles the time for which A must be well, at most so many times.
const MAX_RELAPSES: u32 = 6;

/// How earlier rollbacks went.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Rollbacks {
    last: Option<At>,
    relapses: u32,
}

impl Telisca {
    pub(crate) fn roll_back(&mut self, active: Side, at: At, out: &mut Actions) {
        if active != Side::B || !self.rolls_back || !self.attempts.free(at) {
            return;
        }
        let Some(reason) = self.a_is_back(at) else { return };
        let count = self.timing.failures as usize;
        let probes = self.sides.a.probes.evidence.iter().rev().take(count).rev().copied();
        let report = self.sides.a.word().map(|report| report.seq);
        let evidence = probes.chain(report).collect();
        self.rollbacks.last = Some(at);
        self.switch(Side::A, Urgency::Planned, Why::new(reason, evidence), at, out);
    }

    /// Why A may have its role back now, if it may.
    fn a_is_back(&self, at: At) -> Option<String> {
        let a = &self.sides.a;
        if !a.connected() || !a.answering() || !a.fit() || a.isolated() || a.well_for(at) < self.must_be_well_for() {
            return None;
        }
        if self.vip_test.is_some() && self.vip.side() != Some(Side::A) {
            return None;
        }
        let good = a.probes.good;
        if good >= self.timing.failures {
            return Some(format!("T2: a is to be active and has answered {} in a row", counted(good)));
        }
        // Section 6.3.2: `or IPS Framework has successfully started`. On a second's scale one start proves too little.
        let started = a.started.filter(|_| !self.timing.fast)?;
        let ago = Period(at.since(started));
        Some(format!("T2: a is to be active and has started again, by its agent's word {ago} ago"))
    }

    /// A side that fails as soon as it has its role back must not take the pair along each time.
    fn must_be_well_for(&self) -> Duration {
        match self.rollbacks.relapses {
            0 => self.timing.rollback_after,
            relapses => self.timing.rollback() * 2_u32.pow(relapses.min(MAX_RELAPSES)),
        }
    }

    /// The role is about to leave A because A fails.
    pub(crate) fn a_fails(&mut self, at: At) {
        let window = self.timing.rollback() * RELAPSE;
        let relapse = self.rollbacks.last.take().is_some_and(|last| at.since(last) < window);
        self.rollbacks.relapses = if relapse { self.rollbacks.relapses.saturating_add(1) } else { 0 };
    }

    /// The count comes with probes; the length of time comes by itself.
    pub(crate) fn rollback_deadline(&self) -> Option<At> {
        let since = self.sides.a.probes.good_since.filter(|_| self.active == Some(Side::B) && self.rolls_back)?;
        Some(since + self.must_be_well_for())
    }
}
