//! What holds whatever happens.

use lockstep_policy::action::Action;
use lockstep_policy::event::{
    ActionResult, AgentReport, ConfigChange, Connection, Event, Fact, Handover, Lan, Link, Order, Outcome, ProbeId,
    ProbeResult, Replication, Role, Service, ServiceState, Stage, Start, TimerId, Verdict, What,
};
use lockstep_policy::sdk::{Actions, Policy};
use lockstep_policy::setup::{Detect, SideSetup};
use lockstep_policy::{At, Epoch, Setup, Side, Sides};
use lockstep_telisca::{Config, Telisca};
use proptest::option;
use proptest::prelude::*;
use std::time::Duration;

fn setup(agents: bool) -> Setup {
    let side = SideSetup { servers: vec!["192.0.2.1:80".to_owned()], pools: Vec::new(), agent: agents };
    Setup {
        pair: "phones".to_owned(),
        parameters: serde_json::Map::new(),
        detect: Detect { interval_ms: 100, timeout_ms: 200, failures: 3 },
        sides: Sides { a: side.clone(), b: side },
    }
}

fn telisca(fast: bool, agents: bool) -> Telisca {
    let config = Config {
        fast,
        test_vip_destination: agents,
        vip_url: Some("http://10.0.0.100/".to_owned()),
        vip_name_a: Some("one".to_owned()),
        vip_name_b: Some("two".to_owned()),
        cti_restart_at: Some("03:30".to_owned()),
        ..Config::default()
    };
    Telisca::create(&setup(agents), config, 0).expect("it is valid")
}

fn side() -> impl Strategy<Value = Side> {
    prop_oneof![Just(Side::A), Just(Side::B)]
}

fn report_of(side: Side) -> AgentReport {
    AgentReport {
        side,
        role: Role::Standby,
        epoch: Epoch(9),
        serving: false,
        fit: true,
        services: Vec::new(),
        release: String::new(),
        replication: Replication::Unknown,
        replication_detail: String::new(),
        lan: Lan::Unknown,
        waiting: String::new(),
    }
}

fn report() -> impl Strategy<Value = What> {
    let role = prop::sample::select(vec![
        Role::Unknown,
        Role::Standby,
        Role::Activating,
        Role::Active,
        Role::StandingDown,
        Role::Failed,
    ]);
    let state = prop::sample::select(vec![ServiceState::Running, ServiceState::Stopped, ServiceState::Exited]);
    let services = prop::collection::vec((any::<bool>(), state), 0..3).prop_map(|services| {
        let service = |(index, (exclusive, state))| Service {
            name: format!("service{index}"),
            exclusive,
            state,
            pid: 0,
            restarts: 0,
        };
        services.into_iter().enumerate().map(service).collect()
    });
    let lan = prop::sample::select(vec![Lan::Unknown, Lan::Connected, Lan::Isolated]);
    (side(), role, 0_u64..4, any::<bool>(), any::<bool>(), services, lan).prop_map(
        |(side, role, epoch, serving, fit, services, lan)| {
            What::Agent(AgentReport { side, role, epoch: Epoch(epoch), serving, fit, services, lan, ..report_of(side) })
        },
    )
}

fn what() -> impl Strategy<Value = What> {
    let verdict = prop::sample::select(vec![Verdict::Good, Verdict::Wrong, Verdict::Silent, Verdict::Refused]);
    let stage = prop::sample::select(vec![Stage::Begun, Stage::Completed, Stage::RolledBack, Stage::NoActive]);
    let outcome = prop::sample::select(vec![Outcome::Done, Outcome::Refused, Outcome::Failed]);
    prop_oneof![
        1 => (option::of(side()), any::<bool>()).prop_map(|(active, restored)| {
            What::Start(Start { active, epoch: Epoch(1), restored, since_handover: None })
        }),
        8 => (side(), verdict).prop_map(|(side, verdict)| What::Probe(ProbeResult {
            probe: ProbeId(if side == Side::A { 1 } else { 2 }),
            side,
            verdict,
            latency: Duration::from_millis(5),
            status: 0,
            detail: String::new(),
            server: 0,
            facts: Vec::new(),
        })),
        6 => report(),
        3 => (side(), any::<bool>(), any::<bool>()).prop_map(|(side, main, up)| {
            let connection = if main { Connection::Main } else { Connection::Auxiliary };
            What::Link(Link { side, connection, up })
        }),
        3 => Just(What::Timer(TimerId(1))),
        1 => Just(What::Timer(TimerId(2))),
        3 => prop::sample::select(vec!["one", "two", "ACTIVE", "three"]).prop_map(|name| What::Probe(ProbeResult {
            probe: ProbeId(3),
            side: Side::A,
            verdict: Verdict::Good,
            latency: Duration::from_millis(5),
            status: 200,
            detail: String::new(),
            server: 0,
            facts: vec![Fact { name: "server".to_owned(), value: name.to_owned() }],
        })),
        1 => prop::sample::select(vec!["03:30", "04:00", "25:00"]).prop_map(|time| {
            let parameters = serde_json::json!({ "fast": true, "cti_restart_at": time });
            let parameters = parameters.as_object().cloned().expect("it is a table");
            let setup = serde_json::to_string(&Setup { parameters, ..setup(true) }).expect("it is plain data");
            What::Config(ConfigChange { change: 1, setup })
        }),
        1 => (side(), any::<bool>()).prop_map(|(to, confirmed)| {
            What::Order(Order { order: 1, to, confirmed, by: "anna".to_owned(), rights: Vec::new() })
        }),
        3 => (0_u64..4, side(), stage, option::of(side())).prop_map(|(epoch, to, stage, active)| {
            What::Handover(Handover { epoch: Epoch(epoch), to, stage, active })
        }),
        3 => (1_u64..30, outcome).prop_map(|(action, outcome)| {
            What::Result(ActionResult { action, outcome, why: String::new() })
        }),
    ]
}

/// Events at growing times; the first is a start.
fn events() -> impl Strategy<Value = Vec<Event>> {
    let pause = prop_oneof![Just(0_u64), 1_u64..500, 1_000_u64..60_000];
    let first = option::of(side())
        .prop_map(|active| What::Start(Start { active, epoch: Epoch(1), restored: false, since_handover: None }));
    (first, prop::collection::vec((pause, what()), 0..60)).prop_map(|(first, rest)| {
        let mut at = 0;
        let rest = rest.into_iter().map(|(pause, what)| {
            at += pause;
            (at, what)
        });
        let all: Vec<_> = std::iter::once((0, first)).chain(rest).collect();
        let numbered = all.into_iter().enumerate();
        numbered.map(|(index, (at, what))| Event { seq: index as u64 + 1, at: At::from_millis(at), what }).collect()
    })
}

/// An instance, and what it has asked for.
struct Player {
    policy: Telisca,
    given: u64,
    seq: u64,
    timer: Option<At>,
    /// The switch without a result.
    asked: Option<u64>,
}

impl Player {
    fn new(policy: Telisca) -> Player {
        Player { policy, given: 0, seq: 0, timer: None, asked: None }
    }

    fn step(&mut self, event: &Event) -> Vec<Action> {
        let mut out = Actions::after(self.given);
        self.policy.step(event, &mut out);
        let actions = out.into_vec();
        for action in &actions {
            self.given += 1;
            match action {
                Action::SetTimer(_, due) => self.timer = Some(*due),
                Action::CancelTimer(_) => self.timer = None,
                Action::Switch(_) => self.asked = Some(self.given),
                _ => {}
            }
        }
        self.seq = event.seq;
        actions
    }

    fn feed(&mut self, at: At, what: What) -> Vec<Action> {
        let seq = self.seq + 1;
        self.step(&Event { seq, at, what })
    }
}

/// A fresh instance with the parameters that are in force after some events: an edge restores with those.
fn configured(fresh: Telisca, events: &[Event]) -> Telisca {
    let changes = events.iter().filter_map(|event| match &event.what {
        What::Config(change) => Some(&change.setup),
        _ => None,
    });
    let mut made = changes.filter_map(|setup| {
        let setup: Setup = serde_json::from_str(setup).ok()?;
        let config = serde_json::from_value(serde_json::Value::Object(setup.parameters.clone())).ok()?;
        Telisca::create(&setup, config, 0).ok()
    });
    made.next_back().unwrap_or(fresh)
}

proptest! {
    #[test]
    fn the_same_events_give_the_same_actions_also_after_a_cut(
        events in events(), fast in any::<bool>(), agents in any::<bool>(), cut in any::<prop::sample::Index>(),
    ) {
        let (mut one, mut two) = (Player::new(telisca(fast, agents)), Player::new(telisca(fast, agents)));
        let cut = cut.index(events.len());
        for (index, event) in events.iter().enumerate() {
            if index == cut {
                let saved = serde_json::to_string(&two.policy).expect("it is plain data");
                let before = serde_json::from_str(&saved).expect("it is its own snapshot");
                two.policy = configured(telisca(fast, agents), &events[..cut]).resume(before);
            }
            prop_assert_eq!(one.step(event), two.step(event));
        }
    }

    /// A timer that is due at once, again and again, would spin the edge.
    #[test]
    fn a_timer_is_always_in_the_future(events in events(), fast in any::<bool>()) {
        let mut player = Player::new(telisca(fast, true));
        for event in &events {
            for action in player.step(event) {
                if let Action::SetTimer(_, due) = action {
                    prop_assert!(due > event.at, "{due} at {}", event.at);
                }
            }
        }
    }

    #[test]
    fn a_step_asks_for_one_switch_and_not_before_the_last_one_has_ended(events in events(), fast in any::<bool>()) {
        let mut player = Player::new(telisca(fast, true));
        let mut waiting: Option<(u64, At)> = None;
        for event in &events {
            match &event.what {
                What::Start(_) => waiting = None,
                What::Result(result) if waiting.is_some_and(|(action, _)| action == result.action) => waiting = None,
                _ => {}
            }
            let before = player.given;
            for (index, action) in player.step(event).iter().enumerate() {
                if matches!(action, Action::Switch(_)) {
                    let patient = waiting.is_none_or(|(_, since)| event.at.since(since) >= Duration::from_secs(300));
                    prop_assert!(patient, "two switches at once, at event {}", event.seq);
                    waiting = Some((before + index as u64 + 1, event.at));
                }
            }
        }
    }

    /// A side that is off the LAN, or whose agent is away, is not made active.
    #[test]
    fn a_switch_leads_to_a_side_that_could_take_over(events in events(), fast in any::<bool>()) {
        let mut player = Player::new(telisca(fast, true));
        let mut able = Sides { a: true, b: true };
        let mut linked = Sides { a: None, b: None };
        for event in &events {
            match &event.what {
                What::Start(_) => (able, linked) = (Sides { a: true, b: true }, Sides::default()),
                What::Link(Link { side, connection: Connection::Main, up }) => {
                    // What it said before it went away is no word of the agent that comes back.
                    able[*side] |= linked[*side] != Some(*up) && !up;
                    linked[*side] = Some(*up);
                }
                What::Agent(report) => able[report.side] = report.lan != Lan::Isolated,
                _ => {}
            }
            for action in player.step(event) {
                if let Action::Switch(switch) = action {
                    prop_assert!(linked[switch.to] == Some(true) && able[switch.to], "at event {}", event.seq);
                }
            }
        }
    }

    /// Whatever has happened: left without an active side, the pair gets one as soon as a side is fit.
    #[test]
    fn a_pair_does_not_stay_without_an_active_side(events in events(), fast in any::<bool>(), to in side()) {
        let mut player = Player::new(telisca(fast, true));
        events.iter().for_each(|event| drop(player.step(event)));
        let mut now = events.last().map_or(At::ZERO, |event| event.at);
        while let Some(action) = player.asked.take() {
            player.feed(now, What::Result(ActionResult { action, outcome: Outcome::Failed, why: String::new() }));
        }
        let ended = Handover { epoch: Epoch(9), to, stage: Stage::NoActive, active: None };
        player.feed(now, What::Handover(ended));
        player.feed(now, What::Link(Link { side: to.other(), connection: Connection::Main, up: false }));
        player.feed(now, What::Link(Link { side: to, connection: Connection::Main, up: true }));
        let end = now + Duration::from_secs(90);
        while player.asked.is_none() && now < end {
            // A report each second, and the policy's own timer in between.
            let next = now + Duration::from_secs(1);
            if let Some(due) = player.timer.take_if(|due| *due <= next) {
                player.feed(due, What::Timer(TimerId(1)));
            }
            now = next;
            player.feed(now, What::Agent(report_of(to)));
        }
        prop_assert!(player.asked.is_some(), "no switch within 90 s");
    }
}
