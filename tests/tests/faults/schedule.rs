//! A schedule: what breaks when, and for how long. All of it follows from a seed.

use fastrand::Rng;
use lockstep_policy::Side;
use std::fmt;
use std::time::Duration;

/// Faults begin within this time.
const HORIZON: u64 = 6_000;
/// No fault lasts longer.
const LONGEST: u64 = 3_500;

/// A machine with a cable of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// The edge.
    Edge,
    /// A side's node.
    Node(Side),
}

impl Host {
    /// All three.
    pub const ALL: [Host; 3] = [Host::Edge, Host::Node(Side::A), Host::Node(Side::B)];

    /// A number below three.
    pub fn index(self) -> usize {
        match self {
            Host::Edge => 0,
            Host::Node(Side::A) => 1,
            Host::Node(Side::B) => 2,
        }
    }

    /// A file's name.
    pub fn name(self) -> String {
        match self {
            Host::Edge => "edge".to_owned(),
            Host::Node(side) => format!("agent-{side}"),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Edge => f.write_str("edge"),
            Host::Node(side) => write!(f, "{side}"),
        }
    }
}

/// The frames from one host to another, or both ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// Who sends.
    pub from: Host,
    /// Who receives.
    pub to: Host,
    /// The way back too.
    pub both: bool,
}

impl Path {
    /// Whether frames from one to the other take it.
    pub fn covers(self, from: Host, to: Host) -> bool {
        (self.from, self.to) == (from, to) || self.both && (self.to, self.from) == (from, to)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.from, if self.both { "<->" } else { "->" }, self.to)
    }
}

/// What becomes of frames on their way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weather {
    /// Of a hundred, so many are lost.
    pub lost: u32,
    /// Of a hundred, so many come twice.
    pub twice: u32,
    /// Each takes so long at least.
    pub delay: Duration,
    /// And at most so much longer: frames overtake each other.
    pub jitter: Duration,
}

impl Weather {
    /// Nothing comes through.
    pub const CUT: Weather = Weather { lost: 100, twice: 0, delay: Duration::ZERO, jitter: Duration::ZERO };
}

/// A process, or a host's processes together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The edge's process.
    Edge,
    /// A side's agent.
    Agent(Side),
    /// Its application.
    App(Side),
    /// Its CTI service.
    Cti(Side),
    /// The guards of its services.
    Guards(Side),
    /// All of a node's.
    Node(Side),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Edge => f.write_str("the edge"),
            Target::Agent(side) => write!(f, "the agent of {side}"),
            Target::App(side) => write!(f, "the application of {side}"),
            Target::Cti(side) => write!(f, "the CTI of {side}"),
            Target::Guards(side) => write!(f, "the guards of {side}"),
            Target::Node(side) => write!(f, "the node of {side}"),
        }
    }
}

/// What breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Frames are lost, late, doubled.
    Weather(Path, Weather),
    /// A host's cable is pulled.
    Unplug(Host),
    /// A host's link goes down and comes up, again and again.
    Flap(Host, Duration, Duration),
    /// SIGSTOP, and SIGCONT at the end.
    Stop(Target),
    /// SIGKILL. At the end edges and agents are started again; services are their agent's care.
    Kill(Target),
    /// The disk of a host's state is full.
    Full(Host),
    /// A host's wall clock is so many days ahead.
    Clock(Host, i32),
    /// A side's CTI service fails whenever it starts.
    Broken(Side),
    /// A side's agent is killed as soon as it begins to be activated, and started again at the end.
    Ambush(Side),
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Weather(path, weather) if *weather == Weather::CUT => write!(f, "{path} is cut"),
            Kind::Weather(path, weather) => write!(
                f,
                "{path}: {} % lost, {} % doubled, late by {:?} to {:?}",
                weather.lost,
                weather.twice,
                weather.delay,
                weather.delay + weather.jitter
            ),
            Kind::Unplug(host) => write!(f, "the cable of {host} is pulled"),
            Kind::Flap(host, down, up) => write!(f, "the link of {host} flaps: {down:?} down, {up:?} up"),
            Kind::Stop(target) => write!(f, "SIGSTOP to {target}"),
            Kind::Kill(target) => write!(f, "SIGKILL to {target}"),
            Kind::Full(host) => write!(f, "the state's disk of {host} is full"),
            Kind::Clock(host, days) => write!(f, "the wall clock of {host} is set by {days:+} d"),
            Kind::Broken(side) => write!(f, "the CTI of {side} fails to start"),
            Kind::Ambush(side) => write!(f, "the agent of {side} is killed when it is activated"),
        }
    }
}

/// One fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// When it begins, from the schedule's start.
    pub at: Duration,
    /// How long it lasts.
    pub lasts: Duration,
    /// What it is.
    pub kind: Kind,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>5} ms, for {:>4} ms: {}", self.at.as_millis(), self.lasts.as_millis(), self.kind)
    }
}

/// What breaks when, and when an operator wants the role moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// What all of it follows from.
    pub seed: u64,
    /// In the order of their beginnings.
    pub faults: Vec<Fault>,
    /// Planned switches.
    pub orders: Vec<(Duration, Side)>,
}

impl Schedule {
    /// The schedule of a seed.
    pub fn of(seed: u64) -> Schedule {
        let mut rng = Rng::with_seed(seed);
        let mut faults: Vec<Fault> = (0..rng.usize(3..=8)).map(|_| fault(&mut rng)).collect();
        faults.sort_by_key(|fault| fault.at);
        let mut orders: Vec<_> = (0..rng.usize(0..=3)).map(|_| (ms(rng.u64(0..HORIZON)), side(&mut rng))).collect();
        orders.sort_by_key(|(at, _)| *at);
        Schedule { seed, faults, orders }
    }

    /// Whether a host's wall clock is ever set.
    pub fn sets_clocks(&self) -> bool {
        self.faults.iter().any(|fault| matches!(fault.kind, Kind::Clock(..)))
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}", self.seed)?;
        self.faults.iter().try_for_each(|fault| writeln!(f, "  {fault}"))?;
        self.orders.iter().try_for_each(|(at, to)| writeln!(f, "  {:>5} ms: an order: to {to}", at.as_millis()))
    }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn side(rng: &mut Rng) -> Side {
    if rng.bool() { Side::A } else { Side::B }
}

fn host(rng: &mut Rng) -> Host {
    Host::ALL[rng.usize(0..3)]
}

fn fault(rng: &mut Rng) -> Fault {
    let at = ms(rng.u64(0..HORIZON));
    let kind = kind(rng);
    let lasts = match kind {
        // Below the lease, about the lease, and past the dead-man's switch.
        Kind::Stop(_) if rng.bool() => rng.u64(50..700),
        Kind::Kill(_) | Kind::Ambush(_) => rng.u64(0..2_000),
        _ => rng.u64(300..LONGEST),
    };
    Fault { at, lasts: ms(lasts), kind }
}

fn kind(rng: &mut Rng) -> Kind {
    match rng.u32(0..100) {
        0..14 => Kind::Weather(path(rng), Weather { lost: rng.u32(1..=30), ..Weather::default() }),
        14..26 => Kind::Weather(path(rng), slow(rng)),
        26..40 => Kind::Weather(path(rng), Weather::CUT),
        40..46 => Kind::Flap(host(rng), ms(rng.u64(50..500)), ms(rng.u64(50..500))),
        46..52 => Kind::Unplug(host(rng)),
        52..66 => Kind::Stop(stopped(rng)),
        66..82 => Kind::Kill(killed(rng)),
        82..88 => Kind::Full(host(rng)),
        88..92 => Kind::Clock(host(rng), if rng.bool() { 1 } else { -1 }),
        92..96 => Kind::Broken(side(rng)),
        _ => Kind::Ambush(side(rng)),
    }
}

fn path(rng: &mut Rng) -> Path {
    // Two of three times the path between the edge and a node.
    let from = rng.usize(0..3);
    let to = (from + rng.usize(1..3)) % 3;
    Path { from: Host::ALL[from], to: Host::ALL[to], both: rng.bool() }
}

fn slow(rng: &mut Rng) -> Weather {
    Weather {
        lost: if rng.bool() { rng.u32(0..=10) } else { 0 },
        twice: if rng.bool() { rng.u32(0..=20) } else { 0 },
        delay: ms(rng.u64(0..200)),
        jitter: ms(rng.u64(1..150)),
    }
}

fn stopped(rng: &mut Rng) -> Target {
    let side = side(rng);
    match rng.u32(0..10) {
        0..3 => Target::Edge,
        3..6 => Target::Agent(side),
        6..8 => Target::App(side),
        _ => Target::Node(side),
    }
}

fn killed(rng: &mut Rng) -> Target {
    let side = side(rng);
    match rng.u32(0..10) {
        0..3 => Target::Edge,
        3..6 => Target::Agent(side),
        6 => Target::Guards(side),
        7 => Target::Cti(side),
        8 => Target::App(side),
        _ => Target::Node(side),
    }
}
