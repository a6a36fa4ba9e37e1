//! The author's tools: a sound plugin passes all checks, and each check fails for a plugin that breaks its demand.
#![cfg(feature = "author")]

use lockstep_policy::author::conformance::{Bench, CHECKS};
use lockstep_policy::author::project::{Language, ProjectError, create};
use lockstep_policy::host::Library;
use lockstep_policy::scenario;
use lockstep_policy::setup::{Detect, SideSetup};
use lockstep_policy::{Setup, Sides};
use std::path::{Path, PathBuf};
use std::process::Command;

fn compiled(folder: &Path, source: &Path, name: &str, macros: &[&str]) -> Library {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let library = folder.join(format!("{name}.so"));
    let output = Command::new("cc")
        .args(["-std=c11", "-Wall", "-Wextra", "-Wno-unused-function", "-Werror", "-shared", "-fPIC", "-O1", "-I"])
        .arg(root.join("include"))
        .args(macros)
        .arg("-o")
        .args([&library, source])
        .output()
        .expect("a C compiler is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Library::open(&library).expect("it loads")
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

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/careless.c")
}

/// The names of the checks that fail.
fn broken(library: &Library) -> Vec<&'static str> {
    let setup = setup();
    let bench = Bench { library, setup: &setup };
    CHECKS.iter().filter(|check| bench.make(check).is_err()).map(|check| check.name).collect()
}

#[test]
fn a_sound_plugin_passes_every_check() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    assert_eq!(broken(&compiled(folder.path(), &fixture(), "careful", &[])), [""; 0]);
}

/// What breaks a demand, and the first check that says so.
const CARELESS: [(&str, &str); 9] = [
    ("-DTAKES_ANYTHING", "describes itself"),
    ("-DGUESSES", "the same twice"),
    ("-DONE_A_CALL", "one by one as in a batch"),
    ("-DSHARES", "pairs apart"),
    ("-DFORGETS", "saved and restored at every cut"),
    ("-DBELIEVES", "snapshots that are none"),
    ("-DSKIPS_ALL", "unknown kinds"),
    ("-DTRUSTS", "lying sizes"),
    ("-DPRESSES", "a full sink"),
];

#[test]
fn each_demand_that_is_broken_is_noticed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (number, (careless, expected)) in CARELESS.into_iter().enumerate() {
        let library = compiled(folder.path(), &fixture(), &format!("careless{number}"), &[careless]);
        assert!(broken(&library).contains(&expected), "{careless}: {:?}", broken(&library));
    }
}

/// What a plugin reads beyond its records ends its process: that is how it is noticed, so in one of its own.
#[test]
fn a_plugin_that_reads_beyond_its_records_dies_of_it() {
    if let Ok(source) = std::env::var("LOCKSTEP_TEST_READS_ON") {
        let library = compiled(Path::new(&source), &fixture(), "reads", &["-DREADS_ON"]);
        // Reached by a plugin that does not read on: then it has passed.
        assert!(broken(&library).is_empty());
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "a_plugin_that_reads_beyond_its_records_dies_of_it", "--nocapture"])
        .env("LOCKSTEP_TEST_READS_ON", folder.path())
        .output()
        .expect("it runs");
    let signal = std::os::unix::process::ExitStatusExt::signal(&output.status);
    assert_eq!(signal, Some(11), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The example in C does what its scenarios say. `BLESS=1` writes down what it does.
#[test]
fn the_example_in_c_plays_as_written() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/example-c");
    let library = compiled(folder.path(), &example.join("policy.c"), "example", &["-Wpedantic"]);
    assert_eq!(broken(&library), [""; 0]);
    let bless = std::env::var_os("BLESS").is_some();
    for file in std::fs::read_dir(example.join("scenarios")).expect("they are there") {
        scenario::check(&file.expect("readable").path(), &library, bless).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn a_new_project_in_c_builds_against_its_own_header_alone_and_passes() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let project = create(folder.path(), "first-try", Language::C, None).expect("it is made");
    let built = Command::new("make").current_dir(&project).output().expect("make is installed");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let library = Library::open(&project.join("liblockstep_first_try.so")).expect("it loads");
    assert_eq!(library.id(), "first-try");
    assert_eq!(broken(&library), [""; 0]);
    for file in std::fs::read_dir(project.join("scenarios")).expect("they are there") {
        scenario::check(&file.expect("readable").path(), &library, false).unwrap_or_else(|error| panic!("{error}"));
    }
    let again = create(folder.path(), "first-try", Language::C, None);
    assert!(matches!(again, Err(ProjectError::Exists(_))));
    for name in ["", "First", "1st", "a/b", "x_y", &"x".repeat(32)] {
        assert!(matches!(create(folder.path(), name, Language::C, None), Err(ProjectError::Name(_))), "{name}");
    }
}
