//! Each policy does what its scenarios say, rule by rule. `BLESS=1` rewrites what the policies do; commit only a
//! difference that you can explain.

use lockstep_policy::action::Urgency;
use lockstep_policy::event::What;
use lockstep_policy::host::Library;
use lockstep_policy::scenario::{Scenario, check};
use lockstep_policy::{Action, At, Setup, Side};
use lockstep_tests::plugin;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The scenarios' files, by the plugin that they are for. `ONLY=NAME` leaves out those of all plugins but one.
fn scenarios() -> BTreeMap<String, Vec<PathBuf>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let only = std::env::var_os("ONLY");
    let folders =
        std::fs::read_dir(root).expect("tests/scenarios is there").map(|folder| folder.expect("readable").path());
    folders
        .filter(|folder| only.as_deref().is_none_or(|only| folder.file_name() == Some(only)))
        .map(|folder| {
            let name = folder.file_name().expect("it has a name").to_string_lossy().into_owned();
            let files = std::fs::read_dir(&folder).expect("readable").map(|file| file.expect("readable").path());
            (name, files.collect::<BTreeSet<_>>().into_iter().collect())
        })
        .collect()
}

#[test]
fn every_scenario_plays_as_written() {
    let bless = std::env::var_os("BLESS").is_some();
    let mut failures = Vec::new();
    for (name, files) in scenarios() {
        let library = Library::open(&plugin(&name)).expect("the plugin loads");
        assert_eq!(library.id(), name);
        failures
            .extend(files.iter().filter_map(|file| check(file, &library, bless).err()).map(|error| error.to_string()));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn every_rule_has_a_scenario() {
    for (name, files) in scenarios() {
        let library = Library::open(&plugin(&name)).expect("the plugin loads");
        let rules: BTreeSet<&str> = library.rules().iter().map(|rule| rule.id.as_ref()).collect();
        let scenarios: Vec<Scenario> =
            files.iter().map(|file| Scenario::read(file).expect("it is well formed")).collect();
        let proved: BTreeSet<&str> = scenarios.iter().flat_map(Scenario::rules).map(String::as_str).collect();
        assert!(proved.is_subset(&rules), "{name}: scenarios name rules that there are not: {proved:?}");
        // A lint is no behaviour in time: its own test is in plugins/telisca.
        let unproved: Vec<_> = rules.difference(&proved).filter(|rule| **rule != "T9").collect();
        assert!(unproved.is_empty(), "{name}: no scenario proves {unproved:?}");
    }
}

/// The same events give the same actions, also when the policy is saved and restored before any of them.
#[test]
fn a_policy_saved_and_restored_goes_on_the_same() {
    for (name, files) in scenarios() {
        let library = Library::open(&plugin(&name)).expect("the plugin loads");
        for file in files {
            let scenario = Scenario::read(&file).expect("it is well formed");
            let fresh = |setup: &Setup| library.instance(setup, scenario.seed()).map_err(|error| error.to_string());
            let mut setup = scenario.setup().clone();
            let whole = scenario.run(&mut fresh(&setup).expect("its setup is valid")).expect("it plays");
            let mut instance = fresh(&setup).expect("its setup is valid");
            let cut = scenario.play(|event| {
                let saved = instance.save().map_err(|error| error.to_string())?;
                instance = fresh(&setup)?;
                instance.restore(&saved).map_err(|error| error.to_string())?;
                if let What::Config(change) = &event.what {
                    // An edge restores with the configuration that the policy took last.
                    let changed: Setup = serde_json::from_str(&change.setup).map_err(|error| error.to_string())?;
                    if fresh(&changed).is_ok() {
                        setup = changed;
                    }
                }
                instance.step(event).map_err(|error| error.to_string())
            });
            assert_eq!(cut.expect("it plays"), whole, "{}", file.display());
        }
    }
}

/// T10, for any timers and any moment of the fault: the decision comes within the vendor's formula, and at the worst
/// moment, just after a probe was answered, no sooner than it says.
#[test]
fn t10_is_the_time_from_a_fault_to_the_decision() {
    let library = Library::open(&plugin("telisca")).expect("the plugin loads");
    let answer = Duration::from_millis(20);
    for (interval, timeout, failures) in
        [(30_000, 10_000, 5), (30_000, 40_000, 2), (1_000, 100, 1), (15_000, 10_000, 4)]
    {
        for part in [0, 1, 10, 50, 99] {
            let after = Duration::from_millis(interval * part / 100).max(answer + Duration::from_millis(1));
            let fault = Duration::from_millis(3 * interval) + after;
            let text = format!(
                "title = \"T10\"\nrules = [\"T10\"]\nplugin = \"telisca\"\n\n[parameters]\n\
                 heartbeat_interval = \"{interval}ms\"\nheartbeat_timeout = \"{timeout}ms\"\n\
                 failures_to_switch = {failures}\ncti_startup = {{ connect = \"0s\" }}\n---\n\
                 0s start active a\n0s server a answers\n0s server b answers\n0s link a main up\n0s link b main up\n\
                 {}ms server a silent\n+2h end\n",
                fault.as_millis()
            );
            let scenario = Scenario::parse("t10", &text).expect("it is well formed");
            let mut instance = library.instance(scenario.setup(), 0).expect("its setup is valid");
            let mut decided = None;
            let played = scenario.play(|event| {
                let actions = instance.step(event).map_err(|error| error.to_string())?;
                let failover = |action: &Action| {
                    matches!(action, Action::Switch(switch) if (switch.to, switch.urgency) == (Side::B, Urgency::Failover))
                };
                if decided.is_none() && actions.iter().any(failover) {
                    decided = Some(event.at);
                }
                Ok(actions)
            });
            played.expect("it plays");
            let delay = decided.expect("it decides").since(At::ZERO + fault);
            let formula = library.expected_delay(scenario.setup()).expect("it tells");
            assert_eq!(formula, Duration::from_millis(failures * interval + timeout));
            assert_eq!(
                delay,
                formula - after,
                "{interval} ms, {timeout} ms, {failures}, fault {after:?} after a probe"
            );
        }
    }
}
