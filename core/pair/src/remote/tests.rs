use super::*;
use crate::protocol::Lease;
use lockstep_policy::action::Urgency;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

struct Rig {
    remote: Remote,
    now: u64,
}

impl Rig {
    fn new(looks: bool, epoch: u64, active: bool) -> Rig {
        let settings = Settings { renew: ms(200), ttl: ms(600), looks, look: ms(500), doubt: ms(2_000) };
        let start = Start { epoch: Epoch(epoch), active };
        Rig { remote: Remote::new(settings, Session(1), start, At::from_millis(0)), now: 0 }
    }

    fn say(&mut self, input: Input) -> Vec<Output> {
        self.remote.handle(At::from_millis(self.now), input);
        std::iter::from_fn(|| self.remote.poll()).collect()
    }

    fn command(&mut self, command: ToNode) -> Vec<Output> {
        self.say(Input::Command(command))
    }

    fn activate(&mut self, epoch: u64) -> Vec<Output> {
        let lease = self.lease();
        self.command(ToNode::Activate { epoch: Epoch(epoch), lease })
    }

    fn renew(&mut self, epoch: u64) -> Vec<Output> {
        let lease = self.lease();
        self.command(ToNode::Renew { epoch: Epoch(epoch), lease })
    }

    fn lease(&self) -> Lease {
        Lease { stamp: Stamp { session: Session(1), at: At::from_millis(self.now) }, ttl: ms(600) }
    }

    fn stand_down(&mut self, epoch: u64) -> Vec<Output> {
        self.command(ToNode::StandDown { epoch: Epoch(epoch), urgency: Urgency::Failover })
    }

    fn end(&mut self, result: Result<(), String>) -> Vec<Output> {
        let run = self.remote.last_run;
        self.say(Input::Ended { run, result })
    }

    fn wait(&mut self, millis: u64) -> Vec<Output> {
        let end = At::from_millis(self.now + millis);
        let mut said = Vec::new();
        while self.remote.deadline() <= end {
            self.now = self.now.max(self.remote.deadline().0.div_ceil(1_000_000));
            said.extend(self.say(Input::Tick));
        }
        self.now = end.0 / 1_000_000;
        said
    }

    fn role(&self) -> Role {
        self.remote.report(At::from_millis(self.now)).role
    }
}

fn answers(said: &[Output]) -> Vec<Answer> {
    let answers = said.iter().filter_map(|output| match output {
        Output::Send(FromNode::Answer(answer)) => Some(answer.clone()),
        _ => None,
    });
    answers.collect()
}

fn stops(said: &[Output]) -> bool {
    said.iter().any(|output| matches!(output, Output::Stop { .. }))
}

fn activates(said: &[Output]) -> bool {
    said.iter().any(|output| matches!(output, Output::Activate { .. }))
}

#[test]
fn an_activation_is_answered_when_its_call_is_confirmed_and_the_report_comes_first() {
    let mut rig = Rig::new(false, 1, false);
    rig.end(Ok(()));
    assert!(activates(&rig.activate(2)));
    assert_eq!(rig.role(), Role::Activating);
    let said = rig.end(Ok(()));
    let [Output::Send(FromNode::Report(report)), Output::Send(FromNode::Answer(answer)), ..] = &said[..] else {
        panic!("{said:?}")
    };
    assert!(report.serving && report.role == Role::Active && report.epoch == Epoch(2) && !report.lease_left.is_zero());
    assert_eq!(*answer, Answer::Activated { epoch: Epoch(2) });
}

#[test]
fn a_side_that_can_be_asked_is_active_and_stopped_when_it_says_so_itself() {
    let mut rig = Rig::new(true, 1, false);
    rig.say(Input::Looked(Look::Stopped));
    rig.activate(2);
    let said = rig.end(Ok(()));
    assert!(answers(&said).is_empty() && said.contains(&Output::Look), "{said:?}");
    rig.say(Input::Looked(Look::Stopped));
    assert_eq!(rig.role(), Role::Activating, "not yet");
    assert_eq!(answers(&rig.say(Input::Looked(Look::Active))), [Answer::Activated { epoch: Epoch(2) }]);

    assert!(stops(&rig.stand_down(3)));
    assert!(answers(&rig.end(Ok(()))).is_empty());
    assert!(answers(&rig.say(Input::Looked(Look::Active))).is_empty(), "it still runs");
    assert_eq!(answers(&rig.say(Input::Looked(Look::Stopped))), [Answer::StoodDown { epoch: Epoch(3) }]);
}

#[test]
fn i1_a_stop_that_nobody_confirms_is_no_stop_and_is_tried_again_and_again() {
    let mut rig = Rig::new(false, 4, true);
    rig.stand_down(5);
    let said = rig.end(Err("no route to host".into()));
    assert!(matches!(&answers(&said)[..], [Answer::Failed { why, .. }] if why.contains("no route")), "{said:?}");
    assert_eq!(rig.role(), Role::Unknown);
    let mut pauses = Vec::new();
    for _ in 0..8 {
        let began = rig.now;
        while !stops(&rig.wait(100)) {}
        pauses.push(rig.now - began);
        rig.end(Err("no route to host".into()));
    }
    assert!(pauses[0] <= 600 && pauses[7] >= 30_000, "less and less often: {pauses:?}");
    while !stops(&rig.wait(100)) {}
    assert_eq!(answers(&rig.end(Ok(()))), [Answer::StoodDown { epoch: Epoch(5) }]);
    assert_eq!(rig.role(), Role::Standby);
}

#[test]
fn i3_older_commands_and_those_of_an_epoch_that_was_stood_down_are_refused() {
    let mut rig = Rig::new(false, 4, true);
    rig.stand_down(6);
    rig.end(Ok(()));
    for epoch in [5, 6] {
        let said = rig.activate(epoch);
        assert!(!activates(&said) && matches!(answers(&said)[..], [Answer::Refused { .. }]), "{epoch}: {said:?}");
    }
    let said = rig.stand_down(5);
    assert!(!stops(&said) && matches!(answers(&said)[..], [Answer::Refused { .. }]), "{said:?}");
    rig.renew(6);
    assert!(activates(&rig.activate(7)));
}

#[test]
fn a_stand_down_during_an_activation_waits_for_the_call_and_stops_what_it_began() {
    let mut rig = Rig::new(false, 1, false);
    rig.end(Ok(()));
    rig.activate(2);
    assert!(!stops(&rig.stand_down(3)), "one call at a time");
    let said = rig.end(Ok(()));
    assert!(stops(&said) && answers(&said).is_empty(), "{said:?}");
    assert_eq!(answers(&rig.end(Ok(()))), [Answer::StoodDown { epoch: Epoch(3) }]);
}

#[test]
fn an_activation_that_fails_is_cleaned_up_and_may_be_tried_again_in_its_epoch() {
    let mut rig = Rig::new(false, 1, false);
    rig.end(Ok(()));
    rig.activate(2);
    let said = rig.end(Err("status 500".into()));
    assert!(stops(&said) && matches!(answers(&said)[..], [Answer::Failed { .. }]), "{said:?}");
    assert!(!activates(&rig.activate(2)), "the stop is under way");
    assert!(activates(&rig.end(Ok(()))));
}

#[test]
fn a_restarted_edge_does_not_disturb_an_active_side_and_stops_one_that_should_not_be_active() {
    let mut rig = Rig::new(false, 4, true);
    assert!(!stops(&rig.wait(1_000)));
    assert_eq!(rig.role(), Role::Active);
    let mut rig = Rig::new(false, 4, false);
    assert!(stops(&rig.wait(0)), "whatever the earlier life has begun");
}

#[test]
fn a_side_that_turns_out_to_be_active_at_the_start_is_left_to_the_coordinator_for_a_while() {
    let found = || {
        let mut rig = Rig::new(true, 0, false);
        rig.say(Input::Looked(Look::Active));
        assert_eq!(rig.role(), Role::Active);
        rig
    };
    let mut adopted = found();
    for _ in 0..10 {
        assert!(!stops(&adopted.wait(500)));
        adopted.renew(0);
        adopted.say(Input::Looked(Look::Active));
    }
    let mut stray = found();
    assert!(!stops(&stray.wait(1_900)));
    let said = stray.wait(200);
    assert!(stops(&said) && said.iter().any(|output| matches!(output, Output::Alert(_))), "{said:?}");
}

#[test]
fn i1_a_node_that_comes_back_active_after_it_was_fenced_is_stopped_at_once() {
    let mut rig = Rig::new(true, 4, true);
    rig.say(Input::Looked(Look::Active));
    rig.stand_down(5);
    rig.end(Err("it is down".into()));
    rig.say(Input::Looked(Look::Unseen("it is down".into())));
    assert_eq!(rig.role(), Role::Unknown);
    assert!(stops(&rig.say(Input::Looked(Look::Active))));
}

#[test]
fn an_active_side_out_of_sight_is_unknown_and_goes_on_when_it_is_seen_again() {
    let mut rig = Rig::new(true, 4, true);
    rig.say(Input::Looked(Look::Active));
    rig.renew(4);
    rig.say(Input::Looked(Look::Unseen("no answer".into())));
    assert_eq!(rig.role(), Role::Unknown);
    assert!(!stops(&rig.wait(10_000)));
    let said = rig.say(Input::Looked(Look::Active));
    assert!(!stops(&said), "{said:?}");
    assert_eq!(rig.role(), Role::Active);
}

#[test]
fn an_activation_that_nobody_waits_for_any_more_is_stopped() {
    let mut rig = Rig::new(true, 1, false);
    rig.say(Input::Looked(Look::Stopped));
    rig.activate(2);
    rig.end(Ok(()));
    rig.say(Input::Looked(Look::Stopped));
    assert!(stops(&rig.wait(2_100)), "it may become active at any moment");
}
