//! C1: the state of each side, in the vendor's words.

use crate::Cic;
use crate::monitor::Monitor;
use crate::reconnect::{Lost, Reconnecting};
use lockstep_policy::Side;
use lockstep_policy::action::Action;
use lockstep_policy::event::{Connection, Role};
use lockstep_policy::sdk::Actions;
use std::cmp::Ordering;

impl Cic {
    /// Shows what has changed.
    pub(crate) fn show(&mut self, out: &mut Actions) {
        for side in Side::BOTH {
            let state = self.state(side);
            let text = match self.config.name(side) {
                Some(name) => format!("{state} [{name}]"),
                None => state,
            };
            if self.shown[side] != text {
                self.shown[side].clone_from(&text);
                out.push(Action::Show(side, text));
            }
        }
    }

    fn state(&self, side: Side) -> String {
        let view = &self.sides[side];
        if view.word().is_some_and(|report| report.role == Role::Failed) {
            return "Error: its agent says that it has failed".to_owned();
        }
        match self.active {
            None => "Init".to_owned(),
            Some(active) if active == side => self.state_of_primary(side),
            Some(primary) => self.state_of_backup(side, primary),
        }
    }

    fn state_of_primary(&self, primary: Side) -> String {
        if self.sides[primary].word().is_none() {
            return "Primary; its agent is not heard".to_owned();
        }
        if self.backup_in_place(primary.other()).is_ok() || self.attempts.busy() {
            "Primary".to_owned()
        } else {
            "Primary; no backup in place: no switch can happen".to_owned()
        }
    }

    fn state_of_backup(&self, side: Side, primary: Side) -> String {
        if self.stale[side].is_some() {
            return "Inactive: stale until it has been started anew".to_owned();
        }
        if self.sides[side].lost(Connection::Main) {
            return "Inactive: its agent is not connected".to_owned();
        }
        if self.sides[side].word().is_none() {
            return "Init".to_owned();
        }
        if let Some((order, ours, theirs)) = self.upgrade() {
            let state = if order == Ordering::Greater { "UpgradeHigher" } else { "UpgradeLower" };
            return format!("{state}: manual switch only, {ours} against {theirs} of {primary}");
        }
        match &self.monitor {
            Monitor::Stopping { .. } => "Stopping: manual switch only, and the module is down".to_owned(),
            Monitor::Reconnecting(Reconnecting { lost, .. }) => {
                let lost = match lost {
                    Lost::Network => "its own network is bad, no switch".to_owned(),
                    Lost::Notifier(_) => format!("the notifier of {primary} is down"),
                    Lost::Primary(_) => format!("{primary} is unreachable"),
                };
                format!("Reconnecting: {lost}")
            }
            Monitor::Waiting(_) => "Backup: takes over as soon as it can".to_owned(),
            _ if self.config.manual_switch_only => "Backup: manual switch only".to_owned(),
            _ => "Backup".to_owned(),
        }
    }
}
