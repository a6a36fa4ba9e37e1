//! What holds whatever happens.

use lockstep_cic::{Cic, Config, Module};
use lockstep_policy::action::{Action, Urgency};
use lockstep_policy::event::{
    ActionResult, AgentReport, Command, ConfigChange, Connection, Event, Fact, Handover, Lan, Link, Order, Outcome,
    ProbeId, ProbeResult, Replication, Role, Service, ServiceState, Stage, Start, TimerId, Verdict, What,
};
use lockstep_policy::sdk::{Actions, Policy};
use lockstep_policy::setup::{Detect, SideSetup};
use lockstep_policy::{At, Epoch, Setup, Side, Sides};
use proptest::option;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;

/// How an instance is made.
#[derive(Clone, Debug)]
struct Kind {
    fast: bool,
    nettest: bool,
    ip: bool,
    manual: bool,
    never: bool,
}

fn kind() -> impl Strategy<Value = Kind> {
    (any::<bool>(), any::<bool>(), prop::bool::weighted(0.2), prop::bool::weighted(0.2), prop::bool::weighted(0.2))
        .prop_map(|(fast, nettest, ip, manual, never)| Kind { fast, nettest, ip, manual, never })
}

fn setup() -> Setup {
    let side = SideSetup { servers: vec!["192.0.2.1:80".to_owned()], pools: Vec::new(), agent: true };
    Setup {
        pair: "phones".to_owned(),
        parameters: serde_json::Map::new(),
        detect: Detect { interval_ms: 100, timeout_ms: 200, failures: 3 },
        sides: Sides { a: side.clone(), b: side },
    }
}

fn config(kind: &Kind) -> Config {
    let addresses = |yes: bool| if yes { vec!["203.0.113.1".to_owned()] } else { Vec::new() };
    Config {
        fast: kind.fast,
        nettest_a: addresses(kind.nettest),
        nettest_b: addresses(kind.nettest),
        module: if kind.ip { Module::Ip } else { Module::TsServer },
        manual_switch_only: kind.manual,
        unreachable_ping_count: if kind.never { -1 } else { 0 },
        drill_every: Some(1),
        ..Config::default()
    }
}

fn cic(kind: &Kind) -> Cic {
    Cic::create(&setup(), config(kind), 0).expect("the defaults are valid")
}

/// As an edge restores one: with the parameters that the policy took last.
fn restored(kind: &Kind, before: &[Event], saved: Cic) -> Cic {
    let taken = before.iter().rev().find_map(|event| match &event.what {
        What::Config(change) => serde_json::from_str::<Setup>(&change.setup).ok(),
        _ => None,
    });
    let parameters = taken.map(|setup| serde_json::Value::Object(setup.parameters));
    let config = parameters.map_or_else(|| config(kind), |all| serde_json::from_value(all).expect("it was taken"));
    Cic::create(&setup(), config, 0).expect("it was taken").resume(saved)
}

fn side() -> impl Strategy<Value = Side> {
    prop_oneof![Just(Side::A), Just(Side::B)]
}

fn service(name: &str, exclusive: bool, state: ServiceState, pid: u32) -> Service {
    Service { name: name.to_owned(), exclusive, state, pid, restarts: 0 }
}

fn report_of(side: Side, role: Role, fit: bool) -> AgentReport {
    AgentReport {
        side,
        role,
        epoch: Epoch(9),
        serving: role == Role::Active,
        fit,
        services: vec![service("switchover", false, ServiceState::Running, 7)],
        release: String::new(),
        replication: Replication::Current,
        replication_detail: String::new(),
        lan: Lan::Unknown,
        waiting: String::new(),
    }
}

fn report() -> impl Strategy<Value = What> {
    let role = prop::sample::select(vec![
        Role::Unknown,
        Role::Standby,
        Role::Standby,
        Role::Activating,
        Role::Active,
        Role::Active,
        Role::StandingDown,
        Role::Failed,
    ]);
    let state = prop::sample::select(vec![ServiceState::Running, ServiceState::Stopped, ServiceState::Exited]);
    let replication = prop::sample::select(vec![Replication::Current, Replication::Behind, Replication::Unknown]);
    let release = prop::sample::select(vec!["", "", "", "2021 R2", "2021 R3"]);
    let lan = prop::sample::select(vec![Lan::Unknown, Lan::Connected, Lan::Isolated]);
    (side(), role, 0_u64..4, prop::bool::weighted(0.8), state, 1_u32..4, replication, release, lan).prop_map(
        |(side, role, epoch, fit, state, pid, replication, release, lan)| {
            let services =
                vec![service("tsserver", true, state, pid), service("switchover", false, ServiceState::Running, pid)];
            What::Agent(AgentReport {
                epoch: Epoch(epoch),
                services,
                replication,
                release: release.to_owned(),
                lan,
                ..report_of(side, role, fit)
            })
        },
    )
}

fn result_of(probe: u32, side: Side, verdict: Verdict, pid: u32) -> What {
    What::Probe(ProbeResult {
        probe: ProbeId(probe),
        side,
        server: 0,
        verdict,
        latency: Duration::from_millis(5),
        status: 0,
        detail: String::new(),
        facts: vec![Fact { name: "pid".to_owned(), value: pid.to_string() }],
    })
}

fn what() -> impl Strategy<Value = What> {
    let verdict = prop::sample::select(vec![Verdict::Good, Verdict::Wrong, Verdict::Silent, Verdict::Refused]);
    let stage = prop::sample::select(vec![Stage::Begun, Stage::Completed, Stage::RolledBack, Stage::NoActive]);
    let outcome = prop::sample::select(vec![Outcome::Done, Outcome::Refused, Outcome::Failed]);
    let name = prop::sample::select(vec!["drill", "monitor", "backup", "nonsense"]);
    let rights = || prop_oneof![Just(Vec::new()), Just(vec!["remote-control".to_owned()])];
    prop_oneof![
        1 => (option::of(side()), any::<bool>()).prop_map(|(active, restored)| {
            What::Start(Start { active, epoch: Epoch(1), restored, since_handover: None })
        }),
        16 => (0_u32..10, side(), verdict, 0_u32..3).prop_map(|(probe, side, verdict, pid)| {
            result_of(probe, side, verdict, pid)
        }),
        8 => report(),
        4 => (side(), any::<bool>(), prop::bool::weighted(0.7)).prop_map(|(side, main, up)| {
            let connection = if main { Connection::Main } else { Connection::Auxiliary };
            What::Link(Link { side, connection, up })
        }),
        5 => Just(What::Timer(TimerId(1))),
        1 => Just(What::Timer(TimerId(2))),
        1 => (side(), any::<bool>(), rights()).prop_map(|(to, confirmed, rights)| {
            What::Order(Order { order: 1, to, confirmed, by: "anna".to_owned(), rights })
        }),
        1 => (name, option::of(side()), rights()).prop_map(|(name, side, rights)| {
            let (argument, by) = (String::new(), "anna".to_owned());
            What::Command(Command { order: 2, name: name.to_owned(), side, argument, confirmed: false, by, rights })
        }),
        1 => (5_u64..20, any::<bool>()).prop_map(|(seconds, good)| {
            let mut setup = setup();
            setup.parameters.insert("module_timeout".to_owned(), format!("{seconds}s").into());
            let setup = if good { serde_json::to_string(&setup).expect("it is plain data") } else { "{".to_owned() };
            What::Config(ConfigChange { change: 1, setup })
        }),
        3 => (0_u64..4, side(), stage, option::of(side())).prop_map(|(epoch, to, stage, active)| {
            What::Handover(Handover { epoch: Epoch(epoch), to, stage, active })
        }),
        4 => (1_u64..60, outcome).prop_map(|(action, outcome)| {
            What::Result(ActionResult { action, outcome, why: String::new() })
        }),
    ]
}

/// Events at growing times; first a start and two sides that are well.
fn events() -> impl Strategy<Value = Vec<Event>> {
    let pause = prop_oneof![3 => Just(0_u64), 3 => 1_u64..500, 2 => 1_000_u64..15_000];
    let first = option::weighted(0.9, side());
    (first, any::<bool>(), prop::collection::vec((pause, what()), 0..80)).prop_map(|(active, well, rest)| {
        let start = What::Start(Start { active, epoch: Epoch(1), restored: false, since_handover: None });
        let mut all = vec![(0, start)];
        if well {
            for side in Side::BOTH {
                let role = if active == Some(side) { Role::Active } else { Role::Standby };
                all.push((0, What::Link(Link { side, connection: Connection::Main, up: true })));
                all.push((0, What::Agent(report_of(side, role, true))));
            }
        }
        let mut at = 0;
        all.extend(rest.into_iter().map(|(pause, what)| {
            at += pause;
            (at, what)
        }));
        let numbered = all.into_iter().enumerate();
        numbered.map(|(index, (at, what))| Event { seq: index as u64 + 1, at: At::from_millis(at), what }).collect()
    })
}

/// An instance, and what it has asked for.
struct Player {
    policy: Cic,
    given: u64,
    seq: u64,
    timers: BTreeMap<TimerId, At>,
    /// The switch without a result.
    asked: Option<u64>,
}

impl Player {
    fn new(kind: &Kind) -> Player {
        Player { policy: cic(kind), given: 0, seq: 0, timers: BTreeMap::new(), asked: None }
    }

    fn step(&mut self, event: &Event) -> Vec<Action> {
        let mut out = Actions::after(self.given);
        self.policy.step(event, &mut out);
        let actions = out.into_vec();
        for action in &actions {
            self.given += 1;
            match action {
                Action::SetTimer(timer, due) => drop(self.timers.insert(*timer, *due)),
                Action::CancelTimer(timer) => drop(self.timers.remove(timer)),
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

/// What was last heard of the sides.
#[derive(Default)]
struct Heard {
    up: Sides<bool>,
    fit: Sides<bool>,
}

impl Heard {
    fn take(&mut self, what: &What) {
        match what {
            What::Start(_) => *self = Heard::default(),
            What::Link(Link { side, connection: Connection::Main, up }) => {
                self.fit[*side] &= *up;
                self.up[*side] = *up;
            }
            What::Agent(report) => self.fit[report.side] = report.fit,
            _ => {}
        }
    }
}

proptest! {
    #[test]
    fn the_same_events_give_the_same_actions_also_after_a_cut(
        events in events(), kind in kind(), cut in any::<prop::sample::Index>(),
    ) {
        let (mut one, mut two) = (Player::new(&kind), Player::new(&kind));
        let cut = cut.index(events.len());
        for (index, event) in events.iter().enumerate() {
            if index == cut {
                let saved = serde_json::to_string(&two.policy).expect("it is plain data");
                let before = serde_json::from_str(&saved).expect("it is its own snapshot");
                two.policy = restored(&kind, &events[..index], before);
            }
            prop_assert_eq!(one.step(event), two.step(event));
        }
    }

    /// A timer that is due at once, again and again, would spin the edge.
    #[test]
    fn a_timer_is_always_in_the_future(events in events(), kind in kind()) {
        let mut player = Player::new(&kind);
        for event in &events {
            for action in player.step(event) {
                if let Action::SetTimer(_, due) = action {
                    prop_assert!(due > event.at, "{due} at {}", event.at);
                }
            }
        }
    }

    #[test]
    fn a_step_asks_for_one_switch_and_not_before_the_last_one_has_ended(events in events(), kind in kind()) {
        let mut player = Player::new(&kind);
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

    /// Whatever the reason: the side that the role moves to is connected, and says that it is fit. One that holds the role
    /// already by its own word is the exception.
    #[test]
    fn no_switch_goes_to_a_side_that_is_not_known_good(events in events(), kind in kind()) {
        let mut player = Player::new(&kind);
        let mut heard = Heard::default();
        for event in &events {
            heard.take(&event.what);
            for action in player.step(event) {
                if let Action::Switch(switch) = action {
                    let good = heard.up[switch.to] && heard.fit[switch.to];
                    let holds_it = switch.reason.contains("is active already by its agent's word");
                    prop_assert!(good || holds_it, "to {}: {}", switch.to, switch.reason);
                }
            }
        }
    }

    /// In manual mode nothing but an operator, a lost role or the want of a primary moves the role.
    #[test]
    fn in_manual_mode_no_fault_moves_the_role(events in events(), fast in any::<bool>()) {
        let kind = Kind { fast, nettest: false, ip: false, manual: true, never: false };
        let mut player = Player::new(&kind);
        for event in &events {
            if matches!(event.what, What::Config(_)) {
                continue;
            }
            for action in player.step(event) {
                if let Action::Switch(switch) = action {
                    let may = ["C12:", "C14:", "C16: drill: anna"].iter().any(|rule| switch.reason.starts_with(rule));
                    prop_assert!(may, "{}", switch.reason);
                }
            }
        }
    }

    /// C6: with NetTest addresses that never answer, no fault of the primary's leads to a failover by the monitors.
    #[test]
    fn a_severed_link_moves_nothing(events in events(), fast in any::<bool>()) {
        let kind = Kind { fast, nettest: true, ip: false, manual: false, never: false };
        let mut player = Player::new(&kind);
        for event in &events {
            let severed = match &event.what {
                What::Probe(result) if result.probe == ProbeId(8) => {
                    What::Probe(ProbeResult { verdict: Verdict::Silent, ..result.clone() })
                }
                What::Config(_) => continue,
                other => other.clone(),
            };
            for action in player.step(&Event { what: severed, ..event.clone() }) {
                if let Action::Switch(switch) = action {
                    let by_monitor = ["C2, C7:", "C3, C7:", "C8:", "C9:"].iter().any(|rule| switch.reason.starts_with(rule));
                    prop_assert!(!by_monitor, "{}", switch.reason);
                }
            }
        }
    }

    /// Whatever has happened: left without an active side, the pair gets one as soon as a side is fit.
    #[test]
    fn a_pair_does_not_stay_without_an_active_side(events in events(), kind in kind(), to in side()) {
        let mut player = Player::new(&kind);
        events.iter().for_each(|event| drop(player.step(event)));
        let mut now = events.last().map_or(At::ZERO, |event| event.at);
        // An operator's switch that fails may be followed by one of the policy's own at once.
        for _ in 0..3 {
            if let Some(action) = player.asked.take() {
                player.feed(now, What::Result(ActionResult { action, outcome: Outcome::Failed, why: String::new() }));
            }
        }
        player.feed(now, What::Handover(Handover { epoch: Epoch(9), to, stage: Stage::NoActive, active: None }));
        player.feed(now, What::Link(Link { side: to.other(), connection: Connection::Main, up: false }));
        player.feed(now, What::Link(Link { side: to, connection: Connection::Main, up: true }));
        let end = now + Duration::from_secs(90);
        while player.asked.is_none() && now < end {
            // A report each second, and the policy's own timer in between.
            let next = now + Duration::from_secs(1);
            if player.timers.get(&TimerId(1)).is_some_and(|due| *due <= next) {
                let due = player.timers.remove(&TimerId(1)).expect("it is there");
                player.feed(due.max(now), What::Timer(TimerId(1)));
            }
            now = next;
            player.feed(now, What::Agent(report_of(to, Role::Standby, true)));
        }
        prop_assert!(player.asked.is_some(), "no switch within 90 s");
    }

    /// Whatever has happened: a primary that answers nothing any more is left within the expected delay and a margin,
    /// when the backup's network is good.
    #[test]
    fn a_dead_primary_is_left(events in events(), fast in any::<bool>(), ip in any::<bool>()) {
        let kind = Kind { fast, nettest: true, ip, manual: false, never: false };
        let mut player = Player::new(&kind);
        let events: Vec<_> = events.into_iter().filter(|event| !matches!(event.what, What::Config(_))).collect();
        events.iter().for_each(|event| drop(player.step(event)));
        let mut now = events.last().map_or(At::ZERO, |event| event.at) + Duration::from_secs(301);
        if let Some(action) = player.asked {
            player.feed(now, What::Result(ActionResult { action, outcome: Outcome::Failed, why: String::new() }));
        }
        // A life begins anew, with a healthy pair, and the primary dies.
        let start = Start { active: Some(Side::A), epoch: Epoch(9), restored: true, since_handover: None };
        let mut actions = player.feed(now, What::Start(start));
        player.asked = None;
        let mut pending = Vec::new();
        for (side, role) in [(Side::A, Role::Active), (Side::B, Role::Standby)] {
            for connection in [Connection::Main, Connection::Auxiliary] {
                actions.extend(player.feed(now, What::Link(Link { side, connection, up: true })));
            }
            actions.extend(player.feed(now, What::Agent(report_of(side, role, true))));
        }
        // Should B have been stale, somebody restarts it.
        let command = Command {
            order: 3, name: "backup".to_owned(), side: Some(Side::B), argument: String::new(), confirmed: false,
            by: "anna".to_owned(), rights: vec!["all".to_owned()],
        };
        actions.extend(player.feed(now, What::Command(command)));
        let end = now + Duration::from_secs(180);
        let mut failover = None;
        let mut watched: BTreeMap<u32, (Side, Duration)> = BTreeMap::new();
        while failover.is_none() && now < end {
            for action in std::mem::take(&mut actions) {
                match action {
                    Action::Watch(watch) => {
                        watched.insert(watch.probe.0, (watch.side, watch.timeout));
                        if watch.interval < Duration::from_secs(3_600) {
                            pending.push((now + watch.timeout, watch.probe.0));
                        }
                    }
                    Action::ProbeNow(probe) => {
                        let (_, timeout) = watched[&probe.0];
                        pending.push((now + if probe.0 == 8 { Duration::from_millis(5) } else { timeout }, probe.0));
                    }
                    Action::Unwatch(probe) => pending.retain(|(_, of)| *of != probe.0),
                    Action::Switch(switch) => failover = Some(switch),
                    _ => {}
                }
            }
            let timer = player.timers.get(&TimerId(1)).copied();
            let probe = pending.iter().min().copied();
            match (timer, probe) {
                (timer, Some((due, probe))) if timer.is_none_or(|timer| due <= timer) => {
                    pending.retain(|one| *one != (due, probe));
                    now = now.max(due);
                    let (side, _) = watched[&probe];
                    let verdict = if probe == 8 { Verdict::Good } else { Verdict::Silent };
                    actions = player.feed(now, result_of(probe, side, verdict, 0));
                }
                (Some(due), _) => {
                    player.timers.remove(&TimerId(1));
                    now = now.max(due);
                    actions = player.feed(now, What::Timer(TimerId(1)));
                }
                _ => break,
            }
        }
        let failover = failover.ok_or_else(|| TestCaseError::fail("no switch"))?;
        prop_assert_eq!((failover.to, failover.urgency), (Side::B, Urgency::Failover), "{}", failover.reason);
    }
}
