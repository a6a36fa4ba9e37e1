//! A flawless play, and one flaw after the other in it: each is named.

use super::*;
use crate::schedule::{Path, Weather};
use crate::watch::{Late, Seen};
use lockstep_pair::coordinator::{Intent, Stored};
use lockstep_pair::record::HandoverRecord;
use lockstep_policy::Epoch;

const MS: u64 = 1_000_000;

/// A's CTI runs from 0 to 1,000 ms and is told to stop at 970, B's from 1,010 on; request 1 is given to A, 2 and 3 to B.
fn flawless() -> Evidence {
    let life = |pid, from: u64, to: u64, stopping: Option<u64>| {
        let ticks = (from..=to).step_by(5).map(move |at| Instant { at: at * MS, pid, mark: Mark::Alive });
        let stop = stopping.map(|at| Instant { at: at * MS, pid, mark: Mark::Stopping });
        let active = Instant { at: (from + 5) * MS, pid, mark: Mark::Active };
        ticks.chain([active]).chain(stop).collect::<Vec<_>>()
    };
    let state = Stored { epoch: Epoch(2), active: Some((Side::B, Epoch(2))), intent: None };
    Evidence {
        began: 0,
        alive: Alive::After(Duration::ZERO),
        stood_still: Duration::ZERO,
        at_rest: Some(Side::B),
        deeds: Vec::new(),
        absences: Vec::new(),
        woken: Vec::new(),
        kills: Vec::new(),
        exchanges: vec![exchange(1, 500, Side::A), exchange(2, 1_500, Side::B), exchange(3, 1_600, Side::B)],
        given: vec![given(1, 500, Side::A), given(2, 1_500, Side::B), given(3, 1_600, Side::B)],
        ctis: [life(10, 0, 1_000, Some(970)), life(20, 1_010, 3_000, None)],
        misplaced: [Vec::new(), Vec::new()],
        done: [vec![entry(1, 501, Side::A)], vec![entry(2, 1_501, Side::B), entry(3, 1_601, Side::B)]],
        watched: Report { epochs: vec![seen(Side::A, 1), seen(Side::B, 2), seen(Side::A, 2)], late: Vec::new() },
        store: Edge { state, handovers: Vec::new() },
        nodes: [Some(Node { epoch: 2, active: false }), Some(Node { epoch: 2, active: true })],
    }
}

fn exchange(n: u64, sent: u64, side: Side) -> Exchange {
    Exchange {
        n,
        method: "POST".to_owned(),
        due: sent * MS,
        sent: sent * MS,
        ended: (sent + 2) * MS,
        status: Some(200),
        side: Some(side),
        server: None,
        active: Some(true),
        retry_after: None,
        error: None,
    }
}

fn given(id: u64, at: u64, side: Side) -> Given {
    Given { at: at * MS, id, side, port: 1, place: u32::try_from(id).unwrap() }
}

fn entry(id: u64, at: u64, side: Side) -> Misplaced {
    let (method, path) = ("POST".to_owned(), "/work".to_owned());
    Misplaced { at: at * MS, side, method, path, id: id.to_string(), awaited: true }
}

fn seen(side: Side, epoch: u64) -> Seen {
    Seen { at: 0, side, epoch }
}

fn schedule(faults: Vec<Fault>) -> Schedule {
    Schedule { seed: 0, faults, orders: Vec::new() }
}

/// What the judge says of a flawless play after a change, when nothing broke.
fn after(change: impl FnOnce(&mut Evidence)) -> Vec<String> {
    let mut evidence = flawless();
    change(&mut evidence);
    judge(&schedule(Vec::new()), &evidence)
}

/// One complaint, with that beginning.
#[track_caller]
fn says(wrong: &[String], beginning: &str) {
    assert!(matches!(wrong, [one] if one.starts_with(beginning)), "{beginning}: {wrong:#?}");
}

#[test]
fn a_flawless_play_is_good() {
    assert_eq!(after(|_| ()), [""; 0]);
}

#[test]
fn a_pair_that_is_never_well_is_named() {
    says(&after(|play| play.alive = Alive::Never("20 s".to_owned())), "liveness: 20 s");
    assert_eq!(after(|play| play.alive = Alive::Unknown(String::new())), [""; 0]);
}

#[test]
fn two_cti_services_at_once_are_named() {
    let woken = Instant { at: 1_020 * MS, pid: 10, mark: Mark::Alive };
    says(&after(|play| play.ctis[0].push(woken)), "I1: both CTI services ran at once");
}

#[test]
fn a_request_for_a_side_that_is_not_active_is_named() {
    says(&after(|play| play.given[0].side = Side::B), "I2: given to a side whose CTI was not active");
    // A frame that is sent again, for it was lost, is no new request.
    assert_eq!(after(|play| play.given.push(Given { at: 980 * MS, ..play.given[0] })), [""; 0]);
    says(&after(|play| play.given.push(Given { place: 9, at: 980 * MS, ..play.given[0] })), "I2: given");
}

#[test]
fn an_edge_that_had_to_wait_for_a_processor_may_be_late() {
    let late = |from: u64, to: u64| {
        after(|play| {
            play.given.push(Given { place: 9, at: 980 * MS, ..play.given[0] });
            play.watched.late.push(Late { from: from * MS, to: to * MS, waited: 30 * MS });
        })
    };
    assert_eq!(late(975, 985), [""; 0]);
    says(&late(700, 900), "I2: given to a side whose CTI was not active");
    says(&late(1_100, 1_200), "I2: given to a side whose CTI was not active");
}

#[test]
fn an_edge_that_was_stopped_at_the_brink_sends_what_it_had_before() {
    let woken = |stopped: u64, woken: u64, many: u32| {
        after(|play| {
            let first = play.given[0];
            play.given.extend((0..many).map(|n| Given { place: 90 + n, at: 980 * MS, ..first }));
            play.woken.push((stopped * MS, woken * MS));
        })
    };
    assert_eq!(woken(600, 970, 1), [""; 0]);
    says(&woken(400, 970, 1), "I2: given to a side whose CTI was not active");
    says(&woken(600, 900, 1), "I2: given to a side whose CTI was not active");
    says(&woken(600, 970, 5), "I2: given to a side whose CTI was not active");
}

#[test]
fn that_an_agent_was_killed_may_be_unknown_for_a_lease() {
    let killed = |at: u64| {
        after(|play| {
            play.given.push(Given { place: 9, at: 1_100 * MS, ..play.given[0] });
            play.kills.push((Side::A, at * MS));
        })
    };
    assert_eq!(killed(870), [""; 0]);
    says(&killed(400), "I2: given to a side whose CTI was not active");
}

#[test]
fn that_a_cti_was_killed_may_be_unknown_for_a_lease() {
    let killed = |at: u64| {
        after(|play| {
            play.ctis[0].retain(|instant| instant.mark != Mark::Stopping);
            play.given.push(Given { place: 9, at: at * MS, ..play.given[0] });
        })
    };
    assert_eq!(killed(1_500), [""; 0]);
    says(&killed(1_601), "I2: given to a side whose CTI was not active");
}

#[test]
fn what_is_served_late_must_have_been_held_up() {
    let late = |faults: Vec<Fault>, id| {
        let mut evidence = flawless();
        evidence.given[0].at = 960 * MS;
        evidence.misplaced[0] = vec![entry(id, 980, Side::A)];
        judge(&schedule(faults), &evidence)
    };
    let slow = |from, to| Fault {
        at: Duration::from_millis(900),
        lasts: Duration::from_millis(300),
        kind: Kind::Weather(Path { from, to, both: false }, Weather::CUT),
    };
    says(&late(Vec::new(), 1), "I2: overtaken");
    says(&late(vec![slow(Host::Edge, Host::Node(Side::B))], 1), "I2: overtaken");
    assert_eq!(late(vec![slow(Host::Edge, Host::Node(Side::A))], 1), [""; 0]);
    says(&late(Vec::new(), 7), "I2: served and never given");
    let overtaken_by_a_kill = |killed: u64| {
        after(|play| {
            play.given[0].at = 960 * MS;
            play.misplaced[0] = vec![entry(1, 980, Side::A)];
            play.kills.push((Side::A, killed * MS));
        })
    };
    assert_eq!(overtaken_by_a_kill(940), [""; 0], "its agent was killed: nobody waited for what was there");
    says(&overtaken_by_a_kill(400), "I2: overtaken");
}

#[test]
fn epochs_that_go_back_are_named() {
    says(&after(|play| play.watched.epochs.push(seen(Side::A, 1))), "I3: a stored epoch went back");
}

#[test]
fn stores_that_disagree_are_named() {
    says(&after(|play| play.at_rest = Some(Side::A)), "I4: ");
    says(&after(|play| play.nodes[0] = Some(Node { epoch: 3, active: false })), "I4: ");
    says(&after(|play| play.nodes[0] = Some(Node { epoch: 2, active: true })), "I4: ");
    assert_eq!(after(|play| play.nodes[0] = Some(Node { epoch: 1, active: true })), [""; 0]);
    let intent = Intent { epoch: Epoch(2), to: Side::A };
    says(&after(|play| play.store.state.intent = Some(intent)), "I4: ");
}

#[test]
fn handovers_without_an_end_are_named() {
    let record = |outcome: &str| {
        let text = format!(
            r#"{{"epoch":2,"from":"a","to":"b","urgency":"planned","reason":"","by":"","evidence":[],"began":0,"phases":[],
            "outcome":{outcome},"why":"","activated_at":null,"first_sent_at":null,"first_answer_at":null}}"#
        );
        serde_json::from_str::<HandoverRecord>(&text).unwrap()
    };
    let (ended, unended) = (record("\"completed\""), record("null"));
    assert_eq!(after(|play| play.store.handovers = vec![ended.clone()]), [""; 0]);
    says(&after(|play| play.store.handovers = vec![ended.clone(), unended.clone()]), "I5: the edge died 0 times");
    says(&after(|play| play.store.handovers = vec![unended.clone(), ended.clone()]), "I5: the edge died 0 times");
    let died = |play: &mut Evidence| {
        play.absences.push((0, 1));
        play.store.handovers = vec![unended.clone(), ended.clone()];
    };
    assert_eq!(after(died), [""; 0]);
}

#[test]
fn requests_without_an_answer_are_named() {
    let broken = |play: &mut Evidence| {
        play.exchanges[1].status = None;
        play.exchanges[1].error = Some("closed before the answer".to_owned());
    };
    says(&after(broken), "I6: not answered");
    let away = |play: &mut Evidence| {
        broken(play);
        play.absences.push((1_400 * MS, 1_450 * MS));
    };
    assert_eq!(after(away), [""; 0]);
    says(&after(|play| play.exchanges[1].status = Some(503)), "I6: not answered, or not rightly");
}

#[test]
fn a_post_that_is_done_twice_or_not_at_all_is_named() {
    says(&after(|play| play.done[0].push(entry(2, 900, Side::A))), "I6: POST 2 was done 2 times");
    says(&after(|play| drop(play.done[1].pop())), "I6: POST 3 was answered and not done");
}
