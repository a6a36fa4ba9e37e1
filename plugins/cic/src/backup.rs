//! C10, C11: whether a backup is in place, and what kind of backup it is.

use crate::Cic;
use crate::monitor::Monitor;
use crate::reconnect::{Lost, Reconnecting};
use crate::timing::STALE_REPORT;
use crate::view::{ServiceView, compare_releases};
use lockstep_policy::action::{Action, Alert, Level, RestartService};
use lockstep_policy::event::{ActionResult, Outcome, Replication, Role};
use lockstep_policy::sdk::Actions;
use lockstep_policy::{At, Epoch, Side};
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::time::Duration;

/// A restart that has shown no effect is asked for again after this.
const ASK_AGAIN: Duration = Duration::from_secs(60);

/// C10: a side that has lost the role, and has not been started anew since.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Stale {
    epoch: Epoch,
    since: At,
    /// Its services when it lost the role; those not seen then count from when they are first seen.
    services: Vec<ServiceView>,
    asked: Option<u64>,
    ask_at: At,
    told: bool,
}

impl Stale {
    pub(crate) fn new(epoch: Epoch, services: Vec<ServiceView>, at: At) -> Stale {
        Stale { epoch, since: at, services, asked: None, ask_at: at, told: false }
    }

    /// The edge's clock has begun anew.
    pub(crate) fn restarted(&mut self, at: At) {
        self.since = at;
        self.ask_at = at;
        self.asked = None;
    }

    pub(crate) fn deadline(&self) -> Option<At> {
        self.asked.is_none().then_some(self.ask_at)
    }
}

impl Cic {
    /// Whether a side can be watched over the primary from: its agent is there, and it is not stale.
    pub(crate) fn backup_in_place(&self, side: Side) -> Result<(), String> {
        let view = &self.sides[side];
        if !view.connected() {
            return Err(format!("the agent of {side} is not connected"));
        }
        let Some(report) = view.word() else { return Err(format!("the agent of {side} has not reported yet")) };
        if self.stale[side].is_some() {
            return Err(self.why_stale(side));
        }
        match report.role {
            Role::Failed => Err(format!("the agent of {side} says that it has failed")),
            Role::Active => Err(format!("the agent of {side} says that it is active")),
            _ => Ok(()),
        }
    }

    pub(crate) fn why_stale(&self, side: Side) -> String {
        let service = &self.config.backup_service;
        format!("{side} is stale: it has lost the role, and `{service}` has not been started anew since")
    }

    /// C11: how the backup's release stands to the primary's, when they differ.
    pub(crate) fn upgrade(&self) -> Option<(Ordering, &str, &str)> {
        let primary = self.active?;
        let (ours, theirs) = (self.sides[primary.other()].release()?, self.sides[primary].release()?);
        match compare_releases(ours, theirs) {
            Ordering::Equal => None,
            order => Some((order, ours, theirs)),
        }
    }

    /// Starts and stops the monitors as there is something to monitor, and somebody to take over.
    pub(crate) fn keep_monitoring(&mut self, at: At, out: &mut Actions) {
        let primary = self.active.filter(|_| !self.attempts.busy());
        let in_place = primary.is_some_and(|primary| self.backup_in_place(primary.other()).is_ok());
        let may = in_place && self.upgrade().is_none();
        match (primary, &self.monitor) {
            (Some(primary), Monitor::Off) if may => self.start_monitoring(primary, at, out),
            (_, Monitor::Off) => {}
            _ if !may => self.stop_monitoring(out),
            _ => {}
        }
        self.tell_of_no_backup(at, out);
        self.tell_of_upgrade(out);
    }

    fn tell_of_no_backup(&mut self, at: At, out: &mut Actions) {
        let settled = self.started.is_some_and(|started| at >= started + self.timing.start_grace);
        let Some(primary) = self.active.filter(|_| settled && !self.attempts.busy()) else { return };
        let backup = primary.other();
        match self.backup_in_place(backup) {
            Ok(()) => self.told.no_backup = false,
            Err(why) if !self.told.no_backup => {
                self.told.no_backup = true;
                let text = format!("C10: no backup is in place: {why}. No switch can happen until there is one");
                out.push(Action::Alert(Alert { level: Level::Warning, text }));
            }
            Err(_) => {}
        }
    }

    fn tell_of_upgrade(&mut self, out: &mut Actions) {
        let in_place = self.active.is_some_and(|active| self.backup_in_place(active.other()).is_ok());
        let Some((order, ours, theirs)) = self.upgrade().filter(|_| in_place) else {
            self.told.upgrade = None;
            return;
        };
        let newer = order == Ordering::Greater;
        let Some(primary) = self.active.filter(|_| self.told.upgrade != Some(newer)) else { return };
        let (backup, than) = (primary.other(), if newer { "newer" } else { "older" });
        let text = format!(
            "C11: {backup} runs release {ours}, {than} than {theirs} of {primary}: manual switch only, and replication is \
             limited, until both run the same"
        );
        out.push(Action::Alert(Alert { level: Level::Warning, text }));
        self.told.upgrade = Some(newer);
    }

    /// C10: has a stale side started anew, or sees that it was.
    pub(crate) fn renew_stale_sides(&mut self, at: At, out: &mut Actions) {
        for side in Side::BOTH {
            if self.active == Some(side) {
                self.stale[side] = None;
                continue;
            }
            let Some(report) = self.sides[side].word().cloned() else { continue };
            let Some(stale) = &mut self.stale[side] else { continue };
            // What was said under an earlier epoch may have been under way when the role moved; but a side that was out of
            // reach then may not hear of the new epoch before its next activation.
            let heard_later = report.at.since(stale.since) >= STALE_REPORT;
            let stopped = matches!(report.role, Role::Standby | Role::Failed);
            if !stopped || report.at < stale.since || (report.epoch < stale.epoch && !heard_later) {
                continue;
            }
            let name = &self.config.backup_service;
            let named = report.services.iter().any(|service| service.name == *name);
            let mut renewed = false;
            for service in report.services.iter().filter(|service| !named || service.name == *name) {
                match stale.services.iter().find(|before| before.name == service.name) {
                    Some(before) if service.pid != 0 && !service.exited => {
                        renewed |= service.pid != before.pid || service.restarts != before.restarts;
                    }
                    Some(_) => {}
                    None => stale.services.push(service.clone()),
                }
            }
            if renewed {
                self.stale[side] = None;
                let text = format!("C10: {side} has been started anew: it is a backup again");
                out.push(Action::Alert(Alert { level: Level::Info, text }));
            } else if self.config.restart_stale && named && stale.asked.is_none() && at >= stale.ask_at {
                let reason = format!("C10: {side} has lost the role: `{name}` is started anew to make it a backup");
                let order = RestartService { side, service: name.clone(), reason };
                stale.asked = Some(out.push(Action::RestartService(order)));
                stale.ask_at = at + ASK_AGAIN;
            }
        }
    }

    pub(crate) fn on_restart_result(&mut self, result: &ActionResult, at: At, out: &mut Actions) {
        for side in Side::BOTH {
            let Some(stale) = &mut self.stale[side] else { continue };
            if stale.asked != Some(result.action) {
                continue;
            }
            stale.asked = None;
            stale.ask_at = at + ASK_AGAIN;
            if result.outcome != Outcome::Done && !stale.told {
                stale.told = true;
                let text = format!(
                    "C10: `{}` of {side} could not be started anew: {}. {side} stays Inactive until it is; it is tried \
                     again each minute",
                    self.config.backup_service, result.why
                );
                out.push(Action::Alert(Alert { level: Level::Warning, text }));
            }
        }
    }

    pub(crate) fn stale_deadlines(&self) -> [Option<At>; 2] {
        let due = |side: Side| {
            let named = |name: &str| {
                let report = self.sides[side].word();
                report.is_some_and(|report| report.services.iter().any(|service| service.name == name))
            };
            let asks = self.config.restart_stale && named(&self.config.backup_service);
            self.stale[side].as_ref().filter(|_| asks).and_then(Stale::deadline)
        };
        [due(Side::A), due(Side::B)]
    }

    /// C12: what is wrong with a backup's copy, and whether it is only unknown.
    pub(crate) fn replication_trouble(&self, backup: Side) -> Option<(String, bool)> {
        if let Monitor::Reconnecting(Reconnecting { lost: Lost::Network, .. }) = self.monitor {
            return Some((format!("the network of {backup} is bad, so its replication counts as stopped"), false));
        }
        let report = self.sides[backup].word()?;
        let detail = &report.replication_detail;
        let detail = if detail.is_empty() { String::new() } else { format!(": {detail}") };
        match report.replication {
            Replication::Current => None,
            Replication::Behind => Some((format!("replication to {backup} is behind{detail}"), false)),
            Replication::Stopped => Some((format!("replication to {backup} has stopped{detail}"), false)),
            Replication::Unknown => Some((format!("the agent of {backup} does not say how replication is"), true)),
        }
    }
}
