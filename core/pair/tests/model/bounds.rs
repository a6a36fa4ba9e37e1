//! What may happen in a run, how often, with which times of the pair: the bounds within which every state is looked at.

use crate::pair::{Clock, Promise};
use lockstep_pair::coordinator::{Leftover, Settings};
use lockstep_pair::protocol::Terms;
use lockstep_policy::action::Urgency;
use lockstep_policy::{Side, Sides};
use std::time::Duration;

/// How often each thing may still happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Budget {
    /// Orders of a policy or an operator.
    pub orders: u8,
    /// Crashes of the edge.
    pub edge_crashes: u8,
    /// Crashes of an agent.
    pub node_crashes: u8,
    /// Crashes of anyone, besides.
    pub crashes: u8,
    /// Messages that vanish.
    pub losses: u8,
    /// Messages that arrive again later.
    pub duplicates: u8,
    /// Messages of connections that broke, which arrive at a node after all.
    pub strays: u8,
    /// Messages that overtake the one before.
    pub reorders: u8,
    /// Times that one direction of a link is held up, for any time.
    pub stalls: u8,
    /// Connections that break although nothing is held up.
    pub breaks: u8,
    /// Writes that fail.
    pub failed_writes: u8,
    /// Starts and stops that fail.
    pub failed_runs: u8,
    /// Services that die by themselves.
    pub deaths: u8,
    /// Ticks in all; unbounded when none.
    pub ticks: Option<u8>,
}

/// An order that may be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// Move the active role.
    Switch(Side, Urgency),
    /// Stop a side.
    StandDown(Side),
    /// Warm a side up.
    Prepare(Side),
}

impl Command {
    /// Whether it moves the active role to the side that is not active at first.
    pub fn moves(&self) -> bool {
        matches!(self, Command::Switch(Side::B, _))
    }
}

/// All that end.
pub const EVERY_COMMAND: &[Command] = &[
    Command::Switch(Side::A, Urgency::Planned),
    Command::Switch(Side::A, Urgency::Failover),
    Command::Switch(Side::B, Urgency::Planned),
    Command::Switch(Side::B, Urgency::Failover),
    Command::StandDown(Side::A),
    Command::StandDown(Side::B),
];

/// To the side that is not active, at first.
pub const TO_B: &[Command] = &[Command::Switch(Side::B, Urgency::Planned), Command::Switch(Side::B, Urgency::Failover)];

/// There in order.
pub const PLANNED: &[Command] = &[Command::Switch(Side::B, Urgency::Planned)];

/// There at once.
pub const FAILOVER: &[Command] = &[Command::Switch(Side::B, Urgency::Failover)];

/// One configuration of the model.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// What may happen.
    pub budget: Budget,
    /// Which orders may be given.
    pub commands: &'static [Command],
    /// The sides whose agents, disks, services and connections may fail.
    pub struck: &'static [Side],
    /// What the edge goes by.
    pub settings: Settings,
    /// What it went by before, while all was well: other than that when it is wrong on purpose.
    pub right_settings: Settings,
    /// What the nodes are told.
    pub terms: Terms,
    /// How the nodes' clocks run.
    pub clocks: Sides<Clock>,
    /// So long a start takes at the most, in ticks.
    pub start: u64,
    /// Writes may take any time: the edge's, and those of the sides that are struck.
    pub slow_disks: bool,
    /// So many messages one direction of a link holds; what comes then is lost.
    pub window: usize,
    /// So many messages of dead connections, and copies, are may be under way to each node.
    pub stray: usize,
    /// Whether liveness is looked at.
    pub liveness: bool,
    /// What is done wrong on purpose.
    pub mutation: Mutation,
    /// Promises that are not looked at, so that what follows when they are broken can be seen.
    pub overlooked: &'static [Promise],
}

/// Something done wrong on purpose. All but the settings are wrong shells around right machines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mutation {
    /// Nothing.
    #[default]
    None,
    /// The edge's shell says that a write is durable, and has not written.
    EdgeForgets,
    /// The agent's shell says that a write is durable, and has not written.
    NodeForgets,
    /// The agent's shell stamps leases with the time at which they come.
    LeaseFromReceipt,
    /// The agent's shell passes on old commands as if they were of the newest epoch.
    ObeysOldEpochs,
    /// The agent's shell does not tell the node the pair's times.
    NoTerms,
    /// The proxy gives requests to the route's side, however long nothing was heard of it.
    ProxyIgnoresLease,
    /// The edge's shell hands in the same time again and again.
    EdgeClockStands,
}

/// The times of the pair, in ticks. The margin is less than a tick: timers fire at whole ticks, and so fire late.
pub const SETTINGS: Settings = Settings {
    terms: Terms { ttl: Duration::from_secs(3), renew: Duration::from_secs(1), stop_max: Duration::from_secs(1) },
    drift_ppm: 0,
    margin: Duration::from_millis(100),
    prepare: Duration::from_secs(2),
    drain: Duration::from_secs(1),
    leftover: Leftover::Cut,
    fence: Duration::from_secs(2),
    activate: Duration::from_secs(3),
    activate_attempts: 2,
    settle: Duration::from_secs(1),
    recover: Duration::from_secs(2),
    fencing: Sides { a: lockstep_pair::coordinator::Fencing::LEASE, b: lockstep_pair::coordinator::Fencing::LEASE },
};

/// Clocks may be slow, or fast, by a fifth.
pub const DRIFT: Settings = Settings { drift_ppm: 200_000, ..SETTINGS };

/// The same for longer leases, in which a clock's leap of a tick is within what it may drift.
pub const WIDE: Settings = Settings {
    terms: Terms { ttl: Duration::from_secs(6), renew: Duration::from_secs(2), stop_max: Duration::from_secs(2) },
    margin: Duration::from_millis(700),
    ..DRIFT
};

impl Bounds {
    /// Nothing goes wrong, and `budget` may.
    pub fn new(budget: Budget) -> Bounds {
        Bounds {
            budget,
            commands: EVERY_COMMAND,
            struck: &Side::BOTH,
            settings: SETTINGS,
            right_settings: SETTINGS,
            terms: SETTINGS.terms,
            clocks: Sides { a: Clock::True, b: Clock::True },
            start: 1,
            slow_disks: false,
            window: 2,
            stray: 1,
            liveness: true,
            mutation: Mutation::None,
            overlooked: &[],
        }
    }

    /// Whether a side's writes may take any time.
    pub fn is_slow(&self, side: Side) -> bool {
        self.slow_disks && self.struck.contains(&side)
    }

    /// The longest that a handover may take, with its roll-back, in ticks (I5): the sum of its phases' bounds.
    pub fn longest(&self) -> u8 {
        let Settings { prepare, drain, fence, activate, margin, drift_ppm, .. } = self.right_settings;
        let leased = self.terms.ttl + self.terms.stop_max;
        let clear = leased.mul_f64(1e6 / f64::from(1_000_000 - drift_ppm)) + margin;
        // What is over between two ticks is seen at the second.
        let attempt = prepare + Duration::from_secs_f64(clear.as_secs_f64().ceil()) + fence + activate;
        u8::try_from((attempt * 2 + drain).as_secs()).expect("a bound of some ticks")
    }
}
