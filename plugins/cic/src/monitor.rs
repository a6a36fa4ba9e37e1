//! What the monitors do as a whole: watch, diagnose, reconnect, wait (C4, C6 to C9).

use crate::Cic;
use crate::checks::{Checks, Findings, Wanted};
use crate::leave::Waiting;
use lockstep_policy::action::{Action, Alert, Level};
use lockstep_policy::sdk::{Actions, Period};
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

/// C6, C8, C9: the primary cannot be spoken to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Reconnecting {
    pub(crate) lost: Lost,
    suspicion: Suspicion,
    /// The next look.
    next: At,
    checks: Option<Checks>,
    /// The look under way is the last one before the switch.
    last: bool,
}

/// What is lost, by the diagnosis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Lost {
    /// C6: the backup's own network.
    Network,
    /// C8: the notifier; the switch comes then. None: in manual mode never.
    Notifier(Option<At>),
    /// C9: the primary's address; so many more sets of pings have failed.
    Primary(u32),
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
        self.prepared = false;
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
        if let Some(checks) = self.begin_checks(Wanted::of(suspicion.kind), at, out) {
            self.monitor = Monitor::Diagnosing { suspicion, checks };
        }
    }

    /// What is due by itself, or has become known.
    pub(crate) fn advance_monitor(&mut self, at: At, out: &mut Actions) {
        match &self.monitor {
            Monitor::Watching => {
                if !self.module.failing() && !self.notifier.failing() {
                    self.prepared = false;
                }
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
                let text =
                    format!("C4: {}; {}, and the notifier answers: it is started anew", suspicion.text, findings.text);
                out.push(Action::Alert(Alert { level: Level::Warning, text }));
                self.start_monitoring(primary, at, out);
            }
            _ => self.lose_notifier(suspicion, &findings, at, out),
        }
    }

    /// C6.
    pub(crate) fn lose_network(&mut self, suspicion: Suspicion, findings: &Findings, at: At, out: &mut Actions) {
        let Some(primary) = self.active else { return };
        let backup = primary.other();
        let blocked = if findings.primary && self.config.gateway_ping {
            format!(
                ". {primary}'s address answers all the same: does a gateway block pings? Then set `gateway_ping = false`"
            )
        } else {
            String::new()
        };
        let text = format!(
            "C6: {}; {}: the network of the backup {backup} is bad. No switch while it lasts, and replication counts as \
             stopped{blocked}",
            suspicion.text, findings.text
        );
        out.push(Action::Alert(Alert { level: Level::Critical, text }));
        self.reconnect(Lost::Network, suspicion, at, out);
    }

    /// C9.
    pub(crate) fn lose_primary(&mut self, suspicion: Suspicion, findings: &Findings, at: At, out: &mut Actions) {
        let Some(primary) = self.active else { return };
        let delay = Period(self.timing.unreachable_delay);
        let then = match self.timing.unreachable_sets.filter(|_| !self.config.manual_switch_only) {
            Some(sets) => format!("{sets} more sets of pings, one each {delay}, then the switch"),
            None => format!("it is waited for, with a set of pings each {delay}"),
        };
        let text = format!("C9: {}; {}: {primary} is unreachable: {then}", suspicion.text, findings.text);
        out.push(Action::Alert(Alert { level: Level::Critical, text }));
        self.reconnect(Lost::Primary(0), suspicion, at, out);
    }

    /// C8.
    fn lose_notifier(&mut self, suspicion: Suspicion, findings: &Findings, at: At, out: &mut Actions) {
        let timeout = self.timing.reconnect_timeout;
        let down = match suspicion.kind {
            Kind::Module | Kind::Restarts => "a connection to it is down",
            Kind::Notifier | Kind::Silent => "the notifier is down",
        };
        let text = format!("{} ({}): {down}", suspicion.text, findings.text);
        if timeout.is_zero() && !self.config.manual_switch_only {
            return self.leave(Suspicion { text: format!("C8: {text}"), ..suspicion }, at, out);
        }
        let (deadline, then) = if self.config.manual_switch_only {
            (None, "manual switch only: it is waited for".to_owned())
        } else {
            (Some(at + timeout), format!("switch in {} unless it is back", Period(timeout)))
        };
        let alert = format!("C8: {text}; {then}");
        out.push(Action::Alert(Alert { level: Level::Critical, text: alert }));
        self.reconnect(Lost::Notifier(deadline), suspicion, at, out);
    }

    fn reconnect(&mut self, lost: Lost, suspicion: Suspicion, at: At, out: &mut Actions) {
        self.stop_monitoring(out);
        let next = at + self.pause_of(lost);
        self.monitor = Monitor::Reconnecting(Reconnecting { lost, suspicion, next, checks: None, last: false });
    }

    fn pause_of(&self, lost: Lost) -> std::time::Duration {
        match lost {
            Lost::Notifier(_) => self.timing.reconnect_delay,
            Lost::Network | Lost::Primary(_) => self.timing.unreachable_delay,
        }
    }

    /// The primary's main connection is up again: the next look need not be waited for.
    pub(crate) fn on_connection_back(&mut self, at: At) {
        if let Monitor::Reconnecting(Reconnecting { next, checks: None, .. }) = &mut self.monitor {
            *next = at;
        }
    }

    fn advance_reconnecting(&mut self, mut state: Reconnecting, at: At, out: &mut Actions) {
        if let Lost::Notifier(Some(deadline)) = state.lost
            && at >= deadline
            && !state.last
        {
            return self.last_look(state, at, out);
        }
        let Some(checks) = &state.checks else {
            if at >= state.next {
                state.next = at + self.pause_of(state.lost);
                state.checks = self.begin_checks(Wanted { main: true, ..Wanted::NETWORK }, at, out);
                self.monitor = Monitor::Reconnecting(state);
            }
            return;
        };
        let Some(findings) = self.findings(checks, at) else { return };
        self.end_checks(out);
        state.checks = None;
        self.looked_again(state, findings, at, out);
    }

    /// C8: the time is up. The backup's own network is looked at once more: a severed one must not end in a switch.
    fn last_look(&mut self, mut state: Reconnecting, at: At, out: &mut Actions) {
        self.end_checks(out);
        let primary = self.active.unwrap_or(Side::A);
        if self.config.gateway_ping || !self.config.nettest(primary.other()).is_empty() {
            state.last = true;
            state.checks = self.begin_checks(Wanted::NETWORK, at, out);
            self.monitor = Monitor::Reconnecting(state);
        } else {
            self.notifier_stays_away(state, at, out);
        }
    }

    fn notifier_stays_away(&mut self, state: Reconnecting, at: At, out: &mut Actions) {
        let timeout = Period(self.timing.reconnect_timeout);
        let text = format!("C8: {}, and was not reached again within {timeout}", state.suspicion.text);
        self.leave(Suspicion { text, ..state.suspicion }, at, out);
    }

    fn looked_again(&mut self, mut state: Reconnecting, findings: Findings, at: At, out: &mut Actions) {
        let Some(primary) = self.active else { return };
        let mut suspicion = state.suspicion.clone();
        if !findings.network {
            if state.lost == Lost::Network {
                self.monitor = Monitor::Reconnecting(state);
            } else {
                add(&mut suspicion.evidence, &findings.evidence);
                self.lose_network(suspicion, &findings, at, out);
            }
            return;
        }
        if state.last {
            add(&mut state.suspicion.evidence, &findings.evidence);
            return self.notifier_stays_away(state, at, out);
        }
        if findings.main && self.sides[primary].connected() {
            return self.reconnected(primary, at, out);
        }
        match state.lost {
            Lost::Primary(sets) if !findings.primary => {
                let sets = sets.saturating_add(1);
                if sets <= 3 {
                    add(&mut state.suspicion.evidence, &findings.evidence);
                }
                let most = self.timing.unreachable_sets.filter(|_| !self.config.manual_switch_only);
                if most.is_some_and(|most| sets >= most) {
                    let text = format!(
                        "C9: {}; its address did not answer {sets} more sets of pings ({})",
                        state.suspicion.text, findings.text
                    );
                    return self.leave(Suspicion { text, ..state.suspicion }, at, out);
                }
                state.lost = Lost::Primary(sets);
                self.monitor = Monitor::Reconnecting(state);
            }
            // Whoever is to wait for ever for an unreachable primary waits for this one, too.
            Lost::Notifier(Some(_)) if !findings.primary && self.timing.unreachable_sets.is_none() => {
                self.lose_primary(suspicion, &findings, at, out);
            }
            Lost::Network if !findings.primary => self.lose_primary(suspicion, &findings, at, out),
            Lost::Network | Lost::Primary(_) => {
                add(&mut suspicion.evidence, &findings.evidence);
                self.lose_notifier(suspicion, &findings, at, out);
            }
            Lost::Notifier(_) => self.monitor = Monitor::Reconnecting(state),
        }
    }

    /// C8: the primary is spoken to again.
    fn reconnected(&mut self, primary: Side, at: At, out: &mut Actions) {
        let backup = primary.other();
        let hook = self.config.resynchronise_hook.clone();
        let reason = format!("C8: {backup} has reached {primary} again and copies everything afresh");
        out.push(Action::Alert(Alert { level: Level::Info, text: format!("{reason}; it is the backup again") }));
        self.resynchronise(backup, hook, reason, out);
        self.start_monitoring(primary, at, out);
    }
}

/// The most observations that a switch names as its evidence.
const MAX_EVIDENCE: usize = 24;

/// More observations, none twice.
fn add(evidence: &mut Vec<u64>, more: &[u64]) {
    let new: Vec<u64> = more.iter().copied().filter(|seq| !evidence.contains(seq)).collect();
    evidence.extend(new.into_iter().take(MAX_EVIDENCE.saturating_sub(evidence.len())));
    evidence.sort_unstable();
}
