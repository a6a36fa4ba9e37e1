//! Seeded simulation of one pair: the production coordinator and two production nodes under virtual time, with
//! crashes, partitions, isolated nodes, delays, sleeps, drifting clocks, slow and failing disks, and services that do not start.
//!
//! A failing seed is printed; `SEED=n cargo nextest run -p lockstep-pair seed_of_the_environment` runs it alone.

mod world;

use world::World;

/// `SEEDS=n` in the environment runs more of them.
fn seeds() -> u64 {
    std::env::var("SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(2_000)
}

fn run(seed: u64) -> World {
    let mut world = World::new(seed);
    world.run();
    world
}

#[test]
fn i1_to_i5_hold_in_seeded_worlds_of_faults() {
    let mut completed = 0;
    let mut recovered = 0;
    let mut isolated = 0;
    let seeds = seeds();
    for seed in 0..seeds {
        let world = std::panic::catch_unwind(|| run(seed)).unwrap_or_else(|_| panic!("seed {seed} broke an invariant"));
        completed += world.completed;
        recovered += world.edge_restarts;
        isolated += world.isolations;
    }
    // The worlds are wild, but not so wild that nothing ever happens in them.
    assert!(completed > seeds, "only {completed} handovers completed in {seeds} worlds");
    assert!(recovered > seeds / 2, "only {recovered} restarts of the edge in {seeds} worlds");
    assert!(isolated > seeds / 4, "only {isolated} active nodes were isolated in {seeds} worlds");
}

#[test]
fn the_same_seed_gives_the_same_world() {
    for seed in [1, 2, 3, 99] {
        assert_eq!(run(seed).fingerprint, run(seed).fingerprint);
    }
}

/// A check that cannot fail proves nothing: with the drift margin and `stop_max` left out of the edge's belief, some
/// world must show both sides' services running at once.
#[test]
fn an_edge_that_believes_in_too_short_leases_is_caught() {
    let caught = (0..seeds()).any(|seed| {
        std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            world.let_the_edge_believe_in_short_leases();
            world.run();
        })
        .is_err()
    });
    assert!(caught, "no world noticed that the edge activates before the other side's lease is over");
}

#[test]
fn seed_of_the_environment() {
    if let Ok(seed) = std::env::var("SEED") {
        let mut world = World::new(seed.parse().expect("SEED is a number"));
        world.verbose = true;
        world.run();
    }
}
