//! The world that the machines live in: hosts, a network between them, clients, and one queue of what happens next.

mod applications;
mod clock;
mod disk;
mod edge;
mod faults;
mod judge;
mod links;
mod network;
mod nodes;
mod plan;
mod policy;
mod probes;
mod requests;
mod services;

pub use plan::{Mutation, Vendor};

use clock::Clock;
use edge::Edge;
use judge::Rest;
use links::Link;
use lockstep_edge::rehearsal::Rehearsal;
use lockstep_pair::coordinator;
use lockstep_policy::host::Library;
use lockstep_policy::{Epoch, Side, Sides};
use network::Network;
use nodes::Host;
use plan::Plan;
use policy::Policy;
use probes::Finding;
use requests::{Blow, Request, Window};
use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::hash::{DefaultHasher, Hash, Hasher};

pub const MS: u64 = 1_000_000;
/// So long after the last fault the world ends, if the pair has not come to rest before.
const AFTER_FAULTS: u64 = 110_000 * MS;

/// What happens. That of a life happens in that life only.
#[derive(Clone, Debug, Hash)]
pub enum What {
    EdgeUp,
    EdgeDies { life: u64, done: bool },
    EdgeWakes { life: u64, slept: u64 },
    EdgeTimer { life: u64 },
    EdgeStored { life: u64, ticket: u64, well: bool },
    Drained { life: u64, epoch: u64 },
    FenceHook { life: u64, side: Side, epoch: u64, works: bool },
    ToEdge { side: Side, link: u64 },
    ToAgent { side: Side, link: u64 },
    LinkUp { side: Side },
    LinkBreaks { side: Side, link: u64 },
    Silence { side: Side },
    Auxiliary { side: Side },
    ProbeDue { probe: u32, declaration: u64 },
    ProbeDone { probe: u32, declaration: u64, sent: u64, finding: Finding },
    PolicyActs { life: u64 },
    PolicyTimer { life: u64 },
    PolicyBack { life: u64 },
    Window { life: u64 },
    Operator,
    AgentUp { side: Side },
    AgentDies { side: Side, life: u64, done: bool },
    NodeTimer { side: Side, life: u64 },
    NodeStored { side: Side, life: u64, ticket: u64, well: bool },
    LooksAtLan { side: Side, life: u64 },
    CrewLooks { side: Side, life: u64 },
    AgentRestarts { side: Side, life: u64 },
    Boot { side: Side },
    Wake { side: Side },
    ServiceStarted { side: Side, id: u64, good: bool },
    ServiceEnds { side: Side, id: u64 },
    AppStarts { side: Side, life: u64 },
    AppReady { side: Side, id: u64 },
    AppOrphanEnds { side: Side, id: u64 },
    Deadman { side: Side },
    TroubleEnds { side: Side },
    DiskWell { side: Option<Side> },
    ClientSends { client: usize },
    RequestComes { life: u64, request: usize },
    HoldOver { life: u64, request: usize },
    LooksAgain { life: u64, request: usize },
    Connected { life: u64, request: usize, attempt: u32, reached: bool },
    Blow { life: u64, request: usize, attempt: u32, blow: Blow },
    AnswerComes { life: u64, request: usize, attempt: u32, status: u16 },
    AtServer { side: Side, request: usize, attempt: u32 },
    Worked { side: Side, app: u64, request: usize, attempt: u32 },
    AnswerLeaves { side: Side, request: usize, attempt: u32, status: u16 },
    Patience { request: usize, impatient: bool },
    Fault,
}

/// Something that will happen; of two at the same time, the one that was planned first.
struct Next {
    time: u64,
    sequence: u64,
    what: What,
}

impl PartialEq for Next {
    fn eq(&self, other: &Next) -> bool {
        self.sequence == other.sequence
    }
}

impl Eq for Next {}

impl PartialOrd for Next {
    fn partial_cmp(&self, other: &Next) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Next {
    fn cmp(&self, other: &Next) -> Ordering {
        (other.time, other.sequence).cmp(&(self.time, self.sequence))
    }
}

/// What happened in a world, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub events: u64,
    pub policy_events: u64,
    pub faults: u64,
    pub completed: u64,
    pub rolled_back: u64,
    pub no_active: u64,
    pub settled: u64,
    /// The longest handover, in nanoseconds.
    pub longest: u64,
    pub edge_crashes: u64,
    pub agent_crashes: u64,
    pub reboots: u64,
    pub deadman: u64,
    pub isolations: u64,
    pub requests: u64,
    pub held: u64,
    pub answered: u64,
    pub errors: u64,
    pub refused: u64,
    pub turned_away: u64,
    pub waited_in_vain: u64,
    pub cut: u64,
    pub left: u64,
    pub unreached: u64,
    /// Worlds in which a person had to order a switch after the faults had ended.
    pub mended: u64,
}

/// One seed's world.
pub struct World {
    rng: fastrand::Rng,
    plan: Plan,
    now: u64,
    queue: BinaryHeap<Next>,
    sequence: u64,
    network: Network,
    edge: Edge,
    policy: Policy,
    hosts: Sides<Host>,
    links: Sides<Link>,
    requests: Vec<Request>,
    held: Vec<usize>,
    down_until: Sides<u64>,
    quiet_until: Sides<u64>,
    window: Window,
    /// How far the time of day was set, in milliseconds.
    wall_jumps: i64,
    processes: u64,
    /// The side that a person has tried last.
    mends_with: Side,
    /// The policy has told operators that it tries again each minute only.
    paced: bool,
    rest: Rest,
    at_rest: bool,
    broken: Option<String>,
    pub verbose: bool,
    pub fingerprint: u64,
    pub stats: Stats,
}

impl World {
    pub fn new(seed: u64, policy: Vendor, library: Library, mutation: Mutation) -> World {
        let mut rng = fastrand::Rng::with_seed(seed);
        let plan = Plan::new(seed, policy, library, mutation, &mut rng);
        let mut edge = Edge::new(Clock::new(0, rng.u64(0..1_000_000 * MS)), Rehearsal::new(plan.proxy()));
        edge.disk.lies = mutation.disks_lie();
        // Within the edge's allowance of one per cent.
        let mut hosts = Sides::from_fn(|_| Host::new(Clock::new(rng.i64(-9_500..9_500), rng.u64(0..1_000_000 * MS))));
        Side::BOTH.into_iter().for_each(|side| hosts[side].disk.lies = mutation.disks_lie());
        World {
            rng,
            plan,
            now: 0,
            queue: BinaryHeap::new(),
            sequence: 0,
            network: Network::default(),
            edge,
            policy: Policy::default(),
            hosts,
            links: Sides::default(),
            requests: Vec::new(),
            held: Vec::new(),
            down_until: Sides::default(),
            quiet_until: Sides::default(),
            window: Window::default(),
            wall_jumps: 0,
            processes: 0,
            mends_with: Side::B,
            paced: false,
            rest: Rest::default(),
            at_rest: false,
            broken: None,
            verbose: false,
            fingerprint: 0,
            stats: Stats::default(),
        }
    }

    /// Runs the world to its end; an error is what was broken, and when.
    pub fn run(&mut self) -> Result<(), String> {
        self.tell(|| format!("seed {}: policy {}, {}", self.plan.seed, self.plan.policy.name(), self.about()));
        self.begin();
        let end = self.plan.faults_end + AFTER_FAULTS;
        while let Some(Next { time, what, .. }) = self.queue.pop() {
            if time > end || self.at_rest {
                break;
            }
            self.now = time;
            self.stats.events += 1;
            self.note(&what);
            self.happen(what);
            self.judge();
            if let Some(why) = self.broken.take() {
                return Err(format!("{:.3} s: {why}", self.now as f64 / 1e9));
            }
        }
        if self.at_rest { Ok(()) } else { Err("liveness: the pair does not come to rest".to_owned()) }
    }

    fn about(&self) -> String {
        format!("{:?}, faults: {:?}", self.plan.setup.parameters, self.plan.faults)
    }

    fn begin(&mut self) {
        self.at(0, What::EdgeUp);
        for side in Side::BOTH {
            self.at(0, What::AgentUp { side });
            self.at(50 * MS, What::Auxiliary { side });
        }
        for client in 0..self.plan.clients {
            self.at(500 * MS, What::ClientSends { client });
        }
        self.at(3_000 * MS, What::Operator);
        self.at(2_500 * MS, What::Fault);
    }

    fn at(&mut self, time: u64, what: What) {
        self.sequence += 1;
        self.queue.push(Next { time: time.max(self.now), sequence: self.sequence, what });
    }

    fn after(&mut self, delay: u64, what: What) {
        self.at(self.now + delay, what);
    }

    fn next_process(&mut self) -> u64 {
        self.processes += 1;
        self.processes
    }

    /// The first thing that is broken counts.
    fn broken(&mut self, why: String) {
        self.tell(|| format!("BROKEN {why}"));
        self.broken.get_or_insert(why);
    }

    fn tell(&self, text: impl FnOnce() -> String) {
        if self.verbose {
            println!("{:>10.3}s  {}", self.now as f64 / 1e9, text());
        }
    }

    fn note(&mut self, what: &What) {
        let mut hasher = DefaultHasher::new();
        (self.fingerprint, self.now, what).hash(&mut hasher);
        self.fingerprint = hasher.finish();
    }

    /// Whoever sleeps finds on waking what should have happened.
    fn is_deferred(&mut self, what: &What) -> bool {
        let waits = match Room::of(what) {
            Room::Edge => self.edge.asleep.then_some(&mut self.edge.deferred),
            Room::Agent(side) => {
                let host = &mut self.hosts[side];
                (host.agent_asleep || host.frozen).then_some(&mut host.deferred)
            }
            Room::Host(side) => {
                let host = &mut self.hosts[side];
                host.frozen.then_some(&mut host.deferred)
            }
            Room::Nobody => None,
        };
        waits.map(|deferred| deferred.push(what.clone())).is_some()
    }

    fn happen(&mut self, what: What) {
        if self.is_deferred(&what) || self.is_outlived(&what) {
            return;
        }
        match what {
            What::EdgeUp => self.edge_up(),
            What::EdgeDies { done, .. } => self.edge_dies(if done { self.edge.disk.pending() } else { 0 }, false),
            What::EdgeWakes { slept, .. } => self.edge_wakes(slept),
            What::EdgeTimer { .. } => self.edge_timer(),
            What::EdgeStored { ticket, well, .. } => self.edge_stored(ticket, well),
            What::Drained { epoch, .. } => self.tell_edge(coordinator::Input::Drained { epoch: Epoch(epoch) }),
            What::FenceHook { side, epoch, works, .. } => self.fence_hook(side, epoch, works),
            What::ToEdge { side, link } => self.arrives_at_edge(side, link),
            What::ToAgent { side, link } => self.arrives_at_agent(side, link),
            What::LinkUp { side } => self.connect(side),
            What::LinkBreaks { side, link } => self.link_breaks(side, link),
            What::Silence { side } => self.silence(side),
            What::Auxiliary { side } => self.ping_auxiliary(side),
            What::ProbeDue { probe, declaration } => self.probe_due(probe, declaration),
            What::ProbeDone { probe, declaration, sent, finding } => self.probe_done(probe, declaration, sent, finding),
            What::PolicyActs { .. } => self.policy_acts(),
            What::PolicyTimer { .. } => self.policy_timer(),
            What::PolicyBack { .. } => self.policy_back(),
            What::Window { .. } => self.close_window(),
            What::Operator => self.operator(),
            What::AgentUp { side } => self.agent_up(side),
            What::AgentDies { side, done, .. } => {
                let writes = if done { self.hosts[side].disk.pending() } else { 0 };
                self.agent_dies(side, writes);
            }
            What::NodeTimer { side, .. } => self.node_timer(side),
            What::NodeStored { side, ticket, well, .. } => self.node_stored(side, ticket, well),
            What::LooksAtLan { side, .. } => self.look_at_lan(side),
            What::CrewLooks { side, .. } => self.crew_looks(side),
            What::AgentRestarts { side, .. } => self.agent_restarts(side),
            What::Boot { side } => self.boot(side),
            What::Wake { side } => self.wake(side),
            What::ServiceStarted { side, id, good } => self.service_started(side, id, good),
            What::ServiceEnds { side, id } => self.service_ends(side, id),
            What::AppStarts { side, .. } => self.app_starts(side),
            What::AppReady { side, id } => self.app_ready(side, id),
            What::AppOrphanEnds { side, id } => self.app_orphan_ends(side, id),
            What::Deadman { side } => self.deadman(side),
            What::TroubleEnds { side } => self.hosts[side].crew.trouble = services::Trouble::None,
            What::DiskWell { side: None } => self.edge.disk.health = disk::Health::Well,
            What::DiskWell { side: Some(side) } => self.hosts[side].disk.health = disk::Health::Well,
            What::ClientSends { client } => self.client_sends(client),
            What::RequestComes { request, .. } => self.request_comes(request),
            What::HoldOver { request, .. } => self.hold_over(request),
            What::LooksAgain { request, .. } => self.looks_again(request),
            What::Connected { request, attempt, reached, .. } => self.connected(request, attempt, reached),
            What::Blow { request, attempt, blow, .. } => self.blow(request, attempt, blow),
            What::AnswerComes { request, attempt, status, .. } => self.answer_comes(request, attempt, status),
            What::AtServer { side, request, attempt } => self.at_server(side, request, attempt),
            What::Worked { side, app, request, attempt } => self.worked(side, app, request, attempt),
            What::AnswerLeaves { side, request, attempt, status } => {
                self.answer_leaves(side, request, attempt, status);
            }
            What::Patience { request, impatient } => self.patience_ends(request, impatient),
            What::Fault => self.fault(),
        }
    }

    /// Whether it is of a life that is over.
    fn is_outlived(&self, what: &What) -> bool {
        match what {
            What::EdgeDies { life, .. }
            | What::EdgeWakes { life, .. }
            | What::EdgeTimer { life }
            | What::EdgeStored { life, .. }
            | What::Drained { life, .. }
            | What::FenceHook { life, .. }
            | What::Window { life }
            | What::RequestComes { life, .. }
            | What::HoldOver { life, .. }
            | What::LooksAgain { life, .. }
            | What::Connected { life, .. }
            | What::Blow { life, .. }
            | What::AnswerComes { life, .. } => *life != self.edge.life,
            What::PolicyActs { life } | What::PolicyTimer { life } | What::PolicyBack { life } => {
                *life != self.policy.life
            }
            What::AgentDies { side, life, .. }
            | What::NodeTimer { side, life }
            | What::NodeStored { side, life, .. }
            | What::LooksAtLan { side, life }
            | What::CrewLooks { side, life }
            | What::AgentRestarts { side, life }
            | What::AppStarts { side, life } => *life != self.hosts[*side].life,
            _ => false,
        }
    }
}

/// Whose process, or host, must be awake for something to happen.
enum Room {
    Edge,
    Agent(Side),
    Host(Side),
    /// The kernel's timers, the network, the clients, and fate.
    Nobody,
}

impl Room {
    fn of(what: &What) -> Room {
        match what {
            What::EdgeTimer { .. }
            | What::EdgeStored { .. }
            | What::Drained { .. }
            | What::FenceHook { .. }
            | What::ToEdge { .. }
            | What::LinkUp { .. }
            | What::LinkBreaks { .. }
            | What::Silence { .. }
            | What::ProbeDue { .. }
            | What::ProbeDone { .. }
            | What::PolicyActs { .. }
            | What::PolicyTimer { .. }
            | What::PolicyBack { .. }
            | What::Window { .. }
            | What::RequestComes { .. }
            | What::HoldOver { .. }
            | What::LooksAgain { .. }
            | What::Connected { .. }
            | What::Blow { .. }
            | What::AnswerComes { .. } => Room::Edge,
            What::Auxiliary { .. } => Room::Edge,
            What::ToAgent { side, .. }
            | What::NodeTimer { side, .. }
            | What::NodeStored { side, .. }
            | What::LooksAtLan { side, .. }
            | What::CrewLooks { side, .. }
            | What::AgentRestarts { side, .. }
            | What::AppStarts { side, .. } => Room::Agent(*side),
            What::ServiceStarted { side, .. } | What::AppReady { side, .. } => Room::Host(*side),
            _ => Room::Nobody,
        }
    }
}
