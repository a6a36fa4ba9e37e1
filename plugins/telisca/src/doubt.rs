//! T1 on a scale of milliseconds: silence may be the edge's own. A machine that is overloaded, or cut off, hears nobody,
//! and must not take that for the active side's failure.

use crate::Telisca;
use lockstep_policy::event::{ProbeResult, Verdict};
use lockstep_policy::{At, Side};

/// The other side's last answer may be so many intervals old: its probes end one interval apart, more or less.
const FRESH: u32 = 2;

impl Telisca {
    /// A probe whose time has ended much later than it should was ended by an edge that is late itself.
    pub(crate) fn notice_lateness(&mut self, result: &ProbeResult, at: At) {
        let late = result.latency > self.timing.timeout + self.timing.interval;
        if late && result.verdict == Verdict::Silent {
            self.late = Some(at);
        }
    }

    /// The policy's own timer is overdue: whichever event comes first says so.
    pub(crate) fn notice_late_timer(&mut self, at: At) {
        if self.armed.is_some_and(|due| at.since(due) > self.timing.interval) {
            self.late = Some(at);
        }
    }

    /// Whether the last failure of the active side's probes is the side's. Silence is, with `fast`, only while the other
    /// side's probes are answered, and have been for one interval.
    pub(crate) fn believed(&self, active: Side, at: At) -> bool {
        if !self.timing.fast || self.sides[active].probes.last != Some(Verdict::Silent) {
            return true;
        }
        let other = &self.sides[active.other()];
        let calm = |trouble: Option<At>| trouble.is_none_or(|trouble| at.since(trouble) >= self.timing.interval);
        let heard = other.heard.is_some_and(|heard| at.since(heard) < self.timing.interval * FRESH);
        heard && other.probes.last != Some(Verdict::Silent) && calm(other.silent) && calm(self.late)
    }
}
