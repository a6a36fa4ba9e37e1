//! Who serves: F5, F6 and F10 for desktops, F11 for phones. A side is left by F2, and taken up by F1.

use crate::Finesse;
use crate::look::Purpose;
use crate::moves::Kind;
use crate::stand::{Pace, Why};
use crate::view::Cause;
use lockstep_policy::action::{Action, Alert, Level};
use lockstep_policy::sdk::Actions;
use lockstep_policy::{At, Side};
use std::time::Duration;

impl Finesse {
    /// Sessions leave a side that is out of service; not without a second look, and phones' sessions not at all.
    pub(crate) fn leave(&mut self, at: At, out: &mut Actions) {
        for side in Side::BOTH {
            let held = self.stand.holds[side] && self.stand.moves_from() != Some(side);
            if !self.stand.takes[side] && !held {
                continue;
            }
            let Some(cause) = self.cause_to_leave(side) else { continue };
            if self.timing.ippa() {
                if self.stand.takes[side] {
                    return self.no_service_for_phones(side, cause, out);
                }
            } else if self.stand.takes[side] || self.sides[side.other()].eligible().is_ok() {
                return self.look_again(Purpose::Leave(side), at, out);
            }
        }
    }

    /// F5, F8: the sessions of a side that is lost move to the other, paced.
    pub(crate) fn fail_over(&mut self, from: Side, cause: Cause, at: At, out: &mut Actions) {
        let to = from.other();
        self.end_maintenance_of(to, &format!("{from} is out of service, and {to} is needed"), out);
        let pace = Pace { from, window: self.timing.window(self.sessions_of(from)), warning: Duration::ZERO };
        let reason = format!(
            "F2: {from} is out of service: {}, also by the second look (F3); {to} is eligible (F4); {}",
            cause.reason,
            self.in_so_long(pace)
        );
        let evidence = cause.evidence.into_iter().chain(self.sides[to].evidence()).collect();
        self.begin_move(Kind::Failover, pace, Why::new(reason, evidence), at, out);
    }

    /// F6: a side is lost, and the other must not have its sessions.
    pub(crate) fn serve_no_more(&mut self, side: Side, cause: Cause, why_not: &str, out: &mut Actions) {
        let (other, before) = (side.other(), self.stand.clone());
        self.stand.moving = None;
        self.stand.takes[side] = false;
        self.stand.home = Some(side);
        let goes_on = self.stand.takes[other] && self.sides[other].out(&self.timing).is_none();
        self.stand.takes[other] = goes_on;
        let (level, text) = if goes_on {
            let text = format!(
                "F4: {side} is out of service: {}; its sessions wait, for they must not move to {other}: {why_not}",
                cause.reason
            );
            (Level::Warning, text)
        } else {
            let text = format!(
                "F6: neither side is eligible: {side}: {}; {other}: {why_not}. New requests are answered 503; what is open \
                 stays open",
                cause.reason
            );
            (Level::Critical, text)
        };
        self.alert_once(level, &text, out);
        let evidence = cause.evidence.into_iter().chain(self.sides[other].evidence()).collect();
        self.share(before, None, Why::new(text, evidence), out);
    }

    /// F11: phones are told that there is no service, and are not moved.
    fn no_service_for_phones(&mut self, side: Side, cause: Cause, out: &mut Actions) {
        let (other, before) = (side.other(), self.stand.clone());
        self.stand.moving = None;
        self.stand.takes[side] = false;
        let elsewhere = if self.stand.takes[other] {
            format!("users may sign in again on {other}")
        } else {
            self.stand.home = Some(side);
            format!("users may sign in again when both its services are back, or on {other} when an operator orders it")
        };
        let text = format!(
            "F11: {side} is out of service: {}; its phones are answered that the server is unavailable, and are not \
             moved: {elsewhere}",
            cause.reason
        );
        self.alert_once(Level::Critical, &text, out);
        self.share(before, None, Why::new(text, cause.evidence), out);
    }

    /// Not again for a share that the edge has refused before.
    fn alert_once(&self, level: Level, text: &str, out: &mut Actions) {
        if !self.told_refused {
            out.push(Action::Alert(Alert { level, text: text.to_owned() }));
        }
    }

    /// A side that is eligible is given new sessions, where the rules let it.
    pub(crate) fn take_up(&mut self, at: At, out: &mut Actions) {
        for side in Side::BOTH {
            if self.stand.takes[side] || self.sides[side].eligible().is_err() {
                continue;
            }
            let Some(reason) = self.reason_to_take_up(side, at) else { continue };
            let before = self.stand.clone();
            self.stand.also(side);
            self.stand.moving = None;
            self.share(before, None, Why::new(reason, self.sides[side].evidence()), out);
            return;
        }
    }

    fn reason_to_take_up(&self, side: Side, at: At) -> Option<String> {
        if self.timing.even() {
            let in_maintenance = self.stand.maintenance.as_ref().is_some_and(|maintenance| maintenance.side == side);
            let moving = self.stand.moving.as_ref();
            // A move away from a side that has recovered is stopped by this; one that an operator wants is not.
            let free = moving.is_none_or(|moving| moving.from == side && moving.kind == Kind::Failover);
            return (free && !in_maintenance)
                .then(|| format!("F10: {side} is eligible: new sessions go to it in turn, and none moves"));
        }
        if !self.stand.refuses() {
            // F5: no automatic way back.
            return None;
        }
        match self.stand.home {
            Some(home) if home == side && self.timing.ippa() => {
                Some(format!("F11: both services of {side} are back: users sign in again"))
            }
            Some(home) if home == side => Some(format!("F6: {side} is eligible again: its sessions stay")),
            // Its sessions are on the other side: a second look at that one comes first.
            Some(_) => None,
            None if side == Side::A => Some("F1: a, the publisher, is eligible".to_owned()),
            None if self.publisher_is_waited_for(at) => None,
            None => Some("F1: b is eligible, and a, the publisher, is not".to_owned()),
        }
    }

    /// At the start the publisher comes first, if it is heard in time.
    fn publisher_is_waited_for(&self, at: At) -> bool {
        !self.sides.a.known() && self.started.is_some_and(|started| at < started + self.timing.look())
    }

    /// When the subscriber need not wait for the publisher any more.
    pub(crate) fn start_deadline(&self) -> Option<At> {
        let waiting = self.stand.home.is_none() && !self.sides.a.known();
        self.started.filter(|_| waiting).map(|started| started + self.timing.look())
    }
}
