//! Within which bounds everything is looked at: in every run of the tests, and in the long one.

use crate::bounds::{Bounds, Budget, Command, DRIFT, FAILOVER, PLANNED, TO_B, WIDE};
use crate::pair::Clock;
use lockstep_policy::action::Urgency;
use lockstep_policy::{Side, Sides};

fn is_long() -> bool {
    std::env::var("MODEL_DEPTH").is_ok_and(|depth| depth == "long")
}

/// The bounds of every run, and those of the long one.
fn holds(name: &str, short: Bounds, long: Bounds) {
    crate::holds(name, if is_long() { long } else { short });
}

const NONE: Budget = Budget {
    orders: 0,
    edge_crashes: 0,
    node_crashes: 0,
    crashes: 0,
    losses: 0,
    duplicates: 0,
    strays: 0,
    reorders: 0,
    stalls: 0,
    breaks: 0,
    failed_writes: 0,
    failed_runs: 0,
    deaths: 0,
    ticks: None,
};

#[test]
fn orders_alone() {
    let moved = &[
        Command::Switch(Side::B, Urgency::Planned),
        Command::Switch(Side::B, Urgency::Failover),
        Command::Switch(Side::A, Urgency::Planned),
        Command::StandDown(Side::A),
    ];
    let two = Bounds { commands: moved, ..Bounds::new(Budget { orders: 2, ..NONE }) };
    let three = Bounds::new(Budget { orders: 3, ..NONE });
    holds("orders alone", two, three);
}

#[test]
fn a_message_is_lost() {
    let one = Bounds::new(Budget { orders: 1, losses: 1, ..NONE });
    let two = Bounds::new(Budget { orders: 2, losses: 2, ..NONE });
    holds("a message is lost", one, two);
}

#[test]
fn a_message_comes_twice_and_out_of_order() {
    let one = Bounds { commands: PLANNED, ..Bounds::new(Budget { orders: 1, duplicates: 1, ..NONE }) };
    let two = Bounds { stray: 2, ..Bounds::new(Budget { orders: 1, duplicates: 2, reorders: 1, ..NONE }) };
    holds("a message comes twice, and out of order", one, two);
}

#[test]
fn a_connection_breaks_and_its_messages_arrive_later() {
    let one = Bounds {
        commands: PLANNED,
        struck: &[Side::A],
        ..Bounds::new(Budget { orders: 1, breaks: 1, strays: 1, ..NONE })
    };
    let two = Bounds { stray: 2, ..Bounds::new(Budget { orders: 1, breaks: 2, strays: 2, ..NONE }) };
    holds("a connection breaks, and its messages arrive later", one, two);
}

#[test]
fn the_edge_restarts_in_mid_handover() {
    let one = Bounds { commands: PLANNED, ..Bounds::new(Budget { orders: 1, edge_crashes: 1, strays: 1, ..NONE }) };
    let two = Bounds::new(Budget { orders: 1, edge_crashes: 2, strays: 1, ..NONE });
    holds("the edge restarts in mid-handover", one, two);
}

#[test]
fn an_agent_crashes_in_mid_handover() {
    let one =
        Bounds { commands: FAILOVER, struck: &[Side::B], ..Bounds::new(Budget { orders: 1, node_crashes: 1, ..NONE }) };
    let more = Bounds::new(Budget { orders: 1, node_crashes: 1, strays: 1, ..NONE });
    holds("an agent crashes in mid-handover", one, more);
}

#[test]
fn anyone_crashes_twice_and_a_message_is_lost() {
    let two = Bounds::new(Budget { crashes: 2, losses: 1, ..NONE });
    let ordered = Bounds { commands: TO_B, ..Bounds::new(Budget { orders: 1, crashes: 1, losses: 1, ..NONE }) };
    holds("anyone crashes twice, and a message is lost", two, ordered);
}

#[test]
fn a_side_is_cut_off() {
    let one = Bounds {
        commands: FAILOVER,
        struck: &[Side::A],
        window: 1,
        ..Bounds::new(Budget { orders: 1, stalls: 1, ..NONE })
    };
    let any = Bounds::new(Budget { orders: 1, stalls: 1, strays: 1, ..NONE });
    holds("a side is cut off", one, any);
}

#[test]
fn a_side_is_cut_off_and_anyone_crashes() {
    let one = Bounds { window: 1, ..Bounds::new(Budget { stalls: 1, crashes: 1, ..NONE }) };
    let two = Bounds::new(Budget { stalls: 2, crashes: 1, strays: 1, ..NONE });
    holds("a side is cut off, and anyone crashes", one, two);
}

#[test]
fn services_fail_and_die() {
    let one = Bounds {
        commands: TO_B,
        struck: &[Side::B],
        ..Bounds::new(Budget { orders: 1, failed_runs: 1, deaths: 1, ..NONE })
    };
    let two = Bounds::new(Budget { orders: 2, failed_runs: 2, deaths: 1, ..NONE });
    holds("services fail, and die", one, two);
}

#[test]
fn writes_fail() {
    let warmed = &[Command::Switch(Side::B, Urgency::Planned), Command::Prepare(Side::B)];
    let one = Bounds {
        commands: warmed,
        struck: &[],
        window: 1,
        ..Bounds::new(Budget { orders: 2, failed_writes: 1, ..NONE })
    };
    let two = Bounds::new(Budget { orders: 2, failed_writes: 2, ..NONE });
    holds("writes fail", one, two);
}

#[test]
fn writes_are_slow() {
    let one = Bounds { commands: PLANNED, struck: &[], slow_disks: true, ..Bounds::new(Budget { orders: 1, ..NONE }) };
    let any = Bounds { commands: PLANNED, slow_disks: true, ..Bounds::new(Budget { orders: 1, ..NONE }) };
    holds("writes are slow", one, any);
}

/// The old side's clock is slow by a fifth, and it hears of nothing: its lease lasts a fourth longer than it should.
#[test]
fn the_cut_off_sides_clock_is_slow() {
    let one = Bounds { struck: &[Side::A], ..slow(DRIFT, Budget { ticks: Some(8), ..CUT_OFF }) };
    let any = slow(DRIFT, Budget { ticks: Some(14), ..CUT_OFF });
    holds("the cut-off side's clock is slow", one, any);
}

/// The served side's clock is fast by a fifth: its lease lasts less long than it says.
#[test]
fn the_served_sides_clock_is_fast() {
    let fast = Sides { a: Clock::Fast(0), b: Clock::True };
    let bounds = |budget| Bounds {
        clocks: fast,
        settings: WIDE,
        right_settings: WIDE,
        terms: WIDE.terms,
        commands: TO_B,
        ..Bounds::new(budget)
    };
    let one = bounds(Budget { losses: 2, ticks: Some(12), ..NONE });
    let any = bounds(Budget { orders: 1, losses: 2, ticks: Some(16), ..NONE });
    holds("the served side's clock is fast", one, any);
}

/// One order to fail over, and one direction of one link that is held up.
pub const CUT_OFF: Budget = Budget { orders: 1, stalls: 1, ..NONE };

/// Side A's clock is slow, and side B is to take over.
pub fn slow(settings: lockstep_pair::coordinator::Settings, budget: Budget) -> Bounds {
    Bounds {
        clocks: Sides { a: Clock::Slow(0), b: Clock::True },
        settings,
        right_settings: DRIFT,
        commands: FAILOVER,
        window: 1,
        ..Bounds::new(budget)
    }
}
