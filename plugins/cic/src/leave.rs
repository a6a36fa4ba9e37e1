//! C7: the primary is to be left. Now, as soon as the backup is up, or not at all.

use crate::Cic;
use crate::attempt::Why;
use crate::checks::{Checks, Wanted};
use crate::monitor::{Kind, Monitor, Suspicion};
use lockstep_policy::action::{Action, Alert, Level, RunHook, Urgency};
use lockstep_policy::event::{ActionResult, Outcome, Role};
use lockstep_policy::sdk::{Actions, Period};
use lockstep_policy::{At, Side};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// While a switch cannot be made, the primary is looked at again so often.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// A switch that is decided, and cannot be made yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Waiting {
    suspicion: Suspicion,
    /// The next look at the primary.
    pub(crate) next: At,
    /// The backup could not take over at the last look.
    unready: bool,
    pub(crate) checks: Option<Checks>,
}

impl Cic {
    /// The decision is made. What stands in its way is waited for, or told.
    pub(crate) fn leave(&mut self, suspicion: Suspicion, at: At, out: &mut Actions) {
        let Some(primary) = self.active else { return };
        let backup = primary.other();
        if self.config.manual_switch_only {
            self.stop_monitoring(out);
            let text = format!(
                "{}. Manual switch only: nothing moves, and monitoring has stopped. Switch to {backup} by hand, or start \
                 monitoring anew with the command `monitor`",
                suspicion.text
            );
            out.push(Action::Alert(Alert { level: Level::Critical, text }));
            self.monitor = Monitor::Stopping { why: suspicion.text };
            return;
        }
        let obstacle = match self.sides[backup].can_take_over() {
            Err(why_not) => Some(why_not),
            Ok(()) if !self.attempts.free(at) => Some("the last attempt has only just come to nothing".to_owned()),
            Ok(()) => None,
        };
        self.stop_monitoring(out);
        match obstacle {
            None => {
                let Suspicion { text, evidence, .. } = suspicion.clone();
                self.switch(backup, Urgency::Failover, Why { reason: text, evidence, order: 0 }, at, out);
                self.decided = Some(suspicion);
            }
            Some(why_not) => {
                if !self.told.waiting {
                    self.told.waiting = true;
                    let text = format!(
                        "{}; but {backup} cannot take over yet: {why_not}. The switch is made as soon as it can",
                        suspicion.text
                    );
                    out.push(Action::Alert(Alert { level: Level::Critical, text }));
                }
                let next = at + LOOK_AGAIN;
                self.monitor = Monitor::Waiting(Waiting { suspicion, next, unready: true, checks: None });
            }
        }
    }

    /// A decided switch has come to nothing, and the primary is still the same: it is looked at again, and left again.
    pub(crate) fn decide_again(&mut self, at: At) {
        let Some(suspicion) = self.decided.take().filter(|_| self.active.is_some()) else { return };
        self.monitor = Monitor::Waiting(Waiting { suspicion, next: at + LOOK_AGAIN, unready: true, checks: None });
    }

    /// A scheduled switch: looked at again when the backup is up, and now and then, lest a primary is left that has
    /// recovered.
    pub(crate) fn advance_waiting(&mut self, mut waiting: Waiting, at: At, out: &mut Actions) {
        let Some(primary) = self.active else { return };
        let suspicion = &mut waiting.suspicion;
        let Some(checks) = &waiting.checks else {
            let ready = self.sides[primary.other()].can_take_over().is_ok() && self.attempts.free(at);
            if (ready && waiting.unready) || at >= waiting.next {
                let wanted = match suspicion.kind {
                    Kind::Module => Wanted { module: true, ..Wanted::NETWORK },
                    Kind::Restarts => Wanted::NETWORK,
                    Kind::Notifier | Kind::Silent => Wanted { main: true, ..Wanted::NETWORK },
                };
                let checks = self.begin_checks(wanted, self.timing.notifier_timeout, at, out);
                self.monitor = Monitor::Waiting(Waiting { next: at + LOOK_AGAIN, unready: !ready, checks, ..waiting });
            }
            return;
        };
        let Some(findings) = self.findings(checks, at) else { return };
        self.end_checks(out);
        let well = match suspicion.kind {
            Kind::Module => findings.module,
            Kind::Restarts => false,
            Kind::Notifier | Kind::Silent => findings.main && self.sides[primary].connected(),
        };
        if findings.network && well {
            let text = format!("C7: {primary} answers again: the switch that was waited with is not made");
            out.push(Action::Alert(Alert { level: Level::Info, text }));
            self.told.waiting = false;
            return self.start_monitoring(primary, at, out);
        }
        // What is decided is not done while the backup may be the one that is cut off.
        if !findings.network {
            return self.lose_network(waiting.suspicion, &findings, at, out);
        }
        if !findings.primary && self.timing.unreachable_sets.is_none() {
            return self.lose_primary(waiting.suspicion, &findings, at, out);
        }
        self.leave(waiting.suspicion, at, out);
    }

    /// The agent of the active side says itself that it has lost the role: its lease has run out, or its services could
    /// not be kept. Nothing is primary then, and nothing needs to be counted.
    pub(crate) fn see_a_lost_role(&mut self, at: At, out: &mut Actions) {
        let Some(active) = self.active.filter(|_| self.attempts.free(at)) else { return };
        let Some(report) = self.sides[active].word() else { return };
        let old = !self.confirmed && report.at.since(self.since) < crate::timing::STALE_REPORT;
        let word = match report.role {
            Role::Standby => "standby",
            Role::Failed => "failed",
            Role::Unknown | Role::Activating | Role::Active | Role::StandingDown => return,
        };
        if old || self.dual.stands_down(active, at) {
            return;
        }
        let (seq, role) = (report.seq, report.role);
        let other = active.other();
        let automatic = !self.config.manual_switch_only && self.upgrade().is_none();
        let other_can = automatic && self.backup_in_place(other).is_ok() && self.sides[other].can_take_over().is_ok();
        let same_can = self.sides[active].can_take_over().is_ok();
        let same_first = role == Role::Standby && self.attempts.failed_to() != Some(active);
        let to = match (same_can, other_can) {
            (true, true) => {
                if same_first {
                    active
                } else {
                    other
                }
            }
            (true, false) => active,
            (false, true) => other,
            (false, false) => return self.tell_that_none_can(at, out),
        };
        let reason = if to == active {
            format!(
                "C14: the agent of {active} says that its role is {word}, and no primary runs: {active} becomes it again"
            )
        } else {
            format!("C7: the agent of {active} says that its role is {word}: {to} becomes primary")
        };
        self.stop_monitoring(out);
        self.switch(to, Urgency::Failover, Why { reason, evidence: vec![seq], order: 0 }, at, out);
    }

    /// Has the backup's agent copy everything afresh.
    pub(crate) fn resynchronise(&mut self, side: Side, hook: String, reason: String, out: &mut Actions) {
        let action = out.push(Action::RunHook(RunHook { side, hook: hook.clone(), reason }));
        self.hook = Some((action, hook));
    }

    pub(crate) fn on_hook_result(&mut self, result: &ActionResult, out: &mut Actions) {
        let Some((_, hook)) = self.hook.take_if(|(action, _)| *action == result.action) else { return };
        if result.outcome != Outcome::Done {
            let text = format!(
                "the hook `{hook}` did not run: {}. Replication may be behind: see to it, and to the hook in the agent's \
                 configuration",
                result.why
            );
            out.push(Action::Alert(Alert { level: Level::Warning, text }));
        }
    }

    /// Replication that is not current for too long is told once.
    pub(crate) fn watch_replication(&mut self, at: At, out: &mut Actions) {
        let Some(backup) = self.active.map(Side::other).filter(|backup| self.backup_in_place(*backup).is_ok()) else {
            self.told.replication_since = None;
            return;
        };
        let interval = self.config.mirror.health_interval;
        let trouble = self.replication_trouble(backup).filter(|_| !interval.0.is_zero());
        let Some((trouble, false)) = trouble else {
            self.told.replication_since = None;
            self.told.replication = false;
            return;
        };
        let since = *self.told.replication_since.get_or_insert(at);
        let patience = interval.0 + self.config.mirror.health_timeout.0;
        if at.since(since) >= patience && !self.told.replication {
            self.told.replication = true;
            let text = format!("C12: {trouble}, for {} now: a switch would lose data", Period(patience));
            out.push(Action::Alert(Alert { level: Level::Warning, text }));
        }
    }

    pub(crate) fn replication_deadline(&self) -> Option<At> {
        let since = self.told.replication_since.filter(|_| !self.told.replication)?;
        Some(since + self.config.mirror.health_interval.0 + self.config.mirror.health_timeout.0)
    }
}
