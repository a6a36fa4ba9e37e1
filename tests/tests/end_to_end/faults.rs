//! What breaks on a site: programs die and hang, nodes hang and wake up, cables are pulled.

use crate::bed::{Bed, until};
use crate::configuration::CTI_START;
use crate::stream::figure;
use crate::world::in_a_world_of_its_own;
use lockstep_demo::now;
use lockstep_policy::Side::{self, A, B};
use nix::sys::signal::Signal;
use std::time::Duration;

const APP: [&str; 2] = ["simulate", "app"];
const CTI: [&str; 2] = ["simulate", "cti"];
const AGENT: [&str; 1] = ["agent"];
/// What a fault that an agent sees may cost beyond the other CTI's start.
const SEEN: Duration = Duration::from_millis(100);
/// What a fault that only silence shows may cost beyond it.
const SILENT: Duration = Duration::from_secs(1);

#[test]
fn a_killed_application_is_replaced_by_the_other_side() {
    in_a_world_of_its_own(|dir| {
        let bed = Bed::ready(dir);
        let client = bed.client(200);
        client.let_flow(50);
        let fault = now();
        bed.signal(A, &APP, Signal::SIGKILL);
        bed.wait_served(B);
        bed.print_handover();
        client.let_flow(50);
        bed.wait_well(B);
        let seen = client.finish(&bed);
        figure("kill -9 of the application, first good answer", seen.good_again(fault), CTI_START + SEEN);
    });
}

/// T5: the CTI is started again. That it has died is known a moment later than it is so: what was sent to its side within that moment
/// could not be helped.
#[test]
fn a_killed_cti_is_started_again_or_replaced() {
    in_a_world_of_its_own(|dir| {
        let bed = Bed::ready(dir);
        let client = bed.client(200);
        client.let_flow(50);
        let fault = now();
        bed.signal(A, &CTI, Signal::SIGKILL);
        until("another CTI to be started", || (bed.cti_starts(A) + bed.cti_starts(B) > 1).then_some(()));
        let known = now();
        bed.wait_any_well();
        client.let_flow(50);
        let seen = client.finish_but(&bed, |sent| (fault..known).contains(&sent));
        figure("kill -9 of the CTI, last request to its side", seen.last_by_standby(fault), Duration::from_millis(10));
        figure("kill -9 of the CTI, first good answer", seen.good_again(fault), CTI_START + SEEN);
    });
}

#[test]
fn an_application_that_hangs_is_replaced_and_serves_nothing_stale_on_waking() {
    in_a_world_of_its_own(|dir| {
        let bed = Bed::ready(dir);
        let client = bed.client(200);
        client.let_flow(50);
        let fault = now();
        bed.signal(A, &APP, Signal::SIGSTOP);
        bed.wait_served(B);
        bed.print_handover();
        client.let_flow(50);
        // It may have been started anew by now.
        bed.thaw(A);
        bed.wait_well(B);
        client.let_flow(50);
        let seen = client.finish(&bed);
        figure("hang of the application, first good answer", seen.good_again(fault), CTI_START + SILENT);
    });
}

/// Lesson 6: a node that wakes from a hang must not act on its old role.
#[test]
fn a_node_that_hangs_is_replaced_and_wakes_up_as_standby() {
    in_a_world_of_its_own(|dir| {
        let bed = Bed::ready(dir);
        let client = bed.client(200);
        client.let_flow(50);
        let fault = now();
        bed.freeze(A);
        bed.wait_served(B);
        bed.print_handover();
        client.let_flow(100);
        let waking = now();
        bed.thaw(A);
        bed.wait_well(B);
        client.let_flow(50);
        let good = now();
        bed.switch(A);
        bed.wait_well(A);
        client.let_flow(50);
        let seen = client.finish(&bed);
        assert_eq!(seen.between(waking, good).failed, 0, "the waking disturbs nobody");
        figure("hang of the node, first good answer", seen.good_again_within(fault, waking), CTI_START + SILENT);
    });
}

/// How long nodes hang: shorter than the lease, about as long, and longer than the dead-man's switch.
const HANGS: [u64; 8] = [100, 300, 500, 600, 700, 800, 900, 1_100];

/// It may wake up at any time: also when the lease is over, and the other side is about to be activated.
#[test]
fn a_node_that_wakes_up_while_it_is_being_replaced_is_no_danger() {
    in_a_world_of_its_own(|dir| {
        let bed = Bed::ready(dir);
        let client = bed.client(200);
        for hung in HANGS {
            hang(&bed, bed.wait_any_well(), Duration::from_millis(hung));
            println!("hung for {hung} ms: {} serves", bed.wait_any_well());
            client.let_flow(20);
        }
        client.finish(&bed);
    });
}

/// The same when nobody may replace it, because the pair is paused: it is the lease alone that ends its role.
#[test]
fn a_node_that_wakes_up_and_is_not_replaced_is_no_danger() {
    in_a_world_of_its_own(|dir| {
        let bed = Bed::ready(dir);
        let client = bed.client(200);
        for hung in HANGS {
            let active = bed.wait_any_well();
            bed.pause();
            hang(&bed, active, Duration::from_millis(hung));
            bed.wait("both nodes to be heard again", |pair| pair.sides.a.main && pair.sides.b.main);
            bed.resume();
            println!("hung for {hung} ms: {} serves", bed.wait_any_well());
            client.let_flow(20);
        }
        client.finish(&bed);
    });
}

/// Stops a node for that long. This is no wait for something to happen: it is the length of the hang.
fn hang(bed: &Bed, side: Side, time: Duration) {
    bed.freeze(side);
    std::thread::sleep(time);
    bed.thaw(side);
}

/// The guards fence for an agent that cannot.
#[test]
fn an_agent_that_hangs_loses_its_role_with_the_lease() {
    in_a_world_of_its_own(|dir| {
        let bed = Bed::ready(dir);
        let client = bed.client(200);
        client.let_flow(50);
        let fault = now();
        bed.signal(A, &AGENT, Signal::SIGSTOP);
        bed.wait_served(B);
        bed.print_handover();
        client.let_flow(50);
        assert_eq!(bed.cti(A), None, "nothing exclusive outlives the lease");
        bed.signal(A, &AGENT, Signal::SIGCONT);
        bed.wait_well(B);
        client.let_flow(50);
        let seen = client.finish(&bed);
        figure("hang of the agent, first good answer", seen.good_again(fault), CTI_START + SILENT);
    });
}

#[test]
fn a_killed_agent_takes_its_services_with_it() {
    in_a_world_of_its_own(|dir| {
        let mut bed = Bed::ready(dir);
        let client = bed.client(200);
        client.let_flow(50);
        let fault = now();
        bed.kill_agent(A);
        bed.wait_served(B);
        bed.print_handover();
        client.let_flow(50);
        assert_eq!(bed.cti(A), None, "nothing exclusive outlives the agent");
        bed.start_agent(A);
        bed.wait_well(B);
        let seen = client.finish(&bed);
        figure("kill -9 of the agent, first good answer", seen.good_again(fault), CTI_START + SILENT);
    });
}

#[test]
fn an_unplugged_node_is_replaced_and_comes_back_as_standby() {
    in_a_world_of_its_own(|dir| {
        let bed = Bed::ready(dir);
        let client = bed.client(200);
        client.let_flow(50);
        let fault = now();
        bed.unplug(A);
        bed.wait_served(B);
        bed.print_handover();
        client.let_flow(100);
        assert_eq!(bed.cti(A), None, "it fences itself, although nobody can tell it to");
        let back = now();
        bed.plug(A);
        bed.wait_well(B);
        client.let_flow(50);
        let good = now();
        bed.switch(A);
        bed.wait_well(A);
        client.let_flow(50);
        let seen = client.finish(&bed);
        assert_eq!(seen.between(back, good).failed, 0, "coming back disturbs nobody");
        figure("unplugged node, first good answer", seen.good_again_within(fault, back), CTI_START + SILENT);
    });
}

/// The application answers, its node's agent does not: without a lease nobody is served there.
#[test]
fn a_node_whose_agent_is_cut_off_fences_itself() {
    in_a_world_of_its_own(|dir| {
        let bed = Bed::ready(dir);
        let client = bed.client(200);
        client.let_flow(50);
        let fault = now();
        bed.cut_agent_off(A);
        bed.wait_served(B);
        bed.print_handover();
        client.let_flow(50);
        assert_eq!(bed.cti(A), None, "it fences itself");
        assert!(bed.process(A, &APP).is_some(), "its application runs on");
        bed.reconnect_agent(A);
        bed.wait_well(B);
        let seen = client.finish(&bed);
        figure("agent cut off, first good answer", seen.good_again(fault), CTI_START + SILENT);
    });
}

#[test]
fn a_standby_that_goes_and_comes_back_disturbs_nobody() {
    in_a_world_of_its_own(|dir| {
        let bed = Bed::ready(dir);
        let client = bed.client(200);
        client.let_flow(50);
        let cti = bed.cti(A);
        bed.unplug(B);
        bed.wait("the edge to miss side b", |pair| !pair.sides.b.main);
        client.let_flow(100);
        bed.plug(B);
        bed.wait_well(A);
        client.let_flow(50);
        assert_eq!(bed.cti(A), cti, "the same process all the time");
        client.finish(&bed).nothing_lost();
    });
}
