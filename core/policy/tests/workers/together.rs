//! Events that may have time: told together, in their order, and within moments.

use crate::rig::{Fixture, Place, terms};
use lockstep_policy::At;
use lockstep_policy::event::{Event, TimerId, What};
use lockstep_policy::host::{Haste, Isolation, Report, Sent};
use std::time::{Duration, Instant};

/// On an idle machine it is 25 ms, and nobody else causes one to be written. A busy one may take its time, but it is far from never.
const SOON: Duration = Duration::from_secs(5);

fn tell(place: &mut Place, haste: Haste) -> u64 {
    place.seq += 1;
    let event = Event { seq: place.seq, at: At::from_millis(place.seq), what: What::Timer(TimerId(1)) };
    assert_eq!(place.occupant.send_with(haste, place.life, &event), Ok(Sent::Told));
    place.seq
}

fn answered(place: &Place) -> Vec<u64> {
    let seq = |report: &Report| match report {
        Report::Stepped(outcome) => Some(outcome.seq),
        _ => None,
    };
    place.seen.iter().filter_map(seq).collect()
}

#[test]
fn an_event_without_haste_is_told_although_nothing_else_happens() {
    let mut place = Place::new(&Fixture::hostile("NOTHING").plugin(terms(Isolation::Process)));
    for _ in 0..3 {
        let (last, began) = (tell(&mut place, Haste::Together), Instant::now());
        place.answer(last);
        assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    }
}

#[test]
fn haste_takes_along_what_waits_and_overtakes_nothing() {
    let mut place = Place::new(&Fixture::hostile("NOTHING").plugin(terms(Isolation::Process)));
    for _ in 0..20 {
        tell(&mut place, Haste::Together);
    }
    let last = tell(&mut place, Haste::AtOnce);
    place.answer(last);
    assert_eq!(answered(&place), (1..=last).collect::<Vec<_>>());
}

#[test]
fn what_waits_when_the_worker_dies_is_told_to_the_next_one_once() {
    let mut place = Place::new(&Fixture::hostile("NOTHING").plugin(terms(Isolation::Process)));
    let first = tell(&mut place, Haste::AtOnce);
    place.answer(first);
    let pid = place.occupant.worker_pid().expect("it has a worker");
    for _ in 0..5 {
        tell(&mut place, Haste::Together);
    }
    assert!(std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().expect("a kill").success());
    place.wait("it to be back", |report| matches!(report, Report::Back).then_some(()));
    let last = tell(&mut place, Haste::Together);
    let answer = place.answer(last);
    let before = place.seen.iter().filter_map(|report| match report {
        Report::Stepped(outcome) => Some(outcome.actions.len() as u64),
        _ => None,
    });
    assert_eq!(before.sum::<u64>(), answer.first, "each was done, and none twice");
}
