//! The network: which hosts reach which, each direction by itself, and how long it takes.

use super::{MS, World};
use lockstep_policy::Side;

/// A host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    Edge,
    Node(Side),
    Clients,
}

impl Place {
    pub const ALL: [Place; 4] = [Place::Edge, Place::Node(Side::A), Place::Node(Side::B), Place::Clients];

    fn index(self) -> usize {
        Place::ALL.iter().position(|place| *place == self).expect("it is one of them")
    }
}

/// Who reaches whom.
#[derive(Clone, Copy, Debug, Default)]
pub struct Network {
    cut: [[bool; 4]; 4],
}

impl Network {
    pub fn open(&self, from: Place, to: Place) -> bool {
        !self.cut[from.index()][to.index()]
    }

    pub fn both(&self, one: Place, other: Place) -> bool {
        self.open(one, other) && self.open(other, one)
    }

    pub fn cut(&mut self, from: Place, to: Place) {
        self.cut[from.index()][to.index()] = true;
    }

    pub fn heal(&mut self) {
        *self = Network::default();
    }

    pub fn heal_pair(&mut self, one: Place, other: Place) {
        self.cut[one.index()][other.index()] = false;
        self.cut[other.index()][one.index()] = false;
    }
}

impl World {
    /// How long a packet is under way. While there are faults it may be long.
    pub(super) fn delay(&mut self) -> u64 {
        let late = self.has_faults() && self.rng.u32(0..50) == 0;
        if late { self.rng.u64(0..300 * MS) } else { self.rng.u64(MS / 20..5 * MS) }
    }

    /// A node is isolated when neither its gateway nor its neighbour, the other node, answers.
    pub(super) fn is_isolated(&self, side: Side) -> bool {
        self.hosts[side].gateway_lost && !self.network.both(Place::Node(side), Place::Node(side.other()))
    }
}
