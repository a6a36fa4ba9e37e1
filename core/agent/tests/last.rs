//! What a guard runs last, on real processes: it is run whatever ends the step, and nothing is called undone that is not.

#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

mod world;

use lockstep_policy::At;
use lockstep_wire::clock;
use rustix::process::Signal;
use std::path::Path;
use std::time::Duration;
use world::guard::{Begin, Guard};
use world::process::{lives, send, stop, written};
use world::wait_until;

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// A guard in a directory of its own. `undo` is a shell's script there; so is `step`, and an empty one is none.
struct Rig {
    directory: tempfile::TempDir,
    guard: Guard,
}

impl Rig {
    fn begin(step: &str, undo: &str, reach: Option<(At, At)>) -> Rig {
        let directory = tempfile::tempdir().unwrap();
        let guard = Rig::guard(directory.path(), step, undo, reach);
        Rig { directory, guard }
    }

    fn guard(directory: &Path, step: &str, undo: &str, reach: Option<(At, At)>) -> Guard {
        let script = |text: &str| format!("cd {} && {text}", directory.display());
        let (step_script, undo) = (script(step), script(undo));
        let command: &[&str] = if step.is_empty() { &[] } else { &["sh", "-c", &step_script] };
        let lock = directory.join("lock");
        let begin = Begin { lock: &lock, command, notify: None, reach, stop_max: ms(2_000) };
        Guard::begin_step(begin, &["sh", "-c", &undo])
    }

    fn has(&self, name: &str) -> bool {
        self.directory.path().join(name).exists()
    }

    /// The next word of the guard, without what says how.
    fn hear(&mut self) -> String {
        let event = self.guard.hear();
        match event.as_str() {
            Some(word) => word.to_owned(),
            None => event.as_object().unwrap().keys().next().unwrap().clone(),
        }
    }

    /// The step is done, and stands.
    fn done(&mut self) {
        assert_eq!(self.hear(), "started");
        assert_eq!(self.hear(), "done");
        self.guard.listened();
        assert!(self.has("step") && !self.has("undone"));
    }

    fn is_over(&mut self) {
        wait_until("the guard's end", || self.guard.process.try_wait().unwrap().is_some());
    }
}

const STEP: &str = "echo > step";
const UNDO: &str = "echo > undone";

#[test]
fn a_step_stands_when_it_is_done_and_is_taken_back_on_order() {
    // One of the expected codes is as good as another.
    let mut rig = Rig::begin("echo > step; exit 3", UNDO, None);
    rig.done();
    rig.guard.stop(clock::now() + ms(10_000));
    assert_eq!(rig.hear(), "gone");
    assert!(rig.has("undone"));
    rig.is_over();
}

#[test]
fn a_step_that_has_failed_is_taken_back_at_once() {
    let mut rig = Rig::begin("echo > step; exit 4", UNDO, None);
    assert_eq!((rig.hear(), rig.hear(), rig.hear()), ("started".into(), "exited".into(), "gone".into()));
    assert!(rig.has("undone"));
}

#[test]
fn what_was_never_begun_is_not_taken_back() {
    let directory = tempfile::tempdir().unwrap();
    let lock = directory.path().join("lock");
    let begin = Begin { lock: &lock, command: &["/no/such"], notify: None, reach: None, stop_max: ms(2_000) };
    let undone = directory.path().join("undone");
    let mut guard = Guard::begin_step(begin, &["touch", undone.to_str().unwrap()]);
    assert!(guard.hear()["failed"]["why"].as_str().unwrap().contains("/no/such"));
    assert_eq!(guard.hear(), "gone");
    assert!(!undone.exists());
}

#[test]
fn an_agents_death_takes_a_step_back_too() {
    let mut rig = Rig::begin(STEP, UNDO, None);
    rig.done();
    rig.guard.leave();
    wait_until("the step's undoing", || rig.has("undone"));
    rig.is_over();
}

#[test]
fn a_deadline_takes_a_step_back_whoever_is_stopped() {
    let now = clock::now();
    let mut rig = Rig::begin(STEP, UNDO, Some((now + ms(1_500), now + ms(60_000))));
    rig.done();
    stop(rig.guard.pid());
    wait_until("the step's undoing", || rig.has("undone"));
    assert!(clock::now() >= now + ms(1_500));
    rig.is_over();
}

/// The kernel ends a guard that is late, but not what it has begun last.
#[test]
fn what_is_run_last_outlives_its_guard() {
    let now = clock::now();
    let undo = "echo $$ > begun; until test -e go; do sleep 0.01; done; echo > undone";
    let mut rig = Rig::begin(STEP, undo, Some((now + ms(1_000), now + ms(1_500))));
    rig.done();
    let last = written(&rig.directory.path().join("begun"));
    rig.is_over();
    assert!(lives(last));
    std::fs::write(rig.directory.path().join("go"), "").unwrap();
    wait_until("the step's undoing", || rig.has("undone"));
}

#[test]
fn what_cannot_be_taken_back_is_said_and_not_called_gone() {
    let mut rig = Rig::begin(STEP, "echo > tried; exit 5", None);
    rig.done();
    rig.guard.stop(clock::now() + ms(10_000));
    let event = rig.guard.hear();
    assert!(event["not_undone"]["how"].as_str().unwrap().contains("exit status 5"), "{event}");
    rig.is_over();
    // Another guard tries it alone: it has nothing to start.
    let directory = rig.directory.path();
    let mut again = Rig::guard(directory, "", UNDO, None);
    again.stop(clock::now() + ms(10_000));
    assert_eq!(again.hear(), "gone");
    assert!(directory.join("undone").exists());
}

#[test]
fn one_that_takes_too_long_to_be_taken_back_is_killed_and_not_called_gone() {
    let mut rig = Rig::begin(STEP, "echo $$ > begun; exec sleep 1000", None);
    rig.done();
    rig.guard.stop(clock::now() + ms(1_200));
    let last = written(&rig.directory.path().join("begun"));
    let event = rig.guard.hear();
    assert!(event["not_undone"]["how"].as_str().unwrap().contains("SIGKILL"), "{event}");
    assert!(!lives(last));
}

#[test]
fn a_guard_that_stands_by_runs_nothing_when_it_is_dismissed() {
    let mut rig = Rig::begin("", UNDO, None);
    rig.guard.listened();
    rig.guard.dismiss();
    assert_eq!(rig.hear(), "gone");
    rig.is_over();
    assert!(!rig.has("undone"));
}

#[test]
fn a_step_that_is_under_way_is_ended_first_and_then_taken_back() {
    let mut rig = Rig::begin("echo $$ > step; exec sleep 1000", "cat step > undone", None);
    assert_eq!(rig.hear(), "started");
    let step = written(&rig.directory.path().join("step"));
    rig.guard.stop(clock::now() + ms(10_000));
    assert_eq!((rig.hear(), rig.hear()), ("exited".into(), "gone".into()));
    assert!(!lives(step) && rig.has("undone"));
}

#[test]
fn whoever_kills_the_guard_leaves_the_step_to_the_agent() {
    let mut rig = Rig::begin(STEP, UNDO, None);
    rig.done();
    send(rig.guard.pid(), Signal::KILL);
    rig.is_over();
    assert!(!rig.has("undone"), "its lock is free, and the agent takes it back");
}
