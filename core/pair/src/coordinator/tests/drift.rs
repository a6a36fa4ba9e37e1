//! How far a node's clock may drift, and the edge's belief still holds. All of these are the model's finds.

use super::*;

/// A fifth, and next to no margin, in which a mistake could hide.
fn rig() -> Rig {
    let settings = Settings { drift_ppm: 200_000, margin: ms(1), ..settings() };
    let mut rig =
        Rig { coordinator: Coordinator::new(settings, Stored::default(), At::from_millis(1_000)), now: 1_000 };
    rig.wait(10_000);
    rig.link(Side::A);
    rig.link(Side::B);
    rig.report(Side::A, Role::Standby, 0);
    rig.report(Side::B, Role::Standby, 0);
    rig.switch(Side::A, Urgency::Failover);
    rig.outputs();
    rig.report(Side::A, Role::Active, 1);
    rig.outputs();
    assert_eq!(rig.route(), RouteKind::Serve(Side::A));
    rig
}

#[test]
fn i2_a_fast_clock_ends_a_lease_sooner_than_it_says() {
    let mut rig = rig();
    // It says 400 ms. By its clock those are over after 333 ms.
    rig.wait(333);
    assert_eq!(rig.route(), RouteKind::Hold);
}

#[test]
fn i1_a_slow_clock_lets_a_lease_last_longer_than_by_its_drift() {
    let mut rig = rig();
    rig.say(Input::Link { side: Side::A, up: false });
    rig.report(Side::B, Role::Standby, 0);
    rig.switch(Side::B, Urgency::Failover);
    rig.outputs();
    // 600 ms of lease and 250 ms to stop: 850 ms by a clock that counts four while five pass.
    rig.wait(1_062);
    assert_eq!(rig.phase(), Some(Phase::Fence));
    rig.wait(2);
    assert_eq!(rig.phase(), Some(Phase::Activate));
}

#[test]
fn i2_a_report_that_was_held_up_may_have_been_so_for_as_long_as_clocks_drift_either_way() {
    let mut rig = rig();
    let mut report = rig.coordinator.report(Side::A).expect("it has reported").clone();
    rig.wait(200);
    // Written 160 ms after the one before, and 200 ms have passed: 40 ms late, or 80 ms by a clock that is fast.
    report.stamp.at = report.stamp.at + ms(160);
    rig.say(Input::Node { side: Side::A, message: FromNode::Report(report) });
    rig.wait(238);
    assert_eq!(rig.route(), RouteKind::Serve(Side::A));
    rig.wait(1);
    assert_eq!(rig.route(), RouteKind::Hold, "400 ms less 80 for its clock, 80 under way, and the margin");
}

/// The simulation's find: an edge that had been stopped for long took a part of what reports were late for drift.
#[test]
fn i2_late_reports_are_measured_by_the_last_that_came_at_once_however_many_came_late_since() {
    let mut rig = rig();
    let written = rig.coordinator.report(Side::A).expect("it has reported").clone();
    // All of 600 ms wait, and come together: 500 ms late, and 400, and so on.
    rig.wait(600);
    for after in [100, 200, 300, 400, 500, 570] {
        let mut report = written.clone();
        report.stamp.at = report.stamp.at + ms(after);
        rig.say(Input::Node { side: Side::A, message: FromNode::Report(report) });
    }
    // 30 ms late, and 120 more by clocks that drift by a fifth. 400 ms less 80 for its own clock, and the margin.
    rig.wait(168);
    assert_eq!(rig.route(), RouteKind::Serve(Side::A));
    rig.wait(1);
    assert_eq!(rig.route(), RouteKind::Hold);
}

/// The simulation's find: a restarted edge stood still before anything had come at once, and until its connection was as old as a lease.
#[test]
fn i2_a_standstill_that_begins_early_on_a_connection_makes_no_report_younger() {
    let mut rig = Rig::new(Stored { epoch: Epoch(1), active: Some((Side::A, Epoch(1))), intent: None });
    rig.link(Side::A);
    rig.wait(150);
    // It may have been written as the connection came up, and have waited since.
    rig.report(Side::A, Role::Active, 1);
    assert_eq!(rig.route(), RouteKind::Serve(Side::A));
    let mut report = rig.coordinator.report(Side::A).expect("it has reported").clone();
    // 450 ms late, if that is so, comes one that waited for the edge, and 420 ms late a second.
    for (wait, after) in [(650, 350), (20, 50)] {
        rig.wait(wait);
        report.stamp.at = report.stamp.at + ms(after);
        rig.say(Input::Node { side: Side::A, message: FromNode::Report(report.clone()) });
        assert_eq!(rig.route(), RouteKind::Hold);
    }
}

/// The model's find: where reports pause again and again, none can be taken for one that came at once.
#[test]
fn a_report_is_as_young_as_the_lease_that_it_speaks_of() {
    let mut rig = rig();
    let mut report = rig.coordinator.report(Side::A).expect("it has reported").clone();
    for _ in 0..10 {
        // It comes 300 ms late, and is answered with a lease; 149 ms late comes the one that has it.
        rig.wait(650);
        let granted = At::from_millis(rig.now - 300);
        report.stamp.at = granted;
        rig.say(Input::Node { side: Side::A, message: FromNode::Report(report.clone()) });
        report.stamp.at = At::from_millis(rig.now + 1);
        report.lease_left = ms(299);
        rig.wait(150);
        rig.say(Input::Node { side: Side::A, message: FromNode::Report(report.clone()) });
        assert_eq!(rig.route(), RouteKind::Serve(Side::A), "granted 150 ms ago, of which 239 were sure");
        rig.wait(90);
        assert_eq!(rig.route(), RouteKind::Hold);
    }
}

/// The simulation's find: the edge had been stopped, and found two reports of one moment, one before and one after.
#[test]
fn i2_a_lease_that_was_granted_twice_is_as_old_as_the_first_time() {
    for stopped in [450, 1_000] {
        let mut rig = rig();
        let mut report = rig.coordinator.report(Side::A).expect("it has reported").clone();
        rig.wait(200);
        let granted = At::from_millis(rig.now);
        report.stamp.at = granted;
        rig.say(Input::Node { side: Side::A, message: FromNode::Report(report.clone()) });
        rig.wait(stopped);
        // Once more from the same stamp, when the report that tells of its lease has long been written.
        rig.say(Input::Node { side: Side::A, message: FromNode::Report(report.clone()) });
        (report.stamp.at, report.lease_left) = (granted + ms(100), ms(500));
        rig.say(Input::Node { side: Side::A, message: FromNode::Report(report) });
        assert_eq!(rig.route(), RouteKind::Hold, "500 ms of it, less a fifth, were left {stopped} ms ago");
    }
}
