//! One state of the modelled pair: the edge's host, the two nodes' hosts, the links between them, and what may still go
//! wrong. Every clock reads [`NOW`]: when time passes, everything else becomes older.

use crate::bounds::Budget;
use lockstep_pair::coordinator::{self, Coordinator};
use lockstep_pair::node::{self, Node};
use lockstep_pair::protocol::{FromNode, ToNode};
use lockstep_pair::{Route, RouteKind};
use lockstep_policy::{At, Epoch, Side, Sides};
use std::collections::VecDeque;
use std::time::Duration;

/// The least time that passes. A second, because the production code has times of its own that are whole seconds.
pub const TICK: Duration = Duration::from_secs(1);

/// What every clock reads, in ticks: more than the longest time that anything is compared with, so that what is older
/// than the clock may count as being as old as the clock.
pub const AGE: u64 = 7;

/// What every clock reads.
pub const NOW: At = At(AGE * 1_000_000_000);

/// So many ticks.
pub fn ticks(count: u64) -> Duration {
    TICK * u32::try_from(count).expect("bounded")
}

/// A state of everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pair {
    /// The edge's host.
    pub edge: Edge,
    /// The nodes' hosts.
    pub hosts: Sides<Host>,
    /// The edge's connection to each.
    pub links: Sides<Link>,
    /// What may still happen.
    pub left: Budget,
    /// By epoch: the side that was told to be active in it, if one was.
    pub activated: [Option<Side>; EPOCHS],
    /// What was found to be broken, by the step that led here.
    pub broken: Option<Broken>,
}

/// More epochs than the bounds allow to be used.
pub const EPOCHS: usize = 24;

/// A promise that was not kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Broken {
    /// Which.
    pub promise: Promise,
    /// What was seen.
    pub what: String,
}

/// What a step may break. What a state as such may break is looked at in each state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Promise {
    /// A node obeys no older epoch than its disk's.
    I3,
    /// Nothing is used, and nobody says that it is durable, before it is.
    Undurable,
    /// No epoch is used for two sides.
    OneOutcome,
    /// An assertion of the production code.
    Assertion,
}

/// The edge's host.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Edge {
    /// None: it has crashed.
    pub coordinator: Option<Coordinator>,
    /// What is durable.
    pub disk: coordinator::Stored,
    /// Writes under way, the oldest first.
    pub writes: VecDeque<(coordinator::Ticket, coordinator::Stored)>,
    /// Requests in flight are waited for.
    pub draining: Option<Epoch>,
    /// What the proxy was told.
    pub route: Route,
    /// And until when.
    pub serve_until: At,
    /// The order that has not ended.
    pub order: Option<coordinator::OrderId>,
    /// For so many ticks a handover or an order has been under way.
    pub under_way: u8,
}

/// A node's host.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Host {
    /// None: its agent has crashed.
    pub node: Option<Node>,
    /// Counts the agent's lives.
    pub lives: u64,
    /// What is durable.
    pub disk: node::Stored,
    /// Writes under way, the oldest first.
    pub writes: VecDeque<(node::Ticket, node::Stored)>,
    /// The exclusive services run, or some of them.
    pub running: bool,
    /// All of them are ready.
    pub ready: bool,
    /// What the agent is doing with them.
    pub task: Option<Task>,
    /// When the kernel kills them.
    pub kill_at: Option<At>,
    /// How its clock runs.
    pub clock: Clock,
}

/// What an agent is doing with its services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Task {
    /// Starting them.
    Start {
        /// The run.
        run: node::Run,
        /// When that is done at the latest.
        by: At,
    },
    /// Stopping them.
    Stop {
        /// The run.
        run: node::Run,
        /// When that is done at the latest.
        by: At,
    },
}

/// How a node's clock runs against the edge's. Its ticks are whole too: a clock that is slow stands still now and then,
/// one that is fast leaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Clock {
    /// As the edge's.
    True,
    /// Four ticks for five of the edge's.
    Slow(u8),
    /// Six ticks for five of the edge's.
    Fast(u8),
}

impl Clock {
    /// By how much it moves on while the edge's moves on by a tick.
    pub fn tick(&mut self) -> Duration {
        match self {
            Clock::True => TICK,
            Clock::Slow(phase) | Clock::Fast(phase) if *phase < 4 => {
                *phase += 1;
                TICK
            }
            Clock::Slow(phase) => {
                *phase = 0;
                Duration::ZERO
            }
            Clock::Fast(phase) => {
                *phase = 0;
                TICK * 2
            }
        }
    }
}

/// The edge's connection to a node. Each direction keeps its order; what a stall holds up arrives when the stall ends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Link {
    /// The edge has it.
    pub up: bool,
    /// The node has it: not, when its agent has crashed since, of which the edge may not know.
    pub attached: bool,
    /// What the edge sends is held up.
    pub down_stalled: bool,
    /// What the node sends is held up.
    pub up_stalled: bool,
    /// Under way to the node.
    pub to_node: VecDeque<ToNode>,
    /// Under way to the edge.
    pub to_edge: VecDeque<FromNode>,
    /// The node has obeyed what was astray, and what it has said of that is under way.
    pub misled: bool,
    /// Of connections that are no more, and copies: may arrive at the node at any time, in any order.
    pub stray: Vec<ToNode>,
}

impl Link {
    /// Something does not get through.
    pub fn is_stalled(&self) -> bool {
        self.down_stalled || self.up_stalled
    }
}

impl Pair {
    /// The side that gets requests at this moment.
    pub fn served(&self) -> Option<Side> {
        match self.edge.route.kind {
            RouteKind::Serve(side) if self.edge.coordinator.is_some() && NOW < self.edge.serve_until => Some(side),
            _ => None,
        }
    }
}
