//! A model of one pair: every state that the production coordinator and two production nodes can come to, within stated
//! bounds on what goes wrong (`docs/model.md`).

mod bounds;
mod check;
mod event;
mod fair;
mod pair;
mod step;
mod trace;

use bounds::{Bounds, Budget};
use check::Check;
use stateright::{Checker, HasDiscoveries, Model};
use std::time::Instant;

fn explore(name: &str, bounds: Bounds) {
    let began = Instant::now();
    let checker = Check::new(bounds).checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    println!(
        "{name}: {} states, {} seen, {} deep, {:.1} s",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        began.elapsed().as_secs_f64()
    );
    for (property, path) in checker.discoveries() {
        if !property.starts_with("a ") {
            panic!("{property}\n{}", trace::tell(&path.into_vec()));
        }
    }
}

#[test]
fn try_it() {
    let get = |name: &str| std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(0);
    let mut bounds = Bounds::new(Budget {
        orders: get("ORDERS"),
        edge_crashes: get("EDGE"),
        node_crashes: get("NODE"),
        crashes: get("CRASHES"),
        losses: get("LOSSES"),
        duplicates: get("DUPLICATES"),
        strays: get("STRAYS"),
        reorders: get("REORDERS"),
        stalls: get("STALLS"),
        breaks: get("BREAKS"),
        failed_writes: get("WRITES"),
        failed_runs: get("RUNS"),
        deaths: get("DEATHS"),
        ticks: None,
    });
    bounds.slow_disks = get("SLOW") > 0;
    explore("it", bounds);
}
