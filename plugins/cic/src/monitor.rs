//! What the monitors do as a whole: watch, diagnose, reconnect, wait (C4, C6 to C9).

use crate::Cic;
use crate::checks::{Checks, Findings, Wanted};
use crate::leave::Waiting;
use crate::reconnect::{Lost, Reconnecting};
use lockstep_policy::action::{Action, Alert, Level};
use lockstep_policy::sdk::Actions;
use lockstep_policy::{At, Side};
use serde::{Deserialize, Serialize};

/// Where the monitors are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) enum Monitor {
    /// Nothing is monitored: there is no primary, no backup in place, or their releases differ.
    #[default]
    Off,
    /// The module and the notifier are pinged.
    Watching,
    /// A suspicion is looked into; the monitors stand still.
    Diagnosing { suspicion: Suspicion, checks: Checks },
    /// The backup waits for the primary to be reached again.
    Reconnecting(Reconnecting),
    /// The switch is decided, and cannot be made yet.
    Waiting(Waiting),
    /// Manual mode, and the module is down: nothing goes on by itself.
    Stopping { why: String },
}

/// What is held against the primary.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Suspicion {
    pub(crate) kind: Kind,
    pub(crate) text: String,
    pub(crate) evidence: Vec<u64>,
}

/// Which monitor says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    /// C2: the module does not answer.
    Module,
    /// C3: the module is started again and again.
    Restarts,
    /// C4: the notifier does not answer.
    Notifier,
    /// C4: the module monitor itself says nothing.
    Silent,
}

impl Monitor {
    pub(crate) fn checks_mut(&mut self) -> Option<&mut Checks> {
        match self {
            Monitor::Diagnosing { checks, .. } => Some(checks),
            Monitor::Reconnecting(Reconnecting { checks, .. }) | Monitor::Waiting(Waiting { checks, .. }) => {
                checks.as_mut()
            }
            Monitor::Off | Monitor::Watching | Monitor::Stopping { .. } => None,
        }
    }

    fn checks(&self) -> Option<&Checks> {
        match self {
            Monitor::Diagnosing { checks, .. } => Some(checks),
            Monitor::Reconnecting(Reconnecting { checks, .. }) | Monitor::Waiting(Waiting { checks, .. }) => {
                checks.as_ref()
            }
            Monitor::Off | Monitor::Watching | Monitor::Stopping { .. } => None,
        }
    }

    /// When something must be looked at again.
    pub(crate) fn deadline(&self) -> Option<At> {
        if let Some(checks) = self.checks() {
            let until = checks.deadline();
            return Some(match self {
                Monitor::Reconnecting(Reconnecting { lost: Lost::Notifier(Some(at)), last: false, .. }) => {
                    until.min(*at)
                }
                _ => until,
            });
        }
        match self {
            Monitor::Reconnecting(Reconnecting { lost: Lost::Notifier(Some(at)), next, .. }) => Some((*next).min(*at)),
            Monitor::Reconnecting(Reconnecting { next, .. }) | Monitor::Waiting(Waiting { next, .. }) => Some(*next),
            _ => None,
        }
    }
}

impl Cic {
    /// Both monitors begin anew; parameters that waited for this come in force.
    pub(crate) fn start_monitoring(&mut self, primary: Side, at: At, out: &mut Actions) {
        self.unwatch_all(out);
        self.take_up_pending(out);
        self.monitor = Monitor::Watching;
        self.start_module_monitor(primary, at, out);
        self.start_notifier_monitor(primary, at, out);
    }

    pub(crate) fn stop_monitoring(&mut self, out: &mut Actions) {
        self.stop_module_monitor(out);
        self.stop_notifier_monitor(out);
        self.unwatch_all(out);
        self.monitor = Monitor::Off;
    }

    /// Warms the backup up at the first sign of trouble, once.
    pub(crate) fn warm_up(&mut self, out: &mut Actions) {
        let Some(backup) = self.active.map(Side::other).filter(|_| !self.prepared) else { return };
        self.prepared = true;
        out.push(Action::Prepare(backup));
    }

    /// A monitor has given up: everything is looked into, while both stand still.
    pub(crate) fn suspect(&mut self, suspicion: Suspicion, at: At, out: &mut Actions) {
        if self.monitor != Monitor::Watching {
            return;
        }
        self.stop_module_monitor(out);
        self.stop_notifier_monitor(out);
        self.warm_up(out);
        if let Some(checks) = self.begin_checks(Wanted::of(suspicion.kind), self.timing.notifier_timeout, at, out) {
            self.monitor = Monitor::Diagnosing { suspicion, checks };
        }
    }

    /// What is due by itself, or has become known.
    pub(crate) fn advance_monitor(&mut self, at: At, out: &mut Actions) {
        match &self.monitor {
            Monitor::Watching => {
                self.believe_that_the_module_ended(at, out);
                self.advance_module_monitor(at, out);
                self.advance_notifier_monitor(at, out);
            }
            Monitor::Diagnosing { suspicion, checks } => {
                let Some(findings) = self.findings(checks, at) else { return };
                let suspicion = suspicion.clone();
                self.end_checks(out);
                self.conclude(suspicion, findings, at, out);
            }
            Monitor::Reconnecting(reconnecting) => {
                let reconnecting = reconnecting.clone();
                self.advance_reconnecting(reconnecting, at, out);
            }
            Monitor::Waiting(waiting) => {
                let waiting = waiting.clone();
                self.advance_waiting(waiting, at, out);
            }
            Monitor::Off | Monitor::Stopping { .. } => {}
        }
    }

    /// The end of the first diagnosis of a suspicion.
    fn conclude(&mut self, mut suspicion: Suspicion, findings: Findings, at: At, out: &mut Actions) {
        let Some(primary) = self.active else { return };
        add(&mut suspicion.evidence, &findings.evidence);
        if !findings.network {
            return self.lose_network(suspicion, &findings, at, out);
        }
        if !findings.primary {
            return self.lose_primary(suspicion, &findings, at, out);
        }
        match suspicion.kind {
            Kind::Module if findings.module => {
                let text = format!("C7: {}, and answers after all: monitoring goes on", suspicion.text);
                out.push(Action::Alert(Alert { level: Level::Info, text }));
                self.start_monitoring(primary, at, out);
            }
            Kind::Module | Kind::Restarts if self.connections_up(primary) => {
                let rule = if suspicion.kind == Kind::Module { "C2, C7" } else { "C3, C7" };
                let text =
                    format!("{rule}: {} ({}, both connections up): the module is down", suspicion.text, findings.text);
                self.leave(Suspicion { text, ..suspicion }, at, out);
            }
            Kind::Notifier if findings.aux => {
                if !self.told.aux {
                    self.told.aux = true;
                    let text = format!(
                        "C4: {}, but it answers on the auxiliary connection ({}): no switch. Look at the main \
                         connection to {primary}",
                        suspicion.text, findings.text
                    );
                    out.push(Action::Alert(Alert { level: Level::Warning, text }));
                }
                self.start_monitoring(primary, at, out);
            }
            Kind::Silent if findings.main || findings.aux => {
                if !self.told.silent {
                    self.told.silent = true;
                    let text = format!(
                        "C4: {}; {}, and the notifier answers: the monitor is started anew",
                        suspicion.text, findings.text
                    );
                    out.push(Action::Alert(Alert { level: Level::Warning, text }));
                }
                self.start_monitoring(primary, at, out);
            }
            _ => self.lose_notifier(suspicion, &findings, at, out),
        }
    }
}

/// The most observations that a switch names as its evidence.
const MAX_EVIDENCE: usize = 24;

/// More observations, none twice.
pub(crate) fn add(evidence: &mut Vec<u64>, more: &[u64]) {
    let new: Vec<u64> = more.iter().copied().filter(|seq| !evidence.contains(seq)).collect();
    evidence.extend(new.into_iter().take(MAX_EVIDENCE.saturating_sub(evidence.len())));
    evidence.sort_unstable();
}
