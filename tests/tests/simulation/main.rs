//! Seeded simulation of a whole pair, in virtual time: the production coordinator, nodes, proxy decisions and vendors'
//! policies; and around them simulated hosts, disks, clocks, services, applications, clients and a network, all of which
//! fail. What is checked, and what is simulated how, is in `docs/simulation.md`.
//!
//! A failing seed is printed with the command that plays it again and tells what happens.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "progress, and what happens in a seed")]

mod crowd;
mod mutations;
mod world;

use crowd::{library, play};
use world::{Mutation, Vendor, World};

/// Without `SEEDS` in the environment: of each policy.
const SEEDS: u64 = 667;

#[test]
fn telisca_pairs_hold_together() {
    crowd::hold_together(Vendor::Telisca);
}

#[test]
fn cic_pairs_hold_together() {
    crowd::hold_together(Vendor::Cic);
}

#[test]
fn eservices_pairs_hold_together() {
    crowd::hold_together(Vendor::Eservices);
}

#[test]
fn the_same_seed_gives_the_same_world() {
    let run = |seed| {
        let mut world = world_of(seed, Mutation::None);
        let ended = world.run();
        (ended, world.fingerprint, world.stats)
    };
    let seeds = [0, 1, 2, 3, 4, 5, 98, 99, 100];
    let once: Vec<_> = seeds.into_iter().map(run).collect();
    assert_eq!(once, seeds.into_iter().map(run).collect::<Vec<_>>());
    let worlds: std::collections::BTreeSet<u64> = once.iter().map(|(_, fingerprint, _)| *fingerprint).collect();
    assert_eq!(worlds.len(), seeds.len(), "different seeds give different worlds");
}

/// `SEED=n` in the environment: tells what happens in that world.
#[test]
fn seed_of_the_environment() {
    let Ok(seed) = std::env::var("SEED") else { return };
    let mut world = world_of(seed.parse().expect("SEED is a number"), Mutation::None);
    world.verbose = true;
    let ended = world.run();
    println!("{:#?}", world.stats);
    ended.unwrap_or_else(|why| panic!("seed {seed} broke at {why}"));
}

/// Each policy has every third seed.
fn world_of(seed: u64, mutation: Mutation) -> World {
    let policy = Vendor::ALL[usize::try_from(seed % 3).expect("it is small")];
    World::new(seed, policy, library(policy), mutation)
}
