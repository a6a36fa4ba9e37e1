use super::*;
use lockstep_policy::action::ShareRule;
use proptest::prelude::*;
use std::collections::BTreeMap;

const IDLE: Duration = Duration::from_secs(1800);

/// A request that carries one header field.
struct Carries(&'static str, &'static str);

impl Attributes for Carries {
    fn carries(&self, attribute: &Attribute, value: &str) -> bool {
        *attribute == Attribute::Header(self.0.to_owned()) && value == self.1
    }
}

const NOTHING: Carries = Carries("", "");

fn to(a: u32, b: u32) -> Share {
    Share {
        parts: Sides { a, b },
        rules: Vec::new(),
        from: None,
        window: Duration::ZERO,
        warning: Duration::ZERO,
        reason: String::new(),
        evidence: Vec::new(),
        order: 0,
    }
}

fn away(from: Side, window_s: u64) -> Share {
    let parts = if from == Side::A { to(0, 1) } else { to(1, 0) };
    Share { from: Some(from), window: Duration::from_secs(window_s), ..parts }
}

fn tenant(value: &str, side: Side) -> ShareRule {
    ShareRule { attribute: "X-Tenant".to_owned(), value: value.to_owned(), side }
}

fn secs(s: u64) -> At {
    At::from_millis(s * 1000)
}

struct World {
    sharing: Sharing,
    shares: u64,
}

impl World {
    fn new(max: usize) -> World {
        World { sharing: Sharing::new(Settings { idle: IDLE, max }), shares: 0 }
    }

    fn share(&mut self, at: At, share: &Share) -> Option<Sessions> {
        self.shares += 1;
        self.sharing.share(at, self.shares, share).expect("a sound share")
    }

    fn ask(&mut self, at: At, client: u128) -> Option<Placed> {
        self.ask_with(at, client, &NOTHING)
    }

    fn ask_with(&mut self, at: At, client: u128, carries: &Carries) -> Option<Placed> {
        self.sharing.request(at, Key(client), carries, || format!("client {client}"))
    }

    fn ask_all(&mut self, clients: std::ops::Range<u128>) {
        for client in clients {
            self.ask(At::ZERO, client);
        }
    }

    fn side(&mut self, at: At, client: u128) -> Option<Side> {
        self.ask(at, client).map(|placed| placed.side)
    }

    /// With a connection that stays open.
    fn open(&mut self, at: At, client: u128) -> Placed {
        let placed = self.ask(at, client).expect("sessions are let in");
        self.sharing.opened(Key(client), placed.number);
        placed
    }
}

#[test]
fn nobody_is_let_in_before_the_first_share_or_without_parts_and_who_is_in_stays() {
    let mut world = World::new(10);
    assert_eq!(world.ask(At::ZERO, 1), None);
    world.share(At::ZERO, &to(1, 0));
    assert_eq!(world.side(At::ZERO, 1), Some(Side::A));
    world.share(At::ZERO, &to(0, 0));
    assert_eq!((world.side(At::ZERO, 1), world.side(At::ZERO, 2)), (Some(Side::A), None));
    world.share(At::ZERO, &to(0, 1));
    assert_eq!((world.side(At::ZERO, 1), world.side(At::ZERO, 2)), (Some(Side::A), Some(Side::B)));
}

#[test]
fn f10_new_sessions_alternate_and_stay() {
    let mut world = World::new(100);
    world.share(At::ZERO, &to(1, 1));
    let first: Vec<_> = (0..10).map(|client| world.side(At::ZERO, client)).collect();
    assert_eq!(first[..4], [Some(Side::A), Some(Side::B), Some(Side::A), Some(Side::B)]);
    let second: Vec<_> = (0..10).map(|client| world.side(secs(5), client)).collect();
    assert_eq!(first, second);
    assert_eq!(world.sharing.report().on, Sides { a: 5, b: 5 });
}

#[test]
fn the_first_rule_that_applies_counts_before_the_parts() {
    let mut world = World::new(100);
    let rules = vec![tenant("x", Side::B), tenant("x", Side::A), tenant("y", Side::A)];
    world.share(At::ZERO, &Share { rules, ..to(0, 0) });
    let with = |world: &mut World, client, value| {
        world.ask_with(At::ZERO, client, &Carries("x-tenant", value)).map(|placed| placed.side)
    };
    assert_eq!(with(&mut world, 1, "x"), Some(Side::B));
    assert_eq!(with(&mut world, 2, "y"), Some(Side::A));
    assert_eq!(with(&mut world, 3, "z"), None);
    assert_eq!(with(&mut world, 1, "y"), Some(Side::B), "who is in stays");
    let bad = Share { rules: vec![ShareRule { attribute: "a b".to_owned(), ..tenant("x", Side::A) }], ..to(1, 0) };
    assert!(world.sharing.share(At::ZERO, 9, &bad).is_err());
    assert_eq!(with(&mut world, 3, "z"), None, "nothing has changed");
}

#[test]
fn f8_a_move_is_spread_evenly_in_the_order_in_which_sessions_came() {
    let mut world = World::new(100);
    world.share(At::ZERO, &to(1, 0));
    let numbers: Vec<_> = (0..10).rev().map(|client| world.ask(At::ZERO, client).expect("let in").number).collect();
    world.share(secs(100), &Share { warning: Duration::from_secs(15), ..away(Side::A, 20) });
    assert_eq!(world.sharing.pass(secs(114), 100), []);
    let mut moved = Vec::new();
    for second in 115..=133 {
        let now = world.sharing.pass(secs(second), 100);
        assert_eq!(now.len(), usize::from(second % 2 == 1), "at {second}");
        moved.extend(now.into_iter().map(|moved| moved.number));
        let report = world.sharing.report();
        assert_eq!((report.moved + report.left, report.ended), (10, second == 133));
    }
    assert_eq!(moved, numbers);
    assert_eq!(world.sharing.report().on, Sides { a: 0, b: 10 });
}

#[test]
fn a_window_of_zero_moves_all_at_once_within_the_limit() {
    let mut world = World::new(100);
    world.share(At::ZERO, &to(0, 1));
    world.ask_all(0..10);
    world.share(secs(1), &away(Side::B, 0));
    assert_eq!(world.sharing.pass(secs(1), 6).len(), 6);
    assert!(world.sharing.deadline() <= Some(secs(1)), "the rest is due at once");
    assert_eq!(world.sharing.pass(secs(1), 6).len(), 4);
    assert!(world.sharing.report().ended);
}

#[test]
fn a_session_with_an_open_connection_has_moved_when_it_comes_back_and_failed_when_it_does_not() {
    let mut world = World::new(100);
    world.share(At::ZERO, &to(1, 0));
    for client in 1..=3 {
        world.open(At::ZERO, client);
    }
    world.share(secs(10), &away(Side::A, 0));
    assert_eq!(world.sharing.pass(secs(10), 100).len(), 3, "their connections are to be closed");
    assert_eq!((world.sharing.report().moved, world.sharing.report().left), (0, 3));
    assert_eq!(world.side(secs(12), 1), Some(Side::B));
    assert_eq!(world.side(secs(13), 1), Some(Side::B));
    assert_eq!((world.sharing.report().moved, world.sharing.report().left), (1, 2));
    let late = world.sharing.deadline().expect("two are waited for");
    assert_eq!(late, secs(10) + BACK);
    world.sharing.pass(late, 100);
    let report = world.sharing.report();
    assert_eq!((report.moved, report.left, report.failed, report.ended), (1, 0, 2, true));
    assert_eq!(report.names, ["client 2", "client 3"]);
    assert_eq!(world.side(secs(60), 2), Some(Side::B), "it is moved all the same");
    assert_eq!(world.sharing.report().failed, 2);
}

#[test]
fn a_share_without_a_move_stops_the_move_and_everyone_stays() {
    let mut world = World::new(100);
    world.share(At::ZERO, &to(1, 0));
    world.ask_all(0..10);
    world.share(At::ZERO, &away(Side::A, 100));
    world.sharing.pass(secs(35), 100);
    let sides = world.sharing.table.sides();
    let stopped = world.share(secs(36), &to(1, 0)).expect("a move was under way");
    assert_eq!((stopped.share, stopped.moved, stopped.left, stopped.ended), (2, 4, 6, true));
    assert_eq!(world.sharing.pass(secs(1000), 100), []);
    assert_eq!(world.sharing.table.sides(), sides);
    let report = world.sharing.report();
    assert_eq!((report.share, report.moved, report.left, report.ended), (3, 0, 0, true));
}

#[test]
fn a_move_puts_sessions_where_new_ones_would_go() {
    let mut world = World::new(100);
    world.share(At::ZERO, &to(1, 0));
    world.ask_all(0..10);
    world.share(At::ZERO, &Share { from: Some(Side::A), ..to(1, 1) });
    assert_eq!(world.sharing.pass(At::ZERO, 100).len(), 5);
    let report = world.sharing.report();
    assert_eq!((report.on, report.moved, report.left, report.ended), (Sides { a: 5, b: 5 }, 5, 0, true));
    world.share(At::ZERO, &Share { from: Some(Side::A), ..to(0, 0) });
    assert_eq!(world.sharing.pass(At::ZERO, 100), [], "there is nowhere to go");
    assert_eq!(world.sharing.report().on, Sides { a: 5, b: 5 });
}

#[test]
fn rules_decide_over_a_move_as_soon_as_a_request_shows_what_they_ask_for() {
    let mut world = World::new(100);
    world.share(At::ZERO, &to(1, 0));
    world.ask_all(1..5);
    let rules = vec![tenant("stays", Side::A), tenant("goes", Side::B)];
    let share = Share { rules, window: Duration::from_secs(8), ..away(Side::A, 0) };
    world.share(secs(10), &share);
    let with = |world: &mut World, at, client, value| {
        world.ask_with(secs(at), client, &Carries("x-tenant", value)).map(|placed| placed.side)
    };
    assert_eq!(with(&mut world, 11, 3, "stays"), Some(Side::A), "seen before its turn");
    world.sharing.pass(secs(20), 100);
    assert_eq!(world.sharing.report().moved, 3);
    assert_eq!(with(&mut world, 21, 1, "stays"), Some(Side::A), "seen after its turn");
    assert_eq!(with(&mut world, 21, 2, "goes"), Some(Side::B));
    assert_eq!(with(&mut world, 21, 3, "stays"), Some(Side::A));
    let report = world.sharing.report();
    assert_eq!((report.on, report.moved, report.ended), (Sides { a: 2, b: 2 }, 2, true));
}

#[test]
fn a_session_ends_when_it_is_idle_and_not_while_a_connection_is_open() {
    let mut world = World::new(100);
    world.share(At::ZERO, &to(1, 1));
    let (one, two) = (world.open(At::ZERO, 1), world.ask(At::ZERO, 2).expect("let in"));
    assert_eq!(world.sharing.deadline(), Some(At::ZERO + IDLE));
    world.sharing.pass(At::ZERO + IDLE, 100);
    assert_eq!(world.sharing.report().on, Sides { a: 1, b: 0 });
    world.sharing.closed(secs(3000), Key(1), one.number);
    world.sharing.closed(secs(3000), Key(2), two.number);
    world.sharing.pass(secs(4799), 100);
    assert_eq!(world.sharing.table.len(), 1);
    world.sharing.pass(secs(4800), 100);
    assert_eq!(world.sharing.table.len(), 0);
    assert_ne!(world.ask(secs(4801), 1).expect("let in").number, one.number);
}

#[test]
fn the_oldest_goes_first_when_there_are_too_many() {
    let mut world = World::new(3);
    world.share(At::ZERO, &to(1, 1));
    for client in 1..=3 {
        world.ask(At::from_millis(1000), client);
    }
    world.ask(secs(10), 1);
    world.ask(secs(11), 4);
    assert_eq!(world.sharing.table.sides().into_keys().collect::<Vec<_>>(), [Key(1), Key(3), Key(4)]);
}

#[test]
fn what_a_server_names_belongs_to_its_side() {
    let mut world = World::new(10);
    world.share(At::ZERO, &to(1, 0));
    world.sharing.learn(At::ZERO, Key(7), || "seven".to_owned(), Side::B);
    world.sharing.learn(At::ZERO, Key(7), || "seven".to_owned(), Side::A);
    assert_eq!(world.side(At::ZERO, 7), Some(Side::B));
    assert_eq!(world.sharing.report().on, Sides { a: 0, b: 1 });
}

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Ask(u128, bool),
    Close(u128),
    Learn(u128, Side),
    Share { parts: Sides<u32>, from: Option<Side>, window_s: u64, warning_s: u64, rule: Option<Side> },
}

fn side() -> impl Strategy<Value = Side> {
    prop_oneof![Just(Side::A), Just(Side::B)]
}

fn step() -> impl Strategy<Value = Step> {
    let share = (0u32..4, 0u32..4, prop::option::of(side()), 0u64..40, 0u64..15, prop::option::of(side()));
    prop_oneof![
        4 => (0u64..20_000).prop_map(Step::Wait),
        1 => (1_800_000u64..2_000_000).prop_map(Step::Wait),
        8 => (0u128..20, any::<bool>()).prop_map(|(client, stays)| Step::Ask(client, stays)),
        3 => (0u128..20).prop_map(Step::Close),
        1 => (0u128..20, side()).prop_map(|(client, side)| Step::Learn(client, side)),
        2 => share.prop_map(|(a, b, from, window_s, warning_s, rule)| Step::Share {
            parts: Sides { a, b }, from, window_s, warning_s, rule
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// Whatever happens: each known session is on one side, none moves that is not to, none before its turn, and the
    /// figures of a move add up.
    #[test]
    fn sessions_are_conserved_and_moved_in_time_only(steps in prop::collection::vec(step(), 1..80)) {
        let mut world = World::new(12);
        let mut now = secs(1);
        let mut open: BTreeMap<u128, u64> = BTreeMap::new();
        // When the move began, its first turn, its window, and whom it has.
        let mut planned: (At, Duration, u32) = (At::ZERO, Duration::ZERO, 0);
        let mut taken = 0;
        for step in steps {
            let before = world.sharing.table.sides();
            let moving = world.sharing.moving_from();
            match step {
                Step::Wait(ms) => {
                    now = now + Duration::from_millis(ms);
                    let moved = world.sharing.pass(now, 5);
                    prop_assert!(moved.len() <= 5);
                    prop_assert!(moved.iter().all(|moved| Some(moved.from) == moving));
                    taken += u32::try_from(moved.len()).expect("few");
                }
                Step::Ask(client, stays) => {
                    let known = world.sharing.table.slot(Key(client)).map(|slot| slot.number);
                    let placed = world.ask_with(now, client, &Carries("x-tenant", if client % 2 == 0 { "x" } else { "y" }));
                    if placed.is_none() {
                        prop_assert_eq!(world.sharing.parts(), Sides::default());
                    }
                    if let Some(placed) = placed.filter(|_| stays && !open.contains_key(&client)) {
                        world.sharing.opened(Key(client), placed.number);
                        open.insert(client, placed.number);
                    }
                    if known.is_some() && moving.is_none() && world.sharing.rules.is_empty() {
                        let number = world.sharing.table.slot(Key(client)).map(|slot| slot.number);
                        if number == known {
                            prop_assert_eq!(placed.map(|placed| placed.side), before.get(&Key(client)).copied());
                        }
                    }
                }
                Step::Close(client) => {
                    if let Some(number) = open.remove(&client) {
                        world.sharing.closed(now, Key(client), number);
                    }
                }
                Step::Learn(client, side) => world.sharing.learn(now, Key(client), String::new, side),
                Step::Share { parts, from, window_s, warning_s, rule } => {
                    let (window, warning) = (Duration::from_secs(window_s), Duration::from_secs(warning_s));
                    let rules = rule.map(|side| tenant("x", side)).into_iter().collect();
                    world.share(now, &Share { from, window, warning, rules, ..to(parts.a, parts.b) });
                    let sides = world.sharing.table.sides();
                    prop_assert_eq!(&before, &sides, "a share by itself moves nobody");
                    let whom = sides.values().filter(|side| Some(**side) == from).count();
                    planned = (now + warning, window, u32::try_from(whom).expect("few"));
                    taken = 0;
                }
            }
            let report = world.sharing.report();
            let sides = world.sharing.table.sides();
            let on = |side| u32::try_from(sides.values().filter(|of| **of == side).count()).expect("few");
            prop_assert_eq!(report.on, Sides { a: on(Side::A), b: on(Side::B) });
            prop_assert!(world.sharing.table.len() <= 12);
            let (first, window, whom) = planned;
            let due = if now < first { 0 } else if window.is_zero() { whom } else {
                let turns = now.since(first).as_nanos() * u128::from(whom) / window.as_nanos() + 1;
                u32::try_from(turns.min(u128::from(whom))).expect("few")
            };
            prop_assert!(taken <= due, "{taken} moved, and {due} planned by now");
            prop_assert!(report.moved + report.failed + report.left <= whom, "{report:?} of {whom}");
            prop_assert_eq!(report.ended, world.sharing.moving_from().is_none());
            prop_assert!(report.ended != (report.left > 0));
        }
    }
}
