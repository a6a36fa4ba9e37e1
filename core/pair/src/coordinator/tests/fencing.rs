use super::*;
use crate::record::{Fenced, HandoverRecord};

const HOOK: FenceHook = FenceHook { after: Duration::from_millis(200), timeout: Duration::from_millis(5_000) };

/// Side A active in epoch 1 and fenced so, side B standing by.
fn serving(fencing: Fencing) -> Rig {
    let mut rig = Rig::serving();
    let settings = Settings { fencing: Sides { a: fencing, b: Fencing::LEASE }, ..settings() };
    let stored = Stored { epoch: Epoch(1), active: Some((Side::A, Epoch(1))), intent: None };
    rig.coordinator = Coordinator::new(settings, stored, At::from_millis(rig.now));
    rig.link(Side::A);
    rig.link(Side::B);
    rig.report(Side::A, Role::Active, 1);
    rig.report(Side::B, Role::Standby, 0);
    rig.outputs();
    rig
}

/// Its agent, or whoever speaks for it, is gone, and the policy orders a failover.
fn failing_over(fencing: Fencing) -> Rig {
    let mut rig = serving(fencing);
    rig.say(Input::Link { side: Side::A, up: false });
    rig.switch(Side::B, Urgency::Failover);
    rig.outputs();
    rig
}

fn unfenced(delay: Option<u64>) -> Fencing {
    Fencing { bound: Bound::Unfenced { delay: delay.map(ms) }, hook: None }
}

/// Lets time pass with reports of side B, and collects what is said.
fn pass(rig: &mut Rig, millis: u64) -> Vec<Output> {
    let mut said = Vec::new();
    for _ in 0..millis / 50 {
        rig.wait(50);
        rig.report(Side::B, Role::Standby, 0);
        said.extend(rig.outputs());
    }
    said
}

fn activates(said: &[Output]) -> bool {
    said.iter().any(|output| matches!(output, Output::Send { message: ToNode::Activate { .. }, .. }))
}

fn alerts(said: &[Output], words: &str) -> bool {
    said.iter().any(|output| matches!(output, Output::Alert(text) if text.contains(words)))
}

pub(super) fn last_record(said: &[Output]) -> &HandoverRecord {
    let records = said.iter().rev().find_map(|output| match output {
        Output::Record(record) => Some(record),
        _ => None,
    });
    records.expect("a record was written")
}

#[test]
fn i1_a_side_without_a_lease_counts_as_stopped_after_its_delay_only_and_the_record_says_so() {
    let mut rig = failing_over(unfenced(Some(3_000)));
    assert!(!activates(&pass(&mut rig, 2_950)), "no lease ends by itself");
    let said = pass(&mut rig, 100);
    assert!(activates(&said), "{said:?}");
    assert!(alerts(&said, "has not confirmed that it has stopped"), "{said:?}");
    assert_eq!(last_record(&said).fenced, Some(Fenced::Unfenced));
}

#[test]
fn i1_a_side_without_a_lease_and_without_a_delay_is_never_counted_as_stopped() {
    let mut rig = failing_over(unfenced(None));
    let said = pass(&mut rig, 60_000);
    assert!(!activates(&said) && alerts(&said, "--unsafe"), "{said:?}");
    assert_eq!((rig.phase(), rig.route()), (None, RouteKind::Refuse), "I5: it ended");
}

#[test]
fn a_side_without_a_lease_that_confirms_is_not_waited_for() {
    let mut rig = serving(unfenced(Some(60_000)));
    rig.switch(Side::B, Urgency::Failover);
    rig.outputs();
    rig.report(Side::B, Role::Standby, 0);
    rig.answer(Side::A, Answer::StoodDown { epoch: Epoch(2) });
    let said = rig.outputs();
    assert!(activates(&said), "{said:?}");
    assert_eq!(last_record(&said).fenced, Some(Fenced::Confirmed));
}

#[test]
fn i1_a_side_without_a_lease_that_is_seen_to_run_on_is_never_counted_as_stopped() {
    let mut rig = serving(unfenced(Some(1_000)));
    rig.switch(Side::B, Urgency::Failover);
    let mut said = Vec::new();
    for _ in 0..60 {
        rig.wait(50);
        rig.report(Side::A, Role::Active, 1);
        rig.report(Side::B, Role::Standby, 0);
        said.extend(rig.outputs());
    }
    assert!(!activates(&said) && alerts(&said, "still run"), "{said:?}");
}

#[test]
fn the_hook_is_run_when_the_side_has_had_its_time_and_its_word_counts() {
    let mut rig = failing_over(Fencing { hook: Some(HOOK), ..unfenced(None) });
    let runs = |said: &[Output]| said.contains(&Output::Fence { side: Side::A, epoch: Epoch(2) });
    assert!(!runs(&pass(&mut rig, 150)), "it may confirm by itself first");
    assert!(runs(&pass(&mut rig, 50)));
    assert!(!runs(&pass(&mut rig, 3_000)), "once");
    rig.say(Input::Fenced { side: Side::A, epoch: Epoch(2), result: Ok(()) });
    let said = pass(&mut rig, 50);
    assert!(activates(&said), "{said:?}");
    assert_eq!(rig.phase(), Some(Phase::Activate));
    rig.report(Side::B, Role::Active, 2);
    assert_eq!(last_record(&rig.outputs()).fenced, Some(Fenced::Hook));
}

#[test]
fn a_hook_shortens_the_wait_for_a_lease_and_its_failure_does_not_lengthen_it() {
    let slow = Fencing { hook: Some(FenceHook { after: ms(100), ..HOOK }), ..Fencing::LEASE };
    let mut rig = failing_over(slow);
    pass(&mut rig, 150);
    rig.say(Input::Fenced { side: Side::A, epoch: Epoch(2), result: Ok(()) });
    assert!(activates(&pass(&mut rig, 50)), "long before the lease is over");

    let mut rig = failing_over(slow);
    pass(&mut rig, 150);
    rig.say(Input::Fenced { side: Side::A, epoch: Epoch(2), result: Err("no answer from the power switch".into()) });
    let said = pass(&mut rig, 1_000);
    assert!(alerts(&said, "no answer from the power switch") && activates(&said), "{said:?}");
    assert_eq!(last_record(&said).fenced, Some(Fenced::LeaseOver));
}

#[test]
fn a_hook_of_an_earlier_attempt_fences_nothing() {
    let mut rig = failing_over(Fencing { hook: Some(HOOK), ..unfenced(None) });
    rig.say(Input::Fenced { side: Side::A, epoch: Epoch(1), result: Ok(()) });
    assert!(!activates(&pass(&mut rig, 200)));
}

#[test]
fn a_planned_switch_turns_no_node_off() {
    let mut rig = serving(Fencing { hook: Some(FenceHook { after: ms(0), ..HOOK }), ..Fencing::LEASE });
    rig.switch(Side::B, Urgency::Planned);
    rig.outputs();
    rig.answer(Side::B, Answer::Prepared { epoch: Epoch(2) });
    rig.say(Input::Drained { epoch: Epoch(2) });
    let said = pass(&mut rig, 900);
    assert!(said.iter().all(|output| !matches!(output, Output::Fence { .. })), "{said:?}");
}

fn insisting(reason: &str) -> Order {
    Order { unsafe_because: Some(reason.into()), ..order(Side::B, Urgency::Failover) }
}

#[test]
fn a_persons_word_is_enough_and_the_record_has_it() {
    let mut rig = serving(unfenced(None));
    rig.say(Input::Link { side: Side::A, up: false });
    rig.say(Input::Switch(insisting("I have pulled its plug")));
    let said = [rig.outputs(), pass(&mut rig, 50)].concat();
    assert!(activates(&said) && alerts(&said, "I have pulled its plug"), "{said:?}");
    assert_eq!(last_record(&said).fenced, Some(Fenced::Unsafe { reason: "I have pulled its plug".into() }));
}

#[test]
fn a_persons_word_ends_the_wait_of_a_failover_under_way() {
    let mut rig = failing_over(unfenced(None));
    assert!(!activates(&pass(&mut rig, 500)));
    rig.say(Input::Switch(insisting("its room is on fire")));
    assert!(activates(&pass(&mut rig, 50)));
}

#[test]
fn a_planned_switch_that_waits_for_the_old_side_becomes_a_failover_with_a_failovers_means_and_time() {
    let mut rig = serving(Fencing { hook: Some(HOOK), ..Fencing::LEASE });
    rig.switch(Side::B, Urgency::Planned);
    rig.outputs();
    rig.answer(Side::B, Answer::Prepared { epoch: Epoch(2) });
    rig.say(Input::Drained { epoch: Epoch(2) });
    pass(&mut rig, 300);
    rig.switch(Side::B, Urgency::Failover);
    let said = [rig.outputs(), pass(&mut rig, 250)].concat();
    assert!(said.contains(&Output::Send { side: Side::A, message: super::stand_down(2, Urgency::Failover) }));
    assert!(said.contains(&Output::Fence { side: Side::A, epoch: Epoch(2) }) || activates(&said), "{said:?}");
}

#[test]
fn after_a_restart_the_stored_side_goes_on_where_two_without_a_lease_say_that_they_are_active() {
    let mut rig = Rig::serving();
    let without = unfenced(Some(1_000));
    let settings = Settings { fencing: Sides { a: without, b: without }, ..settings() };
    let stored = Stored { epoch: Epoch(5), active: Some((Side::A, Epoch(4))), intent: None };
    rig.coordinator = Coordinator::new(settings, stored, At::from_millis(rig.now));
    rig.link(Side::A);
    rig.link(Side::B);
    rig.report(Side::B, Role::Active, 5);
    assert_eq!(rig.route(), RouteKind::Hold, "one without a lease proves nothing about the other");
    rig.report(Side::A, Role::Active, 4);
    assert_eq!(rig.route(), RouteKind::Serve(Side::A));
}

#[test]
fn i2_what_is_in_flight_at_a_side_whose_lease_is_surely_over_is_cut_although_nobody_switches() {
    let mut rig = Rig::serving();
    rig.say(Input::Link { side: Side::A, up: false });
    let cut = Output::Cut { side: Side::A, before: Epoch(2) };
    rig.wait(877);
    assert!(!rig.outputs().contains(&cut), "its services may still run");
    rig.wait(2);
    assert!(rig.outputs().contains(&cut));
    rig.wait(5_000);
    assert!(!rig.outputs().contains(&cut), "once");
}

/// A report of side A, in which a service is unbound that an agent starts and stops by calls.
fn report_unbound(rig: &mut Rig, role: Role, epoch: u64) {
    rig.report(Side::A, role, epoch);
    let mut report = rig.coordinator.report(Side::A).expect("it was just heard").clone();
    report.unbound = vec!["cti".into()];
    rig.say(Input::Node { side: Side::A, message: FromNode::Report(report) });
}

#[test]
fn i1_the_lease_of_a_node_on_which_something_exclusive_is_unbound_is_worth_nothing() {
    let unheard = || {
        let mut rig = serving(Fencing::LEASE);
        report_unbound(&mut rig, Role::Active, 1);
        rig.say(Input::Link { side: Side::A, up: false });
        rig.switch(Side::B, Urgency::Failover);
        rig.outputs();
        rig
    };
    let said = pass(&mut unheard(), 10_000);
    assert!(!activates(&said) && alerts(&said, "--unsafe"), "{said:?}");

    let mut rig = unheard();
    pass(&mut rig, 500);
    rig.link(Side::A);
    rig.answer(Side::A, Answer::StoodDown { epoch: Epoch(2) });
    assert!(activates(&rig.outputs()));
}

#[test]
fn a_side_without_a_lease_that_has_confirmed_its_stop_is_not_asked_again_before_the_other_is_activated_anew() {
    let mut rig = serving(unfenced(None));
    rig.switch(Side::B, Urgency::Failover);
    rig.outputs();
    rig.report(Side::B, Role::Standby, 0);
    rig.answer(Side::A, Answer::StoodDown { epoch: Epoch(2) });
    rig.report(Side::B, Role::Active, 2);
    rig.outputs();
    // Its node is switched off; and then the CTI of side B dies.
    rig.say(Input::Link { side: Side::A, up: false });
    rig.report(Side::B, Role::Standby, 2);
    rig.switch(Side::B, Urgency::Failover);
    let said = [rig.outputs(), rig.outputs()].concat();
    assert!(activates(&said), "{said:?}");
    assert_eq!(last_record(&said).fenced, Some(Fenced::Confirmed));
}

#[test]
fn a_restarted_edge_believes_a_side_without_a_lease_that_says_it_stands_by() {
    let mut rig = Rig::serving();
    let settings = Settings { fencing: Sides { a: unfenced(None), b: Fencing::LEASE }, ..settings() };
    rig.coordinator = Coordinator::new(settings, Stored::default(), At::from_millis(rig.now));
    rig.link(Side::A);
    rig.link(Side::B);
    rig.report(Side::A, Role::Standby, 0);
    rig.report(Side::B, Role::Standby, 0);
    rig.say(Input::Link { side: Side::A, up: false });
    rig.switch(Side::B, Urgency::Failover);
    let said = [rig.outputs(), rig.outputs()].concat();
    assert!(activates(&said), "{said:?}");
}
