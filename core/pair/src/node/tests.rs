//! What a node obeys, refuses, and does when its lease is over.

use super::*;
use proptest::prelude::*;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

const SESSION: Session = Session(5);

struct Rig {
    node: Node,
    now: u64,
}

impl Rig {
    /// A node that has gone through its boot, standing by.
    fn standby(stored: Stored) -> Rig {
        let mut rig = Rig { node: Node::new(SESSION, stored, At::from_millis(1_000)), now: 1_000 };
        rig.say(Input::Terms(Terms { ttl: ms(600), renew: ms(200), stop_max: ms(250) }));
        rig.say(Input::Condition(Condition { fit: true, ..Condition::default() }));
        rig.carry_out();
        rig
    }

    /// Active in epoch 1, with a lease from now.
    fn active() -> Rig {
        let mut rig = Rig::standby(Stored::default());
        rig.message(ToNode::Activate { epoch: Epoch(1), lease: rig.lease() });
        rig.carry_out();
        assert_eq!(rig.role(), Role::Active);
        rig
    }

    fn lease(&self) -> Lease {
        Lease { stamp: Stamp { session: SESSION, at: At::from_millis(self.now) }, ttl: ms(600) }
    }

    fn say(&mut self, input: Input) {
        self.node.handle(At::from_millis(self.now), input);
    }

    fn message(&mut self, message: ToNode) {
        self.say(Input::Message(message));
    }

    fn lan(&mut self, lan: Lan, binding: bool) {
        let why = if lan == Lan::Isolated { "no carrier on eth0".to_owned() } else { String::new() };
        self.say(Input::Lan { lan, why, binding });
    }

    fn outputs(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.node.poll()).collect()
    }

    /// Does everything that the node asks for, at once. Returns all of it.
    fn carry_out(&mut self) -> Vec<Output> {
        let mut said = Vec::new();
        while let Some(output) = self.node.poll() {
            match &output {
                Output::Store { ticket, .. } => self.say(Input::Stored(*ticket)),
                Output::Start(run) => {
                    let condition = Condition { fit: true, ready: true, running: true, ..Condition::default() };
                    self.say(Input::Condition(condition));
                    self.say(Input::Started(*run));
                }
                Output::Stop { run, .. } => {
                    self.say(Input::Condition(Condition { fit: true, ..Condition::default() }));
                    self.say(Input::Stopped(*run));
                }
                Output::Deadman(_) | Output::Send(_) => {}
            }
            said.push(output);
        }
        said
    }

    fn role(&self) -> Role {
        self.node.report(At::from_millis(self.now)).role
    }
}

fn answers(said: &[Output]) -> Vec<Answer> {
    let answers = said.iter().filter_map(|output| match output {
        Output::Send(FromNode::Answer(answer)) => Some(answer.clone()),
        _ => None,
    });
    answers.collect()
}

#[test]
fn a_life_begins_with_a_stop() {
    let mut node = Node::new(SESSION, Stored { epoch: Epoch(7), active: true }, At::ZERO);
    assert!(matches!(node.poll(), Some(Output::Stop { .. })));
    assert_eq!(node.report(At::ZERO).role, Role::StandingDown);
}

#[test]
fn i4_an_activation_is_durable_and_the_dead_mans_switch_armed_before_anything_is_started() {
    let mut rig = Rig::standby(Stored::default());
    rig.message(ToNode::Activate { epoch: Epoch(1), lease: rig.lease() });
    let said: Vec<Output> =
        rig.carry_out().into_iter().filter(|output| !matches!(output, Output::Send(FromNode::Report(_)))).collect();
    assert!(matches!(
        said[..],
        [
            Output::Store { stored: Stored { epoch: Epoch(1), active: true }, .. },
            Output::Deadman(_),
            Output::Start(_),
            Output::Send(FromNode::Answer(Answer::Activated { epoch: Epoch(1) })),
        ]
    ));
}

#[test]
fn i1_a_node_whose_lease_is_over_stands_down_by_itself_and_within_stop_max() {
    let mut rig = Rig::active();
    let over = At::from_millis(rig.now + 600);
    assert!(rig.node.deadline().is_some_and(|at| at <= over));
    rig.now += 700;
    // Whatever comes first after a sleep, the lease is looked at before it.
    rig.message(ToNode::Renew { epoch: Epoch(1), lease: rig.lease() });
    let said = rig.outputs();
    let stop = said.iter().find_map(|output| match output {
        Output::Stop { by, urgency, .. } => Some((*by, *urgency)),
        _ => None,
    });
    assert_eq!(stop, Some((over + ms(250), Urgency::Failover)), "counted from the lease's end, not from now");
}

#[test]
fn i1_a_grant_that_was_under_way_for_too_long_is_worth_nothing() {
    let mut rig = Rig::standby(Stored::default());
    let lease = rig.lease();
    rig.now += 600;
    rig.message(ToNode::Activate { epoch: Epoch(1), lease });
    let said = rig.carry_out();
    assert!(matches!(answers(&said)[..], [Answer::Refused { .. }]), "{said:?}");
    assert_eq!(rig.role(), Role::Standby);
}

#[test]
fn a_lease_of_an_earlier_life_or_from_the_future_is_refused() {
    for (session, at) in [(Session(4), 1_000), (SESSION, 900_000)] {
        let mut rig = Rig::standby(Stored::default());
        let lease = Lease { stamp: Stamp { session, at: At::from_millis(at) }, ttl: ms(600) };
        rig.message(ToNode::Activate { epoch: Epoch(1), lease });
        assert!(matches!(answers(&rig.carry_out())[..], [Answer::Refused { .. }]));
    }
}

#[test]
fn i3_nothing_of_a_lower_epoch_is_obeyed() {
    let stored = Stored { epoch: Epoch(5), active: false };
    for message in [
        ToNode::Prepare { epoch: Epoch(4) },
        ToNode::StandDown { epoch: Epoch(4), urgency: Urgency::Failover },
        ToNode::Activate { epoch: Epoch(4), lease: Rig::standby(stored).lease() },
        // In epoch 5 it stood down: nobody can be told to be active and to stand down in one epoch.
        ToNode::Activate { epoch: Epoch(5), lease: Rig::standby(stored).lease() },
    ] {
        let mut rig = Rig::standby(stored);
        rig.message(message);
        let said = rig.carry_out();
        assert!(matches!(answers(&said)[..], [Answer::Refused { highest: Epoch(5), .. }]), "{message:?}: {said:?}");
        assert_eq!(rig.role(), Role::Standby);
    }
}

#[test]
fn i3_a_fence_ends_the_right_to_be_renewed_before_it_is_durable() {
    let mut rig = Rig::active();
    rig.now += 100;
    rig.message(ToNode::StandDown { epoch: Epoch(2), urgency: Urgency::Planned });
    rig.outputs();
    rig.message(ToNode::Renew { epoch: Epoch(1), lease: rig.lease() });
    assert!(!rig.outputs().iter().any(|output| matches!(output, Output::Deadman(_))));
}

/// The model's find: an edge that has restarted hears such a node for the first time, and the stop follows a moment later.
#[test]
fn i2_a_node_that_has_heard_a_fence_says_at_once_that_it_does_not_serve() {
    let mut rig = Rig::active();
    rig.message(ToNode::StandDown { epoch: Epoch(2), urgency: Urgency::Planned });
    let mut reports = rig.outputs().into_iter().filter_map(|output| match output {
        Output::Send(FromNode::Report(report)) => Some(report),
        _ => None,
    });
    let last = reports.next_back().expect("a change is reported at once");
    assert_eq!((last.role, last.serving), (Role::Active, false));
}

/// A fence that was replayed, or slow to be written, ends what the later attempt was about to begin; nobody may wait for it.
#[test]
fn an_activation_that_an_older_fence_ends_is_answered_as_failed_and_begun_when_it_is_ordered_anew() {
    for well in [true, false] {
        let mut rig = Rig::standby(Stored::default());
        rig.message(ToNode::StandDown { epoch: Epoch(1), urgency: Urgency::Failover });
        rig.message(ToNode::Activate { epoch: Epoch(2), lease: rig.lease() });
        let writes: Vec<Ticket> = rig
            .outputs()
            .into_iter()
            .filter_map(|output| if let Output::Store { ticket, .. } = output { Some(ticket) } else { None })
            .collect();
        let [fence, activation] = writes[..] else { panic!("two are written") };
        rig.say(if well {
            Input::Stored(fence)
        } else {
            Input::StoreFailed { ticket: fence, why: "no space left on device".into() }
        });
        rig.say(Input::Stored(activation));
        let failed = answers(&rig.carry_out()).iter().any(|a| matches!(a, Answer::Failed { epoch: Epoch(2), .. }));
        assert!(failed, "whether the fence's write goes well: {well}");
        rig.message(ToNode::Activate { epoch: Epoch(2), lease: rig.lease() });
        assert_eq!(answers(&rig.carry_out()), [Answer::Activated { epoch: Epoch(2) }]);
    }
}

#[test]
fn a_stand_down_is_confirmed_after_it_is_durable_and_everything_has_stopped() {
    let mut rig = Rig::active();
    rig.message(ToNode::StandDown { epoch: Epoch(2), urgency: Urgency::Planned });
    let [Output::Store { ticket, .. }, ..] = rig.outputs()[..] else { panic!("first it is stored") };
    rig.say(Input::Stored(ticket));
    let said = rig.outputs();
    let [Output::Stop { run, .. }, ..] = said[..] else { panic!("then it stops: {said:?}") };
    assert!(answers(&said).is_empty());
    rig.say(Input::Stopped(run));
    assert_eq!(answers(&rig.outputs()), [Answer::StoodDown { epoch: Epoch(2) }]);
}

#[test]
fn a_stand_down_that_cannot_be_stored_stops_all_the_same_and_is_not_confirmed() {
    let mut rig = Rig::active();
    rig.message(ToNode::StandDown { epoch: Epoch(2), urgency: Urgency::Planned });
    let [Output::Store { ticket, .. }, ..] = rig.outputs()[..] else { panic!("first it is stored") };
    rig.say(Input::StoreFailed { ticket, why: "disk full".into() });
    let said = rig.carry_out();
    assert!(matches!(answers(&said)[..], [Answer::Failed { epoch: Epoch(2), .. }]), "{said:?}");
    assert_eq!(rig.role(), Role::Standby);
}

#[test]
fn services_that_do_not_start_are_stopped_before_it_is_said() {
    let mut rig = Rig::standby(Stored::default());
    rig.message(ToNode::Activate { epoch: Epoch(1), lease: rig.lease() });
    let [Output::Store { ticket, .. }, ..] = rig.outputs()[..] else { panic!("first it is stored") };
    rig.say(Input::Stored(ticket));
    let run = rig.outputs().into_iter().find_map(|output| match output {
        Output::Start(run) => Some(run),
        _ => None,
    });
    rig.say(Input::StartFailed { run: run.expect("then it starts"), why: "port in use".into() });
    let said = rig.carry_out();
    assert!(said.iter().any(|output| matches!(output, Output::Stop { .. })));
    assert!(matches!(&answers(&said)[..], [Answer::Failed { why, .. }] if why == "port in use"), "{said:?}");
    assert_eq!(rig.role(), Role::Failed);
}

#[test]
fn services_that_do_not_stop_are_reported_as_running() {
    let mut rig = Rig::active();
    rig.message(ToNode::StandDown { epoch: Epoch(2), urgency: Urgency::Planned });
    let [Output::Store { ticket, .. }, ..] = rig.outputs()[..] else { panic!("first it is stored") };
    rig.say(Input::Stored(ticket));
    let [Output::Stop { run, .. }, ..] = rig.outputs()[..] else { panic!("then it stops") };
    rig.say(Input::StopFailed { run, why: "in the kernel".into() });
    assert!(matches!(answers(&rig.outputs())[..], [Answer::Failed { epoch: Epoch(2), .. }]));
    assert!(rig.node.report(At::from_millis(rig.now)).running);
}

/// Not at once, as if the node were hung: what is left of its services is stopped in order.
#[test]
fn a_service_that_cannot_be_kept_up_costs_the_node_its_role() {
    let mut standby = Rig::standby(Stored::default());
    standby.say(Input::Broken { why: "of an earlier run".into() });
    assert_eq!(standby.outputs(), []);

    let mut rig = Rig::active();
    rig.say(Input::Broken { why: "`cti` has ended 4 times".into() });
    let said = rig.carry_out();
    let by = At::from_millis(rig.now + 250);
    assert!(
        said.iter().any(|output| matches!(output, Output::Stop { by: at, urgency: Urgency::Planned, .. } if *at == by)),
        "{said:?}"
    );
    assert_eq!(answers(&said), [Answer::Failed { epoch: Epoch(1), why: "`cti` has ended 4 times".into() }]);
    assert_eq!(rig.role(), Role::Failed);
    // It can be tried again, by who decides.
    rig.message(ToNode::Activate { epoch: Epoch(2), lease: rig.lease() });
    rig.carry_out();
    assert_eq!(rig.role(), Role::Active);
}

#[test]
fn an_active_node_that_is_activated_in_a_later_epoch_goes_on_without_a_stop() {
    let mut rig = Rig::active();
    rig.message(ToNode::Activate { epoch: Epoch(2), lease: rig.lease() });
    let said = rig.carry_out();
    assert_eq!(answers(&said), [Answer::Activated { epoch: Epoch(2) }]);
    assert!(!said.iter().any(|output| matches!(output, Output::Stop { .. } | Output::Start(_))));
}

#[test]
fn an_activation_that_is_said_again_moves_the_dead_mans_switch_on() {
    let mut rig = Rig::active();
    rig.now += 100;
    rig.message(ToNode::Activate { epoch: Epoch(1), lease: rig.lease() });
    let said = rig.carry_out();
    assert!(said.contains(&Output::Deadman(At::from_millis(rig.now + 600 + 250))), "{said:?}");
}

#[test]
fn t4_an_active_node_that_is_isolated_lets_its_lease_run_out_stands_down_in_order_and_takes_no_other() {
    let mut rig = Rig::active();
    let over = At::from_millis(rig.now + 600);
    rig.now += 100;
    rig.lan(Lan::Isolated, true);
    let report = rig.node.report(At::from_millis(rig.now));
    assert!(!report.serving && report.lan == Lan::Isolated, "requests are held from now on");
    // The edge reaches it still, and renews.
    rig.message(ToNode::Renew { epoch: Epoch(1), lease: rig.lease() });
    assert!(!rig.outputs().iter().any(|output| matches!(output, Output::Deadman(_) | Output::Stop { .. })), "I2");
    rig.now += 500;
    rig.say(Input::Tick);
    let said = rig.carry_out();
    let stop = said.iter().find_map(|output| match output {
        Output::Stop { by, urgency, .. } => Some((*by, *urgency)),
        _ => None,
    });
    assert_eq!(stop, Some((over + ms(250), Urgency::Planned)));
    let report = rig.node.report(At::from_millis(rig.now));
    assert_eq!((report.role, report.lan, report.running), (Role::Standby, Lan::Isolated, false));
    for epoch in [Epoch(1), Epoch(2)] {
        rig.carry_out();
        rig.message(ToNode::Activate { epoch, lease: rig.lease() });
        let said = rig.carry_out();
        let [Answer::Refused { why, .. }] = &answers(&said)[..] else { panic!("{said:?}") };
        assert!(why.contains("isolated from its LAN: no carrier on eth0"), "{why}");
    }
    // Back on the LAN it waits to be told.
    rig.lan(Lan::Connected, true);
    rig.carry_out();
    assert_eq!(rig.role(), Role::Standby);
    rig.message(ToNode::Activate { epoch: Epoch(2), lease: rig.lease() });
    assert_eq!(answers(&rig.carry_out()), [Answer::Activated { epoch: Epoch(2) }]);
}

#[test]
fn t4_a_node_that_is_back_on_its_lan_before_its_lease_is_over_goes_on() {
    let mut rig = Rig::active();
    rig.now += 100;
    rig.lan(Lan::Isolated, true);
    rig.now += 100;
    rig.lan(Lan::Connected, true);
    rig.message(ToNode::Renew { epoch: Epoch(1), lease: rig.lease() });
    rig.now += 500;
    rig.say(Input::Tick);
    let said = rig.carry_out();
    assert!(!said.iter().any(|output| matches!(output, Output::Stop { .. })));
    assert!(rig.node.report(At::from_millis(rig.now)).serving);
}

#[test]
fn t4_isolation_that_only_is_reported_changes_nothing_else() {
    let mut rig = Rig::active();
    rig.lan(Lan::Isolated, false);
    let said = rig.carry_out();
    assert!(!said.iter().any(|output| matches!(output, Output::Stop { .. })));
    let report = rig.node.report(At::from_millis(rig.now));
    assert_eq!((report.role, report.lan), (Role::Active, Lan::Isolated));
}

#[test]
fn t4_a_start_that_isolation_ends_is_answered_as_failed() {
    let mut rig = Rig::standby(Stored::default());
    rig.message(ToNode::Activate { epoch: Epoch(1), lease: rig.lease() });
    let [Output::Store { ticket, .. }, ..] = rig.outputs()[..] else { panic!("first it is stored") };
    rig.say(Input::Stored(ticket));
    rig.outputs();
    rig.lan(Lan::Isolated, true);
    let said = rig.carry_out();
    let [Answer::Failed { epoch: Epoch(1), why }] = &answers(&said)[..] else { panic!("{said:?}") };
    assert!(why.contains("isolated from its LAN while the services were being started"), "{why}");
}

#[test]
fn i3_an_activation_given_up_while_it_is_written_counts_as_heard_and_as_stored() {
    let mut rig = Rig::standby(Stored::default());
    rig.message(ToNode::Activate { epoch: Epoch(5), lease: rig.lease() });
    let [Output::Store { ticket, .. }, ..] = rig.outputs()[..] else { panic!("first it is stored") };
    rig.now += 700;
    rig.say(Input::Tick);
    rig.carry_out();
    // The disk is slow: nothing lower may be written over what is on its way.
    for durable in [false, true] {
        if durable {
            rig.say(Input::Stored(ticket));
        }
        rig.message(ToNode::StandDown { epoch: Epoch(4), urgency: Urgency::Planned });
        let said = rig.carry_out();
        assert!(matches!(answers(&said)[..], [Answer::Refused { highest: Epoch(5), .. }]), "{said:?}");
    }
    assert_eq!(rig.node.report(At::from_millis(rig.now)).epoch, Epoch(5));
}

proptest! {
    /// The invariants in `check_invariants` hold after every input, in whatever order they come; and no activation of
    /// an epoch in which the node has stood down, or of a lower one, is ever confirmed.
    #[test]
    fn invariants_hold_for_inputs_in_any_order(
        inputs in prop::collection::vec((0_u64..400, 0_u8..11, 0_u64..6, any::<bool>()), 1..200),
    ) {
        let mut rig = Rig::standby(Stored::default());
        let mut stood_down = Epoch(0);
        for (pause, kind, number, flag) in inputs {
            let epoch = Epoch(number);
            match kind {
                0 | 1 => rig.message(ToNode::Activate { epoch, lease: rig.lease() }),
                2 => rig.message(ToNode::StandDown { epoch, urgency: Urgency::Failover }),
                3 => rig.message(ToNode::Renew { epoch, lease: rig.lease() }),
                4 => rig.message(ToNode::Prepare { epoch }),
                5 => rig.say(Input::Started(Run(number))),
                6 => rig.say(Input::StopFailed { run: Run(number), why: "why".into() }),
                7 => rig.say(Input::StoreFailed { ticket: Ticket(number), why: "why".into() }),
                8 => rig.say(Input::Broken { why: "why".into() }),
                9 => rig.lan(if flag { Lan::Isolated } else { Lan::Connected }, true),
                _ => rig.say(Input::Condition(Condition { fit: flag, ready: flag, ..Condition::default() })),
            }
            if flag {
                for answer in answers(&rig.carry_out()) {
                    match answer {
                        Answer::StoodDown { epoch } => stood_down = stood_down.max(epoch),
                        Answer::Activated { epoch } => prop_assert!(epoch > stood_down, "I3"),
                        _ => {}
                    }
                }
            }
            rig.now += pause;
            rig.say(Input::Tick);
        }
    }
}

#[test]
fn a_lease_that_came_after_a_later_report_is_shown_at_once_and_not_too_often() {
    let mut rig = Rig::active();
    let early = rig.lease();
    rig.now += 200;
    rig.say(Input::Tick);
    assert_eq!(reports(&rig.outputs()), 1);
    let late = rig.lease();
    rig.now += 210;
    rig.say(Input::Tick);
    assert_eq!(reports(&rig.outputs()), 1, "the report that does not show it");
    let renew = |lease| ToNode::Renew { epoch: Epoch(1), lease };
    rig.now += 90;
    rig.message(renew(early));
    assert_eq!(reports(&rig.outputs()), 0, "one has just been written");
    rig.now += 20;
    rig.message(renew(late));
    assert_eq!(reports(&rig.outputs()), 1);
    let prompt = rig.lease();
    rig.now += 150;
    rig.message(renew(prompt));
    assert_eq!(reports(&rig.outputs()), 0, "the next report shows it in time");
}

fn reports(outputs: &[Output]) -> usize {
    outputs.iter().filter(|output| matches!(output, Output::Send(FromNode::Report(_)))).count()
}
