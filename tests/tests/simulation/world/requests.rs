//! Requests: by the production proxy's table, waiting room and rules, to the simulated applications and back.

use super::network::Place;
use super::probes::nanos;
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
    pub work: u64,
    pub state: State,
    seat: Option<Seat>,
    /// Set by its first wait, for all.
    pub hold_until: Option<u64>,
    pub departure: Option<Departure>,
    /// Tells one attempt from the next.
    pub attempt: u32,
    /// Attempts in which bytes of it have left.
    sends: u32,
    resends: u32,
    /// How often an application has begun to work on it.
    pub worked_on: u32,
    /// Its attempts that were given.
    pub given: Vec<Given>,
    /// How long the edge had slept when it came.
    slept: u64,
}

/// An attempt that was given to a side.
#[derive(Clone, Copy, Debug)]
pub struct Given {
    pub attempt: u32,
    /// By the route of this epoch.
    pub epoch: Epoch,
    /// Until then its side might serve it by that.
    pub rightful_until: u64,
    /// The process at the other end of its connection.
    pub app: u64,
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

    pub(super) fn is_at(&self, request: usize, attempt: u32, state: State) -> bool {
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
                let traffic = Traffic { side, window, good, server_errors, refused, resets, timeouts, slow: 0 };
                self.inform(event::What::Traffic(traffic));
            }
        }
    }
}
