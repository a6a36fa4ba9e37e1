//! The edge dies and comes back: at every point of a handover, between handovers, and for longer than the lease.

use crate::bed::{Bed, until};
use crate::configuration::{self, LEASE};
use crate::stream::figure;
use crate::world::in_a_world_of_its_own;
use lockstep_demo::now;
use lockstep_policy::Side::{self, A, B};
use nix::sys::signal::Signal;
use std::path::Path;
use std::time::Duration;

/// What makes the handover in which the edge dies.
#[derive(Clone, Copy)]
enum Cause {
    Planned,
    Failover,
}

/// I4: the edge is killed at a point of a handover from A to B, perhaps an agent with it, and started again by nobody's decision but a
/// supervisor's. Edge and agents come to one outcome without a person.
///
/// The points are counted from the edge's start. The handover that makes A active, a failover, passes each of its points once.
fn dies(point: &str, cause: Cause, with_agent: Option<Side>) -> impl FnOnce(&Path) {
    move |dir| {
        let mut bed = Bed::new(dir);
        bed.start_agents();
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
        if let Some(side) = with_agent {
            bed.kill_agent(side);
            bed.start_agent(side);
        }
        bed.start_edge();
        let serving = bed.wait_any_well();
        println!("{point}: side {serving} serves");
        client.let_flow(50);
        // Whether the operator heard the outcome before the edge died is a matter of chance; he is not left waiting.
        order.map(|order| order.join().unwrap());
        client.finish(&bed);
        // The role may have moved again meanwhile, where a busy machine has made an active side silent.
        let serving = bed.wait_any_well();
        bed.switch(serving.other());
        bed.wait_well(serving.other());
    }
}

macro_rules! deaths {
    ($($name:ident: $point:literal, $cause:ident, $agent:expr;)*) => {$(
        #[test]
        fn $name() {
            in_a_world_of_its_own(|dir| dies($point, Cause::$cause, $agent)(dir));
        }
    )*};
}

deaths! {
    planned_prepare: "prepare:2", Planned, None;
    planned_hold: "hold:2", Planned, None;
    planned_drain: "drain:1", Planned, None;
    planned_fence: "fence:2", Planned, None;
    planned_activate: "activate:2", Planned, None;
    planned_commit: "commit:2", Planned, None;
    planned_settle: "settle:2", Planned, None;
    planned_before_the_intent_is_stored: "before-store:3", Planned, None;
    planned_after_the_intent_is_stored: "after-store:3", Planned, None;
    planned_before_the_outcome_is_stored: "before-store:4", Planned, None;
    planned_after_the_outcome_is_stored: "after-store:4", Planned, None;
    planned_fence_with_the_old_sides_agent: "fence:2", Planned, Some(A);
    planned_activate_with_the_new_sides_agent: "activate:2", Planned, Some(B);
    failover_prepare: "prepare:2", Failover, None;
    failover_hold: "hold:2", Failover, None;
    failover_fence: "fence:2", Failover, None;
    failover_activate: "activate:2", Failover, None;
    failover_commit: "commit:2", Failover, None;
    failover_settle: "settle:2", Failover, None;
    failover_before_the_intent_is_stored: "before-store:3", Failover, None;
    failover_after_the_intent_is_stored: "after-store:3", Failover, None;
    failover_before_the_outcome_is_stored: "before-store:4", Failover, None;
}

/// I4: an edge that is back within the lease disturbs nobody. The lease is the vendor-paced one of 3 s: a busy machine may take longer than
/// the LAN profile's 600 ms to start a process.
#[test]
fn within_the_lease_the_active_side_goes_on() {
    in_a_world_of_its_own(|dir| {
        let mut bed = Bed::new(dir);
        let unhurried = configuration::edge(dir, "").replace("profile = \"lan\"", "profile = \"default\"");
        bed.configure_edge(&unhurried);
        bed.start();
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
