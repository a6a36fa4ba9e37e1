//! What must hold after every event, and that the pair comes to rest when the faults have ended.

use super::{MS, Stats, World};
use lockstep_pair::RouteKind;
use lockstep_pair::record::Outcome;
use lockstep_policy::event::Role;
use lockstep_policy::{At, Side};

use super::requests::Fate;

/// When the faults have ended, one side serves within this.
const REST_WITHIN: u64 = 30_000 * MS;
/// A policy that has said that it tries again each minute has this much longer.
const SLOW_RETRY: u64 = 60_000 * MS;
/// A side that has served for so long stays: the world ends.
const RESTS: u64 = 8_000 * MS;

/// Since when a side has been served without a break.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rest {
    pub since: Option<u64>,
}

impl World {
    pub(super) fn judge(&mut self) {
        let running = Side::BOTH.map(|side| self.hosts[side].crew.exclusive.is_some());
        if running == [true, true] {
            self.broken("I1: the exclusive services of both sides run".to_owned());
        }
        Side::BOTH.into_iter().for_each(|side| self.judge_isolation(side));
        self.judge_route();
        if let Some((epoch, since, slept)) = self.edge.handover
            && !self.edge.asleep
            && self.now > since + self.plan.longest_handover() + (self.edge.slept - slept)
        {
            self.broken(format!("I5: the handover of epoch {epoch} does not end"));
        }
        self.judge_rest();
    }

    /// T4: an isolated node that knows it serves no more, begins nothing, and stops when its lease is over.
    fn judge_isolation(&mut self, side: Side) {
        let host = &self.hosts[side];
        let (Some(node), Some(since), false) = (&host.node, host.known_isolated, host.agent_asleep || host.frozen)
        else {
            return;
        };
        let report = node.report(host.clock.now(self.now));
        let late = self.now > since + self.plan.known_isolated_max();
        if report.serving || report.role == Role::Activating || late && report.role == Role::Active {
            self.broken(format!("T4: side {side} is isolated, knows it, and goes on as {:?}", report.role));
        }
    }

    /// I2: a request that came now would be given to a side that is active in the route's epoch, under a lease that runs.
    fn judge_route(&mut self) {
        let RouteKind::Serve(side) = self.edge.route.kind else { return };
        let host = &self.hosts[side];
        let followed = self.edge.is_up() && !self.edge.asleep && self.edge_now() < self.edge.serve_until;
        if !followed || host.frozen || host.agent_asleep || host.node.is_none() {
            return;
        }
        let epoch = self.edge.route.epoch;
        if !self.is_active_in(side, epoch) && !self.is_another_life(side) {
            let role = self.role(side);
            self.broken(format!("I2: requests go to side {side} under epoch {epoch}, and it is {role:?}"));
        }
    }

    fn judge_rest(&mut self) {
        let calm = self.plan.faults_end;
        if self.now < calm {
            return;
        }
        if self.serves() {
            let since = *self.rest.since.get_or_insert(self.now);
            if self.now > since + RESTS {
                self.at_rest = true;
            }
            return;
        }
        // A side that is held for a moment, as when a policy moves the role back as planned, has not gone away.
        let moves = self.edge.handover.is_some();
        if !moves {
            self.rest.since = None;
        }
        let patience = if self.paced { REST_WITHIN + SLOW_RETRY } else { REST_WITHIN };
        if self.now > calm + patience && !moves {
            let view = self.edge.coordinator.as_ref().map(|coordinator| coordinator.view());
            self.broken(format!("liveness: long after the last fault no side serves: {view:?}"));
        }
    }

    /// A request that came now would be served.
    fn serves(&self) -> bool {
        let RouteKind::Serve(side) = self.edge.route.kind else { return false };
        let crew = &self.hosts[side].crew;
        self.edge.is_up()
            && self.edge_now() < At(self.edge.serve_until.0.saturating_add(500 * MS))
            && crew.exclusive.is_some_and(|process| process.ready)
            && crew.app.is_some_and(|app| app.ready)
    }
}

impl Stats {
    pub fn ended(&mut self, outcome: Outcome, took: u64) {
        match outcome {
            Outcome::Completed => self.completed += 1,
            Outcome::RolledBack => self.rolled_back += 1,
            Outcome::NoActive => self.no_active += 1,
        }
        self.longest = self.longest.max(took);
    }

    pub fn fate(&mut self, fate: Fate) {
        match fate {
            Fate::Answered(status) if status < 500 => self.answered += 1,
            Fate::Answered(_) => self.errors += 1,
            Fate::Cut => self.cut += 1,
            Fate::Left => self.left += 1,
        }
    }
}
