//! T1: the active side is left when it fails and the other side can take over.

use crate::Telisca;
use crate::attempt::Why;
use crate::timing::STALE_REPORT;
use crate::view::{counted, in_words};
use lockstep_policy::action::{Action, Alert, Level, Urgency};
use lockstep_policy::event::Role;
use lockstep_policy::sdk::{Actions, Period};
use lockstep_policy::{At, Side};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What was done about the present suspicion.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Suspicion {
    /// The other side was told to warm up.
    prepared: bool,
    /// Operators were told that the other side cannot take over.
    told: bool,
}

/// Why the active side must be left.
struct Cause {
    reason: String,
    evidence: Vec<u64>,
    /// Its agent says itself that it has not the role: activating it anew would do as well.
    role_lost: bool,
}

impl Telisca {
    pub(crate) fn fail_over(&mut self, active: Side, at: At, out: &mut Actions) {
        if self.attempts.busy() || self.dual.stands_down(active, at) {
            return;
        }
        let cause = self.cause(active, at);
        self.suspicion.told &= cause.is_some();
        let Some(cause) = cause.filter(|_| self.attempts.free(at)) else { return self.suspect(active, out) };
        match self.target(active, &cause) {
            Ok(to) => {
                if active == Side::A && to == Side::B {
                    self.a_fails(at);
                }
                self.switch(to, Urgency::Failover, Why::new(cause.reason, cause.evidence), at, out);
            }
            Err(why_not) if !self.suspicion.told => {
                self.suspicion.told = true;
                let other = active.other();
                let then = if cause.role_lost { "No side is active" } else { &format!("{active} keeps the role") };
                let text = format!("{}; but {other} cannot take over: {why_not}. {then}", cause.reason);
                out.push(Action::Alert(Alert { level: Level::Critical, text }));
            }
            Err(_) => {}
        }
    }

    /// Warms the other side up at the first sign of trouble, once per suspicion.
    fn suspect(&mut self, active: Side, out: &mut Actions) {
        let view = &self.sides[active];
        if !view.failing() && view.away_since().is_none() {
            self.suspicion.prepared = false;
        } else if !self.suspicion.prepared && self.sides[active.other()].can_take_over().is_ok() {
            self.suspicion.prepared = true;
            out.push(Action::Prepare(active.other()));
        }
    }

    fn target(&self, active: Side, cause: &Cause) -> Result<Side, String> {
        let other = active.other();
        let stays = cause.role_lost && self.sides[active].can_take_over().is_ok();
        match self.sides[other].can_take_over() {
            Ok(()) if stays && self.attempts.failed_to() == Some(other) => Ok(active),
            Ok(()) => Ok(other),
            Err(_) if stays => Ok(active),
            Err(why_not) => Err(why_not),
        }
    }

    fn cause(&self, active: Side, at: At) -> Option<Cause> {
        // What is said outright comes before what is inferred from silence.
        self.off_the_lan(active)
            .or_else(|| self.role_lost(active))
            .or_else(|| self.service_exited(active))
            .or_else(|| self.probes_failed(active, at))
            .or_else(|| self.agent_away(active, at))
    }

    /// T4: the side stands itself down.
    fn off_the_lan(&self, active: Side) -> Option<Cause> {
        let report = self.sides[active].word().filter(|report| report.isolated)?;
        let reason = format!("T4: {active} finds itself off the LAN, and its agent stands it down");
        Some(Cause { reason, evidence: vec![report.seq], role_lost: true })
    }

    fn role_lost(&self, active: Side) -> Option<Cause> {
        let report = self.sides[active].word()?;
        let word = match report.role {
            Role::Standby => "standby",
            Role::Failed => "failed",
            Role::Unknown | Role::Activating | Role::Active | Role::StandingDown => return None,
        };
        if !self.confirmed && report.at.since(self.since) < STALE_REPORT {
            return None;
        }
        let reason =
            format!("T1: the agent of {active} says that its role is {word}, although {active} is to be active");
        Some(Cause { reason, evidence: vec![report.seq], role_lost: true })
    }

    fn service_exited(&self, active: Side) -> Option<Cause> {
        let report = self.sides[active].word().filter(|report| self.timing.fast && !report.fit)?;
        let service = report.needed_exited.as_ref().filter(|_| self.sides[active.other()].fit())?;
        let reason = format!("T1: the service `{service}` of {active} has ended, by its agent's word");
        Some(Cause { reason, evidence: vec![report.seq], role_lost: false })
    }

    fn probes_failed(&self, active: Side, at: At) -> Option<Cause> {
        let probes = &self.sides[active].probes;
        let last = probes.last.filter(|_| probes.bad >= self.timing.failures && self.believed(active, at))?;
        let detail = if probes.detail.is_empty() { String::new() } else { format!(": {}", probes.detail) };
        let (count, last) = (counted(probes.bad), in_words(last));
        let reason = format!("T1: {active} failed {count} in a row; the last {last}{detail}");
        Some(Cause { reason, evidence: probes.evidence.clone(), role_lost: false })
    }

    /// Without its agent a side has no lease: it stands down by itself, however well its pages answer.
    fn agent_away(&self, active: Side, at: At) -> Option<Cause> {
        let view = &self.sides[active];
        let (since, patience) = self.away(active)?;
        let seq = view.link.map(|link| link.seq);
        let silent = view.failing() && at.since(since) >= self.timing.away_and_silent && self.believed(active, at);
        if !silent && at.since(since) < patience {
            return None;
        }
        let also = if silent { ", and its probes fail" } else { "" };
        let away = Period(Duration::from_millis(at.since(since).as_millis() as u64));
        let reason =
            format!("T1: the agent of {active} has been away for {away}{also}: {active} has no lease any more");
        let probes = view.probes.evidence.iter().filter(|_| silent).copied();
        let evidence = seq.into_iter().chain(probes).collect();
        Some(Cause { reason, evidence, role_lost: false })
    }

    /// Since when the active side's agent is away, and how long that is borne. One that was never there since the start
    /// has the start's grace as well.
    fn away(&self, active: Side) -> Option<(At, Duration)> {
        let view = &self.sides[active];
        match view.link {
            Some(_) => view.away_since().map(|link| (link.since, self.timing.away)),
            None if view.agent => Some((self.started?, self.timing.away + self.timing.start_grace)),
            None => None,
        }
    }

    pub(crate) fn failover_deadlines(&self) -> [Option<At>; 2] {
        match self.active.and_then(|active| self.away(active)) {
            Some((since, patience)) => [Some(since + self.timing.away_and_silent), Some(since + patience)],
            None => [None, None],
        }
    }
}
