//! The checks can fail: on sites that lie, the judge names what is violated.

use crate::judge::judge;
use crate::play::{Mutation, NONE, play};
use crate::round;
use crate::schedule::{Fault, Host, Kind, Schedule, Target};
use lockstep_policy::Side;
use lockstep_tests::world;
use std::collections::BTreeSet;
use std::time::Duration;

/// Nothing breaks; the role is moved there and back.
fn there_and_back() -> Schedule {
    let orders = vec![(Duration::from_millis(500), Side::B), (Duration::from_millis(2_500), Side::A)];
    Schedule { seed: 0, faults: Vec::new(), orders }
}

/// Plays on a site with a mutation, and wants a complaint that begins so.
fn is_noticed(test: &str, mutation: Mutation, complaint: &str) {
    if let Some(dir) = world::enter() {
        let schedule = there_and_back();
        let wrong = judge(&schedule, &play(&dir, &schedule, mutation));
        println!("{}", wrong.join("\n"));
        assert!(wrong.iter().any(|wrong| wrong.starts_with(complaint)), "nobody complains: {complaint}");
        return;
    }
    world::demand_tools();
    let log = lockstep_tests::kept().join(format!("{}.log", test.replace("::", "-")));
    let status = round::in_a_world(test, &log, &[]);
    let said = std::fs::read_to_string(&log).unwrap();
    assert!(status.success(), "{said}");
    println!("{said}");
}

#[test]
fn nothing_is_wrong_with_a_site_that_does_not_lie() {
    if let Some(dir) = world::enter() {
        let schedule = there_and_back();
        assert_eq!(judge(&schedule, &play(&dir, &schedule, NONE)), [""; 0]);
        return;
    }
    let log = lockstep_tests::kept().join("mutations-none.log");
    let status = round::in_a_world("mutations::nothing_is_wrong_with_a_site_that_does_not_lie", &log, &[]);
    assert!(status.success(), "{}", std::fs::read_to_string(&log).unwrap());
}

/// The faults are real where nobody would notice: an edge whose wall clock is set believes it, and what it writes down has that date.
#[test]
fn a_wall_clock_that_is_set_is_believed() {
    let test = "mutations::a_wall_clock_that_is_set_is_believed";
    let Some(dir) = world::enter() else {
        let log = lockstep_tests::kept().join("mutations-clock.log");
        let status = round::in_a_world(test, &log, &[]);
        return assert!(status.success(), "{}", std::fs::read_to_string(&log).unwrap());
    };
    let ms = Duration::from_millis;
    let fault = |at, lasts, kind| Fault { at: ms(at), lasts: ms(lasts), kind };
    let clock = [Kind::Clock(Host::Edge, 1), Kind::Clock(Host::Node(Side::A), -1), Kind::Clock(Host::Node(Side::B), 1)];
    let mut faults: Vec<_> = clock.map(|kind| fault(500, 2_500, kind)).to_vec();
    // Who is started anew while the clock is wrong has something to say.
    faults.push(fault(600, 200, Kind::Kill(Target::Agent(Side::A))));
    faults.push(fault(600, 200, Kind::Kill(Target::Agent(Side::B))));
    let schedule = Schedule { faults, ..there_and_back() };
    assert_eq!(judge(&schedule, &play(&dir, &schedule, NONE)), [""; 0]);
    for host in Host::ALL {
        let log = std::fs::read_to_string(dir.join(format!("{}.log", host.name()))).unwrap();
        let dates: BTreeSet<_> = log.lines().filter_map(|line| line.get(..10)).collect();
        assert!(dates.len() > 1, "{host} has seen one day only: {dates:?}");
    }
}

/// Agents that say that they have stopped what they have not.
#[test]
#[cfg(debug_assertions)]
fn agents_that_do_not_fence() {
    let mutation = Mutation { environment: &[("LOCKSTEP_TEST_UNFENCED", "1")], ..NONE };
    is_noticed("mutations::agents_that_do_not_fence", mutation, "I1: both CTI services ran at once");
}

/// A configuration that does not say that the CTI service may run on one side only.
#[test]
fn a_service_that_is_not_declared_exclusive() {
    let mutation = Mutation { agent: |text| text.replace("exclusive = true\n", ""), ..NONE };
    is_noticed("mutations::a_service_that_is_not_declared_exclusive", mutation, "I1: both CTI services ran at once");
}

/// A configuration that takes a CTI service for active as soon as it is started.
#[test]
fn a_service_that_is_called_ready_too_early() {
    let mutation = Mutation { agent: |text| text.replace("ready = { notify = true }\n", ""), ..NONE };
    is_noticed("mutations::a_service_that_is_called_ready_too_early", mutation, "I2: given to a side whose CTI");
}

/// An application whose CTI is never active where it looks.
#[test]
fn an_application_that_serves_on_standby() {
    let mutation = Mutation { agent: |text| text.replacen(".lock\"", ".other\"", 1), ..NONE };
    is_noticed(
        "mutations::an_application_that_serves_on_standby",
        mutation,
        "I2: overtaken by the end of its side's CTI",
    );
}
