//! Requests: by the production proxy's table, waiting room and rules, to the simulated applications and back.

use super::network::Place;
use super::probes::nanos;
use super::services::Trouble;
use super::{MS, What, World};
use lockstep_edge::rehearsal::{Departure, Failed, Place as Seat, Step};
use lockstep_pair::coordinator::Input;
use lockstep_policy::event::{self, Traffic};
use lockstep_policy::{At, Epoch, Side, Sides};

/// How one ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// The client has this answer.
    Answered(u16),
    /// The way between client and edge, or the edge itself, broke.
    Cut,
    /// The client did not want to wait any longer.
    Left,
}

/// Where one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// On its way to the edge.
    Coming,
    Waiting,
    Connecting,
    Given,
    Ended(Fate),
}

/// One request of a client.
pub struct Request {
    pub client: usize,
    pub post: bool,
    /// How long the application works on it.
    work: u64,
    pub state: State,
    seat: Option<Seat>,
    /// Set by its first wait, for all.
    pub hold_until: Option<u64>,
    departure: Option<Departure>,
    /// Tells one attempt from the next.
    attempt: u32,
    /// Attempts in which bytes of it have left.
    sends: u32,
    resends: u32,
    /// How often an application has begun to work on it.
    worked_on: u32,
    /// Its attempts that were given.
    given: Vec<Given>,
    /// How long the edge had slept when it came.
    slept: u64,
}

/// An attempt that was given to a side.
#[derive(Clone, Copy, Debug)]
struct Given {
    attempt: u32,
    /// By the route of this epoch.
    epoch: Epoch,
    /// Until then its side might serve it by that.
    rightful_until: u64,
    /// The process at the other end of its connection.
    app: u64,
}

/// What happened to an attempt at its side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Blow {
    /// The server ended the connection.
    Reset,
    /// No answer came in time.
    Timeout,
    /// The edge cut it.
    Cut,
}

/// What is counted for the policy, and when a window was opened for it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Window {
    pub since: Option<u64>,
    pub counts: Sides<[u32; 5]>,
}

const GOOD: usize = 0;
const SERVER_ERROR: usize = 1;
const REFUSED: usize = 2;
const RESET: usize = 3;
const TIMEOUT: usize = 4;

/// From the client to the edge, and its end.
impl World {
    /// A client sends its next request.
    pub(super) fn client_sends(&mut self, client: usize) {
        let pause = self.rng.u64(20..500) * MS;
        let post = self.rng.u32(0..3) == 0;
        let long = self.rng.u32(0..12) == 0;
        let work = if long { self.rng.u64(300..2_500) * MS } else { self.rng.u64(1..40) * MS };
        if !self.network.open(Place::Clients, Place::Edge) || !self.edge.is_up() {
            self.stats.unreached += 1;
            return self.after(pause, What::ClientSends { client });
        }
        self.requests.push(Request {
            client,
            post,
            work,
            state: State::Coming,
            seat: None,
            hold_until: None,
            departure: None,
            attempt: 0,
            sends: 0,
            resends: 0,
            worked_on: 0,
            given: Vec::new(),
            slept: self.edge.slept,
        });
        let request = self.requests.len() - 1;
        self.stats.requests += 1;
        let (life, delay) = (self.edge.life, self.delay());
        self.after(delay, What::RequestComes { life, request });
        // Some clients have little patience; each one's own time-out is later than anything that the edge may take.
        let impatient = self.rng.u32(0..10) == 0;
        let patience = if impatient { self.rng.u64(50..2_000) * MS } else { self.plan.longest_request() };
        self.after(patience, What::Patience { request, impatient });
    }

    pub(super) fn request_comes(&mut self, request: usize) {
        if self.requests[request].state == State::Coming {
            self.look_for_side(request);
        }
    }

    fn end(&mut self, request: usize, fate: Fate) {
        let one = &mut self.requests[request];
        if matches!(one.state, State::Ended(_)) {
            return;
        }
        one.state = State::Ended(fate);
        one.seat = None;
        one.departure = None;
        let client = one.client;
        self.held.retain(|held| *held != request);
        self.stats.fate(fate);
        self.look_whether_drained();
        let pause = self.rng.u64(20..500) * MS;
        self.after(pause, What::ClientSends { client });
    }

    fn answer(&mut self, request: usize, status: u16) {
        let reaches = self.network.open(Place::Edge, Place::Clients);
        self.end(request, if reaches { Fate::Answered(status) } else { Fate::Cut });
    }

    /// A client's time is over.
    pub(super) fn patience_ends(&mut self, request: usize, impatient: bool) {
        let one = &self.requests[request];
        if matches!(one.state, State::Ended(_)) {
            return;
        }
        // Nobody answers while the edge's process is stopped.
        let slept = self.edge.slept - one.slept;
        if !impatient && slept > 0 {
            self.requests[request].slept = self.edge.slept;
            return self.after(slept, What::Patience { request, impatient });
        }
        if !impatient && self.edge.is_up() && !self.edge.asleep && one.state != State::Coming {
            let state = one.state;
            self.broken(format!("I6: request {request} ({state:?}) has no answer, and its client waits for nothing"));
        }
        self.end(request, Fate::Left);
    }

    /// The edge's process has died.
    pub(super) fn requests_lose_edge(&mut self) {
        self.held.clear();
        for request in 0..self.requests.len() {
            self.end(request, Fate::Cut);
        }
    }
}

/// In the edge.
impl World {
    /// Where the request goes next.
    fn look_for_side(&mut self, request: usize) {
        let now = self.edge_now();
        match self.edge.proxy.look(now) {
            Step::Go(departure) if self.down_until[departure.side()] <= self.now => self.depart(request, departure),
            Step::Go(departure) => {
                // Its server refused a connection a moment ago.
                let at = self.down_until[departure.side()];
                drop(departure);
                if self.wait(request) {
                    self.at(at, What::LooksAgain { life: self.edge.life, request });
                }
            }
            Step::Wait => drop(self.wait(request)),
            Step::Refuse => {
                self.stats.refused += 1;
                self.answer(request, 503);
            }
        }
    }

    /// Whether it waits: there may be no room, or its time may be over.
    fn wait(&mut self, request: usize) -> bool {
        let max_wait = nanos(self.plan.proxy().hold.max_wait);
        if self.requests[request].seat.is_none() {
            let Some(seat) = self.edge.proxy.enter() else {
                self.stats.turned_away += 1;
                self.answer(request, 503);
                return false;
            };
            self.stats.held += 1;
            self.requests[request].seat = Some(seat);
        }
        let until = *self.requests[request].hold_until.get_or_insert(self.now + max_wait);
        if self.now >= until {
            self.hold_is_over(request);
            return false;
        }
        self.requests[request].state = State::Waiting;
        if !self.held.contains(&request) {
            self.held.push(request);
            self.at(until, What::HoldOver { life: self.edge.life, request });
        }
        true
    }

    pub(super) fn hold_over(&mut self, request: usize) {
        if self.requests[request].state == State::Waiting && self.held.contains(&request) {
            self.hold_is_over(request);
        }
    }

    fn hold_is_over(&mut self, request: usize) {
        self.stats.waited_in_vain += 1;
        self.answer(request, 503);
    }

    /// Something has changed: whoever waits looks again.
    pub(super) fn release_held(&mut self) {
        let mut held = std::mem::take(&mut self.held);
        if self.plan.mutation.drops_held() && self.now > 2_000 * MS && !held.is_empty() {
            held.remove(0);
        }
        for request in held {
            if self.requests[request].state == State::Waiting {
                // It has its time already, and is still due then.
                self.held.push(request);
                self.look_for_side(request);
            }
        }
    }

    pub(super) fn looks_again(&mut self, request: usize) {
        if self.requests[request].state == State::Waiting {
            self.look_for_side(request);
        }
    }

    fn depart(&mut self, request: usize, departure: Departure) {
        let side = departure.side();
        self.held.retain(|held| *held != request);
        let one = &mut self.requests[request];
        one.attempt += 1;
        one.state = State::Connecting;
        one.departure = Some(departure);
        let attempt = one.attempt;
        // A pooled connection of this epoch, or a new one.
        let pooled = self.rng.u32(0..3) > 0;
        let reached = self.network.both(Place::Edge, Place::Node(side)) && !self.hosts[side].off;
        let delay = match (reached, pooled) {
            (true, true) => MS / 100,
            (true, false) => self.delay() + self.delay(),
            (false, true) => MS / 100,
            (false, false) => nanos(self.plan.proxy().connect_timeout),
        };
        self.after(delay, What::Connected { life: self.edge.life, request, attempt, reached: reached || pooled });
    }

    /// The attempt's connection is there, or cannot be had.
    pub(super) fn connected(&mut self, request: usize, attempt: u32, reached: bool) {
        if !self.is_at(request, attempt, State::Connecting) {
            return;
        }
        let Some(departure) = self.requests[request].departure.take() else { return };
        let (side, now) = (departure.side(), self.edge_now());
        let app = self.hosts[side].crew.app;
        let refuses = app.is_none();
        if !reached || refuses {
            // No byte has left: whatever the method is, it is tried again until its hold is over.
            drop(departure);
            self.down_until[side] = self.now + nanos(self.plan.proxy().retry_interval);
            self.count(side, if refuses { REFUSED } else { TIMEOUT });
            self.look_whether_drained();
            return self.look_for_side(request);
        }
        if !self.edge.proxy.still(&departure, now) {
            drop(departure);
            self.look_whether_drained();
            return self.look_for_side(request);
        }
        self.give(request, departure, now, app.map_or(0, |app| app.id));
    }

    /// Its first byte leaves.
    fn give(&mut self, request: usize, departure: Departure, now: At, app: u64) {
        let (side, epoch, first) = (departure.side(), departure.epoch(), departure.is_first());
        self.judge_giving(request, side, epoch);
        let rightful_until = self.hosts[side].crew.deadman.unwrap_or(self.now);
        let one = &mut self.requests[request];
        one.seat = None;
        one.state = State::Given;
        one.departure = Some(departure);
        one.given.push(Given { attempt: one.attempt, epoch, rightful_until, app });
        one.sends += 1;
        if one.post && one.sends > 1 {
            let sends = one.sends;
            self.broken(format!("I6: request {request}, a POST, is sent {sends} times"));
        }
        let attempt = self.requests[request].attempt;
        if first {
            self.tell_edge(Input::FirstSent { epoch, at: now });
        }
        let (delay, patience) = (self.delay(), nanos(self.plan.proxy().read_timeout));
        self.after(delay, What::AtServer { side, request, attempt });
        self.after(patience, What::Blow { life: self.edge.life, request, attempt, blow: Blow::Timeout });
    }

    /// The attempt has failed.
    pub(super) fn blow(&mut self, request: usize, attempt: u32, blow: Blow) {
        if !self.is_at(request, attempt, State::Given) {
            return;
        }
        let Some(departure) = self.requests[request].departure.take() else { return };
        let side = departure.side();
        drop(departure);
        match blow {
            Blow::Reset => self.count(side, RESET),
            Blow::Timeout => self.count(side, TIMEOUT),
            Blow::Cut => {}
        }
        self.look_whether_drained();
        let one = &mut self.requests[request];
        let failed = Failed {
            sent: true,
            answer_begun: false,
            safe: !one.post || self.plan.mutation.resends_posts(),
            cut: blow == Blow::Cut,
            before_sending: false,
            by_server: true,
            resends: one.resends,
        };
        if !failed.is_followed(self.plan.proxy().resends) {
            return self.answer(request, if blow == Blow::Timeout { 504 } else { 502 });
        }
        one.resends += u32::from(blow != Blow::Cut);
        // The first goes at once, each further one a little later.
        let pause = nanos(self.plan.proxy().retry_interval) * u64::from(one.resends.saturating_sub(1));
        one.state = State::Waiting;
        one.attempt += 1;
        self.after(pause, What::LooksAgain { life: self.edge.life, request });
    }

    pub(super) fn cut_requests(&mut self, side: Side, before: Epoch) {
        for request in 0..self.requests.len() {
            let one = &self.requests[request];
            let here = one.departure.as_ref().is_some_and(|it| it.side() == side && it.epoch() < before);
            let (state, attempt) = (one.state, one.attempt);
            match state {
                State::Given if here => self.blow(request, attempt, Blow::Cut),
                State::Connecting if here => {
                    self.requests[request].departure = None;
                    self.requests[request].attempt += 1;
                    self.look_whether_drained();
                    self.look_for_side(request);
                }
                _ => {}
            }
        }
    }

    fn is_at(&self, request: usize, attempt: u32, state: State) -> bool {
        let one = &self.requests[request];
        one.attempt == attempt && one.state == state
    }

    pub(super) fn answer_comes(&mut self, request: usize, attempt: u32, status: u16) {
        if !self.is_at(request, attempt, State::Given) {
            return;
        }
        let one = &mut self.requests[request];
        let Some(departure) = one.departure.take() else { return };
        let (side, epoch) = (departure.side(), departure.epoch());
        let first = status < 500 && departure.is_first_answer();
        drop(departure);
        self.count(side, if status < 500 { GOOD } else { SERVER_ERROR });
        self.answer(request, status);
        if first {
            let at = self.edge_now();
            self.tell_edge(Input::FirstAnswer { epoch, at });
        }
    }

    /// For the policy: trouble closes a window early, and has the side probed.
    fn count(&mut self, side: Side, what: usize) {
        self.window.counts[side][what] += 1;
        if self.window.since.is_none() {
            self.window.since = Some(self.now);
            self.after(100 * MS, What::Window { life: self.edge.life });
        }
        if what > SERVER_ERROR && self.quiet_until[side] <= self.now {
            self.quiet_until[side] = self.now + nanos(self.plan.proxy().trouble_interval);
            self.probe_side_now(side);
        }
    }

    pub(super) fn close_window(&mut self) {
        let Some(since) = self.window.since.take() else { return };
        let window = std::time::Duration::from_nanos(self.now - since);
        for (side, counts) in std::mem::take(&mut self.window.counts).iter() {
            let [good, server_errors, refused, resets, timeouts] = *counts;
            if counts.iter().any(|count| *count > 0) {
                let traffic = Traffic { side, window, good, server_errors, refused, resets, timeouts };
                self.inform(event::What::Traffic(traffic));
            }
        }
    }
}

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
    fn judge_giving(&mut self, request: usize, side: Side, epoch: Epoch) {
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
