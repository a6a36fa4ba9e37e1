//! Every metric: its name, what it means, and where it is read. `docs/metrics.md` is made of this.

mod edge;
mod pairs;
mod sides;
mod traffic;

use super::{Look, Samples};
use crate::admin::api::PairStatus;
use lockstep_policy::Side;

/// What kind of number a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows while the edge runs.
    Counter,
    /// It goes up and down.
    Gauge,
    /// How many of what it measures were at most so long.
    Histogram,
}

/// One metric.
#[derive(Clone, Copy)]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// What kind of number it is.
    pub kind: Kind,
    /// The names of its labels; a histogram's `le` is not among them.
    pub labels: &'static [&'static str],
    /// What it is counted in.
    pub unit: &'static str,
    /// What it means.
    pub help: &'static str,
    pub(in crate::metrics) read: fn(&Look, &mut Samples),
}

const PAIR: &[&str] = &["pair"];
const SIDE: &[&str] = &["pair", "side"];

/// All of them, in the order in which they are shown, in the sections of the page.
pub const SECTIONS: &[(&str, &[Family])] = &[
    ("Pairs", pairs::PAIRS),
    ("Requests", traffic::REQUESTS),
    ("Holds", traffic::HOLDS),
    ("Streams", traffic::STREAMS),
    ("Sides", sides::SIDES),
    ("The edge", edge::EDGE),
    ("The process", edge::PROCESS),
];

/// All of them, in that order.
pub fn families() -> impl Iterator<Item = &'static Family> {
    SECTIONS.iter().flat_map(|(_, families)| *families)
}

fn pairs(look: &Look) -> &[PairStatus] {
    &look.status.pairs
}

fn name(side: Side) -> &'static str {
    match side {
        Side::A => "a",
        Side::B => "b",
    }
}

/// One sample for each pair, where there is a value.
fn each_pair<T: std::fmt::Display>(look: &Look, samples: &mut Samples, value: impl Fn(&PairStatus) -> Option<T>) {
    for pair in pairs(look) {
        if let Some(value) = value(pair) {
            samples.put(&[("pair", &pair.name)], value);
        }
    }
}

/// One sample for each side of each pair, where there is a value.
fn each_side<T: std::fmt::Display>(look: &Look, samples: &mut Samples, value: impl Fn(&PairStatus, Side) -> Option<T>) {
    for pair in pairs(look) {
        for side in Side::BOTH {
            if let Some(value) = value(pair, side) {
                samples.put(&[("pair", &pair.name), ("side", name(side))], value);
            }
        }
    }
}
