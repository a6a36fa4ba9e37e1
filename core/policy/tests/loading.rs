//! What is loaded, what is refused before any of its code runs, and what a plugin cannot do to its host.
#![cfg(feature = "host")]

use lockstep_policy::action::{Action, Switch, Urgency};
use lockstep_policy::event::{Connection, Event, Link, Order, TimerId, What};
use lockstep_policy::host::{InstanceError, Library, LoadError, Snapshot, StepError};
use lockstep_policy::setup::{Detect, SideSetup};
use lockstep_policy::{At, Setup, Side, Sides};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// Compiles the policy in C, with some macros, into a library.
fn counter(folder: &TempDir, name: &str, macros: &[&str]) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let library = folder.path().join(name);
    let compiled = Command::new("cc")
        .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-D_POSIX_C_SOURCE=200809L", "-shared", "-fPIC", "-I"])
        .arg(root.join("include"))
        .args(macros)
        .arg("-o")
        .args([&library, &root.join("tests/fixtures/counter.c")])
        .output()
        .expect("a C compiler is installed");
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    library
}

fn setup() -> Setup {
    let side = |server: &str| SideSetup { servers: vec![server.to_owned()], pools: Vec::new(), agent: true };
    Setup {
        pair: "phones".to_owned(),
        parameters: serde_json::Map::new(),
        detect: Detect { interval_ms: 100, timeout_ms: 200, failures: 3 },
        sides: Sides { a: side("192.0.2.1:80"), b: side("192.0.2.2:80") },
    }
}

fn timer(seq: u64) -> Event {
    Event { seq, at: At::from_millis(seq), what: What::Timer(TimerId(1)) }
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

#[test]
fn a_policy_in_c_works_against_the_header() {
    let folder = folder();
    let library = Library::open(&counter(&folder, "counter.so", &[])).expect("it loads");
    assert_eq!((library.id(), library.version(), library.state_version()), ("counter", "1.2.3", 1));
    assert_eq!(library.rules()[0].id, "N1");
    assert_eq!(library.fingerprint().to_string().len(), 64);
    assert_eq!(library.explain(&setup()).expect("it explains"), "counts to three");
    assert_eq!(library.expected_delay(&setup()).expect("it tells"), Duration::from_secs(3));
    assert!(library.lint(&setup()).expect("it checks").is_empty());

    let mut instance = library.instance(&setup(), 0).expect("it makes one");
    assert_eq!(instance.step(&timer(1)), Ok(vec![]));
    assert_eq!(instance.step(&timer(2)), Ok(vec![]));
    let saved = instance.save().expect("it saves");
    let moved = Action::Switch(Switch {
        to: Side::B,
        urgency: Urgency::Failover,
        reason: "N1: three timers".to_owned(),
        evidence: vec![3],
        order: 0,
    });
    assert_eq!(instance.step(&timer(3)), Ok(vec![moved.clone()]));
    assert_eq!(instance.given(), 1);

    let mut restored = library.instance(&setup(), 0).expect("it makes one");
    restored.restore(&saved).expect("it restores");
    assert_eq!(restored.step(&timer(3)), Ok(vec![moved]));
    let broken = Snapshot { state: vec![1], ..saved };
    let error = restored.restore(&broken).expect_err("it refuses").to_string();
    assert!(error.contains("it is not four bytes"), "{error}");
    let error = restored.restore(&Snapshot { policy: "telisca".to_owned(), ..broken }).expect_err("it refuses");
    assert!(error.to_string().contains("one of policy `telisca`"), "{error}");
}

#[test]
fn the_same_bytes_are_loaded_once() {
    let folder = folder();
    let file = counter(&folder, "first.so", &["-DKNOWS=(LS_INDISPENSABLE|LS_BIT(LS_EV_LINK))"]);
    let copy = folder.path().join("second.so");
    std::fs::copy(&file, &copy).expect("it can be copied");
    let (first, second) = (Library::open(&file).expect("it loads"), Library::open(&copy).expect("it loads"));
    assert_eq!(first.fingerprint(), second.fingerprint());
    // Another file in the same place is another library, although the first is still loaded.
    std::fs::copy(counter(&folder, "third.so", &["-DKNOWS=(LS_INDISPENSABLE|LS_BIT(LS_EV_ORDER))"]), &file)
        .expect("it can be copied");
    assert_ne!(Library::open(&file).expect("it loads").fingerprint(), first.fingerprint());
}

/// The policy that panics where it is told to.
fn panics() -> Library {
    let this = std::env::current_exe().expect("this test has a file");
    let target = this.parent().and_then(Path::parent).expect("it lies two folders deep");
    let file = target.join("examples/libpanics.so");
    if !file.exists() {
        // Only one target was asked for: the example was not built along.
        let built =
            Command::new(env!("CARGO")).args(["build", "-p", "lockstep-policy", "--example", "panics"]).status();
        assert!(built.expect("cargo runs").success());
    }
    Library::open(&file).expect("it loads")
}

fn panics_at(place: &str) -> Setup {
    let parameters = serde_json::json!({ "at": place });
    Setup { parameters: parameters.as_object().cloned().unwrap_or_default(), ..setup() }
}

#[test]
fn a_panic_poisons_the_instance_that_it_happens_in_and_nothing_else() {
    let library = panics();
    let mut fine = library.instance(&panics_at("nowhere"), 0).expect("it makes one");
    let mut instance = library.instance(&panics_at("step"), 0).expect("it makes one");
    let error = instance.step(&timer(1)).expect_err("it panics");
    let panicked = StepError::Panicked { policy: "panics".to_owned(), seq: 1, why: "as told, at step".to_owned() };
    assert_eq!(error, panicked);
    assert_eq!(instance.step(&timer(2)), Err(StepError::Poisoned { policy: "panics".to_owned(), since: 1 }));
    assert_eq!(fine.step(&timer(1)), Ok(vec![Action::Prepare(Side::B)]));

    // A snapshot of a sound instance brings a poisoned one back.
    instance.restore(&fine.save().expect("it saves")).expect("it restores");
    assert_eq!(instance.given(), 1);
}

#[test]
fn a_panic_outside_of_a_step_is_an_error_too() {
    let library = panics();
    let error = library.instance(&panics_at("create"), 0).expect_err("it panics").to_string();
    assert_eq!(error, "policy `panics` panicked: as told, at create");
    let error = library.explain(&panics_at("explain")).expect_err("it panics").to_string();
    assert!(error.contains("it panicked: as told, at explain"), "{error}");
    let error = library.instance(&panics_at("refuse"), 0).expect_err("it refuses").to_string();
    assert_eq!(error, "policy `panics` refuses pair `phones`: as told");
    let saving = library.instance(&panics_at("save"), 0).expect("it makes one");
    assert!(matches!(saving.save(), Err(InstanceError::Panicked { .. })));
}

/// What the load of a file says; and none of the file's code has run.
#[track_caller]
fn refused(file: &Path, part: &str) -> LoadError {
    let error = Library::open(file).expect_err("it is refused");
    let text = error.to_string();
    assert!(text.starts_with(&file.display().to_string()), "the file is named: {text}");
    assert!(text.contains(part), "{text}");
    error
}

#[test]
fn what_is_no_policy_is_refused_with_a_sentence() {
    let folder = folder();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).expect("it can be written");
        path
    };
    refused(&folder.path().join("missing.so"), "cannot be read");
    refused(folder.path(), "cannot be read");
    refused(&write("text.so", b"#!/bin/sh\n"), "it is not an ELF file");
    refused(&write("empty.so", b""), "it is not an ELF file");
    refused(&write("short.so", b"\x7fELF\x02\x01"), "cut off inside its header");

    let whole = std::fs::read(counter(&folder, "whole.so", &[])).expect("it can be read");
    for length in [100, 1_000, whole.len() / 2, whole.len() - 1] {
        refused(&write("cut.so", &whole[..length]), "cut off");
    }
    let mut other = whole.clone();
    other[18] = 8;
    refused(&write("mips.so", &other), "another processor");

    let source = write("plain.c", b"int answer(void) { return 42; }\n");
    let plain = folder.path().join("plain.so");
    let compiled = Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&plain, &source]).status();
    assert!(compiled.expect("a C compiler is installed").success());
    assert!(matches!(refused(&plain, "no version stamp"), LoadError::NoStamp { .. }));
}

#[test]
fn a_stamp_that_does_not_fit_is_refused_before_any_code_runs() {
    let folder = folder();
    let proof = folder.path().join("ran");
    let open = |name: &str, macros: &[&str]| {
        // A process of its own, so that no other test's library meets the variable.
        let file = counter(&folder, name, macros);
        let this = std::env::current_exe().expect("this test has a file");
        let output = Command::new(this)
            .args(["--exact", "opens_what_it_is_told", "--nocapture", "--test-threads=1"])
            .env("LOCKSTEP_TEST_OPEN", &file)
            .env("LOCKSTEP_TEST_PROOF", &proof)
            .output()
            .expect("this test runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let text = open("other-major.so", &["-DMAJOR=2"]);
    assert!(text.contains("speaks policy ABI 2, and this lockstep speaks 1"), "{text}");
    let text = open("aborts.so", &["-DFLAGS=0"]);
    assert!(text.contains("build it with panic = \"unwind\""), "{text}");
    let text = open("needs.so", &["-DNEEDS=((uint64_t)1<<31)"]);
    assert!(text.contains("needs records that this lockstep does not know"), "{text}");
    let text = open("knows.so", &["-DKNOWS=0"]);
    assert!(text.contains("does not know records that every policy must know"), "{text}");
    assert!(!proof.exists(), "the constructor of a refused library ran");

    let text = open("sound.so", &[]);
    assert!(text.contains("opened counter"), "{text}");
    assert!(proof.exists(), "the constructor of a sound library runs: the proof above can fail");
}

/// A part of the test above, in a process of its own; without the variable it has nothing to do.
#[test]
fn opens_what_it_is_told() {
    let Some(file) = std::env::var_os("LOCKSTEP_TEST_OPEN") else { return };
    match Library::open(file.as_ref()) {
        Ok(library) => println!("opened {}", library.id()),
        Err(error) => println!("{error}"),
    }
}

#[test]
fn a_step_that_gives_too_much_poisons_its_instance_only() {
    let folder = folder();
    let knows = "-DKNOWS=(LS_INDISPENSABLE|LS_BIT(LS_EV_TIMER)|LS_BIT(LS_EV_ORDER)|LS_BIT(LS_EV_LINK))";
    let library = Library::open(&counter(&folder, "bounds.so", &[knows])).expect("it loads");
    let mut instance = library.instance(&setup(), 0).expect("it makes one");
    let order = Order { order: 1, to: Side::B, confirmed: false, by: String::new(), rights: Vec::new() };
    let endless = Event { seq: 7, at: At::ZERO, what: What::Order(order) };
    let error = instance.step(&endless).expect_err("it gives actions without end");
    assert!(matches!(&error, StepError::TooMuch { seq: 7, .. }), "{error}");
    assert_eq!(instance.step(&timer(8)), Err(StepError::Poisoned { policy: "counter".to_owned(), since: 7 }));
    assert!(matches!(instance.save(), Err(InstanceError::Snapshot { .. })));

    let mut other = library.instance(&setup(), 0).expect("it makes one");
    assert_eq!(other.step(&timer(1)), Ok(vec![]));
    let link = Link { side: Side::A, connection: Connection::Main, up: true };
    let garbage = Event { seq: 2, at: At::ZERO, what: What::Link(link) };
    assert!(matches!(other.step(&garbage), Err(StepError::Broken { seq: 2, .. })));
}

#[test]
fn an_event_of_a_kind_that_a_policy_does_not_know_is_not_handed_to_it() {
    let folder = folder();
    let link = Link { side: Side::A, connection: Connection::Main, up: true };
    // The counter answers a link with garbage.
    let event = Event { seq: 1, at: At::ZERO, what: What::Link(link) };
    let known = "-DKNOWS=(LS_INDISPENSABLE|LS_BIT(LS_EV_LINK))";
    let knows = Library::open(&counter(&folder, "knows.so", &[known])).expect("it loads");
    assert!(matches!(knows.instance(&setup(), 0).expect("it makes one").step(&event), Err(StepError::Broken { .. })));
    let without = Library::open(&counter(&folder, "without.so", &[])).expect("it loads");
    assert_eq!(without.instance(&setup(), 0).expect("it makes one").step(&event), Ok(vec![]));
    // One that must be known reaches it whatever it says: here only to be refused before.
    let none = counter(&folder, "none.so", &["-DKNOWS=LS_BIT(LS_EV_TIMER)"]);
    assert!(matches!(Library::open(&none), Err(LoadError::Records { .. })));
}

#[test]
fn an_event_that_does_not_fit_is_refused_and_harms_nothing() {
    let folder = folder();
    let library = Library::open(&counter(&folder, "large.so", &[])).expect("it loads");
    let mut instance = library.instance(&setup(), 0).expect("it makes one");
    let order = Order { order: 1, to: Side::B, confirmed: false, by: "x".repeat(70_000), rights: Vec::new() };
    let large = Event { seq: 1, at: At::ZERO, what: What::Order(order) };
    assert!(matches!(instance.step(&large), Err(StepError::EventTooLarge { seq: 1, .. })));
    assert_eq!(instance.step(&timer(2)), Ok(vec![]));
}
