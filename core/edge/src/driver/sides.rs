//! What is known of the two sides, and how it reaches coordinator and policy.

mod errands;

use super::Driver;
use super::last_word::LastWord;
use super::orders::ActionOf;
use crate::agents::{LinkEvent, Way};
use lockstep_pair::coordinator::Input;
use lockstep_pair::protocol::{FromNode, Report};
use lockstep_policy::event::{ActionResult, Connection, Link, Outcome, ProbeId, ProbeResult, Verdict, What};
use lockstep_policy::host::Haste;
use lockstep_policy::{At, Level, Side};
use lockstep_wire::{FromAgent, clock};
use std::collections::BTreeMap;

/// One side, as the driver knows it.
#[derive(Default)]
pub(super) struct SideRoom {
    /// The way to whoever carries out commands, while it is there.
    pub commands: Option<Way>,
    /// What its agent understands; see [`lockstep_wire::MINOR`].
    minor: u32,
    errands: errands::Errands,
    pub main: bool,
    pub auxiliary: bool,
    /// Why a connection is not up.
    pub trouble: String,
    /// What the agent said last, and when.
    pub report: Option<(At, Report)>,
    /// What the policy was told last, and when.
    told: LastWord,
    pub probes: BTreeMap<ProbeId, (At, ProbeResult)>,
    /// What the policy wants operators to read.
    pub shown: String,
}

/// Connections.
impl Driver {
    pub(super) fn link(&mut self, side: Side, event: LinkEvent) {
        match event {
            LinkEvent::Up { way, minor, version } => {
                tracing::info!(pair = self.config.name, %side, version, "agent connected");
                let room = &mut self.sides[side];
                room.commands = Some(way);
                room.minor = minor;
                room.main = true;
                room.told.forget();
                room.trouble.clear();
                self.coordinate(Input::Link { side, up: true });
                self.tell(What::Link(Link { side, connection: Connection::Main, up: true }));
            }
            LinkEvent::Alert(text) => self.notes.alert(clock::now(), Level::Critical, "edge", &text),
            LinkEvent::Down(why) => self.link_down(side, &why),
            LinkEvent::Failed(why) => self.sides[side].trouble = why,
            LinkEvent::Refused(why) => {
                // It is tried again and again: said once.
                if self.sides[side].trouble != why {
                    self.notes.alert(clock::now(), Level::Critical, "edge", &why);
                    self.sides[side].trouble = why;
                }
            }
            LinkEvent::Message(FromAgent::Node(message)) => self.heard(side, message),
            LinkEvent::Message(FromAgent::ServiceRestarted { id, outcome, why }) => {
                if let Some((_, action)) = self.orders.restarts.remove(&id) {
                    self.result(action, outcome, &why);
                }
            }
            LinkEvent::Message(FromAgent::GateConfirmed { id, outcome, why }) => {
                self.errand_answered(side, id, (outcome, why));
            }
            LinkEvent::Message(FromAgent::HookRan { id, outcome, text }) => {
                self.errand_answered(side, id, (outcome, text));
            }
            // A second welcome: nothing follows from it. A pong: who waits for it has it already.
            LinkEvent::Message(FromAgent::Welcome(_) | FromAgent::Pong(_)) => {}
            // The connection's own, which does not hand them on.
            LinkEvent::Message(FromAgent::CertificateWanted { .. } | FromAgent::CertificateChanged) => {}
            LinkEvent::Auxiliary(state) => {
                self.sides[side].auxiliary = state.is_ok();
                if let Err(why) = &state {
                    tracing::info!(pair = self.config.name, %side, why, "auxiliary connection lost");
                }
                self.tell(What::Link(Link { side, connection: Connection::Auxiliary, up: state.is_ok() }));
            }
        }
    }

    fn link_down(&mut self, side: Side, why: &str) {
        tracing::warn!(pair = self.config.name, %side, why, "agent lost");
        let room = &mut self.sides[side];
        room.commands = None;
        room.main = false;
        why.clone_into(&mut room.trouble);
        self.coordinate(Input::Link { side, up: false });
        self.tell(What::Link(Link { side, connection: Connection::Main, up: false }));
        for action in self.orders.lose_restarts(side) {
            self.result(action, Outcome::Failed, "the connection to the agent broke before its answer");
        }
        self.lose_errands(side);
    }

    fn heard(&mut self, side: Side, message: FromNode) {
        let report = match &message {
            FromNode::Report(report) => Some(report.clone()),
            FromNode::Answer(_) => None,
        };
        // The coordinator first: a lease is renewed by this.
        self.coordinate(Input::Node { side, message });
        self.carry_out();
        if let Some(report) = report {
            self.agent_reported(side, report);
        }
    }

    fn agent_reported(&mut self, side: Side, report: Report) {
        let now = clock::now();
        let room = &mut self.sides[side];
        let told = room.told.hear(now, side, &report);
        room.report = Some((now, report));
        if let Some(told) = told {
            self.tell(What::Agent(told));
        }
    }

    /// What a new instance of the policy must know and would not be told again.
    pub(super) fn where_sides_stand(&self) -> Vec<What> {
        let mut told = Vec::new();
        for (side, room) in self.sides.iter() {
            let links = [(Connection::Main, room.main), (Connection::Auxiliary, room.auxiliary)];
            let up = links.into_iter().filter(|(_, up)| *up);
            told.extend(up.map(|(connection, _)| What::Link(Link { side, connection, up: true })));
            told.extend(room.told.known().filter(|_| room.main).map(|report| What::Agent(report.clone())));
        }
        told
    }

    /// What became of an action, for the policy that gave it, or that has taken its place and gave the same.
    pub(super) fn result(&mut self, of: ActionOf, outcome: Outcome, why: &str) {
        // Number 0: the edge itself has said again what the policy had declared.
        if of.action == 0 {
            return;
        }
        let given = if of.life == self.seat.life() { Some(of.action) } else { self.inherited.remove(&of) };
        let result = |action| ActionResult { action, outcome, why: why.to_owned() };
        match given {
            Some(action) => self.tell(What::Result(result(action))),
            None => self.result_for_shadow(of.life, result(of.action)),
        }
    }
}

/// Probes.
impl Driver {
    pub(super) fn probed(&mut self, declaration: u64, result: ProbeResult) {
        if !self.probes.is_current(declaration, result.probe) {
            return;
        }
        let haste = if self.sides[result.side].found(clock::now(), &result) { Haste::AtOnce } else { Haste::Together };
        self.tell_with(haste, What::Probe(result));
    }
}

impl SideRoom {
    /// Remembers what a probe has found; whether it is news. That all is as well as before is none.
    fn found(&mut self, now: At, result: &ProbeResult) -> bool {
        let Some((at, before)) = self.probes.get_mut(&result.probe) else {
            self.probes.insert(result.probe, (now, result.clone()));
            return true;
        };
        *at = now;
        before.latency = result.latency;
        if before == result {
            return result.verdict != Verdict::Good;
        }
        before.clone_from(result);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn only_what_is_as_good_as_before_is_no_news() {
        let mut room = SideRoom::default();
        let good = ProbeResult {
            probe: ProbeId(1),
            side: Side::A,
            server: 1,
            verdict: Verdict::Good,
            latency: Duration::from_millis(1),
            status: 200,
            detail: "ACTIVE".to_owned(),
            facts: Vec::new(),
        };
        let slower = ProbeResult { latency: Duration::from_millis(9), ..good.clone() };
        let bad = ProbeResult { verdict: Verdict::Silent, status: 0, ..good.clone() };
        let other = ProbeResult { detail: "STANDBY".to_owned(), ..good.clone() };
        let found = [&good, &slower, &good, &bad, &bad, &good, &good, &other, &other, &good];
        let news = found.map(|result| room.found(At::ZERO, result));
        assert_eq!(news, [true, false, false, true, true, true, false, true, false, true]);
        room.found(At::from_millis(7), &slower);
        assert_eq!(room.probes[&ProbeId(1)], (At::from_millis(7), slower));
    }
}
