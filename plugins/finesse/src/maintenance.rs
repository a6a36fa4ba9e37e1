//! F9: an operator empties a side, so that it can be taken down.

use crate::Finesse;
use crate::look::{Asker, Purpose};
use crate::moves::Kind;
use crate::stand::Why;
use lockstep_policy::action::{Action, Alert, Level, OrderAnswer};
use lockstep_policy::event::Command;
use lockstep_policy::sdk::{Actions, Period};
use lockstep_policy::{At, CommandInfo, Side, Sides};
use serde::{Deserialize, Serialize};

/// The command's name.
const MAINTENANCE: &str = "maintenance";

pub(crate) const COMMANDS: &[CommandInfo] = &[CommandInfo::new(
    MAINTENANCE,
    "start or stop",
    true,
    "Empties a side: each of its sessions is warned, then moved to the other side, spread over the reload window; new \
     sessions go to the other side. When all are moved the side may be taken down. `stop` ends it: who has moved stays \
     where he is. It is abandoned when the other side becomes ineligible or `maintenance_max` passes (F9).",
)];

/// A side in maintenance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Maintenance {
    pub(crate) side: Side,
    pub(crate) by: String,
    since: At,
    /// Its sessions have moved.
    pub(crate) emptied: bool,
    /// It was seen out of service since then.
    down: bool,
    /// The side that had the pair's sessions, and those that new sessions were given to.
    pub(crate) home: Option<Side>,
    pub(crate) takes: Sides<bool>,
}

impl Finesse {
    pub(crate) fn on_command(&mut self, command: &Command, seq: u64, at: At, out: &mut Actions) {
        let order = command.order;
        let answer = match self.understood(command) {
            Ok((side, true)) => self.ask_for_maintenance(side, command, seq, at, out),
            Ok((side, false)) => {
                self.stop_maintenance(side, out).map(|text| Some(Action::AcceptOrder(OrderAnswer { order, text })))
            }
            Err(text) => Err(text),
        };
        match answer {
            Ok(Some(answer)) => {
                out.push(answer);
            }
            // The second look will tell.
            Ok(None) => {}
            Err(text) => {
                out.push(Action::RefuseOrder(OrderAnswer { order, text }));
            }
        }
    }

    /// The side, and whether maintenance shall start.
    fn understood(&self, command: &Command) -> Result<(Side, bool), String> {
        if command.name != MAINTENANCE {
            return Err(format!("`{}` is not a command of policy `finesse`; valid: {MAINTENANCE}", command.name));
        }
        let side = command.side.ok_or("F9: name the side that shall be emptied: a or b")?;
        match command.argument.trim() {
            "start" => Ok((side, true)),
            "stop" => Ok((side, false)),
            other => Err(format!("F9: `{other}` is not what maintenance can do; valid: start, stop")),
        }
    }

    fn ask_for_maintenance(
        &mut self,
        side: Side,
        command: &Command,
        seq: u64,
        at: At,
        out: &mut Actions,
    ) -> Result<Option<Action>, String> {
        let to = side.other();
        let refused = |why: String| Err(format!("F9: maintenance of {side} cannot start now: {why}"));
        if let Some(maintenance) = &self.stand.maintenance {
            return refused(format!("{} is in maintenance since {} started it", maintenance.side, maintenance.by));
        }
        if let Some(busy) = self.busy() {
            return refused(busy);
        }
        if self.timing.ippa() && !command.confirmed {
            let text = format!(
                "F11: the users of {side} are signed out after the warning, and must sign in again by themselves on {to}. \
                 Start the maintenance of {side} all the same?"
            );
            return Ok(Some(Action::AskConfirmation(OrderAnswer { order: command.order, text })));
        }
        let by = if command.by.is_empty() { "an operator".to_owned() } else { command.by.clone() };
        self.look_again(Purpose::Maintenance(Asker { order: command.order, seq, by, to }), at, out);
        Ok(None)
    }

    pub(crate) fn conclude_maintenance(&mut self, asker: &Asker, since: At, at: At, out: &mut Actions) {
        let Asker { order, seq, by, to } = asker;
        let (order, to, side) = (*order, *to, to.other());
        if let Err(why_not) = self.sides[to].eligible_since(since) {
            let text = format!("F9: maintenance of {side} cannot start now: {to} is not eligible: {why_not}");
            out.push(Action::RefuseOrder(OrderAnswer { order, text }));
            return;
        }
        let pace = self.timing.planned(side, self.sessions_of(side));
        let text = match self.sides[side].sessions {
            Some(0) => format!("F9: {side} is in maintenance: it has no session, and may be taken down"),
            _ => format!(
                "F9: {side} is in maintenance: {}, each warned {} before",
                self.in_so_long(pace),
                Period(pace.warning)
            ),
        };
        out.push(Action::AcceptOrder(OrderAnswer { order, text }));
        let (home, takes) = (self.stand.home, self.stand.takes);
        let why = Why::new(format!("F9: {by} starts the maintenance of {side}"), vec![*seq]);
        self.begin_move(Kind::Maintenance, pace, why, at, out);
        let emptied = self.stand.moving.is_none();
        let by = by.clone();
        self.stand.maintenance = Some(Maintenance { side, by, since: at, emptied, down: false, home, takes });
    }

    /// Its sessions have moved.
    pub(crate) fn maintenance_is_on(&mut self) {
        if let Some(maintenance) = &mut self.stand.maintenance {
            maintenance.emptied = true;
        }
    }

    /// Abandons maintenance that cannot go on; ends it when the side has been down, and is well again.
    pub(crate) fn watch_over_maintenance(&mut self, at: At, out: &mut Actions) {
        let Some(maintenance) = self.stand.maintenance.clone() else { return };
        let Maintenance { side, since, emptied, down, .. } = maintenance;
        let other = &self.sides[side.other()];
        if emptied {
            let out_now = self.sides[side].out(&self.timing).is_some();
            if down && self.sides[side].eligible().is_ok() {
                self.stand.maintenance = None;
                let text = format!("F9: {side} was down and is eligible again: its maintenance has ended");
                out.push(Action::Alert(Alert { level: Level::Info, text }));
            } else if let Some(maintenance) = self.stand.maintenance.as_mut() {
                maintenance.down |= out_now;
            }
        } else if let Err(why_not) = other.eligible() {
            self.abandon_maintenance(&format!("{} is not eligible any more: {why_not}", side.other()), out);
        } else if at.since(since) >= self.timing.maintenance_max {
            let max = Period(self.timing.maintenance_max);
            self.abandon_maintenance(&format!("it has taken maintenance_max = {max}"), out);
        }
    }

    pub(crate) fn maintenance_deadline(&self) -> Option<At> {
        let maintenance = self.stand.maintenance.as_ref().filter(|maintenance| !maintenance.emptied)?;
        Some(maintenance.since + self.timing.maintenance_max)
    }

    fn stop_maintenance(&mut self, side: Side, out: &mut Actions) -> Result<String, String> {
        let Some(maintenance) = self.stand.maintenance.clone().filter(|maintenance| maintenance.side == side) else {
            return Err(format!("F9: {side} is not in maintenance"));
        };
        if maintenance.emptied {
            self.stand.maintenance = None;
            return Ok(format!("F9: the maintenance of {side} has ended; its sessions stay where they are"));
        }
        let progress = self.stand.moving.as_ref().map(|moving| moving.account()).unwrap_or_default();
        self.take_back_maintenance(&maintenance, format!("F9: the maintenance of {side} is stopped ({progress})"), out);
        Ok(format!("F9: the maintenance of {side} is stopped: {progress}; who has moved stays where he is"))
    }

    /// The rest of the sessions remain, and new ones go where they went before.
    fn abandon_maintenance(&mut self, why: &str, out: &mut Actions) {
        let Some(maintenance) = self.stand.maintenance.clone() else { return };
        let side = maintenance.side;
        let progress = self.stand.moving.as_ref().map(|moving| moving.account()).unwrap_or_default();
        let text = format!(
            "F9: the maintenance of {side} is abandoned: {why} ({progress}); who has moved stays where he is, the rest \
             remain on {side}"
        );
        out.push(Action::Alert(Alert { level: Level::Warning, text: text.clone() }));
        self.take_back_maintenance(&maintenance, text, out);
    }

    fn take_back_maintenance(&mut self, maintenance: &Maintenance, reason: String, out: &mut Actions) {
        let before = self.stand.clone();
        self.stand.maintenance = None;
        self.stand.moving = None;
        self.stand.takes = maintenance.takes;
        self.stand.home = maintenance.home;
        let evidence = self.sides[maintenance.side.other()].evidence();
        self.share(before, None, Why::new(reason, evidence), out);
    }

    /// A side in maintenance is needed.
    pub(crate) fn end_maintenance_of(&mut self, side: Side, why: &str, out: &mut Actions) {
        if self.stand.maintenance.take_if(|maintenance| maintenance.side == side).is_some() {
            let text = format!("F9: the maintenance of {side} is abandoned: {why}");
            out.push(Action::Alert(Alert { level: Level::Warning, text }));
        }
    }

    /// Why a move cannot begin now.
    pub(crate) fn busy(&self) -> Option<String> {
        if let Some(moving) = &self.stand.moving {
            return Some(format!("the sessions of {} are being moved ({})", moving.from, moving.progress()));
        }
        self.look.as_ref().map(|_| "the sides are being looked at; ask again in a moment".to_owned())
    }
}
