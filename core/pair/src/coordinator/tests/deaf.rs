//! A side that speaks, and is not reached: what it says shows which leases have come.

use super::*;
use crate::record::Fenced;

/// Renewed often, so that one lease that is missed is a quarter of it.
const TTL: u64 = 200;
const RENEW: u64 = 50;

struct Partner {
    rig: Rig,
    /// From which stamp the lease is that it holds.
    held: u64,
}

impl Partner {
    /// Active in epoch 1, with a lease from its last report.
    fn serving() -> Partner {
        let mut rig = Rig::serving();
        let terms = Terms { ttl: ms(TTL), renew: ms(RENEW), stop_max: ms(80) };
        let stored = Stored { epoch: Epoch(1), active: Some((Side::A, Epoch(1))), intent: None };
        rig.coordinator = Coordinator::new(Settings { terms, ..settings() }, stored, At::from_millis(rig.now));
        rig.link(Side::A);
        rig.link(Side::B);
        let mut side = Partner { held: rig.now, rig };
        for _ in 0..4 {
            assert_eq!(side.report_after(RENEW, Role::Active), Some(side.rig.now));
            side.held = side.rig.now;
        }
        side.rig.report(Side::B, Role::Standby, 0);
        side
    }

    /// It reports, so long after the last time; the stamp of the lease that it is granted for that.
    fn report_after(&mut self, pause: u64, role: Role) -> Option<u64> {
        self.rig.wait(pause);
        self.rig.outputs();
        self.report(role)
    }

    fn report(&mut self, role: Role) -> Option<u64> {
        let active = role == Role::Active;
        let left = if active { (self.held + TTL).saturating_sub(self.rig.now) } else { 0 };
        let report = Report {
            stamp: Stamp { session: Session(1), at: At::from_millis(self.rig.now) },
            epoch: Epoch(1),
            role,
            serving: active,
            fit: true,
            running: active,
            lease_left: ms(left),
            services: Vec::new(),
            release: String::new(),
            replication: Replication::Unknown,
            replication_detail: String::new(),
            lan: Lan::Unknown,
            waiting: String::new(),
            unbound: Vec::new(),
        };
        self.rig.say(Input::Node { side: Side::A, message: FromNode::Report(report) });
        self.rig.outputs().into_iter().find_map(|output| match output {
            Output::Send { side: Side::A, message: ToNode::Renew { lease, .. } } => Some(lease.stamp.at.0 / 1_000_000),
            _ => None,
        })
    }
}

#[test]
fn a_side_that_does_not_hear_is_granted_nothing_more_until_it_shows_that_it_has_heard() {
    let mut side = Partner::serving();
    let last = side.report_after(RENEW, Role::Active);
    assert!(last.is_some(), "nothing was missed when it wrote this");
    assert_eq!(side.report_after(RENEW, Role::Active), None, "what it was granted then has not come");
    assert_eq!(side.report_after(RENEW, Role::Active), None);
    side.held = last.unwrap_or(0);
    assert_eq!(side.report_after(10, Role::Active), Some(side.rig.now), "it has");
}

#[test]
fn what_has_just_been_granted_may_still_come() {
    let mut side = Partner::serving();
    side.report_after(RENEW, Role::Active);
    assert!(side.report_after(30, Role::Active).is_some());
}

#[test]
fn a_side_that_stood_still_reports_before_it_reads_and_is_granted_a_lease() {
    let mut side = Partner::serving();
    side.report_after(RENEW, Role::Active);
    assert!(side.report_after(140, Role::Active).is_some(), "one report after a pause shows nothing of the way to it");
}

#[test]
fn what_was_granted_over_an_earlier_connection_is_not_missed() {
    let mut side = Partner::serving();
    side.report_after(RENEW, Role::Active);
    side.rig.say(Input::Link { side: Side::A, up: false });
    side.rig.link(Side::A);
    assert!(side.report_after(RENEW, Role::Active).is_some());
}

#[test]
fn a_side_that_does_not_serve_is_granted_what_it_is_due_although_it_takes_none() {
    let mut side = Partner::serving();
    side.report_after(RENEW, Role::Active);
    for _ in 0..3 {
        side.rig.wait(RENEW);
        side.rig.outputs();
        let mut report = side.rig.coordinator.report(Side::A).expect("it has reported").clone();
        (report.stamp.at, report.serving) = (At::from_millis(side.rig.now), false);
        report.lease_left = ms((side.held + TTL).saturating_sub(side.rig.now));
        side.rig.say(Input::Node { side: Side::A, message: FromNode::Report(report) });
        let granted = side
            .rig
            .outputs()
            .iter()
            .any(|output| matches!(output, Output::Send { side: Side::A, message: ToNode::Renew { .. } }));
        assert!(granted, "one that is isolated from its LAN is back at any moment");
    }
}

/// A fails to hear from now on; its last lease was granted `RENEW` from now.
fn failing_over() -> Partner {
    let mut side = Partner::serving();
    side.report_after(RENEW, Role::Active);
    side.report_after(RENEW, Role::Active);
    side.rig.switch(Side::B, Urgency::Failover);
    side.rig.outputs();
    side.rig.report(Side::B, Role::Standby, 0);
    assert_eq!(side.rig.phase(), Some(Phase::Fence));
    side
}

#[test]
fn i1_a_report_that_it_stands_by_fences_a_side_once_all_its_leases_are_over_by_its_own_clock() {
    let mut side = failing_over();
    // Granted 50 ms ago: that lease is over in 150 ms.
    side.report_after(100, Role::Standby);
    assert_eq!(side.rig.phase(), Some(Phase::Fence), "the last lease may still come, and would be worth something");
    side.report_after(49, Role::Standby);
    assert_eq!(side.rig.phase(), Some(Phase::Fence));
    side.report_after(1, Role::Standby);
    assert_eq!(side.rig.phase(), Some(Phase::Activate), "long before our own belief is over");
    side.rig.report(Side::B, Role::Active, 2);
    assert_eq!(fencing::last_record(&side.rig.outputs()).fenced, Some(Fenced::LeaseOver));
}

#[test]
fn i1_what_a_side_says_of_another_life_of_its_agent_or_while_something_runs_fences_nothing() {
    for (session, running, role) in
        [(2, false, Role::Standby), (1, true, Role::Standby), (1, false, Role::StandingDown), (1, false, Role::Failed)]
    {
        let mut side = failing_over();
        side.report_after(140, Role::Standby);
        side.rig.wait(20);
        let mut report = side.rig.coordinator.report(Side::A).expect("it has reported").clone();
        report.stamp = Stamp { session: Session(session), at: At::from_millis(side.rig.now) };
        (report.running, report.role) = (running, role);
        side.rig.say(Input::Node { side: Side::A, message: FromNode::Report(report) });
        assert_eq!(side.rig.phase(), Some(Phase::Fence), "{session} {running} {role:?}");
    }
}
