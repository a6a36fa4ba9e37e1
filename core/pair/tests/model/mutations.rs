//! A check that cannot fail proves nothing. What keeps each promise is taken away, and the model must find what breaks.
//! None of this touches the machines: it is their settings, or the shells around them, that are wrong.

use crate::bounds::{Bounds, Budget, Command, DRIFT, FAILOVER, Mutation, PLANNED, SETTINGS, TO_B};
use crate::check::{I1, I2, I3, I4, I5, LIVE};
use crate::configurations::{CUT_OFF, slow};
use crate::pair::Promise;
use crate::{explore, trace};
use lockstep_pair::coordinator::Settings;
use lockstep_pair::protocol::Terms;
use lockstep_policy::Side;
use lockstep_policy::action::Urgency;
use std::time::Duration;

fn breaks(promise: &str, name: &str, bounds: Bounds) {
    // What is not safe may well not be live either, and that is found sooner.
    let bounds = Bounds { liveness: promise == LIVE, ..bounds };
    let (broken, way) = explore(name, bounds).unwrap_or_else(|| panic!("{name}: not found"));
    if std::env::var_os("MODEL_TRACE").is_some() {
        println!("{name}: {broken}\n{}", trace::tell(&way));
    }
    assert_eq!(broken, promise, "{}", trace::tell(&way));
}

/// Side A is cut off, and side B is to take over.
fn cut_off() -> Bounds {
    Bounds { commands: FAILOVER, window: 1, ..Bounds::new(CUT_OFF) }
}

/// The edge is told that clocks do not drift. They do.
#[test]
fn drift_is_left_out_of_the_edges_belief() {
    breaks(I1, "no drift", slow(Settings { drift_ppm: 0, ..DRIFT }, Budget { ticks: Some(12), ..CUT_OFF }));
}

/// The edge is told that nothing is late. The kernel kills what runs at the very end of its time, and not before.
#[test]
fn the_margin_is_left_out_of_the_edges_belief() {
    breaks(I1, "no margin", Bounds { settings: Settings { margin: Duration::ZERO, ..SETTINGS }, ..cut_off() });
}

/// The edge is told that services stop at once; the nodes are told the truth.
#[test]
fn stop_max_is_not_waited_for() {
    let terms = Terms { stop_max: Duration::ZERO, ..SETTINGS.terms };
    breaks(I1, "no stop_max", Bounds { settings: Settings { terms, ..SETTINGS }, ..cut_off() });
}

/// The agent's shell gives each lease the time of its arrival for a stamp.
#[test]
fn a_lease_is_counted_from_its_receipt() {
    let bounds = Bounds { commands: FAILOVER, window: 1, ..Bounds::new(Budget { strays: 1, ..CUT_OFF }) };
    breaks(I1, "lease from receipt", Bounds { mutation: Mutation::LeaseFromReceipt, ..bounds });
}

/// The edge's shell says "stored" and has nothing on its disk.
#[test]
fn the_edge_uses_an_epoch_that_is_not_durable() {
    let bounds = Bounds { mutation: Mutation::EdgeForgets, commands: TO_B, ..Bounds::new(CUT_OFF) };
    breaks(I4, "the edge forgets", bounds);
}

/// And what comes of it: after a crash the same epoch is used again, for the other side.
#[test]
fn after_a_crash_an_epoch_that_was_not_durable_is_used_for_both_sides() {
    let bounds = Bounds {
        mutation: Mutation::EdgeForgets,
        overlooked: &[Promise::Undurable],
        commands: &[Command::Switch(Side::A, Urgency::Failover), Command::Switch(Side::B, Urgency::Failover)],
        window: 1,
        ..Bounds::new(Budget { orders: 2, edge_crashes: 1, losses: 1, ..Budget::default() })
    };
    breaks(I4, "the edge forgets, and crashes", bounds);
}

/// The agent's shell says "stored" and has nothing on its disk.
#[test]
fn a_node_speaks_of_an_epoch_that_is_not_durable() {
    let bounds = Bounds { mutation: Mutation::NodeForgets, commands: TO_B, ..Bounds::new(CUT_OFF) };
    breaks(I4, "the node forgets", bounds);
}

/// The agent's shell passes on what is old as if it were new.
#[test]
fn a_node_obeys_old_epochs() {
    let budget = Budget { orders: 1, breaks: 1, strays: 1, ..Budget::default() };
    breaks(
        I3,
        "obeys old epochs",
        Bounds { mutation: Mutation::ObeysOldEpochs, commands: TO_B, ..Bounds::new(budget) },
    );
}

/// The proxy looks at the route only, and nobody tells it that the lease is over.
#[test]
fn the_proxy_does_not_look_at_the_lease() {
    let budget = Budget { stalls: 1, ..Budget::default() };
    breaks(I2, "the proxy ignores the lease", Bounds { mutation: Mutation::ProxyIgnoresLease, ..Bounds::new(budget) });
}

/// The edge's shell hands in the same time again and again. Nothing else goes wrong, but that a request is long in flight.
#[test]
fn the_edges_clock_stands_still() {
    let bounds = Bounds { commands: PLANNED, ..Bounds::new(Budget { orders: 1, ..Budget::default() }) };
    breaks(I5, "the edge's clock stands still", Bounds { mutation: Mutation::EdgeClockStands, ..bounds });
}

/// A node that has restarted never hears the pair's times, and may not be active without them.
#[test]
fn a_node_is_not_told_the_pairs_times() {
    let budget = Budget { node_crashes: 2, ..Budget::default() };
    breaks(LIVE, "no terms", Bounds { mutation: Mutation::NoTerms, ..Bounds::new(budget) });
}
