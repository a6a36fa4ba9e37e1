//! How far a node's clock may drift, and the edge's belief still holds. All of these are the model's finds.

use super::*;

/// A fifth, and next to no margin, in which a mistake could hide.
fn rig() -> Rig {
    let settings = Settings { drift_ppm: 200_000, margin: ms(1), ..settings() };
    let mut rig =
        Rig { coordinator: Coordinator::new(settings, Stored::default(), At::from_millis(1_000)), now: 1_000 };
    rig.link(Side::A);
    rig.link(Side::B);
    rig.wait(10_000);
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
