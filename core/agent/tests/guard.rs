//! The guard's promise on real processes: when it has gone, the service has gone.

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

/// A service that leaves a process in a session of its own, and another in its own group.
const FAMILY: &str = "setsid sh -c 'echo $$ > DIR/far; exec sleep 1000' & sh -c 'echo $$ > DIR/near; exec sleep 1000' & \
                      exec sleep 1000";
/// A service that does not hear TERM.
const DEAF: &str = "trap '' TERM; echo $$ > DIR/deaf; while :; do sleep 1000 & wait; done";

fn shell(script: &str, directory: &Path) -> String {
    script.replace("DIR", directory.to_str().unwrap())
}

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Kill and end, `from_now` and a little more.
fn reach(from_now: Duration) -> Option<(At, At)> {
    let kill = clock::now() + from_now;
    Some((kill, kill + ms(30)))
}

fn begin<'a>(lock: &'a Path, command: &'a [&'a str], reach: Option<(At, At)>) -> Guard {
    Guard::begin(Begin { lock, command, notify: None, reach, stop_max: ms(300) })
}

#[test]
fn an_agents_death_ends_the_whole_family_within_its_reach() {
    let directory = tempfile::tempdir().unwrap();
    let script = shell(FAMILY, directory.path());
    let lock = directory.path().join("lock");
    let mut guard = begin(&lock, &["sh", "-c", &script], reach(ms(60_000)));
    let main = guard.started();
    let family = [main, written(&directory.path().join("far")), written(&directory.path().join("near"))];
    assert!(family.iter().all(|pid| lives(*pid)));
    guard.leave();
    wait_until("the family's end", || !family.iter().any(|pid| lives(*pid)));
    assert!(guard.process.wait().unwrap().success());
}

#[test]
fn a_service_lives_on_for_a_moment_after_the_agents_death() {
    let directory = tempfile::tempdir().unwrap();
    let mut guard = begin(&directory.path().join("lock"), &["sleep", "1000"], reach(ms(60_000)));
    let main = guard.started();
    let left = clock::now();
    guard.leave();
    wait_until("the service's end", || !lives(main));
    assert!(clock::now().since(left) >= lockstep_agent::guard::ORPHAN_GRACE);
}

#[test]
fn an_agent_that_dies_with_its_first_order_on_the_way_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut guard = begin(&directory.path().join("lock"), &["sleep", "1000"], None);
    // The guard, which has to be loaded first, finds the order and the end of the pipe together.
    guard.leave();
    wait_until("the guard's end", || guard.process.try_wait().unwrap().is_some());
}

#[test]
fn the_kernel_ends_a_stopped_guard_and_its_stopped_service() {
    let directory = tempfile::tempdir().unwrap();
    let mut guard = begin(&directory.path().join("lock"), &["sleep", "1000"], None);
    let unlimited = guard.started();
    assert!(lives(unlimited));
    drop(guard);

    // With its wake-up at the end of time, nothing but the kernel's kill is left.
    let end = clock::now() + ms(400);
    let mut guard = begin(&directory.path().join("lock-2"), &["sleep", "1000"], Some((At(u64::MAX), end)));
    let main = guard.started();
    stop(main);
    stop(guard.pid());
    assert!(clock::now() < end, "the machine is too slow for this test");
    wait_until("the guard's end", || !lives(guard.pid()));
    wait_until("the service's end", || !lives(main));
    assert!(clock::now() >= end);
}

#[test]
fn a_stopped_guard_is_woken_to_end_the_whole_family() {
    let directory = tempfile::tempdir().unwrap();
    let script = shell(FAMILY, directory.path());
    // The kernel's own kill would reach the service only, so it is far away here.
    let kill = clock::now() + ms(2_000);
    let lock = directory.path().join("lock");
    let mut guard = begin(&lock, &["sh", "-c", &script], Some((kill, kill + ms(60_000))));
    let main = guard.started();
    let family = [main, written(&directory.path().join("far")), written(&directory.path().join("near"))];
    family.into_iter().for_each(stop);
    stop(guard.pid());
    wait_until("the family's end", || !family.iter().any(|pid| lives(*pid)));
    let end = clock::now();
    // A wait that began anew would end some two seconds later; the margin is half of that.
    assert!(kill <= end && end < kill + ms(1_000), "{:?} after its time", end.since(kill));
}

#[test]
fn a_reach_that_is_extended_in_time_is_not_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let first = clock::now() + ms(700);
    let mut guard = begin(&directory.path().join("lock"), &["sleep", "1000"], Some((first, first + ms(30))));
    let main = guard.started();
    let last = first + ms(500);
    guard.extend(last, last + ms(30));
    wait_until("the service's end", || !lives(main));
    assert!(clock::now() >= last, "it was ended at its first reach");
}

/// A service that is bound to the switch only while its node is active.
#[test]
fn a_reach_can_come_later_and_be_taken_back() {
    let directory = tempfile::tempdir().unwrap();
    let mut guard = begin(&directory.path().join("lock"), &["sleep", "1000"], None);
    let main = guard.started();
    let first = clock::now() + ms(300);
    guard.extend(first, first + ms(30));
    guard.release();
    while clock::now() < first + ms(100) {
        assert!(lives(main), "it was ended at a reach that was taken back");
        std::thread::sleep(ms(10));
    }
    let second = clock::now() + ms(300);
    guard.extend(second, second + ms(30));
    guard.listened();
    stop(guard.pid());
    stop(main);
    wait_until("the service's end", || !lives(main));
    assert!(clock::now() >= second);
}

/// A hung application must not be woken up to work its queue off before it is killed.
#[test]
fn what_is_to_be_killed_at_once_hears_nothing_before() {
    let directory = tempfile::tempdir().unwrap();
    let heard = directory.path().join("heard");
    let script = shell(
        "trap 'touch DIR/heard' TERM CONT; touch DIR/trap; while :; do sleep 1000 & wait; done",
        directory.path(),
    );
    let mut guard = begin(&directory.path().join("lock"), &["sh", "-c", &script], None);
    let main = guard.started();
    wait_until("the trap to be set", || directory.path().join("trap").exists());
    stop(main);
    guard.stop(clock::now());
    assert_eq!(guard.hear()["exited"]["how"], "signal SIGKILL");
    assert_eq!(guard.hear(), "gone");
    assert!(!lives(main) && !heard.exists());
}

/// A guard that took long to be loaded finds a reach that has passed, and behind it the one that counts.
#[test]
fn what_was_ordered_while_the_guard_was_loaded_counts() {
    let directory = tempfile::tempdir().unwrap();
    let past = clock::now();
    let lock = directory.path().join("lock");
    let command = ["sleep", "1000"];
    let first = Begin { lock: &lock, command: &command, notify: None, reach: Some((past, past)), stop_max: ms(300) };
    let mut guard = Guard::begin_with(first, reach(ms(60_000)));
    let main = guard.started();
    assert!(lives(main));
    guard.stop(clock::now());
    wait_until("the service's end", || !lives(main));
}

#[test]
fn a_killed_guard_takes_its_service_along() {
    let directory = tempfile::tempdir().unwrap();
    let mut guard = begin(&directory.path().join("lock"), &["sleep", "1000"], None);
    let main = guard.started();
    send(guard.pid(), Signal::KILL);
    wait_until("the service's end", || !lives(main));
}

#[test]
fn term_comes_first_and_kill_in_time() {
    let directory = tempfile::tempdir().unwrap();
    let script = shell(DEAF, directory.path());
    let mut guard = begin(&directory.path().join("lock"), &["sh", "-c", &script], None);
    let main = guard.started();
    assert_eq!(written(&directory.path().join("deaf")), main);
    let kill_at = clock::now() + ms(300);
    guard.stop(kill_at);
    assert_eq!(guard.hear()["exited"]["how"], "signal SIGKILL");
    assert!(clock::now() >= kill_at);
    assert_eq!(guard.hear(), "gone");
    assert!(!lives(main));
}

#[test]
fn a_service_that_hears_term_is_not_killed() {
    let directory = tempfile::tempdir().unwrap();
    let script = shell("trap 'exit 3' TERM; echo $$ > DIR/up; while :; do sleep 0.01; done", directory.path());
    let mut guard = begin(&directory.path().join("lock"), &["sh", "-c", &script], None);
    guard.started();
    written(&directory.path().join("up"));
    guard.stop(clock::now() + ms(60_000));
    assert_eq!(guard.hear()["exited"]["how"], "exit status 3");
    assert_eq!(guard.hear(), "gone");
}

#[test]
fn what_a_service_has_started_does_not_outlive_it() {
    let directory = tempfile::tempdir().unwrap();
    let script = shell(
        "setsid sh -c 'echo $$ > DIR/far; exec sleep 1000' & while [ ! -s DIR/far ]; do :; done",
        directory.path(),
    );
    let mut guard = begin(&directory.path().join("lock"), &["sh", "-c", &script], None);
    guard.started();
    assert_eq!(guard.hear()["exited"]["how"], "exit status 0");
    assert_eq!(guard.hear(), "gone");
    assert!(!lives(written(&directory.path().join("far"))));
}

#[test]
fn readiness_is_heard_by_notify() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("cti.notify");
    let script = "import os,socket; s=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM); \
                  s.sendto(b'STATUS=up\\nREADY=1\\n', os.environ['NOTIFY_SOCKET']); import time; time.sleep(1000)";
    let command = ["python3", "-c", script];
    let mut guard = Guard::begin(Begin {
        lock: &directory.path().join("lock"),
        command: &command,
        notify: Some(&socket),
        reach: None,
        stop_max: ms(300),
    });
    guard.started();
    assert_eq!(guard.hear(), "ready");
}

#[test]
fn a_service_may_name_the_process_that_matters() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("cti.notify");
    let script = "import os,socket; s=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM); \
                  s.sendto(b'MAINPID=\\nMAINPID=0\\nMAINPID=-7\\nMAINPID=99999999999\\nMAINPID=4711\\nREADY=1\\n', \
                  os.environ['NOTIFY_SOCKET']); import time; time.sleep(1000)";
    let command = ["python3", "-c", script];
    let lock = directory.path().join("lock");
    let mut guard =
        Guard::begin(Begin { lock: &lock, command: &command, notify: Some(&socket), reach: None, stop_max: ms(300) });
    guard.started();
    assert_eq!(guard.hear()["started"]["pid"], 4711, "what is no process is passed over");
    assert_eq!(guard.hear(), "ready");
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let mut guard = begin(&directory.path().join("lock"), &["/no/such/program"], None);
    let event = guard.hear();
    let why = event["failed"]["why"].as_str().unwrap();
    assert!(why.contains("/no/such/program") && why.contains("No such file"), "{why}");
    assert_eq!(guard.hear(), "gone");
}

#[test]
fn no_second_life_begins_while_something_of_the_first_runs() {
    let directory = tempfile::tempdir().unwrap();
    let script = shell(FAMILY, directory.path());
    let lock = directory.path().join("lock");
    let mut first = begin(&lock, &["sh", "-c", &script], None);
    let main = first.started();
    let far = written(&directory.path().join("far"));
    send(first.pid(), Signal::KILL);
    wait_until("the service's end", || !lives(main));
    // Its guard is dead and so is the service; what it has started holds the lock.
    assert!(lives(far));
    let mut second = begin(&lock, &["sleep", "1000"], None);
    assert!(second.hear()["failed"]["why"].as_str().unwrap().contains("earlier life"));
    send(far, Signal::KILL);
    send(written(&directory.path().join("near")), Signal::KILL);
}
