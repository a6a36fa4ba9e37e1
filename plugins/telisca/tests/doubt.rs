//! T1 with `fast`: an edge that is late itself does not take what it has not heard for a side's failure. Transcripts
//! cannot say that an event comes late, so these tests hand events over themselves.

use lockstep_policy::action::Action;
use lockstep_policy::event::{
    AgentReport, Connection, Event, Lan, Link, ProbeId, ProbeResult, Replication, Role, Start, TimerId, Verdict, What,
};
use lockstep_policy::sdk::{Actions, Policy};
use lockstep_policy::setup::{Detect, SideSetup};
use lockstep_policy::{At, Epoch, Setup, Side, Sides};
use lockstep_telisca::{Config, Telisca};
use std::time::Duration;

struct Pair {
    policy: Telisca,
    seq: u64,
    timer: Option<At>,
}

impl Pair {
    /// A is active, B is fit, and both answer.
    fn at_work() -> Pair {
        let side = SideSetup { servers: vec!["192.0.2.1:80".to_owned()], pools: Vec::new(), agent: true };
        let setup = Setup {
            pair: "phones".to_owned(),
            parameters: serde_json::Map::new(),
            detect: Detect { interval_ms: 100, timeout_ms: 200, failures: 3 },
            sides: Sides { a: side.clone(), b: side },
        };
        let policy = Telisca::create(&setup, Config { fast: true, ..Config::default() }, 0);
        let mut pair = Pair { policy: policy.expect("the defaults are valid"), seq: 0, timer: None };
        pair.feed(
            0,
            What::Start(Start { active: Some(Side::A), epoch: Epoch(7), restored: false, since_handover: None }),
        );
        for (side, role) in [(Side::A, Role::Active), (Side::B, Role::Standby)] {
            pair.feed(0, What::Link(Link { side, connection: Connection::Main, up: true }));
            let (replication, lan) = (Replication::Unknown, Lan::Unknown);
            let (text, services) = (String::new, Vec::new());
            let (epoch, serving, fit) = (Epoch(7), role == Role::Active, true);
            let (release, replication_detail, waiting) = (text(), text(), text());
            pair.feed(
                10,
                What::Agent(AgentReport {
                    side,
                    role,
                    epoch,
                    serving,
                    fit,
                    services,
                    release,
                    replication,
                    replication_detail,
                    lan,
                    waiting,
                }),
            );
            pair.probe(20, side, Verdict::Good, 5);
        }
        pair
    }

    /// Whether it asks for a switch.
    fn feed(&mut self, at: u64, what: What) -> bool {
        self.seq += 1;
        let mut out = Actions::after(0);
        self.policy.step(&Event { seq: self.seq, at: At::from_millis(at), what }, &mut out);
        for action in out.as_slice() {
            match action {
                Action::SetTimer(_, due) => self.timer = Some(*due),
                Action::CancelTimer(_) => self.timer = None,
                _ => {}
            }
        }
        out.as_slice().iter().any(|action| matches!(action, Action::Switch(_)))
    }

    fn probe(&mut self, at: u64, side: Side, verdict: Verdict, latency: u64) -> bool {
        let probe = ProbeId(if side == Side::A { 1 } else { 2 });
        let latency = Duration::from_millis(latency);
        let (status, server, detail, facts) = (0, 0, String::new(), Vec::new());
        self.feed(at, What::Probe(ProbeResult { probe, side, server, verdict, latency, status, detail, facts }))
    }
}

/// From the first one's sending six intervals are borne, and then no longer.
#[test]
fn silence_on_a_node_whose_agent_is_connected_is_borne_for_a_moment() {
    let mut pair = Pair::at_work();
    for at in [300, 400, 500, 600] {
        assert!(!pair.probe(at, Side::A, Verdict::Silent, 200), "at {at} ms");
        pair.probe(at + 50, Side::B, Verdict::Good, 5);
    }
    assert!(!pair.probe(690, Side::A, Verdict::Silent, 200));
    assert!(pair.probe(700, Side::A, Verdict::Silent, 200));
}

/// What is lost at random is not lost for as long as it takes to give up an agent's connection.
#[test]
fn three_silent_probes_are_enough_when_the_agent_has_fallen_silent_too() {
    let mut pair = Pair::at_work();
    for at in [300, 400, 500] {
        assert!(!pair.probe(at, Side::A, Verdict::Silent, 200), "at {at} ms");
        pair.probe(at + 50, Side::B, Verdict::Good, 5);
    }
    assert!(pair.feed(560, What::Link(Link { side: Side::A, connection: Connection::Main, up: false })));
}

/// Silences that end by themselves are what loss brings: the same number in a row says less after them.
#[test]
fn where_probes_are_lost_more_are_needed() {
    let mut pair = Pair::at_work();
    let mut at = 300;
    for _ in 0..100 {
        for verdict in [Verdict::Silent, Verdict::Good, Verdict::Good] {
            assert!(!pair.probe(at, Side::A, verdict, 200));
            pair.probe(at + 50, Side::B, Verdict::Good, 5);
            at += 100;
        }
    }
    let mut silences = 0;
    loop {
        silences += 1;
        if pair.probe(at, Side::A, Verdict::Silent, 200) {
            break;
        }
        pair.probe(at + 50, Side::B, Verdict::Good, 5);
        at += 100;
        assert!(silences < 40, "it is left in the end");
    }
    assert!(silences >= 10, "{silences}");
}

/// The edge's process was stopped for a second, with three probes of A under way: all end at once, long overdue.
#[test]
fn probes_that_end_overdue_do_not_count_at_once() {
    let mut pair = Pair::at_work();
    pair.probe(1_290, Side::B, Verdict::Good, 5);
    for _ in 0..3 {
        assert!(!pair.probe(1_300, Side::A, Verdict::Silent, 1_200));
    }
    // A answers as soon as it is asked again.
    assert!(!pair.probe(1_310, Side::A, Verdict::Good, 5));
    pair.probe(1_350, Side::B, Verdict::Good, 5);
    assert!(!pair.probe(1_410, Side::A, Verdict::Silent, 200));
}

#[test]
fn a_side_that_stays_silent_is_left_one_interval_after_the_edge_was_late() {
    let mut pair = Pair::at_work();
    pair.probe(1_290, Side::B, Verdict::Good, 5);
    for _ in 0..3 {
        assert!(!pair.probe(1_300, Side::A, Verdict::Silent, 1_200));
    }
    pair.probe(1_380, Side::B, Verdict::Good, 5);
    assert!(!pair.probe(1_390, Side::A, Verdict::Silent, 200));
    assert!(pair.probe(1_400, Side::A, Verdict::Silent, 200));
}

#[test]
fn a_timer_that_comes_late_says_that_the_edge_is_late() {
    let mut pair = Pair::at_work();
    // An agent that is away makes the policy set its timer.
    pair.feed(1_000, What::Link(Link { side: Side::A, connection: Connection::Main, up: false }));
    let due = pair.timer.take().expect("it waits for the agent").0 / 1_000_000;
    assert_eq!(due, 1_300);
    pair.probe(1_200, Side::A, Verdict::Silent, 200);
    // In time it would have been the end of A: its agent is away, and its probe was silent.
    assert!(!pair.probe(1_440, Side::B, Verdict::Good, 5));
    assert!(!pair.feed(1_450, What::Timer(TimerId(1))));
    pair.probe(1_530, Side::B, Verdict::Good, 5);
    assert!(pair.probe(1_550, Side::A, Verdict::Silent, 200), "it is still away, and silent");
}
