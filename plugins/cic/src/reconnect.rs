//! C6, C8, C9: the primary cannot be spoken to. The backup is Reconnecting: it looks again and again, and then it
//! switches, or it does not.

use crate::Cic;
use crate::checks::{Checks, Findings, Wanted};
use crate::monitor::{Kind, Monitor, Suspicion, add};
use lockstep_policy::action::{Action, Alert, Level};
use lockstep_policy::sdk::{Actions, Period};
use lockstep_policy::{At, Side};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// C6, C8, C9: the primary cannot be spoken to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Reconnecting {
    pub(crate) lost: Lost,
    suspicion: Suspicion,
    /// The next look.
    pub(crate) next: At,
    pub(crate) checks: Option<Checks>,
    /// The look under way is the last one before the switch.
    pub(crate) last: bool,
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

impl Cic {
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
    pub(crate) fn lose_notifier(&mut self, suspicion: Suspicion, findings: &Findings, at: At, out: &mut Actions) {
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

    fn pause_of(&self, lost: Lost) -> Duration {
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

    pub(crate) fn advance_reconnecting(&mut self, mut state: Reconnecting, at: At, out: &mut Actions) {
        if let Lost::Notifier(Some(deadline)) = state.lost
            && at >= deadline
            && !state.last
        {
            return self.last_look(state, at, out);
        }
        let Some(checks) = &state.checks else {
            if at >= state.next {
                state.next = at + self.pause_of(state.lost);
                // Of a module that is down it is not enough that the notifier answers.
                let module = state.suspicion.kind == Kind::Module && matches!(state.lost, Lost::Primary(_));
                let ping = self.timing.look_timeout(self.pause_of(state.lost));
                state.checks = self.begin_checks(Wanted { module, main: true, aux: false }, ping, at, out);
                self.monitor = Monitor::Reconnecting(state);
            }
            return;
        };
        let Some(findings) = self.findings(checks, at) else { return };
        state.checks = None;
        self.looked_again(state, findings, at, out);
    }

    /// C8: the time is up. The backup's own network is looked at once more: a severed one must not end in a switch.
    fn last_look(&mut self, mut state: Reconnecting, at: At, out: &mut Actions) {
        self.end_checks(out);
        let primary = self.active.unwrap_or(Side::A);
        if self.config.gateway_ping || !self.config.nettest(primary.other()).is_empty() {
            state.last = true;
            state.checks = self.begin_checks(Wanted::NETWORK, self.timing.icmp_timeout, at, out);
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
        let well = match (state.lost, suspicion.kind) {
            (Lost::Primary(_), Kind::Module) => findings.module,
            (Lost::Primary(_), Kind::Restarts) => false,
            _ => true,
        };
        if well && findings.main && self.sides[primary].connected() {
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
