//! Each way to misbehave, built for real: the pair beside it goes on, and operators read which plugin it was, at which
//! event, and what was done.

use crate::rig::{Fixture, Place, setup, terms};
use lockstep_policy::Level;
use lockstep_policy::host::{InstanceError, Isolation, LoadError, Plugin, PluginFile, Report, Terms};
use std::time::Duration;

/// Times that are short enough for a test, and long enough for a busy machine: they are of the worker's own CPU.
fn short() -> Terms {
    let times = Terms { kill_wall: Duration::from_millis(400), ..terms(Isolation::Process) };
    Terms { kill_cpu: Duration::from_millis(300), memory: 64 << 20, ..times }
}

/// A plugin of one sort at work for two pairs. One misbehaves, twice at the same event; the other one has its state and
/// is answered; and the alerts say so.
#[track_caller]
fn misbehaves(sort: &str, how: &str) {
    let fixture = Fixture::hostile(sort);
    let plugin = fixture.plugin(short());
    let (mut bad, mut good) = (Place::new(&plugin), Place::new(&plugin));
    for place in [&mut bad, &mut good] {
        let last = (0..3).map(|_| place.timer()).last().expect("there are three");
        assert_eq!(place.answer(last).first, 3);
    }
    let order = bad.order();
    let first = bad.alert(Level::Critical);
    let name = sort.to_lowercase().replace('_', "-");
    assert!(
        first.starts_with(&format!("policy `{name}` 0.6.6 failed at event {order} (operator's order): ")),
        "{first}"
    );
    assert!(first.contains(how), "{first}");
    assert!(first.ends_with("it is made again and goes on with its state"), "{first}");
    let second = bad.alert(Level::Critical);
    assert!(second.contains(&format!("the second time, so event {order} is left out")), "{second}");
    assert!(bad.skipped_before(order).contains("failed twice at this event"));
    bad.assert_has_given(3);
    good.assert_has_given(3);
    assert!(!good.seen.iter().any(|report| matches!(report, Report::Alert { .. } | Report::Skipped { .. })));
}

impl Place {
    fn skipped_before(&self, wanted: u64) -> String {
        let skipped = self.seen.iter().find_map(|report| match report {
            Report::Skipped { seq, why } if *seq == wanted => Some(why.clone()),
            _ => None,
        });
        skipped.expect("it was said")
    }
}

/// What waits behind the event that an instance fails at is no other failure of it.
#[test]
fn one_that_fails_with_events_behind_it_has_failed_once() {
    for sort in ["LIE", "FLOOD", "ABORT"] {
        let fixture = Fixture::hostile(sort);
        let mut place = Place::new(&fixture.plugin(short()));
        place.order();
        let last = (0..50).map(|_| place.timer()).last().expect("there are some");
        assert_eq!(place.answer(last).first, 50);
        let alerts: Vec<_> = place.seen.iter().filter(|report| matches!(report, Report::Alert { .. })).collect();
        assert_eq!(alerts.len(), 2, "made again, and again without the event: {alerts:#?}");
    }
}

#[test]
fn one_that_aborts() {
    misbehaves("ABORT", "it aborted");
}

#[test]
fn one_that_crashes() {
    misbehaves("CRASH", "it crashed");
}

#[test]
fn one_that_overflows_its_stack() {
    // A thread of Rust's own says so and aborts; another one crashes.
    misbehaves("OVERFLOW", "it ");
}

#[test]
fn one_that_loops_for_ever() {
    misbehaves("LOOP", "of CPU time, and 300ms is allowed, so its worker was killed");
}

#[test]
fn one_that_sleeps_for_ever() {
    misbehaves("SLEEP", "and 400ms is allowed, so its worker was killed");
}

#[test]
fn one_that_allocates_without_end() {
    misbehaves("ALLOCATE", "it aborted");
}

#[test]
fn one_that_lies_about_sizes() {
    misbehaves("LIE", "a record of 1048576 bytes is cut off after 40");
}

#[test]
fn one_that_floods_actions() {
    misbehaves("FLOOD", "it gave too much: more than 256 actions");
}

#[test]
fn one_that_exits() {
    misbehaves("EXIT", "it ended with code 3");
}

#[test]
fn one_that_opens_a_file() {
    misbehaves("OPEN", "a policy may not open files: system call openat");
}

#[test]
fn one_that_opens_a_socket() {
    misbehaves("CONNECT", "a policy may not open sockets: system call socket");
}

#[test]
fn one_that_starts_a_process() {
    misbehaves("FORK", "a policy may not start processes");
}

#[test]
fn one_that_crashes_when_it_saves_loses_its_state_in_the_end_and_disturbs_nobody() {
    let plugin = Fixture::hostile("CRASH_IN_SAVE").plugin(short());
    let (mut bad, mut good) = (Place::new(&plugin), Place::new(&plugin));
    let timer = good.timer();
    assert_eq!(good.answer(timer).first, 1);
    bad.timer();
    for end in ["goes on with its state", "goes on with its state", "it starts anew, without its state"] {
        bad.occupant.save();
        let text = bad.alert(Level::Critical);
        assert!(text.contains("failed while an instance was saved: it crashed") && text.ends_with(end), "{text}");
        if end.starts_with("goes") {
            bad.wait("it to be back", |report| matches!(report, Report::Back).then_some(()));
        }
    }
    bad.begin();
    assert_eq!(bad.life, 2);
    bad.assert_has_given(0);
    good.assert_has_given(1);
}

#[test]
fn one_that_hangs_or_crashes_in_create_is_refused_in_bounded_time() {
    for (sort, why) in
        [("HANG_IN_CREATE", "of CPU time, and 300ms is allowed, and was stopped"), ("CRASH_IN_CREATE", "it crashed")]
    {
        let plugin = Fixture::hostile(sort).plugin(short());
        let error = plugin.try_create(&setup()).expect_err("it must not be made");
        assert!(matches!(error, InstanceError::Refused { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("while an instance was made: ") && text.contains(why), "{text}");

        let mut place = Place::unbegun(&plugin);
        let text = place.alert(Level::Critical);
        assert!(text.contains("failed while an instance was made: ") && text.contains("started again in 1s"), "{text}");
        assert!(place.seen.iter().any(|report| matches!(report, Report::Gone(_))));
    }
}

#[test]
fn one_that_hangs_in_describe_is_given_up_in_bounded_time() {
    let plugin = Fixture::hostile("HANG_IN_DESCRIBE").plugin(short());
    let error = plugin.explain(&setup()).expect_err("it must not answer").to_string();
    assert!(error.contains("while it described itself: it used ") && error.contains("was stopped"), "{error}");
    // The next question has another worker.
    assert!(plugin.lint(&setup()).expect("it answers").is_empty());
}

#[test]
fn one_that_is_slow_is_told_of_and_left_alone() {
    let plugin = Fixture::hostile("SLOW").plugin(terms(Isolation::Process));
    let mut place = Place::new(&plugin);
    let order = place.order();
    let text = place.alert(Level::Warning);
    assert!(
        text.contains(&format!("policy `slow` 0.6.6 is slow: event {order} (operator's order) has taken ")),
        "{text}"
    );
    assert_eq!(place.occupant.restarts(), 0);
}

#[test]
fn one_that_is_no_plugin_any_more_when_it_is_loaded_is_refused() {
    // Its section is sound, and its table is not the one of the section.
    let fixture = Fixture::hostile("NOTHING");
    let mut bytes = std::fs::read(&fixture.file).expect("it can be read");
    let symbol = b"lockstep_policy_v1\0";
    let places: Vec<usize> = (0..bytes.len() - symbol.len()).filter(|at| bytes[*at..].starts_with(symbol)).collect();
    places.iter().for_each(|at| bytes[*at] = b'L');
    let file = fixture.folder().join("renamed.so");
    std::fs::write(&file, bytes).expect("it can be written");
    let error =
        Plugin::open(PluginFile::read(&file).expect("its stamp is sound"), short()).expect_err("it has no table");
    assert!(matches!(error, LoadError::Worker { .. }), "{error:?}");
    assert!(error.to_string().contains("it exports no `lockstep_policy_v1`"), "{error}");
}
