//! The world that the machines live in: an event queue, three hosts, two links, two disks too many.

use lockstep_pair::coordinator::{self, Coordinator, Leftover, Order, OrderId, Output, Settings};
use lockstep_pair::node::{self, Node};
use lockstep_pair::protocol::{FromNode, Session, Terms, ToNode};
use lockstep_pair::record::{Outcome, Phase};
use lockstep_pair::{Route, RouteKind};
use lockstep_policy::action::Urgency;
use lockstep_policy::event::Role;
use lockstep_policy::{At, Side, Sides};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hash::{Hash, Hasher};
use std::time::Duration;

const MS: u64 = 1_000_000;
/// Faults happen until then; afterwards the pair must come to rest with one side active.
const FAULTS_END: u64 = 30_000 * MS;
const END: u64 = 60_000 * MS;

const SETTINGS: Settings = Settings {
    terms: Terms {
        ttl: Duration::from_millis(600),
        renew: Duration::from_millis(200),
        stop_max: Duration::from_millis(250),
    },
    drift_ppm: 10_000,
    margin: Duration::from_millis(20),
    prepare: Duration::from_secs(2),
    drain: Duration::from_millis(300),
    leftover: Leftover::Cut,
    fence: Duration::from_secs(1),
    activate: Duration::from_secs(3),
    activate_attempts: 2,
    settle: Duration::from_secs(1),
    recover: Duration::from_secs(1),
};

/// The longest that a handover may take, with its roll-back: I5.
const LONGEST: u64 = 2 * (2_000 + 300 + 1_000 + 900 + 3_000 + 100) * MS;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum What {
    EdgeTimer { life: u64 },
    EdgeStored { life: u64, ticket: u64, done: bool },
    EdgeDrained { life: u64, epoch: u64 },
    EdgeUp,
    ToEdge { side: Side, link: u64, life: u64, slot: usize },
    ToNode { side: Side, link: u64, slot: usize },
    LinkUp { side: Side },
    Policy,
    NodeTimer { side: Side, life: u64 },
    NodeStored { side: Side, life: u64, ticket: u64, done: bool },
    NodeUp { side: Side },
    Started { side: Side, life: u64, run: u64, good: bool },
    Stopped { side: Side, life: u64, run: u64 },
    Deadman { side: Side },
    OrphanDies { side: Side, service: u64 },
    Wake { side: Side },
    Fault,
}

/// One node's host.
struct Host {
    node: Option<Node>,
    /// Counts the lives of the agent.
    life: u64,
    disk: node::Stored,
    pending: Vec<(u64, node::Stored)>,
    clock_ppm: i64,
    clock_offset: u64,
    asleep: bool,
    missed: Vec<What>,
    /// The exclusive service: it runs if this is some; the number tells one start from the next.
    service: Option<u64>,
    ready: bool,
    run: u64,
    deadman: Option<u64>,
    /// When the agent's one timer is armed for.
    timer: Option<u64>,
}

impl Host {
    fn clock(&self, now: u64) -> At {
        let drifted = i128::from(now) + i128::from(now) * i128::from(self.clock_ppm) / 1_000_000;
        At(u64::try_from(drifted).expect("time goes forward") + self.clock_offset)
    }

    fn world_time(&self, at: At) -> u64 {
        let local = i128::from(at.0.saturating_sub(self.clock_offset));
        u64::try_from(local * 1_000_000 / (1_000_000 + i128::from(self.clock_ppm)) + 1).expect("time goes forward")
    }
}

struct Link {
    /// Counts the connections.
    number: u64,
    up: bool,
    cut: Sides<bool>,
    /// What is under way, first in, first out, per direction.
    last_delivery: [u64; 2],
    edge_heard: u64,
}

pub struct World {
    rng: fastrand::Rng,
    now: u64,
    queue: BinaryHeap<Reverse<(u64, u64, What)>>,
    sequence: u64,
    settings: Settings,
    edge: Option<Coordinator>,
    edge_life: u64,
    edge_disk: coordinator::Stored,
    edge_pending: Vec<(u64, coordinator::Stored)>,
    edge_handover_since: Option<(u64, u64)>,
    edge_timer: Option<u64>,
    route: Route,
    serve_until: At,
    hosts: Sides<Host>,
    links: Sides<Link>,
    /// Messages under way, by slot.
    to_edge: Vec<FromNode>,
    to_node: Vec<ToNode>,
    services: u64,
    next_order: u64,
    pub verbose: bool,
    pub fingerprint: u64,
    pub completed: u64,
    pub edge_restarts: u64,
}

impl World {
    pub fn new(seed: u64) -> World {
        let mut rng = fastrand::Rng::with_seed(seed);
        let hosts = Sides::from_fn(|_| Host {
            node: None,
            life: 0,
            disk: node::Stored::default(),
            pending: Vec::new(),
            // Within the edge's allowance of one per cent.
            clock_ppm: rng.i64(-9_000..9_000),
            clock_offset: rng.u64(0..1_000_000_000_000),
            asleep: false,
            missed: Vec::new(),
            service: None,
            ready: false,
            run: 0,
            deadman: None,
            timer: None,
        });
        let links = Sides::from_fn(|_| Link {
            number: 0,
            up: false,
            cut: Sides { a: false, b: false },
            last_delivery: [0; 2],
            edge_heard: 0,
        });
        World {
            rng,
            now: 0,
            queue: BinaryHeap::new(),
            sequence: 0,
            settings: SETTINGS,
            edge: None,
            edge_life: 0,
            edge_disk: coordinator::Stored::default(),
            edge_pending: Vec::new(),
            edge_handover_since: None,
            edge_timer: None,
            route: Route { epoch: lockstep_policy::Epoch(0), kind: RouteKind::Refuse },
            serve_until: At::ZERO,
            hosts,
            links,
            to_edge: Vec::new(),
            to_node: Vec::new(),
            services: 0,
            next_order: 0,
            verbose: false,
            fingerprint: 0,
            completed: 0,
            edge_restarts: 0,
        }
    }

    /// Breaks the coordinator on purpose: it forgets that services need time to stop, and that clocks drift.
    pub fn let_the_edge_believe_in_short_leases(&mut self) {
        self.settings.terms.stop_max = Duration::ZERO;
        self.settings.drift_ppm = 0;
        self.settings.margin = Duration::ZERO;
    }

    pub fn run(&mut self) {
        self.at(0, What::EdgeUp);
        for side in Side::BOTH {
            self.at(self.now, What::NodeUp { side });
        }
        self.at(100 * MS, What::Policy);
        self.at(3_000 * MS, What::Fault);
        while let Some(Reverse((time, _, what))) = self.queue.pop() {
            if time > END {
                break;
            }
            self.now = time;
            self.note(&what);
            self.happen(what);
            self.check();
        }
        self.check_rest();
    }

    fn at(&mut self, time: u64, what: What) {
        self.sequence += 1;
        self.queue.push(Reverse((time.max(self.now), self.sequence, what)));
    }

    fn after(&mut self, delay: u64, what: What) {
        self.at(self.now + delay, what);
    }

    fn note(&mut self, what: &What) {
        let mut hasher = std::hash::DefaultHasher::new();
        (self.fingerprint, self.now, what).hash(&mut hasher);
        self.fingerprint = hasher.finish();
        if self.verbose {
            println!("{:>12.3}ms {what:?}", self.now as f64 / MS as f64);
        }
    }

    fn happen(&mut self, what: What) {
        if let Some(side) = Self::host_of(&what)
            && self.hosts[side].asleep
        {
            self.hosts[side].missed.push(what);
            return;
        }
        match what {
            What::EdgeUp => self.edge_up(),
            What::EdgeTimer { life } if life == self.edge_life => {
                self.edge_timer = None;
                self.tell_edge(coordinator::Input::Tick);
            }
            What::EdgeStored { life, ticket, done } if life == self.edge_life => self.edge_stored(ticket, done),
            What::EdgeDrained { life, epoch } if life == self.edge_life => {
                self.tell_edge(coordinator::Input::Drained { epoch: lockstep_policy::Epoch(epoch) });
            }
            What::ToEdge { side, link, life, slot } => self.deliver_to_edge(side, link, life, slot),
            What::ToNode { side, link, slot } => self.deliver_to_node(side, link, slot),
            What::LinkUp { side } => self.connect(side),
            What::Policy => self.policy(),
            What::NodeUp { side } => self.node_up(side),
            What::NodeTimer { side, life } if life == self.hosts[side].life => {
                self.hosts[side].timer = None;
                self.tell_node(side, node::Input::Tick);
            }
            What::NodeStored { side, life, ticket, done } if life == self.hosts[side].life => {
                self.node_stored(side, ticket, done);
            }
            What::Started { side, life, run, good } if life == self.hosts[side].life => self.started(side, run, good),
            What::Stopped { side, life, run } if life == self.hosts[side].life => self.stopped(side, run),
            What::Deadman { side } => self.deadman(side),
            What::OrphanDies { side, service } if self.hosts[side].service == Some(service) => {
                self.hosts[side].service = None;
                self.hosts[side].ready = false;
            }
            What::Wake { side } => self.wake(side),
            What::Fault => self.fault(),
            _ => {}
        }
    }

    /// What a sleeping host does not do. The kernel's dead-man's switch, and the death of an orphan, need no one awake.
    fn host_of(what: &What) -> Option<Side> {
        match what {
            What::ToNode { side, .. }
            | What::NodeTimer { side, .. }
            | What::NodeStored { side, .. }
            | What::Started { side, .. }
            | What::Stopped { side, .. } => Some(*side),
            _ => None,
        }
    }
}

/// The edge's host. Its clock is the world's.
impl World {
    fn edge_up(&mut self) {
        self.edge_life += 1;
        self.edge_handover_since = None;
        self.edge_timer = None;
        self.edge = Some(Coordinator::new(self.settings, self.edge_disk.clone(), At(self.now)));
        for side in Side::BOTH {
            let delay = self.rng.u64(1..50) * MS;
            self.after(delay, What::LinkUp { side });
        }
        self.serve_until = At::ZERO;
        self.edge_outputs();
    }

    fn edge_down(&mut self) {
        self.edge = None;
        self.edge_life += 1;
        self.edge_restarts += 1;
        // A write under way is done, or it is not.
        for (_, stored) in std::mem::take(&mut self.edge_pending) {
            if self.rng.bool() {
                self.edge_disk = stored;
            } else {
                break;
            }
        }
        for side in Side::BOTH {
            self.links[side].up = false;
        }
        let delay = self.rng.u64(20..3_000) * MS;
        self.after(delay, What::EdgeUp);
    }

    fn tell_edge(&mut self, input: coordinator::Input) {
        let Some(edge) = &mut self.edge else { return };
        edge.handle(At(self.now), input);
        self.edge_outputs();
    }

    fn edge_outputs(&mut self) {
        while let Some(output) = self.edge.as_mut().and_then(Coordinator::poll) {
            if self.verbose {
                println!("{:>12.3}ms   edge -> {output:?}", self.now as f64 / MS as f64);
            }
            match output {
                Output::Store { ticket, stored } => {
                    self.edge_pending.push((ticket.0, stored));
                    let done = self.now > FAULTS_END || self.rng.u32(0..100) > 2;
                    let delay = self.rng.u64(MS / 10..20 * MS);
                    self.after(delay, What::EdgeStored { life: self.edge_life, ticket: ticket.0, done });
                }
                Output::Route(route) => self.route = route,
                Output::ServeUntil(until) => self.serve_until = until,
                Output::Send { side, message } => self.send_to_node(side, message),
                Output::Drain { epoch, .. } => {
                    let delay = self.rng.u64(0..400) * MS;
                    self.after(delay, What::EdgeDrained { life: self.edge_life, epoch: epoch.0 });
                }
                Output::Record(record) => {
                    let begun = self.edge_handover_since.is_some_and(|(epoch, _)| epoch == record.epoch.0);
                    if record.outcome.is_some() {
                        self.edge_handover_since = None;
                        let settled = record.phases.last().is_some_and(|last| last.phase == Phase::Commit);
                        self.completed += u64::from(settled && record.outcome == Some(Outcome::Completed));
                    } else if !begun {
                        self.edge_handover_since = Some((record.epoch.0, self.now));
                    }
                }
                Output::Cut { .. } | Output::Tell(_) | Output::Ended { .. } | Output::Alert(_) => {}
            }
        }
        if let Some(at) = self.edge.as_ref().and_then(Coordinator::deadline) {
            // A timer is late, as timers are.
            if self.edge_timer.is_none_or(|armed| at.0 < armed) {
                self.edge_timer = Some(at.0);
                let late = self.rng.u64(0..3 * MS);
                self.at(at.0 + late, What::EdgeTimer { life: self.edge_life });
            }
        }
    }

    /// Writes are done in their order.
    fn edge_stored(&mut self, ticket: u64, done: bool) {
        let Some(position) = self.edge_pending.iter().position(|(pending, _)| *pending == ticket) else { return };
        let earlier: Vec<_> = self.edge_pending.drain(..=position).collect();
        for (ticket, stored) in earlier {
            let ticket = coordinator::Ticket(ticket);
            if done {
                self.edge_disk = stored;
                self.tell_edge(coordinator::Input::Stored(ticket));
            } else {
                self.tell_edge(coordinator::Input::StoreFailed { ticket, why: "disk full".into() });
            }
        }
    }

    /// A policy as simple as can be: while nobody serves, someone who could be shall be made active.
    fn policy(&mut self) {
        self.after(250 * MS, What::Policy);
        let Some(edge) = &self.edge else { return };
        let view = edge.view();
        if view.recovering || view.handover.is_some() {
            return;
        }
        let serves = matches!(view.route.kind, RouteKind::Serve(_));
        let wanted = if serves { self.rng.u32(0..20) == 0 && self.now < FAULTS_END } else { self.rng.bool() };
        if !wanted {
            return;
        }
        let to = if self.rng.bool() { Side::A } else { Side::B };
        self.next_order += 1;
        let order = Order {
            id: OrderId(self.next_order),
            to,
            urgency: if serves && self.rng.u32(0..4) > 0 { Urgency::Planned } else { Urgency::Failover },
            reason: "simulated".into(),
            by: "policy".into(),
            evidence: Vec::new(),
        };
        let stand_down = serves && self.rng.u32(0..10) == 0;
        self.tell_edge(if stand_down {
            coordinator::Input::StandDown(order)
        } else {
            coordinator::Input::Switch(order)
        });
    }
}

/// The links. Delivery is in order per connection; a message may be late without bound while the link is cut, and
/// one of an earlier connection may still arrive.
impl World {
    fn connect(&mut self, side: Side) {
        if self.edge.is_none() || self.links[side].up {
            return;
        }
        if self.hosts[side].node.is_none() || self.links[side].cut.a || self.links[side].cut.b {
            return self.after(100 * MS, What::LinkUp { side });
        }
        self.links[side].up = true;
        self.links[side].number += 1;
        self.links[side].edge_heard = self.now;
        self.tell_edge(coordinator::Input::Link { side, up: true });
        if self.hosts[side].asleep {
            return;
        }
        self.tell_node(side, node::Input::Terms(SETTINGS.terms));
    }

    fn disconnect(&mut self, side: Side) {
        if std::mem::replace(&mut self.links[side].up, false) {
            self.tell_edge(coordinator::Input::Link { side, up: false });
            let delay = self.rng.u64(10..200) * MS;
            self.after(delay, What::LinkUp { side });
        }
    }

    fn delivery(&mut self, side: Side, direction: usize) -> u64 {
        let late = self.now < FAULTS_END && self.rng.u32(0..50) == 0;
        let delay = if late { self.rng.u64(0..300 * MS) } else { self.rng.u64(MS / 20..5 * MS) };
        let time = (self.now + delay).max(self.links[side].last_delivery[direction] + 1);
        self.links[side].last_delivery[direction] = time;
        time
    }

    fn send_to_node(&mut self, side: Side, message: ToNode) {
        if self.links[side].up {
            let time = self.delivery(side, 0);
            self.to_node.push(message);
            let (link, slot) = (self.links[side].number, self.to_node.len() - 1);
            self.at(time, What::ToNode { side, link, slot });
        }
    }

    fn send_to_edge(&mut self, side: Side, message: FromNode) {
        if self.links[side].up {
            let time = self.delivery(side, 1);
            self.to_edge.push(message);
            let (link, life, slot) = (self.links[side].number, self.edge_life, self.to_edge.len() - 1);
            self.at(time, What::ToEdge { side, link, life, slot });
        }
    }

    fn deliver_to_node(&mut self, side: Side, link: u64, slot: usize) {
        if self.links[side].cut.a {
            // It is sent again and again below us, until the connection is given up; it may even arrive after that.
            if self.rng.u32(0..100) < 97 {
                self.after(50 * MS, What::ToNode { side, link, slot });
            }
            return;
        }
        // The shell listens to the newest connection only; that must not matter for safety, so now and then it does not.
        let newest = link == self.links[side].number && self.links[side].up;
        if newest || self.rng.u32(0..10) == 0 {
            let message = self.to_node[slot];
            self.tell_node(side, node::Input::Message(message));
        }
    }

    fn deliver_to_edge(&mut self, side: Side, link: u64, life: u64, slot: usize) {
        if self.links[side].cut.b && self.links[side].up {
            if self.rng.u32(0..100) < 97 {
                self.after(50 * MS, What::ToEdge { side, link, life, slot });
            }
            return;
        }
        if link == self.links[side].number && life == self.edge_life && self.links[side].up {
            self.links[side].edge_heard = self.now;
            let message = self.to_edge[slot].clone();
            self.tell_edge(coordinator::Input::Node { side, message });
        }
    }
}

/// The nodes' hosts.
impl World {
    fn node_up(&mut self, side: Side) {
        let session = Session(self.rng.u64(1..));
        let host = &mut self.hosts[side];
        host.life += 1;
        host.timer = None;
        host.node = Some(Node::new(session, host.disk, host.clock(self.now)));
        self.node_outputs(side);
        self.condition(side);
    }

    fn node_down(&mut self, side: Side) {
        let host = &mut self.hosts[side];
        host.node = None;
        host.life += 1;
        host.missed.clear();
        host.asleep = false;
        for (_, stored) in std::mem::take(&mut host.pending) {
            if self.rng.bool() {
                self.hosts[side].disk = stored;
            } else {
                break;
            }
        }
        if let Some(service) = self.hosts[side].service {
            let grace = self.rng.u64(0..120) * MS;
            self.after(grace, What::OrphanDies { side, service });
        }
        let notice = self.rng.u64(0..20) * MS;
        self.links[side].edge_heard = self.links[side].edge_heard.min(self.now);
        self.disconnect(side);
        let delay = notice + self.rng.u64(50..4_000) * MS;
        self.after(delay, What::NodeUp { side });
    }

    fn tell_node(&mut self, side: Side, input: node::Input) {
        let now = self.hosts[side].clock(self.now);
        let Some(node) = &mut self.hosts[side].node else { return };
        node.handle(now, input);
        self.node_outputs(side);
    }

    fn node_outputs(&mut self, side: Side) {
        while let Some(output) = self.hosts[side].node.as_mut().and_then(Node::poll) {
            if self.verbose {
                println!("{:>12.3}ms   {side} -> {output:?}", self.now as f64 / MS as f64);
            }
            match output {
                node::Output::Store { ticket, stored } => {
                    self.hosts[side].pending.push((ticket.0, stored));
                    let done = self.now > FAULTS_END || self.rng.u32(0..100) > 2;
                    let delay = self.rng.u64(MS / 10..20 * MS);
                    let life = self.hosts[side].life;
                    self.after(delay, What::NodeStored { side, life, ticket: ticket.0, done });
                }
                node::Output::Deadman(at) => {
                    let time = self.hosts[side].world_time(at);
                    self.hosts[side].deadman = Some(time);
                    self.at(time, What::Deadman { side });
                }
                node::Output::Start(run) => self.start(side, run.0),
                node::Output::Stop { run, by, .. } => self.stop(side, run.0, by),
                node::Output::Send(message) => self.send_to_edge(side, message),
            }
        }
        if let Some(at) = self.hosts[side].node.as_ref().and_then(Node::deadline) {
            let time = self.hosts[side].world_time(at);
            if self.hosts[side].timer.is_none_or(|armed| time < armed) {
                self.hosts[side].timer = Some(time);
                let late = self.rng.u64(0..3 * MS);
                let life = self.hosts[side].life;
                self.at(time + late, What::NodeTimer { side, life });
            }
        }
    }

    fn node_stored(&mut self, side: Side, ticket: u64, done: bool) {
        let Some(position) = self.hosts[side].pending.iter().position(|(pending, _)| *pending == ticket) else {
            return;
        };
        let earlier: Vec<_> = self.hosts[side].pending.drain(..=position).collect();
        for (ticket, stored) in earlier {
            let ticket = node::Ticket(ticket);
            if done {
                self.hosts[side].disk = stored;
                self.tell_node(side, node::Input::Stored(ticket));
            } else {
                self.tell_node(side, node::Input::StoreFailed { ticket, why: "disk full".into() });
            }
        }
    }

    fn condition(&mut self, side: Side) {
        let host = &self.hosts[side];
        let condition = node::Condition {
            fit: true,
            ready: host.service.is_some() && host.ready,
            running: host.service.is_some(),
            ..node::Condition::default()
        };
        self.tell_node(side, node::Input::Condition(condition));
    }

    fn start(&mut self, side: Side, run: u64) {
        self.services += 1;
        self.hosts[side].run = run;
        self.hosts[side].service = Some(self.services);
        self.hosts[side].ready = false;
        let good = self.now > FAULTS_END || self.rng.u32(0..10) > 0;
        let delay = self.rng.u64(5..1_000) * MS;
        let life = self.hosts[side].life;
        self.after(delay, What::Started { side, life, run, good });
    }

    fn stop(&mut self, side: Side, run: u64, by: At) {
        self.hosts[side].run = run;
        self.hosts[side].ready = false;
        let last = self.hosts[side].world_time(by);
        let wished = self.now + self.rng.u64(0..400) * MS;
        let life = self.hosts[side].life;
        self.at(wished.min(last), What::Stopped { side, life, run });
    }

    fn started(&mut self, side: Side, run: u64, good: bool) {
        if self.hosts[side].run != run || self.hosts[side].service.is_none() {
            return;
        }
        let run = node::Run(run);
        if good {
            self.hosts[side].ready = true;
            self.condition(side);
            self.tell_node(side, node::Input::Started(run));
        } else {
            self.tell_node(side, node::Input::StartFailed { run, why: "it did not come up".into() });
        }
    }

    fn stopped(&mut self, side: Side, run: u64) {
        if self.hosts[side].run == run {
            self.hosts[side].service = None;
            self.condition(side);
            self.tell_node(side, node::Input::Stopped(node::Run(run)));
        }
    }

    fn deadman(&mut self, side: Side) {
        if self.hosts[side].deadman == Some(self.now) && self.hosts[side].service.take().is_some() {
            self.hosts[side].ready = false;
            if !self.hosts[side].asleep {
                self.condition(side);
            }
        }
    }

    fn wake(&mut self, side: Side) {
        self.hosts[side].asleep = false;
        for what in std::mem::take(&mut self.hosts[side].missed) {
            self.at(self.now, what);
        }
        self.condition(side);
    }
}

/// Faults.
impl World {
    fn fault(&mut self) {
        if self.now > FAULTS_END {
            return self.heal();
        }
        let pause = self.rng.u64(100..3_000) * MS;
        self.after(pause, What::Fault);
        let side = if self.rng.bool() { Side::A } else { Side::B };
        match self.rng.u32(0..8) {
            0 if self.edge.is_some() => self.edge_down(),
            1 if self.hosts[side].node.is_some() => self.node_down(side),
            2 | 3 if self.hosts[side].node.is_some() && !self.hosts[side].asleep => {
                self.hosts[side].asleep = true;
                let delay = self.rng.u64(50..3_000) * MS;
                self.after(delay, What::Wake { side });
            }
            4 => self.links[side].cut = Sides { a: true, b: true },
            5 => self.links[side].cut = Sides { a: self.rng.bool(), b: self.rng.bool() },
            6 => {
                // The exclusive service dies by itself.
                if self.hosts[side].service.take().is_some() && !self.hosts[side].asleep {
                    self.hosts[side].ready = false;
                    self.condition(side);
                }
            }
            _ => self.links[side].cut = Sides { a: false, b: false },
        }
        self.break_silent_links();
    }

    fn heal(&mut self) {
        for side in Side::BOTH {
            self.links[side].cut = Sides { a: false, b: false };
        }
        self.after(100 * MS, What::Fault);
        self.break_silent_links();
    }

    /// The edge gives up a connection over which it has heard nothing for a lease's length.
    fn break_silent_links(&mut self) {
        for side in Side::BOTH {
            if self.links[side].up && self.now > self.links[side].edge_heard + 600 * MS {
                self.disconnect(side);
            }
        }
    }
}

/// What must hold.
impl World {
    fn check(&mut self) {
        let running = Side::BOTH.map(|side| self.hosts[side].service.is_some());
        assert_ne!(running, [true, true], "I1: both sides' services run at {}ms", self.now / MS);
        if let RouteKind::Serve(side) = self.route.kind
            && self.edge.is_some()
            && At(self.now) < self.serve_until
            && !self.hosts[side].asleep
            && let Some(node) = &self.hosts[side].node
        {
            let report = node.report(self.hosts[side].clock(self.now));
            assert!(
                report.role == Role::Active && report.epoch == self.route.epoch && !report.lease_left.is_zero(),
                "I2: requests go to side {side} under epoch {}, and it is {report:?}",
                self.route.epoch
            );
        }
        if let Some((epoch, since)) = self.edge_handover_since {
            assert!(self.now < since + LONGEST, "I5: the handover of epoch {epoch} does not end");
        }
    }

    fn check_rest(&self) {
        let edge = self.edge.as_ref().expect("the edge is up at the end");
        let RouteKind::Serve(side) = self.route.kind else {
            panic!("liveness: 30 s after the last fault no side is served: {:?}", edge.view());
        };
        assert!(self.hosts[side].service.is_some() && self.hosts[side].ready, "I2: the served side is active");
        assert!(At(self.now) < self.serve_until + Duration::from_millis(500), "the served side's lease is renewed");
    }
}
