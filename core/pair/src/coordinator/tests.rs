//! Each phase, deadline and outcome of `docs/handover.md`, one by one. What they do together under faults is the
//! simulation's business (`tests/tests/simulation`).

use super::*;
use crate::protocol::{FromNode, Session, Stamp, Terms};
use lockstep_policy::action::Urgency;
use lockstep_policy::event::{Lan, Replication};
use proptest::prelude::*;

const MS: u64 = 1;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn settings() -> Settings {
    Settings {
        terms: Terms { ttl: ms(600), renew: ms(200), stop_max: ms(250) },
        drift_ppm: 10_000,
        margin: ms(20),
        prepare: ms(2_000),
        drain: ms(300),
        leftover: Leftover::Cut,
        fence: ms(1_000),
        activate: ms(3_000),
        activate_attempts: 2,
        settle: ms(1_000),
        recover: ms(1_000),
        fencing: Sides::default(),
    }
}

/// A coordinator with a clock, and what it has said since it was last asked.
struct Rig {
    coordinator: Coordinator,
    now: u64,
}

impl Rig {
    fn new(stored: Stored) -> Rig {
        Rig { coordinator: Coordinator::new(settings(), stored, At::from_millis(1_000)), now: 1_000 }
    }

    /// Side A active in epoch 1, side B standing by, nothing under way.
    fn serving() -> Rig {
        let mut rig = Rig::new(Stored { epoch: Epoch(1), active: Some((Side::A, Epoch(1))), intent: None });
        rig.link(Side::A);
        rig.link(Side::B);
        rig.report(Side::A, Role::Active, 1);
        rig.report(Side::B, Role::Standby, 0);
        rig.outputs();
        assert_eq!(rig.route(), RouteKind::Serve(Side::A));
        rig
    }

    fn say(&mut self, input: Input) {
        self.coordinator.handle(At::from_millis(self.now), input);
    }

    fn link(&mut self, side: Side) {
        self.say(Input::Link { side, up: true });
    }

    fn report(&mut self, side: Side, role: Role, epoch: u64) {
        self.report_fit(side, role, epoch, true);
    }

    fn report_fit(&mut self, side: Side, role: Role, epoch: u64, fit: bool) {
        let report = Report {
            stamp: Stamp { session: Session(1), at: At::from_millis(self.now) },
            epoch: Epoch(epoch),
            role,
            serving: role == Role::Active && fit,
            fit,
            running: !matches!(role, Role::Standby | Role::Failed),
            lease_left: if role == Role::Active { ms(400) } else { Duration::ZERO },
            services: Vec::new(),
            release: String::new(),
            replication: Replication::Unknown,
            replication_detail: String::new(),
            lan: Lan::Unknown,
            waiting: String::new(),
            unbound: Vec::new(),
        };
        self.say(Input::Node { side, message: FromNode::Report(report) });
    }

    fn answer(&mut self, side: Side, answer: Answer) {
        self.say(Input::Node { side, message: FromNode::Answer(answer) });
    }

    fn switch(&mut self, to: Side, urgency: Urgency) {
        self.say(Input::Switch(order(to, urgency)));
    }

    /// Lets time pass as a shell does: one timer after the other.
    fn wait(&mut self, millis: u64) {
        let end = self.now + millis * MS;
        while let Some(at) = self.coordinator.deadline().filter(|at| *at <= At::from_millis(end)) {
            self.now = self.now.max(at.0.div_ceil(1_000_000));
            self.say(Input::Tick);
        }
        self.now = end;
        self.say(Input::Tick);
    }

    /// What was said since the last call; writes are answered as done.
    fn outputs(&mut self) -> Vec<Output> {
        let mut said = Vec::new();
        while let Some(output) = self.coordinator.poll() {
            if let Output::Store { ticket, .. } = &output {
                self.say(Input::Stored(*ticket));
            }
            said.push(output);
        }
        said
    }

    fn sent(&mut self) -> Vec<(Side, ToNode)> {
        let sent = self.outputs().into_iter().filter_map(|output| match output {
            Output::Send { side, message } if !matches!(message, ToNode::Renew { .. }) => Some((side, message)),
            _ => None,
        });
        sent.collect()
    }

    fn end(&mut self) -> Option<End> {
        self.outputs().into_iter().find_map(|output| match output {
            Output::Ended { end, .. } => Some(end),
            _ => None,
        })
    }

    fn route(&self) -> RouteKind {
        self.coordinator.view().route.kind
    }

    fn phase(&self) -> Option<Phase> {
        self.coordinator.view().handover.map(|(_, phase)| phase)
    }

    /// A planned switch to B, as far as the order to stand down.
    fn fencing() -> Rig {
        let mut rig = Rig::serving();
        rig.switch(Side::B, Urgency::Planned);
        rig.outputs();
        rig.answer(Side::B, Answer::Prepared { epoch: Epoch(2) });
        rig.say(Input::Drained { epoch: Epoch(2) });
        assert_eq!(rig.phase(), Some(Phase::Fence));
        rig
    }
}

fn order(to: Side, urgency: Urgency) -> Order {
    Order {
        id: OrderId(7),
        to,
        urgency,
        reason: "test".into(),
        by: "operator test".into(),
        evidence: vec![3],
        unsafe_because: None,
    }
}

fn stand_down(epoch: u64, urgency: Urgency) -> ToNode {
    ToNode::StandDown { epoch: Epoch(epoch), urgency }
}

#[test]
fn a_planned_switch_goes_through_every_phase_in_order() {
    let mut rig = Rig::serving();
    rig.switch(Side::B, Urgency::Planned);
    assert_eq!(rig.sent(), [(Side::B, ToNode::Prepare { epoch: Epoch(2) })], "after the intent is durable");
    assert_eq!(rig.route(), RouteKind::Serve(Side::A), "the old side serves while the new one warms up");

    rig.answer(Side::B, Answer::Prepared { epoch: Epoch(2) });
    assert_eq!((rig.route(), rig.phase()), (RouteKind::Hold, Some(Phase::Drain)));
    assert!(rig.outputs().contains(&Output::Drain { side: Side::A, epoch: Epoch(2) }));

    rig.say(Input::Drained { epoch: Epoch(2) });
    assert_eq!(rig.sent(), [(Side::A, stand_down(2, Urgency::Planned))]);
    rig.report(Side::A, Role::Standby, 2);
    assert_eq!(rig.phase(), Some(Phase::Fence), "a report is no confirmation");

    rig.report(Side::B, Role::Standby, 0);
    rig.answer(Side::A, Answer::StoodDown { epoch: Epoch(2) });
    let sent = rig.sent();
    assert!(matches!(sent[..], [(Side::B, ToNode::Activate { epoch: Epoch(2), .. })]), "{sent:?}");

    rig.wait(100);
    rig.report(Side::B, Role::Active, 2);
    assert_eq!(rig.route(), RouteKind::Serve(Side::B));
    assert_eq!(rig.coordinator.view().active, Some((Side::B, Epoch(2))));
    assert_eq!(rig.end(), Some(End::Ended { outcome: Outcome::Completed, why: String::new() }));
}

#[test]
fn the_record_tells_phases_skew_and_first_answer() {
    let mut rig = Rig::fencing();
    rig.report(Side::B, Role::Standby, 0);
    rig.answer(Side::A, Answer::StoodDown { epoch: Epoch(2) });
    rig.wait(50);
    rig.report(Side::B, Role::Active, 2);
    rig.say(Input::FirstSent { epoch: Epoch(2), at: At::from_millis(rig.now + 1) });
    rig.say(Input::FirstAnswer { epoch: Epoch(2), at: At::from_millis(rig.now + 3) });
    let record = rig.outputs().into_iter().rev().find_map(|output| match output {
        Output::Record(record) => Some(record),
        _ => None,
    });
    let record = record.expect("a record was written");
    let phases: Vec<Phase> = record.phases.iter().map(|phase| phase.phase).collect();
    let all = [Phase::Prepare, Phase::Hold, Phase::Drain, Phase::Fence, Phase::Activate, Phase::Commit, Phase::Settle];
    assert_eq!(phases, all);
    assert!(record.phases.iter().all(|phase| phase.ended.is_some()));
    assert_eq!(record.first_sent_at.map(|at| at.since(record.activated_at.expect("it became active"))), Some(ms(1)));
    assert_eq!(record.evidence, [3]);
}

#[test]
fn a_planned_switch_to_a_side_that_cannot_prepare_changes_nothing() {
    let mut rig = Rig::serving();
    rig.switch(Side::B, Urgency::Planned);
    rig.outputs();
    for _ in 0..11 {
        rig.wait(200);
        rig.report(Side::A, Role::Active, 1);
    }
    assert_eq!(rig.route(), RouteKind::Serve(Side::A));
    assert_eq!(rig.coordinator.view().active, Some((Side::A, Epoch(1))));
    let end = rig.end();
    assert!(matches!(end, Some(End::Ended { outcome: Outcome::RolledBack, .. })), "{end:?}");
}

#[test]
fn requests_that_do_not_drain_are_cut_at_the_deadline() {
    let mut rig = Rig::serving();
    rig.switch(Side::B, Urgency::Planned);
    rig.outputs();
    rig.answer(Side::B, Answer::Prepared { epoch: Epoch(2) });
    rig.outputs();
    rig.wait(300);
    assert!(rig.outputs().contains(&Output::Cut { side: Side::A, before: Epoch(2) }));
    assert_eq!(rig.phase(), Some(Phase::Fence));
}

#[test]
fn i2_a_failover_cuts_the_old_side_off_before_it_is_told_to_stand_down() {
    let mut rig = Rig::serving();
    rig.switch(Side::B, Urgency::Failover);
    let outputs = rig.outputs();
    let outputs = [outputs, rig.outputs()].concat();
    let at = |wanted: &dyn Fn(&Output) -> bool| outputs.iter().position(wanted);
    let cut = at(&|output| *output == Output::Cut { side: Side::A, before: Epoch(2) });
    let told = at(&|output| matches!(output, Output::Send { side: Side::A, message: ToNode::StandDown { .. } }));
    assert!(cut.is_some() && cut < told, "{outputs:?}");
}

#[test]
fn a_planned_switch_whose_old_side_does_not_stand_down_is_rolled_back_in_its_own_epoch() {
    let mut rig = Rig::fencing();
    // It keeps saying that it is being stopped, with services that run, past the end of its lease.
    for _ in 0..6 {
        rig.wait(200);
        rig.report(Side::A, Role::StandingDown, 2);
        rig.report(Side::B, Role::Standby, 0);
    }
    rig.outputs();
    rig.report(Side::A, Role::Standby, 2);
    rig.report(Side::B, Role::Standby, 0);
    rig.answer(Side::B, Answer::StoodDown { epoch: Epoch(3) });
    let sent = rig.sent();
    assert!(
        matches!(sent[..], [.., (Side::A, ToNode::Activate { epoch: Epoch(3), .. })]),
        "A is made active again: {sent:?}"
    );
    rig.report(Side::A, Role::Active, 3);
    assert_eq!(rig.route(), RouteKind::Serve(Side::A));
    let end = rig.end();
    assert!(matches!(end, Some(End::Ended { outcome: Outcome::RolledBack, .. })), "{end:?}");
}

#[test]
fn i1_a_failover_from_a_silent_side_waits_for_lease_drift_stop_and_margin() {
    let mut rig = Rig::serving();
    rig.report(Side::B, Role::Standby, 0);
    // Its last renewal is granted at 1000 ms; then the node is unplugged.
    rig.say(Input::Link { side: Side::A, up: false });
    assert_eq!(rig.route(), RouteKind::Hold, "the active side is out of sight: requests wait");
    rig.switch(Side::B, Urgency::Failover);
    rig.outputs();
    let clear = 1_000 + 600 + 250 + 20 + 8; // and one per cent drift of 850 ms, rounded down
    while rig.now < clear {
        assert_eq!(rig.phase(), Some(Phase::Fence), "at {} ms", rig.now);
        rig.wait(10);
        rig.report(Side::B, Role::Standby, 0);
    }
    rig.wait(10);
    let sent = rig.sent();
    assert!(matches!(sent[..], [(Side::B, ToNode::Activate { epoch: Epoch(2), .. })]), "{sent:?}");
}

#[test]
fn i1_a_side_that_says_it_runs_on_after_its_lease_is_never_counted_as_fenced() {
    let mut rig = Rig::serving();
    rig.switch(Side::B, Urgency::Failover);
    rig.outputs();
    for _ in 0..15 {
        rig.wait(200);
        rig.report(Side::A, Role::StandingDown, 2);
        rig.report(Side::B, Role::Standby, 0);
        assert!(rig.sent().iter().all(|(_, message)| !matches!(message, ToNode::Activate { .. })));
    }
    assert_eq!(rig.phase(), None, "I5: it ended");
    assert_eq!(rig.route(), RouteKind::Refuse);
}

#[test]
fn a_failover_asks_for_no_preparation_of_a_side_that_is_fit() {
    let mut rig = Rig::serving();
    rig.switch(Side::B, Urgency::Failover);
    assert_eq!(rig.sent(), [(Side::A, stand_down(2, Urgency::Failover))]);
}

#[test]
fn a_side_that_connects_again_while_it_is_fenced_is_told_again() {
    let mut rig = Rig::fencing();
    rig.outputs();
    rig.say(Input::Link { side: Side::A, up: false });
    rig.link(Side::A);
    assert_eq!(rig.sent(), [(Side::A, stand_down(2, Urgency::Planned))]);
}

#[test]
fn an_activation_that_fails_is_tried_again_within_its_budget_then_rolled_back() {
    let mut rig = Rig::fencing();
    rig.report(Side::A, Role::Standby, 2);
    rig.report(Side::B, Role::Standby, 0);
    rig.outputs();
    rig.answer(Side::A, Answer::StoodDown { epoch: Epoch(2) });
    assert_eq!(rig.sent().len(), 1, "first attempt");
    rig.report(Side::B, Role::Failed, 2);
    rig.answer(Side::B, Answer::Failed { epoch: Epoch(2), why: "no licence".into() });
    assert_eq!(rig.sent().len(), 1, "second attempt");
    rig.answer(Side::B, Answer::Failed { epoch: Epoch(2), why: "no licence".into() });
    rig.outputs();
    rig.answer(Side::B, Answer::StoodDown { epoch: Epoch(3) });
    rig.report(Side::A, Role::Active, 3);
    assert_eq!(rig.route(), RouteKind::Serve(Side::A));
    let end = rig.end();
    let Some(End::Ended { outcome: Outcome::RolledBack, why }) = end else { panic!("{end:?}") };
    assert!(why.contains("no licence"), "{why}");
}

#[test]
fn i5_a_failover_whose_new_side_does_not_start_ends_with_no_active_side_and_an_alert() {
    let mut rig = Rig::serving();
    rig.say(Input::Link { side: Side::A, up: false });
    rig.switch(Side::B, Urgency::Failover);
    rig.outputs();
    let mut said = Vec::new();
    for _ in 0..30 {
        rig.wait(200);
        rig.report(Side::B, Role::Standby, 0);
        said.extend(rig.outputs());
    }
    assert_eq!(rig.route(), RouteKind::Refuse);
    assert!(said.iter().any(|output| matches!(output, Output::Alert(_))), "{said:?}");
    assert!(
        said.iter()
            .any(|output| matches!(output, Output::Ended { end: End::Ended { outcome: Outcome::NoActive, .. }, .. }))
    );
}

#[test]
fn a_planned_switch_becomes_a_failover_when_one_is_ordered_to_the_same_side() {
    let mut rig = Rig::serving();
    rig.switch(Side::B, Urgency::Planned);
    rig.outputs();
    rig.switch(Side::B, Urgency::Failover);
    assert_eq!(rig.sent(), [(Side::A, stand_down(2, Urgency::Failover))], "it no longer waits for the drain");
}

#[test]
fn one_handover_at_a_time_and_none_to_where_it_is() {
    let mut rig = Rig::fencing();
    rig.outputs();
    rig.switch(Side::A, Urgency::Planned);
    let end = rig.end();
    assert!(matches!(&end, Some(End::Refused(why)) if why.contains("under way")), "{end:?}");
    let mut rig = Rig::serving();
    rig.switch(Side::A, Urgency::Failover);
    let end = rig.end();
    assert!(matches!(&end, Some(End::Refused(why)) if why.contains("active already")), "{end:?}");
}

#[test]
fn an_order_whose_intent_cannot_be_stored_changes_nothing() {
    let mut rig = Rig::serving();
    rig.switch(Side::B, Urgency::Failover);
    let ticket = rig.coordinator.last_ticket;
    rig.say(Input::StoreFailed { ticket, why: "disk full".into() });
    assert_eq!(rig.route(), RouteKind::Serve(Side::A));
    assert!(rig.sent().is_empty());
}

#[test]
fn i2_requests_wait_as_soon_as_the_lease_is_not_sure_and_go_on_with_the_next_report() {
    let mut rig = Rig::serving();
    // 400 ms, less a hundredth for a fast clock, and the margin.
    rig.wait(375);
    assert_eq!(rig.route(), RouteKind::Serve(Side::A));
    rig.wait(2);
    assert_eq!(rig.route(), RouteKind::Hold);
    rig.report(Side::A, Role::Active, 1);
    assert_eq!(rig.route(), RouteKind::Serve(Side::A));
    rig.report_fit(Side::A, Role::Active, 1, false);
    assert_eq!(rig.route(), RouteKind::Hold, "its application died");
}

/// The simulation's find: an intent that is not durable, or could not be stored, has raised the epoch in memory only.
#[test]
fn i4_a_side_that_is_warmed_up_on_suspicion_is_told_no_epoch_that_may_not_be_durable() {
    let mut rig = Rig::serving();
    rig.switch(Side::B, Urgency::Planned);
    rig.outputs();
    rig.say(Input::Prepare(Side::B));
    let told = rig.outputs().into_iter().find_map(|output| match output {
        Output::Send { message: ToNode::Prepare { epoch }, .. } => Some(epoch),
        _ => None,
    });
    assert_eq!(told, Some(Epoch(0)), "that of the node's own disk");
}

#[test]
fn i4_a_restarted_edge_goes_on_with_the_active_side_undisturbed() {
    let stored = Stored { epoch: Epoch(4), active: Some((Side::A, Epoch(3))), intent: None };
    let mut rig = Rig::new(stored);
    assert_eq!(rig.route(), RouteKind::Hold, "unknown is never up");
    rig.link(Side::A);
    rig.report(Side::A, Role::Active, 3);
    assert_eq!(rig.route(), RouteKind::Serve(Side::A));
    assert!(rig.sent().is_empty());
}

#[test]
fn i4_after_a_crash_before_the_fence_the_old_side_goes_on() {
    let intent = Some(Intent { epoch: Epoch(2), to: Side::B });
    let mut rig = Rig::new(Stored { epoch: Epoch(2), active: Some((Side::A, Epoch(1))), intent });
    rig.link(Side::A);
    rig.report(Side::A, Role::Active, 1);
    assert_eq!(rig.route(), RouteKind::Serve(Side::A));
}

#[test]
fn i4_after_a_crash_in_the_activation_the_new_side_becomes_active() {
    let intent = Some(Intent { epoch: Epoch(2), to: Side::B });
    let mut rig = Rig::new(Stored { epoch: Epoch(2), active: Some((Side::A, Epoch(1))), intent });
    rig.link(Side::A);
    rig.link(Side::B);
    rig.report(Side::A, Role::Standby, 2);
    rig.report(Side::B, Role::Activating, 2);
    assert_eq!(rig.phase(), Some(Phase::Activate));
    rig.report(Side::B, Role::Active, 2);
    assert_eq!(rig.route(), RouteKind::Serve(Side::B));
}

#[test]
fn i4_the_policy_is_told_who_turns_out_to_be_active() {
    let intent = Some(Intent { epoch: Epoch(2), to: Side::B });
    let stored = Stored { epoch: Epoch(2), active: Some((Side::A, Epoch(1))), intent };
    let told = |rig: &mut Rig| {
        let outputs = rig.outputs().into_iter();
        outputs.filter_map(|output| if let Output::Tell(told) = output { Some(told) } else { None }).collect::<Vec<_>>()
    };
    let handover =
        |stage, active| lockstep_policy::event::Handover { epoch: Epoch(2), to: Side::B, stage, active: Some(active) };

    let mut committed = Rig::new(stored.clone());
    committed.link(Side::B);
    committed.report(Side::B, Role::Active, 2);
    assert_eq!(told(&mut committed), [handover(Stage::Completed, Side::B)]);

    let mut activating = Rig::new(stored.clone());
    activating.link(Side::B);
    activating.report(Side::B, Role::Activating, 2);
    assert_eq!(told(&mut activating), [handover(Stage::Begun, Side::A)]);

    let mut unchanged = Rig::new(stored);
    unchanged.link(Side::A);
    unchanged.report(Side::A, Role::Active, 1);
    assert_eq!(told(&mut unchanged), []);
}

#[test]
fn i4_after_a_crash_between_fence_and_activation_the_handover_is_finished_in_a_new_epoch() {
    let intent = Some(Intent { epoch: Epoch(2), to: Side::B });
    let mut rig = Rig::new(Stored { epoch: Epoch(2), active: Some((Side::A, Epoch(1))), intent });
    rig.link(Side::A);
    rig.link(Side::B);
    rig.report(Side::A, Role::Standby, 2);
    rig.report(Side::B, Role::Standby, 0);
    assert_eq!(rig.sent(), [(Side::A, stand_down(3, Urgency::Failover))]);
    assert_eq!(rig.coordinator.view().handover.map(|(to, _)| to), Some(Side::B));
}

#[test]
fn i4_an_edge_that_lost_its_store_learns_the_epochs_from_the_nodes() {
    let mut rig = Rig::new(Stored::default());
    rig.link(Side::A);
    rig.link(Side::B);
    rig.report(Side::A, Role::Standby, 9);
    rig.report(Side::B, Role::Active, 8);
    assert_eq!(rig.route(), RouteKind::Serve(Side::B));
    rig.switch(Side::A, Urgency::Planned);
    assert_eq!(rig.sent(), [(Side::A, ToNode::Prepare { epoch: Epoch(10) })]);
}

#[test]
fn a_side_can_be_stood_down_alone() {
    let mut rig = Rig::serving();
    rig.say(Input::StandDown(order(Side::A, Urgency::Failover)));
    assert_eq!(rig.sent(), [(Side::A, stand_down(2, Urgency::Failover))]);
    assert_eq!(rig.route(), RouteKind::Refuse);
    rig.answer(Side::A, Answer::StoodDown { epoch: Epoch(2) });
    assert_eq!(rig.end(), Some(End::Ended { outcome: Outcome::Completed, why: String::new() }));
}

/// Anything that may come in, sensible or not.
fn any_input() -> impl Strategy<Value = (u64, u8, bool, u64, u8, bool)> {
    (0_u64..400, 0_u8..14, any::<bool>(), 0_u64..6, 0_u8..6, any::<bool>())
}

proptest! {
    /// The invariants in `check_invariants` hold after every input, in whatever order they come.
    #[test]
    fn invariants_hold_for_inputs_in_any_order(inputs in prop::collection::vec(any_input(), 1..200)) {
        let mut rig = Rig::new(Stored::default());
        for (pause, kind, side, epoch, role, flag) in inputs {
            let side = if side { Side::A } else { Side::B };
            let roles = [
                Role::Standby, Role::Activating, Role::Active, Role::StandingDown, Role::Failed, Role::Unknown,
            ];
            let urgency = if flag { Urgency::Planned } else { Urgency::Failover };
            let (id, why) = (Epoch(epoch), String::from("why"));
            match kind {
                0 => rig.say(Input::Link { side, up: flag }),
                1..=4 => rig.report_fit(side, roles[usize::from(role)], epoch, flag),
                5 => rig.answer(side, Answer::Prepared { epoch: id }),
                6 => rig.answer(side, Answer::StoodDown { epoch: id }),
                7 => rig.answer(side, Answer::Activated { epoch: id }),
                8 => rig.answer(side, Answer::Failed { epoch: id, why }),
                9 => rig.answer(side, Answer::Refused { epoch: id, highest: Epoch(epoch + 1), why }),
                10 => rig.switch(side, urgency),
                11 => rig.say(Input::StandDown(order(side, urgency))),
                12 => rig.say(Input::Drained { epoch: id }),
                _ => rig.say(Input::StoreFailed { ticket: Ticket(epoch), why }),
            }
            if flag {
                rig.outputs();
            }
            rig.wait(pause);
        }
    }
}

mod deaf;
mod drift;
/// How sides are fenced beyond their own word and their lease.
mod fencing;
