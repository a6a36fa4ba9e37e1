//! What holds whatever happens.

use lockstep_finesse::{Config, Distribute, Domains, Finesse, Notification, Profile};
use lockstep_policy::action::{Action, Share};
use lockstep_policy::event::{
    ActionResult, Command, ConfigChange, Event, Fact, Order, Outcome, ProbeId, ProbeResult, Sessions, Start, TimerId,
    Traffic, Verdict, What,
};
use lockstep_policy::sdk::{Actions, Policy};
use lockstep_policy::setup::{Detect, SideSetup};
use lockstep_policy::{At, Epoch, Setup, Side, Sides};
use proptest::option;
use proptest::prelude::*;
use std::time::Duration;

/// How long a probe's answer takes here.
const LATENCY: Duration = Duration::from_millis(5);
/// A move of which nothing is heard counts as ended this long after its own length.
const SILENT_MOVE: Duration = Duration::from_secs(600);

fn setup(config: &Config) -> Setup {
    let side = SideSetup { servers: vec!["192.0.2.1:8445".to_owned()], pools: Vec::new(), agent: false };
    let parameters = serde_json::to_value(config).expect("it is plain data");
    // What is not given has its default.
    let given =
        parameters.as_object().expect("it is a table").clone().into_iter().filter(|(_, value)| !value.is_null());
    Setup {
        pair: "desktops".to_owned(),
        parameters: given.collect(),
        detect: Detect { interval_ms: 100, timeout_ms: 200, failures: 3 },
        sides: Sides { a: side.clone(), b: side },
    }
}

fn finesse(config: &Config) -> Finesse {
    Finesse::create(&setup(config), config.clone(), 0).expect("it is valid")
}

fn config() -> impl Strategy<Value = Config> {
    (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(ippa, even, user, fast)| {
        let named = Notification {
            user: "watcher".to_owned(),
            secret: "watcher".to_owned(),
            domain: Domains { a: "pub.example.org".to_owned(), b: "sub.example.org".to_owned() },
            ..Notification::default()
        };
        Config {
            profile: if ippa { Profile::Ippa } else { Profile::Desktop },
            distribute: if even { Distribute::Even } else { Distribute::PreferPublisher },
            notification: if user { named } else { Notification::default() },
            fast,
            ..Config::default()
        }
    })
}

fn side() -> impl Strategy<Value = Side> {
    prop_oneof![Just(Side::A), Just(Side::B)]
}

fn number(side: Side, kind: u32) -> ProbeId {
    ProbeId(kind * 2 + if side == Side::A { 1 } else { 2 })
}

fn facts(facts: &[(&str, &str)]) -> Vec<Fact> {
    facts.iter().map(|(name, value)| Fact { name: (*name).to_owned(), value: (*value).to_owned() }).collect()
}

/// Kind 0 is SystemInfo, 1 the Notification Service, 2 the presence.
fn answer(side: Side, kind: u32, verdict: Verdict, facts: Vec<Fact>) -> What {
    let status = if verdict == Verdict::Wrong { 503 } else { 200 };
    let (probe, detail) = (number(side, kind), String::new());
    What::Probe(ProbeResult { probe, side, server: 1, verdict, latency: LATENCY, status, detail, facts })
}

fn good_poll(side: Side) -> What {
    answer(side, 0, Verdict::Good, facts(&[("status", "IN_SERVICE"), ("lastCTIHeartbeatStatus", "success")]))
}

fn probe() -> impl Strategy<Value = What> {
    let verdict = prop::sample::select(vec![Verdict::Wrong, Verdict::Silent, Verdict::Refused]);
    prop_oneof![
        4 => side().prop_map(good_poll),
        4 => side().prop_map(|side| answer(side, 1, Verdict::Good, Vec::new())),
        1 => side().prop_map(|side| {
            let failed = facts(&[("status", "IN_SERVICE"), ("lastCTIHeartbeatStatus", "failure")]);
            answer(side, 0, Verdict::Good, failed)
        }),
        1 => side().prop_map(|side| answer(side, 0, Verdict::Wrong, facts(&[("status", "OUT_OF_SERVICE")]))),
        3 => (side(), 0_u32..3, verdict).prop_map(|(side, kind, verdict)| answer(side, kind, verdict, Vec::new())),
        1 => (side(), any::<bool>()).prop_map(|(side, there)| {
            let presence = if there { "available" } else { "unavailable" };
            answer(side, 2, Verdict::Good, facts(&[("presence", presence)]))
        }),
    ]
}

fn what() -> impl Strategy<Value = What> {
    let outcome = prop::sample::select(vec![Outcome::Done, Outcome::Refused, Outcome::Failed]);
    let sessions = (0_u64..40, 0_u32..3, 0_u32..3, 0_u32..3, any::<bool>());
    let traffic = |side| {
        let window = Duration::from_secs(1);
        What::Traffic(Traffic { side, window, good: 0, server_errors: 1, refused: 0, resets: 0, timeouts: 0, slow: 0 })
    };
    prop_oneof![
        1 => (option::of(side()), any::<bool>()).prop_map(|(active, restored)| {
            What::Start(Start { active, epoch: Epoch(1), restored, since_handover: None })
        }),
        24 => probe(),
        1 => side().prop_map(traffic),
        4 => Just(What::Timer(TimerId(1))),
        2 => (side(), any::<bool>()).prop_map(|(to, confirmed)| order(1, to, confirmed)),
        2 => (side(), any::<bool>(), any::<bool>()).prop_map(|(side, start, confirmed)| {
            command(2, side, if start { "start" } else { "stop" }, confirmed)
        }),
        4 => sessions.prop_map(|(share, a, b, failed, ended)| {
            let on = Sides { a: a * 700, b: b * 700 };
            What::Sessions(Sessions { share, on, moved: 1, left: 1, failed, ended, names: vec!["eve".to_owned()] })
        }),
        2 => (1_u64..60, outcome).prop_map(|(action, outcome)| {
            What::Result(ActionResult { action, outcome, why: String::new() })
        }),
        1 => config().prop_map(|config| {
            let setup = serde_json::to_string(&setup(&config)).expect("it is plain data");
            What::Config(ConfigChange { change: 1, setup })
        }),
    ]
}

fn order(order: u64, to: Side, confirmed: bool) -> What {
    What::Order(Order { order, to, confirmed, by: "anna".to_owned(), rights: Vec::new() })
}

fn command(order: u64, side: Side, argument: &str, confirmed: bool) -> What {
    let (name, by, rights) = ("maintenance".to_owned(), "anna".to_owned(), Vec::new());
    What::Command(Command { order, name, side: Some(side), argument: argument.to_owned(), confirmed, by, rights })
}

/// Events at growing times; the first is a start.
fn events() -> impl Strategy<Value = Vec<Event>> {
    let pause = prop_oneof![2 => Just(0_u64), 6 => 1_u64..500, 1 => 1_000_u64..60_000];
    let first = option::of(side())
        .prop_map(|active| What::Start(Start { active, epoch: Epoch(1), restored: false, since_handover: None }));
    (first, prop::collection::vec((pause, what()), 0..80)).prop_map(|(first, rest)| {
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
    policy: Finesse,
    given: u64,
    seq: u64,
    timer: Option<At>,
    /// The latest share and its number.
    share: Option<(u64, Share)>,
    /// Orders and commands that were answered.
    answered: Vec<u64>,
}

impl Player {
    fn new(policy: Finesse) -> Player {
        Player { policy, given: 0, seq: 0, timer: None, share: None, answered: Vec::new() }
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
                Action::Share(share) => {
                    self.share = Some((self.given, share.clone()));
                    self.answered.extend((share.order != 0).then_some(share.order));
                }
                Action::RefuseOrder(answer) | Action::AskConfirmation(answer) | Action::AcceptOrder(answer) => {
                    self.answered.push(answer.order);
                }
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

    /// Lets time pass: timers come, and both sides answer well each second.
    fn both_well(&mut self, from: At, until: At) {
        let mut now = from;
        while now < until {
            now = now + Duration::from_secs(1);
            if let Some(due) = self.timer.take_if(|due| *due <= now) {
                self.feed(due, What::Timer(TimerId(1)));
            }
            for side in Side::BOTH {
                self.feed(now, good_poll(side));
                self.feed(now, answer(side, 1, Verdict::Good, Vec::new()));
                self.feed(now, answer(side, 2, Verdict::Good, facts(&[("presence", "available")])));
            }
        }
    }
}

fn shares(actions: &[Action]) -> impl Iterator<Item = &Share> {
    actions.iter().filter_map(|action| match action {
        Action::Share(share) => Some(share),
        _ => None,
    })
}

/// What a side has answered last, as somebody sees it who does not know the policy.
#[derive(Clone, Copy, Default)]
struct Witness {
    in_service: bool,
    notification: bool,
    absent: bool,
}

impl Witness {
    fn see(sides: &mut Sides<Witness>, what: &What) {
        match what {
            What::Start(_) => *sides = Sides::default(),
            // Another user, or none, may watch from now on.
            What::Config(_) => Side::BOTH.into_iter().for_each(|side| sides[side].absent = false),
            _ => {}
        }
        let What::Probe(result) = what else { return };
        let good = result.verdict == Verdict::Good;
        let is = |name: &str, value: &str| result.fact(name) == Some(value);
        let witness = &mut sides[result.side];
        match (result.probe.0 - 1) / 2 {
            0 => witness.in_service = good && is("status", "IN_SERVICE") && is("lastCTIHeartbeatStatus", "success"),
            1 => witness.notification = good,
            _ => witness.absent = good && is("presence", "unavailable"),
        }
    }

    fn eligible(self) -> bool {
        self.in_service && self.notification
    }
}

proptest! {
    #[test]
    fn the_same_events_give_the_same_actions_also_after_a_cut(
        events in events(), config in config(), cut in any::<prop::sample::Index>(),
    ) {
        let (mut one, mut two) = (Player::new(finesse(&config)), Player::new(finesse(&config)));
        let cut = cut.index(events.len());
        let mut today = config;
        for (index, event) in events.iter().enumerate() {
            if index == cut {
                let saved = serde_json::to_string(&two.policy).expect("it is plain data");
                let before = serde_json::from_str(&saved).expect("it is its own snapshot");
                two.policy = finesse(&today).resume(before);
            }
            if let What::Config(change) = &event.what {
                let setup: Setup = serde_json::from_str(&change.setup).expect("it is a setup");
                let parameters = serde_json::Value::Object(setup.parameters);
                today = serde_json::from_value(parameters).expect("it is a configuration");
            }
            prop_assert_eq!(one.step(event), two.step(event));
        }
    }

    /// A timer that is due at once, again and again, would spin the edge.
    #[test]
    fn a_timer_is_always_in_the_future(events in events(), config in config()) {
        let mut player = Player::new(finesse(&config));
        for event in &events {
            for action in player.step(event) {
                if let Action::SetTimer(_, due) = action {
                    prop_assert!(due > event.at, "{due} at {}", event.at);
                }
            }
        }
    }

    /// F4: whatever has happened, sessions are moved to a side that has last answered well, and away from the one that
    /// gets no new ones.
    #[test]
    fn sessions_move_to_an_eligible_side_only(events in events(), config in config()) {
        let mut player = Player::new(finesse(&config));
        let mut seen = Sides::<Witness>::default();
        for event in &events {
            Witness::see(&mut seen, &event.what);
            for share in shares(&player.step(event)) {
                let Some(from) = share.from else { continue };
                let to = seen[from.other()];
                prop_assert!(to.eligible() && !to.absent, "to {} at event {}", from.other(), event.seq);
                prop_assert!(share.parts[from] == 0 && share.parts[from.other()] > 0);
            }
        }
    }

    /// One share in a step, and no move while another one goes on.
    #[test]
    fn sessions_move_one_way_at_a_time(events in events(), config in config()) {
        let mut player = Player::new(finesse(&config));
        let mut moving: Option<(u64, At)> = None;
        for event in &events {
            match &event.what {
                What::Start(_) => moving = None,
                What::Sessions(told) if told.ended && moving.is_some_and(|(share, _)| share == told.share) => moving = None,
                What::Result(result)
                    if result.outcome != Outcome::Done && moving.is_some_and(|(share, _)| share == result.action) =>
                {
                    moving = None;
                }
                _ => {}
            }
            let actions = player.step(event);
            let given: Vec<_> = shares(&actions).collect();
            prop_assert!(given.len() <= 1, "{} shares at event {}", given.len(), event.seq);
            let Some(share) = given.first() else { continue };
            if share.from.is_some() {
                prop_assert!(moving.is_none_or(|(_, until)| event.at >= until), "two moves at event {}", event.seq);
            }
            let number = player.share.as_ref().map_or(0, |(number, _)| *number);
            moving = share.from.map(|_| (number, event.at + share.window + share.warning + SILENT_MOVE));
        }
    }

    /// F11: phones move when an operator says so, and not otherwise.
    #[test]
    fn phones_are_never_moved_silently(events in events(), even in any::<bool>()) {
        let distribute = if even { Distribute::Even } else { Distribute::PreferPublisher };
        let config = Config { profile: Profile::Ippa, distribute, ..Config::default() };
        let mut player = Player::new(finesse(&config));
        for event in events.iter().filter(|event| !matches!(event.what, What::Config(_))) {
            let unasked = match &event.what {
                What::Order(order) => !order.confirmed,
                What::Command(command) => !command.confirmed,
                _ => false,
            };
            if unasked {
                continue;
            }
            let actions = player.step(event);
            for share in shares(&actions).filter(|share| share.from.is_some()) {
                prop_assert!(share.warning > Duration::ZERO, "event {}: {}", event.seq, share.reason);
            }
        }
    }

    /// An operator is answered within a look, unless the edge is restarted meanwhile.
    #[test]
    fn an_operator_is_answered(events in events(), config in config(), to in side(), commands in any::<bool>()) {
        let mut player = Player::new(finesse(&config));
        events.iter().for_each(|event| drop(player.step(event)));
        let now = events.last().map_or(At::ZERO, |event| event.at);
        let asked = if commands { command(99, to, "start", true) } else { order(99, to, true) };
        player.feed(now, asked);
        while let Some(due) = player.timer.take_if(|due| *due <= now + Duration::from_secs(6)) {
            player.feed(due, What::Timer(TimerId(1)));
        }
        let answers = player.answered.iter().filter(|order| **order == 99).count();
        prop_assert_eq!(answers, 1);
    }

    /// Whatever has happened: when both sides are well, new sessions are taken. (A share that was refused is not in
    /// force; here none is.)
    #[test]
    fn a_pair_of_sides_that_are_well_takes_sessions(events in events(), config in config()) {
        let mut player = Player::new(finesse(&config));
        let done = |event: &&Event| !matches!(&event.what, What::Result(result) if result.outcome != Outcome::Done);
        events.iter().filter(done).for_each(|event| drop(player.step(event)));
        let now = events.last().map_or(At::ZERO, |event| event.at);
        player.both_well(now, now + Duration::from_secs(30));
        let (_, share) = player.share.expect("it has shared out");
        prop_assert!(share.parts.a + share.parts.b > 0, "{}", share.reason);
    }

    /// The same after shares that were refused, by what it tells an edge that starts again.
    #[test]
    fn a_pair_of_sides_that_are_well_takes_sessions_after_a_restart(events in events(), config in config()) {
        let mut player = Player::new(finesse(&config));
        events.iter().for_each(|event| drop(player.step(event)));
        let now = events.last().map_or(At::ZERO, |event| event.at);
        player.both_well(now, now + Duration::from_secs(30));
        let start = Start { active: None, epoch: Epoch(1), restored: true, since_handover: None };
        let restart = now + Duration::from_secs(31);
        player.feed(restart, What::Start(start));
        player.both_well(restart, restart + Duration::from_secs(10));
        let (_, share) = player.share.expect("it has shared out");
        prop_assert!(share.parts.a + share.parts.b > 0, "{}", share.reason);
    }
}
