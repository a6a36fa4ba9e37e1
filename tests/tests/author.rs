//! The author's tools as an author uses them: the binary, a compiler, and nothing from a network.

use lockstep_tests::{PLUGINS, plugin, root};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// The binary, which Cargo builds for the workspace beside the test's own directory.
fn lockstep() -> PathBuf {
    lockstep_tests::lockstep()
}

fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

fn succeeds(command: &mut Command) -> String {
    let output = run(command);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}:\n{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[test]
fn a_new_policy_in_c_passes_its_own_check() {
    let folder = TempDir::new().expect("a temporary folder");
    succeeds(Command::new(lockstep()).args(["policy", "new", "my-first", "--lang", "c"]).current_dir(&folder));
    let checked = make_check(&folder.path().join("my-first"));
    assert!(checked.contains("ok      lying sizes"), "{checked}");
    assert!(checked.contains("scenarios/W1-failover.txt: as written"), "{checked}");
}

#[test]
fn a_new_policy_in_rust_builds_offline_and_passes_its_own_check() {
    let folder = TempDir::new().expect("a temporary folder");
    let sdk = root().join("core/policy");
    let new = ["policy", "new", "my-second", "--lang", "rust", "--sdk"];
    succeeds(Command::new(lockstep()).args(new).arg(sdk).current_dir(&folder));
    // The versions that this workspace has: others need not be on this machine.
    let project = folder.path().join("my-second");
    std::fs::copy(root().join("Cargo.lock"), project.join("Cargo.lock")).expect("it can be copied");
    let checked = make_check(&project);
    assert!(checked.contains("ok      saved and restored at every cut"), "{checked}");
    assert!(checked.contains("scenarios/W2-order.txt: as written"), "{checked}");
}

/// As packages install it: the SDK with the crates that it needs. No registry is there, not even its cache.
#[test]
fn the_installed_sdk_is_all_that_a_new_policy_in_rust_needs() {
    let folder = TempDir::new().expect("a temporary folder");
    let sdk = folder.path().join("sdk");
    succeeds(Command::new(root().join("deploy/sdk")).arg(&sdk));
    let new = ["policy", "new", "my-third", "--sdk"];
    succeeds(Command::new(lockstep()).args(new).arg(sdk.join("lockstep-policy")).current_dir(&folder));
    let nothing = folder.path().join("nothing");
    std::fs::create_dir(&nothing).expect("it can be made");
    let checked = succeeds(make(&folder.path().join("my-third")).env("CARGO_HOME", nothing));
    assert!(checked.contains("ok      the same twice"), "{checked}");
}

fn make_check(project: &Path) -> String {
    succeeds(&mut make(project))
}

fn make(project: &Path) -> Command {
    let mut make = Command::new("make");
    make.arg("check").arg(format!("LOCKSTEP={}", lockstep().display()));
    make.env_remove("CARGO_TARGET_DIR").current_dir(project);
    make
}

#[test]
fn this_repositorys_policies_keep_to_the_contract() {
    for name in PLUGINS {
        let scenarios = root().join("tests/scenarios").join(name);
        let mut files: Vec<PathBuf> = std::fs::read_dir(scenarios)
            .expect("it has scenarios")
            .map(|file| file.expect("readable").path())
            .collect();
        files.sort();
        let scenario = files.first().expect("it has one");
        let checked = succeeds(
            Command::new(lockstep()).args(["policy", "check"]).arg(plugin(name)).arg("--scenario").arg(scenario),
        );
        assert_eq!(checked.matches("\nok      ").count(), 11, "{name}:\n{checked}");
    }
}

/// A plugin that ends the process, and one that hangs, are told apart from one that breaks a demand.
#[test]
fn what_a_bad_plugin_does_is_said() {
    let folder = TempDir::new().expect("a temporary folder");
    let bad = folder.path().join("careless.so");
    let fixtures = root().join("core/policy/tests/fixtures/careless.c");
    let compile = |how: &str| {
        let include = root().join("core/policy/include");
        let mut cc = Command::new("cc");
        cc.args(["-std=c11", "-shared", "-fPIC", how, "-I"]).arg(include).arg("-o").args([&bad, &fixtures]);
        succeeds(&mut cc);
        run(Command::new(lockstep()).args(["policy", "check"]).arg(&bad))
    };
    let output = compile("-DFORGETS");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("BROKEN  saved and restored at every cut"), "{said}");
    let output = compile("-DREADS_ON");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("shorter records: the plugin ended the process (signal: 11"), "{said}");
}
