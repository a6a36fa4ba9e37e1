//! The edge dies and comes back: at every point of a handover, between handovers, and for longer than the lease.

use crate::bed::{Bed, until};
use crate::configuration::LEASE;
use crate::stream::figure;
use crate::world::in_a_world_of_its_own;
use lockstep_demo::now;
use lockstep_policy::Side::{self, A, B};
use nix::sys::signal::Signal;
use std::time::Duration;

/// What makes the handover in which the edge dies.
#[derive(Clone, Copy)]
enum Cause {
    Planned,
    Failover,
}

/// I4: the edge is killed at a point of a handover from A to B, and started again by nobody's decision but a supervisor's. Edge and agents
/// come to one outcome without a person.
fn dies(point: &str, cause: Cause) -> impl FnOnce(&std::path::Path) {
    move |dir| {
        let mut bed = Bed::ready(dir);
        bed.kill_edge();
        bed.start_edge_that_dies(Some(point));
        bed.wait_well(A);
        let client = bed.client(200);
        client.let_flow(20);
        let order = match cause {
            Cause::Planned => Some(bed.order_switch(B)),
            Cause::Failover => {
                bed.signal(A, &["simulate", "app"], Signal::SIGKILL);
                None
            }
        };
        bed.wait_edge_dead();
        bed.start_edge();
        let serving = bed.wait_any_well();
        client.let_flow(50);
        if let Some(order) = order {
            assert!(order.join().unwrap().is_err(), "the edge died before it could answer");
        }
        let seen = client.finish(&bed);
        println!("{point}: side {serving} serves; {} of {} failed", seen.summary().failed, seen.summary().requests);
        bed.switch(serving.other());
        bed.wait_well(serving.other());
    }
}

macro_rules! deaths {
    ($($name:ident: $point:literal, $cause:ident;)*) => {$(
        #[test]
        fn $name() {
            in_a_world_of_its_own(|dir| dies($point, Cause::$cause)(dir));
        }
    )*};
}

deaths! {
    planned_prepare: "prepare", Planned;
    planned_hold: "hold", Planned;
    planned_drain: "drain", Planned;
    planned_fence: "fence", Planned;
    planned_activate: "activate", Planned;
    planned_commit: "commit", Planned;
    planned_settle: "settle", Planned;
    failover_hold: "hold", Failover;
    failover_fence: "fence", Failover;
    failover_activate: "activate", Failover;
    failover_commit: "commit", Failover;
    failover_settle: "settle", Failover;
}

/// I4 with two of the three gone at once: the edge at a point of a planned switch, and an agent with it.
fn dies_with_an_agent(point: &str, side: Side) -> impl FnOnce(&std::path::Path) {
    move |dir| {
        let mut bed = Bed::ready(dir);
        bed.kill_edge();
        bed.start_edge_that_dies(Some(point));
        bed.wait_well(A);
        let client = bed.client(200);
        client.let_flow(20);
        let order = bed.order_switch(B);
        bed.wait_edge_dead();
        bed.kill_agent(side);
        bed.start_agent(side);
        bed.start_edge();
        println!("{point}, with the agent of {side}: side {} serves", bed.wait_any_well());
        client.let_flow(50);
        assert!(order.join().unwrap().is_err(), "the edge died before it could answer");
        client.finish(&bed);
    }
}

#[test]
fn with_the_old_sides_agent() {
    in_a_world_of_its_own(|dir| dies_with_an_agent("fence", A)(dir));
}

#[test]
fn with_the_new_sides_agent() {
    in_a_world_of_its_own(|dir| dies_with_an_agent("activate", B)(dir));
}

/// A handover writes the store twice, the intent and the outcome; the edge dies before and after each.
#[test]
fn around_every_write_of_the_store() {
    in_a_world_of_its_own(|dir| {
        let mut bed = Bed::ready(dir);
        let client = bed.client(200);
        for point in ["before-store:1", "after-store:1", "before-store:2", "after-store:2"] {
            bed.kill_edge();
            bed.start_edge_that_dies(Some(point));
            let serving = bed.wait_any_well();
            let order = bed.order_switch(serving.other());
            bed.wait_edge_dead();
            bed.start_edge();
            let serving = bed.wait_any_well();
            client.let_flow(20);
            // Whether the operator heard the outcome before the edge died is a matter of chance.
            drop(order.join().unwrap());
            println!("{point}: side {serving} serves");
        }
        client.finish(&bed);
    });
}

/// I4: an edge that is back within the lease disturbs nobody.
#[test]
fn within_the_lease_the_active_side_goes_on() {
    in_a_world_of_its_own(|dir| {
        let mut bed = Bed::ready(dir);
        let client = bed.client(200);
        client.let_flow(50);
        let cti = bed.cti(A);
        bed.kill_edge();
        bed.start_edge();
        bed.wait_well(A);
        let back = now();
        client.let_flow(100);
        assert_eq!(bed.cti(A), cti, "the same process all the time");
        let seen = client.finish(&bed);
        assert_eq!(seen.between(back, now()).failed, 0);
    });
}

#[test]
fn for_longer_than_the_lease_nobody_is_active_and_afterwards_one_is() {
    in_a_world_of_its_own(|dir| {
        let mut bed = Bed::ready(dir);
        let client = bed.client(200);
        client.let_flow(50);
        let death = now();
        bed.kill_edge();
        until("the node to fence itself", || bed.cti(A).is_none().then_some(()));
        figure("edge gone, node fenced", Duration::from_nanos(now() - death), LEASE);
        assert_eq!(bed.cti(B), None, "nobody has told B to be active");
        bed.start_edge();
        bed.wait_any_well();
        client.let_flow(50);
        client.finish(&bed);
    });
}
