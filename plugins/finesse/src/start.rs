//! The start: what is unknown is unknown, never up; but sessions stay where they were.

use crate::Finesse;
use crate::moves::Kind;
use crate::stand::{Stand, Why};
use lockstep_policy::action::{Action, Alert, Level};
use lockstep_policy::event::Start;
use lockstep_policy::sdk::Actions;
use lockstep_policy::{At, Side, Sides};

impl Finesse {
    /// All that was seen is forgotten, but not where sessions were put.
    pub(crate) fn on_start(&mut self, start: Start, at: At, out: &mut Actions) {
        let snapshot = self.started.is_some();
        self.started = Some(at);
        self.sides = Sides::default();
        self.cti = Sides::default();
        self.look = None;
        self.asked = None;
        self.not_before = At::ZERO;
        self.told_refused = false;
        self.unsure = false;
        self.counted_for = 0;
        self.hinted = Sides::default();
        self.shown = Sides::default();
        self.armed = None;
        if start.restored && snapshot {
            self.end_what_was_interrupted(out);
        } else {
            self.stand = Stand::default();
            if let Some(side) = start.active {
                self.stand.only(side);
            }
        }
        self.share_as_configured();
        for watch in &self.watches {
            out.push(Action::Watch(watch.clone()));
        }
        let reason = if self.stand.refuses() {
            "F6: neither side is known to be eligible yet"
        } else {
            "F5: as before the edge's start: every session stays where it is"
        };
        let before = self.stand.clone();
        self.share(before, None, Why::new(reason.to_owned(), Vec::new()), out);
    }

    /// Who has not moved yet stays, until the sides have been heard again. A failover goes on by itself then.
    fn end_what_was_interrupted(&mut self, out: &mut Actions) {
        if let Some(maintenance) = self.stand.maintenance.take_if(|maintenance| !maintenance.emptied) {
            let side = maintenance.side;
            self.stand.takes = maintenance.takes;
            self.stand.home = maintenance.home;
            self.stand.moving = None;
            let text = format!("F9: the maintenance of {side} is abandoned: the edge was restarted; start it again");
            out.push(Action::Alert(Alert { level: Level::Warning, text }));
        }
        if let Some(moving) = self.stand.moving.take().filter(|moving| moving.kind == Kind::Order) {
            let text = format!(
                "F5: the move of {}'s sessions has ended with the edge's restart; order it again for the rest",
                moving.from
            );
            out.push(Action::Alert(Alert { level: Level::Warning, text }));
        }
    }

    /// One side gets new sessions, unless `distribute` says otherwise. Whether it has changed is not asked.
    pub(crate) fn share_as_configured(&mut self) -> bool {
        if self.timing.even() || !(self.stand.takes.a && self.stand.takes.b) {
            return false;
        }
        let publisher_is_out = self.sides.a.out(&self.timing).is_some();
        self.stand.only(if publisher_is_out { Side::B } else { Side::A });
        true
    }
}
