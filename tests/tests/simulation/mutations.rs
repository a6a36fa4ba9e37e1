//! A check that cannot fail proves nothing: each thing that is broken on purpose is noticed, within so many seeds.

use crate::play;
use crate::world::Mutation;

/// Seeds that are tried before a mutation counts as unnoticed.
const SEEDS: u64 = 1_500;

/// What the checks say in the first world that notices the mutation.
fn noticed(mutation: Mutation) -> String {
    let found = (0..SEEDS).find_map(|seed| play(seed, mutation).1.err().map(|why| (seed, why)));
    let (seed, why) = found.unwrap_or_else(|| panic!("{mutation:?}: no world of {SEEDS} notices it"));
    println!("{mutation:?} is noticed by seed {seed}: {why}");
    why
}

#[test]
fn i1_an_edge_that_believes_in_too_short_leases_is_noticed() {
    assert!(noticed(Mutation::ShortLeases).contains("I1"));
}

#[test]
fn i1_a_lease_that_is_counted_from_its_receipt_is_noticed() {
    let why = noticed(Mutation::LeaseFromReceipt);
    assert!(why.contains("I1") || why.contains("I2"), "{why}");
}

#[test]
fn i2_a_route_that_moves_before_the_activation_is_noticed() {
    assert!(noticed(Mutation::EarlyRoute).contains("I2"));
}

#[test]
fn i2_an_application_that_serves_after_its_right_has_ended_is_noticed() {
    assert!(noticed(Mutation::ServingStandby).contains("I2"));
}

#[test]
fn i4_an_epoch_that_is_not_stored_is_noticed() {
    assert!(noticed(Mutation::NothingStored).contains("I4"));
}

#[test]
fn i6_a_waiting_room_that_forgets_somebody_is_noticed() {
    assert!(noticed(Mutation::DroppedHold).contains("I6"));
}

#[test]
fn i6_a_post_that_is_sent_again_is_noticed() {
    assert!(noticed(Mutation::ResentPost).contains("I6"));
}

#[test]
fn t4_an_isolated_node_that_goes_on_is_noticed() {
    assert!(noticed(Mutation::UnboundIsolation).contains("T4"));
}
