//! A model of one pair: every state that the production coordinator and two production nodes can come to, within stated
//! bounds on what goes wrong (`docs/model.md`).
//!
//! `MODEL_DEPTH=long` looks at wider bounds, `MODEL_TRACE=1` prints the shortest way to what each mutation breaks, and
//! `make model` does both.

mod bounds;
mod check;
mod configurations;
mod event;
mod fair;
mod mutations;
mod pair;
mod step;
mod trace;

use bounds::Bounds;
use check::{Check, EXAMPLE};
use event::Event;
use pair::Pair;
use stateright::{Checker, HasDiscoveries, Model};
use std::time::Instant;

/// Events, each with the state that it happens in.
type Way = Vec<(Box<Pair>, Option<Event>)>;

/// Looks at every state within the bounds, until one breaks what must hold: what it breaks, and the way to it.
fn explore(name: &str, bounds: Bounds) -> Option<(&'static str, Way)> {
    let began = Instant::now();
    let checker = Check::new(bounds).checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    println!(
        "{name}: {} states, {} steps between them, {} deep, {:.1} s",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        began.elapsed().as_secs_f64()
    );
    let found = checker.discoveries().into_iter().filter(|(property, _)| *property != EXAMPLE);
    let shortest = found.map(|(property, path)| (property, path.into_vec())).min_by_key(|(_, way)| way.len());
    shortest.or_else(|| {
        let moves = bounds.commands.iter().any(bounds::Command::moves) && bounds.budget.orders > 0;
        assert!(!moves || checker.discovery(EXAMPLE).is_some(), "{name}: no order ever made the other side serve");
        None
    })
}

/// All of what must hold does, in every state.
fn holds(name: &str, bounds: Bounds) {
    if let Some((broken, way)) = explore(name, bounds) {
        panic!("{name}: {broken}\n{}", trace::tell(&way));
    }
}
