//! F8: sessions move at a measured pace, towards a side that stays eligible, and what becomes of them is told.

use crate::Finesse;
use crate::stand::{Pace, Why};
use crate::timing::Timing;
use lockstep_policy::action::{Action, Alert, Level};
use lockstep_policy::event::Sessions;
use lockstep_policy::sdk::Actions;
use lockstep_policy::{At, Side, Sides};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A move of which nothing is heard for so long, beyond its own length, counts as ended.
const SILENT_MOVE: Duration = Duration::from_secs(600);

/// Sessions that are being moved away from a side, to the other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Move {
    pub(crate) from: Side,
    pub(crate) kind: Kind,
    /// The number of its share.
    share: u64,
    /// When it counts as ended, if nothing is heard of it; maintenance has a limit of its own.
    until: Option<At>,
    moved: u32,
    left: u32,
    failed: u32,
    names: Vec<String>,
    /// Something was heard of it.
    heard: bool,
    /// The sides that new sessions were given to before.
    before: Sides<bool>,
}

/// Why sessions move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// Their side is out of service.
    Failover,
    /// An operator's order.
    Order,
    /// An operator's maintenance of their side.
    Maintenance,
}

impl Move {
    /// What has become of the sessions, for a person to read.
    pub(crate) fn progress(&self) -> String {
        if self.heard {
            format!("{} moved, {} left, {} failed", self.moved, self.left, self.failed)
        } else {
            "nothing moved yet".to_owned()
        }
    }

    pub(crate) fn until(&self) -> Option<At> {
        self.until
    }

    /// The same, with the names of those who failed.
    pub(crate) fn account(&self) -> String {
        if self.failed == 0 { self.progress() } else { format!("{}{}", self.progress(), self.named()) }
    }

    fn named(&self) -> String {
        let more = (self.failed as usize).saturating_sub(self.names.len());
        let more = if more > 0 && !self.names.is_empty() { format!(" and {more} more") } else { String::new() };
        if self.names.is_empty() { String::new() } else { format!(": {}{more}", self.names.join(", ")) }
    }
}

impl Timing {
    /// How an operator's move of so many sessions goes: each is warned first.
    pub(crate) fn planned(&self, from: Side, sessions: u32) -> Pace {
        Pace { from, window: self.window(sessions), warning: self.maintenance_warning }
    }
}

impl Finesse {
    /// How many sessions of a side there are to move.
    pub(crate) fn sessions_of(&self, side: Side) -> u32 {
        self.sides[side].sessions.unwrap_or(self.timing.sessions)
    }

    /// How many sessions move over which time, for a person to read.
    pub(crate) fn in_so_long(&self, pace: Pace) -> String {
        let window = lockstep_policy::sdk::Period(pace.window);
        match self.sides[pace.from].sessions {
            Some(0) => "it has no session".to_owned(),
            Some(1) => format!("1 session moves over {window}"),
            Some(sessions) => format!("{sessions} sessions move over {window}"),
            None => format!("its sessions, not counted yet, move over {window}"),
        }
    }

    /// Gives the order to move: new sessions go to the other side only. A side without sessions has nothing to move.
    pub(crate) fn begin_move(&mut self, kind: Kind, pace: Pace, why: Why, at: At, out: &mut Actions) {
        let before = self.stand.clone();
        let takes = before.takes;
        self.stand.only(pace.from.other());
        if self.sides[pace.from].sessions == Some(0) {
            self.stand.moving = None;
            self.stand.holds[pace.from] = false;
            self.share(before, None, why, out);
            return;
        }
        let share = self.share(before, Some(pace), why, out);
        let until = (kind != Kind::Maintenance).then_some(at + pace.window + pace.warning + SILENT_MOVE);
        let (moved, left, failed, names) = (0, 0, 0, Vec::new());
        let from = pace.from;
        self.stand.moving =
            Some(Move { from, kind, share, until, moved, left, failed, names, heard: false, before: takes });
    }

    /// The edge has counted sessions.
    pub(crate) fn on_sessions(&mut self, told: &Sessions, at: At, out: &mut Actions) {
        self.counted_for = told.share;
        for side in Side::BOTH {
            let count = told.on[side];
            self.sides[side].sessions = Some(count);
            let moving = self.stand.moves_from() == Some(side);
            if !self.stand.takes[side] && !moving && self.sides[side].out(&self.timing).is_none() {
                self.stand.holds[side] = count > 0;
            }
        }
        let Some(moving) = self.stand.moving.as_mut().filter(|moving| moving.share == told.share) else { return };
        (moving.moved, moving.left, moving.failed, moving.heard) = (told.moved, told.left, told.failed, true);
        moving.until = moving.until.map(|until| until.max(at + SILENT_MOVE));
        moving.names.clone_from(&told.names);
        moving.names.truncate(100);
        if told.ended {
            self.finish_move(out);
        }
    }

    fn finish_move(&mut self, out: &mut Actions) {
        let Some(moving) = self.stand.moving.take() else { return };
        let (from, to) = (moving.from, moving.from.other());
        self.stand.holds[from] = false;
        let (rule, done) = match moving.kind {
            Kind::Maintenance => {
                self.maintenance_is_on();
                ("F9", format!("the sessions of {from} are on {to}, and {from} may be taken down"))
            }
            Kind::Failover | Kind::Order => ("F8", format!("the sessions of {from} are on {to}")),
        };
        let (level, text) = if moving.failed == 0 {
            (Level::Info, format!("{rule}: {done}: {} moved", moving.moved))
        } else {
            let text = format!(
                "{rule}: {done}: {} moved, {} did not come back{}",
                moving.moved,
                moving.failed,
                moving.named()
            );
            (Level::Warning, text)
        };
        out.push(Action::Alert(Alert { level, text }));
    }

    /// F4 for a move that goes on: it needs its target for as long as it lasts. F3 as well: who has not moved yet need
    /// not, when the publisher has recovered.
    pub(crate) fn watch_over_move(&mut self, at: At, out: &mut Actions) {
        let Some(moving) = self.stand.moving.as_ref() else { return };
        let (from, to, kind) = (moving.from, moving.from.other(), moving.kind);
        if moving.until.is_some_and(|until| at >= until) {
            self.stand.moving = None;
            self.stand.holds[from] = false;
            return;
        }
        let progress = moving.account();
        let before = moving.before;
        match (kind, self.sides[to].eligible()) {
            // Maintenance has a rule of its own for this.
            (Kind::Maintenance, _) => {}
            // With `even` the side that has recovered is taken up as well, by F10.
            (Kind::Failover, Ok(())) if !self.timing.even() && self.sides[from].eligible().is_ok() => {
                let reason = format!("F3: {from} has recovered: who has not moved yet stays on {from} ({progress})");
                self.stop_move(Why::new(reason, self.sides[from].evidence()), out);
            }
            (_, Ok(())) => {}
            (Kind::Failover, Err(why_not)) => {
                let reason = format!("F4: no session moves to {to} while {why_not} ({progress})");
                out.push(Action::Alert(Alert { level: Level::Warning, text: reason.clone() }));
                self.stop_move(Why::new(reason, self.sides[to].evidence()), out);
            }
            (Kind::Order, Err(why_not)) => {
                let text = format!(
                    "F4: the move to {to} is stopped: {why_not} ({progress}); order it again when {to} is well"
                );
                out.push(Action::Alert(Alert { level: Level::Warning, text: text.clone() }));
                let evidence = self.sides[to].evidence();
                let stood = self.stand.clone();
                self.stand.takes = before;
                self.stand.home = Some(from);
                self.stand.moving = None;
                self.share(stood, None, Why::new(text, evidence), out);
            }
        }
    }

    /// Every session stays where it is; new ones go where they went.
    fn stop_move(&mut self, why: Why, out: &mut Actions) {
        let before = self.stand.clone();
        self.stand.moving = None;
        self.share(before, None, why, out);
    }
}
