//! The world that the machines live in: an event queue, three hosts, two links, two disks too many.

mod edge;
mod faults;
mod invariants;
mod links;
mod nodes;

use lockstep_pair::coordinator::{self, Coordinator, Leftover, Order, OrderId, Output, Settings};
use lockstep_pair::node::{self, Node};
use lockstep_pair::protocol::{FromNode, Session, Terms, ToNode};
use lockstep_pair::record::{Outcome, Phase};
use lockstep_pair::{Route, RouteKind};
use lockstep_policy::action::Urgency;
use lockstep_policy::event::{Lan, Role};
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
    fencing: Sides { a: coordinator::Fencing::LEASE, b: coordinator::Fencing::LEASE },
};

/// The longest that a handover may take, with its roll-back: I5.
const LONGEST: u64 = 2 * (2_000 + 300 + 1_000 + 900 + 3_000 + 100) * MS;

/// The longest that a node is active and knows that it is isolated: a lease, by a slow clock, and its late timer.
const KNOWN_ISOLATED_MAX: u64 = (600 + 10 + 10) * MS;

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
    LookAtLan { side: Side },
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
    /// Off its LAN, whether the edge reaches it or not.
    isolated: bool,
    /// Since when its agent knows.
    known_isolated: Option<u64>,
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
    pub isolations: u64,
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
            isolated: false,
            known_isolated: None,
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
            isolations: 0,
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
            What::LookAtLan { side } => self.look_at_lan(side),
            What::Fault => self.fault(),
            _ => {}
        }
    }

    /// What a sleeping host does not do. The kernel's dead-man's switch, and the death of an orphan, need no one awake.
    fn host_of(what: &What) -> Option<Side> {
        match what {
            What::ToNode { side, .. }
            | What::LookAtLan { side }
            | What::NodeTimer { side, .. }
            | What::NodeStored { side, .. }
            | What::Started { side, .. }
            | What::Stopped { side, .. } => Some(*side),
            _ => None,
        }
    }
}
