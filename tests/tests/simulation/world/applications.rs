//! The applications: what they are given, what they do with it, and what they may not do.

use super::network::Place;
use super::requests::{Blow, Given, State};
use super::services::Trouble;
use super::{MS, What, World};
use lockstep_policy::{Epoch, Side};

/// At the applications.
impl World {
    pub(super) fn at_server(&mut self, side: Side, request: usize, attempt: u32) {
        // The edge has ended this connection, with a reset: what has not arrived does not arrive any more.
        if !self.is_at(request, attempt, State::Given) {
            return;
        }
        if !self.network.open(Place::Edge, Place::Node(side)) || self.hosts[side].off {
            return self.after(50 * MS, What::AtServer { side, request, attempt });
        }
        let connected_to = self.requests[request].given.last().map(|given| given.app);
        let host = &mut self.hosts[side];
        if host.crew.app.map(|app| app.id) != connected_to {
            return self.reset(side, request, attempt);
        }
        if host.crew.app_asleep || host.frozen {
            host.crew.queue.push_back((request, attempt));
        } else {
            self.work_on(side, request, attempt);
        }
    }

    /// An application that wakes up begins what it was given meanwhile, whoever still waits for it.
    pub(super) fn work_queue_off(&mut self, side: Side) {
        if self.hosts[side].frozen || self.hosts[side].crew.app_asleep {
            return;
        }
        for (request, attempt) in std::mem::take(&mut self.hosts[side].crew.queue) {
            self.work_on(side, request, attempt);
        }
    }

    fn work_on(&mut self, side: Side, request: usize, attempt: u32) {
        let Some(app) = self.hosts[side].crew.app else { return };
        self.judge_working(side, request, attempt);
        let one = &mut self.requests[request];
        one.worked_on += 1;
        let work = one.work;
        if one.post && one.worked_on > 1 {
            self.broken(format!("I6: request {request}, a POST, is done twice"));
        }
        self.after(work, What::Worked { side, app: app.id, request, attempt });
    }

    pub(super) fn worked(&mut self, side: Side, app: u64, request: usize, attempt: u32) {
        let host = &self.hosts[side];
        if host.crew.app.is_none_or(|now| now.id != app) {
            return;
        }
        if host.frozen || host.crew.app_asleep {
            return self.after(20 * MS, What::Worked { side, app, request, attempt });
        }
        let status = match host.crew.trouble {
            Trouble::Sick => 500,
            _ if host.crew.app.is_some_and(|app| !app.ready) => 503,
            _ => 200,
        };
        let delay = self.delay();
        self.after(delay, What::AnswerLeaves { side, request, attempt, status });
    }

    /// An answer arrives as soon as there is a way.
    pub(super) fn answer_leaves(&mut self, side: Side, request: usize, attempt: u32, status: u16) {
        if !self.is_at(request, attempt, State::Given) {
            return;
        }
        if !self.network.open(Place::Node(side), Place::Edge) {
            return self.after(50 * MS, What::AnswerLeaves { side, request, attempt, status });
        }
        let life = self.edge.life;
        self.at(self.now, What::AnswerComes { life, request, attempt, status });
    }

    fn reset(&mut self, side: Side, request: usize, attempt: u32) {
        if self.network.open(Place::Node(side), Place::Edge) {
            let (life, delay) = (self.edge.life, self.delay());
            self.after(delay, What::Blow { life, request, attempt, blow: Blow::Reset });
        }
    }

    /// What the application of a side was given ends with it.
    pub(super) fn reset_requests_of_before(&mut self, side: Side) {
        for request in 0..self.requests.len() {
            let one = &self.requests[request];
            if one.state == State::Given && one.departure.as_ref().is_some_and(|it| it.side() == side) {
                let attempt = one.attempt;
                self.reset(side, request, attempt);
            }
        }
    }
}

/// What must hold of requests.
impl World {
    /// I2: given only while the route of the epoch names the side, and its lease is sure.
    pub(super) fn judge_giving(&mut self, request: usize, side: Side, epoch: Epoch) {
        let host = &self.hosts[side];
        let wrong = match host.node {
            Some(_) if host.frozen || host.agent_asleep => host.crew.deadman.is_none_or(|at| at <= self.now),
            Some(_) if self.is_another_life(side) => false,
            Some(_) => !self.is_active_in(side, epoch),
            // Its agent has died, and the edge may not have heard it; its services end with its last lease.
            None => host.crew.deadman.is_some_and(|at| at <= self.now) && !host.off,
        };
        if wrong {
            let role = self.role(side);
            self.broken(format!(
                "I2: request {request} is given to side {side} under epoch {epoch}, and it is {role:?}"
            ));
        }
    }

    /// I2, as the application sees it: nothing is begun after the end of the right under which it was given, but for what
    /// was still under way then. A side that was stood down as planned may finish what it has.
    fn judge_working(&mut self, side: Side, request: usize, attempt: u32) {
        let given = self.requests[request].given.iter().find(|given| given.attempt == attempt);
        let Some(Given { epoch, rightful_until, .. }) = given.copied() else { return };
        let crew = &self.hosts[side].crew;
        // Renewals since then have prolonged the right.
        let prolonged = crew.deadman.filter(|_| crew.deadman_epoch == epoch.0).unwrap_or(0);
        let until = rightful_until.max(prolonged) + 350 * MS;
        // One that was activated anew, with nobody else in between, may go on.
        let alone = self.hosts[side.other()].activated < epoch.0 && self.holds_lease(side);
        if self.now > until && epoch.0 > crew.let_finish && !alone {
            let late = (self.now - until) / MS;
            self.broken(format!(
                "I2: the application of side {side} begins request {request} of epoch {epoch} {late} ms after its right has ended"
            ));
        }
    }
}
