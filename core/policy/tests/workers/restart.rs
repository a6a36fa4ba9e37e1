//! Instances that are made again: with their state, without an action done twice, and each for itself.

use crate::rig::{Fixture, PATIENCE, Place, setup, terms};
use lockstep_policy::action::Action;
use lockstep_policy::event::{Connection, Event, Link, TimerId, What};
use lockstep_policy::host::{Isolation, Library, Occupant, Plugin, PluginFile, Report, Sent, Terms, Unheard};
use lockstep_policy::{At, Level, Setup, Side};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::channel;
use std::thread::sleep;
use std::time::{Duration, Instant};

fn kill(place: &Place) {
    let pid = place.occupant.worker_pid().expect("it has a worker");
    assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().expect("there is a kill").success());
}

/// The signal is on its way when it was sent: a worker that waits for its turn on a processor may still read an event.
fn wait_stopped(pid: u32) {
    let begin = Instant::now();
    let has_stopped = || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the worker runs");
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
    };
    while !has_stopped() {
        assert!(begin.elapsed() < PATIENCE, "it does not stop");
        sleep(Duration::from_millis(1));
    }
}

fn wait_back(place: &mut Place) {
    place.wait("it to be back", |report| matches!(report, Report::Back).then_some(()));
}

#[test]
fn a_worker_that_is_killed_is_replaced_and_nothing_is_lost_or_done_twice() {
    let plugin = Fixture::hostile("NOTHING").plugin(terms(Isolation::Process));
    let mut places = [Place::new(&plugin), Place::new(&plugin)];
    assert_eq!(places[0].occupant.worker_pid(), places[1].occupant.worker_pid(), "they share one");
    for round in 1..=3_u64 {
        for place in &mut places {
            // The state is saved between the events of a round.
            place.timer();
            place.occupant.save();
            let last = place.timer();
            let answer = place.answer(last);
            assert_eq!((answer.first, answer.actions.len()), (2 * round, 1));
        }
        kill(&places[0]);
        // Told while nobody is there: it is kept.
        for place in &mut places {
            let text = place.alert(Level::Warning);
            assert!(text.contains("policy `nothing` 0.6.6: it was killed; it goes on in another worker"), "{text}");
            wait_back(place);
        }
    }
    for place in &mut places {
        let given: Vec<u64> = place
            .seen
            .iter()
            .filter_map(|report| match report {
                Report::Stepped(outcome) if !outcome.actions.is_empty() => Some(outcome.first),
                _ => None,
            })
            .collect();
        assert_eq!(given, (1..=6).collect::<Vec<_>>(), "each action once");
        place.assert_has_given(6);
        assert_eq!(place.occupant.restarts(), 3);
    }
}

#[test]
fn a_worker_that_stands_still_is_replaced_even_when_it_does_nothing() {
    let terms = Terms { kill_wall: Duration::from_millis(300), ..terms(Isolation::Process) };
    let plugin = Fixture::hostile("NOTHING").plugin(terms);
    let mut place = Place::new(&plugin);
    let first = place.timer();
    place.answer(first);
    let pid = place.occupant.worker_pid().expect("it has a worker");
    assert!(Command::new("kill").args(["-STOP", &pid.to_string()]).status().expect("there is a kill").success());
    wait_stopped(pid);
    let second = place.timer();
    let text = place.alert(Level::Warning);
    assert!(text.contains("it slept for ") && text.contains("so its worker was killed"), "{text}");
    assert_eq!(place.answer(second).first, 2);
}

#[test]
fn events_that_come_while_nobody_is_there_are_answered_by_who_comes() {
    let plugin = Fixture::hostile("NOTHING").plugin(terms(Isolation::Process));
    let mut place = Place::new(&plugin);
    let first = place.timer();
    place.answer(first);
    kill(&place);
    let events: Vec<u64> = (0..20).map(|_| place.timer()).collect();
    for (index, seq) in events.into_iter().enumerate() {
        assert_eq!(place.answer(seq).first, index as u64 + 2);
    }
}

#[test]
fn states_are_saved_now_and_then_and_the_events_before_are_forgotten() {
    let plugin = Fixture::hostile("NOTHING").plugin(terms(Isolation::Process));
    let mut place = Place::new(&plugin);
    let mut saved = None;
    let begin = Instant::now();
    while saved.is_none() && begin.elapsed() < PATIENCE {
        let last = (0..200).map(|_| place.timer()).last().expect("there are some");
        place.answer(last);
        saved = place.seen.drain(..).find_map(|report| match report {
            Report::Saved { seq, snapshot } => Some((seq, snapshot)),
            _ => None,
        });
    }
    let (seq, snapshot) = saved.expect("it is saved");
    // The first event was the start, which has no action.
    assert_eq!((snapshot.given, snapshot.policy.as_str(), snapshot.state_version), (seq - 1, "nothing", 1));
    assert_eq!(snapshot.state, (seq - 1).to_le_bytes());
    kill(&place);
    wait_back(&mut place);
    let given = place.seq - 1;
    place.assert_has_given(given);
}

#[test]
fn a_life_goes_on_from_a_snapshot_in_another_plugin() {
    let terms = terms(Isolation::Process);
    let mut old = Place::new(&Fixture::hostile("NOTHING").plugin(terms.clone()));
    for _ in 0..5 {
        old.timer();
    }
    old.occupant.save();
    let snapshot = old.wait("its state", |report| match report {
        Report::Saved { snapshot, .. } => Some(snapshot.clone()),
        _ => None,
    });
    // Another file with the same id.
    let newer = Fixture::new("hostile.c", "include", &["-DHOSTILE=SLOW", "-DID=\"nothing\""]);
    let (report, reports) = channel();
    let tell = move |told| drop(report.send(told));
    let occupant = Occupant::new(&newer.plugin(terms), &setup(), 8, 3, Some(snapshot), tell).expect("it can be had");
    // Taken at once: what was restored is told nothing anew.
    let event = Event { seq: 100, at: At::ZERO, what: What::Timer(TimerId(1)) };
    assert_eq!(occupant.send(8, &event), Ok(Sent::Told));
    let first = reports.recv_timeout(PATIENCE).expect("it reports");
    assert!(matches!(&first, Report::Began(record) if record.life == 8 && record.given == 5), "{first:?}");
    match reports.recv_timeout(PATIENCE).expect("it reports") {
        Report::Stepped(outcome) => assert_eq!((outcome.seq, outcome.first), (100, 6)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_event_of_another_life_or_of_an_unknown_kind_is_not_told() {
    let plugin = Fixture::hostile("NOTHING").plugin(terms(Isolation::Process));
    let mut place = Place::new(&plugin);
    let link = Link { side: Side::A, connection: Connection::Main, up: true };
    let unknown = Event { seq: 50, at: At::ZERO, what: What::Link(link) };
    assert_eq!(place.occupant.send(1, &unknown), Ok(Sent::Unknown));
    let timer = Event { seq: 51, at: At::ZERO, what: What::Timer(TimerId(1)) };
    assert_eq!(place.occupant.send(2, &timer), Err(Unheard::Gone));
    place.seq = 51;
    place.assert_has_given(0);
}

/// The policy that panics where it is told to.
fn panics() -> PathBuf {
    let this = std::env::current_exe().expect("this test has a file");
    let target = this.parent().and_then(Path::parent).expect("it lies two folders deep");
    let file = target.join("examples/libpanics.so");
    if !file.exists() {
        // Only one target was asked for: the example was not built along.
        let built =
            Command::new(env!("CARGO")).args(["build", "-p", "lockstep-policy", "--example", "panics"]).status();
        assert!(built.expect("cargo runs").success());
    }
    file
}

#[test]
fn a_panic_has_its_instance_made_again_in_the_same_worker() {
    for isolation in [Isolation::Process, Isolation::InProcess] {
        let plugin =
            Plugin::open(PluginFile::read(&panics()).expect("it is sound"), terms(isolation)).expect("it loads");
        let at = |place: &str| {
            let parameters = serde_json::json!({ "at": place });
            Setup { parameters: parameters.as_object().cloned().unwrap_or_default(), ..setup() }
        };
        let occupy = |setup: Setup| {
            let (report, reports) = channel();
            let occupant = Occupant::new(&plugin, &setup, 1, 7, None, move |told| drop(report.send(told)));
            (occupant.expect("it can be had"), reports)
        };
        let ((bad, heard), (good, fine)) = (occupy(at("step")), occupy(at("nowhere")));
        for reports in [&heard, &fine] {
            assert!(matches!(reports.recv_timeout(PATIENCE), Ok(Report::Began(_))));
        }
        let timer = |seq| Event { seq, at: At::ZERO, what: What::Timer(TimerId(1)) };
        let before = good.worker_pid();
        good.send(1, &timer(1)).expect("it is taken");
        bad.send(1, &timer(1)).expect("it is taken");
        let text = heard.iter().find_map(|report| match report {
            Report::Alert { level: Level::Critical, text } => Some(text),
            _ => None,
        });
        let text = text.expect("it is told");
        assert!(
            text.contains("policy `panics` 0.1.0 failed at event 1 (timer): it panicked: as told, at step"),
            "{text}"
        );
        good.send(1, &timer(2)).expect("it is taken");
        for seq in [1, 2] {
            match fine.recv_timeout(PATIENCE) {
                Ok(Report::Stepped(outcome)) => {
                    assert_eq!((outcome.seq, outcome.actions), (seq, vec![Action::Prepare(Side::B)]));
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((good.worker_pid(), good.restarts()), (before, 0), "the worker lives");
    }
}

#[test]
fn a_thread_that_is_stuck_is_told_of() {
    let terms = Terms { kill_cpu: Duration::from_millis(300), ..terms(Isolation::InProcess) };
    let plugin = Fixture::hostile("SLEEP").plugin(Terms { kill_wall: Duration::from_millis(300), ..terms });
    let mut place = Place::new(&plugin);
    let order = place.order();
    let text = place.alert(Level::Critical);
    assert!(
        text.contains(&format!("policy `sleep` 0.6.6 is stuck at event {order} (operator's order): it slept")),
        "{text}"
    );
    assert!(text.contains("a thread cannot be stopped"), "{text}");
}

/// The promise that everything rests on: what was fed can be played again.
#[test]
fn a_worker_gives_what_the_library_in_this_process_gives() {
    let fixture = Fixture::hostile("NOTHING");
    let mut place = Place::new(&fixture.plugin(terms(Isolation::Process)));
    let library = Library::open(&fixture.file).expect("it loads");
    let mut instance = library.instance(&setup(), 7).expect("it makes one");
    for _ in 0..10 {
        let seq = place.timer();
        let event = Event { seq, at: At::from_millis(seq), what: What::Timer(TimerId(1)) };
        assert_eq!(place.answer(seq).actions, instance.step(&event).expect("it answers"));
    }
}
