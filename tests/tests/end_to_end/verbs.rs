//! The operator's verbs, as an operator types them, on a pair at work.

use crate::bed::{Bed, until};
use crate::configuration::PAIR;
use crate::processes::lockstep;
use crate::world::in_a_world_of_its_own;
use lockstep_policy::Side::{A, B};

const DONE: i32 = 0;
const REFUSED: i32 = 1;
const NO_EDGE: i32 = 3;
const NOT_CONFIRMED: i32 = 4;

/// Says something to `lockstep`; what it answers, and with which exit code.
fn say(bed: &Bed, words: &str) -> (i32, String) {
    bed.type_as("eva", &words.split_whitespace().collect::<Vec<_>>())
}

#[track_caller]
fn says(bed: &Bed, words: &str, code: i32, parts: &[&str]) {
    let (ended, text) = say(bed, words);
    assert_eq!(ended, code, "lockstep {words}: {text}");
    for part in parts {
        assert!(text.contains(part), "lockstep {words}: no {part:?} in: {text}");
    }
}

#[test]
fn an_operator_looks_switches_and_asks_why() {
    in_a_world_of_its_own(|dir| {
        let bed = Bed::ready(dir);
        says(&bed, "status", DONE, &["telisca: 10.77.0.100:80", "side a is active since epoch 1"]);
        let (_, json) = say(&bed, "status --json");
        let status: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(status["pairs"][0]["active"]["side"], "a");

        says(&bed, "switch telisca --to a", REFUSED, &["refused", "active already"]);
        says(&bed, "switch telisca --to c", 2, &["`c` is not a side"]);
        says(&bed, "switch mail --to b", REFUSED, &["no pair \"mail\"; it has: telisca"]);
        assert_eq!(bed.active(), Some(A));
        says(&bed, "switch telisca --to b", DONE, &["lockstep why telisca 2"]);
        assert_eq!(bed.active(), Some(B));
        says(&bed, "why telisca", DONE, &["eva", "prepare", "activate", "commit"]);
        says(&bed, "why telisca 1", DONE, &["T6"]);
        says(&bed, "why telisca 9", REFUSED, &["no handover of pair \"telisca\" has the epoch 9"]);
        bed.wait_well(B);
    });
}

/// T8: with T2 on, moving to B is asked back, because it will be undone. T2 undoes it, but not while the pair is paused.
#[test]
fn the_policy_asks_back_and_a_pause_holds_it_off() {
    in_a_world_of_its_own(|dir| {
        let mut bed = Bed::with_policy(dir, "first_server_auto_restart_as_active = true");
        bed.start();
        says(&bed, "switch telisca --to b", NOT_CONFIRMED, &["T2", "--yes"]);
        assert_eq!(bed.active(), Some(A), "nothing has changed");

        says(&bed, "pause telisca --reason patching", DONE, &["until `lockstep resume telisca`"]);
        says(&bed, "status", DONE, &["by eva", "patching"]);
        says(&bed, "switch telisca --to b --yes", DONE, &[]);
        bed.wait_well(B);
        until("T2 to be held off", || {
            let journal = bed.ask(async |operator| operator.journal(PAIR, 0, 100_000).await).unwrap();
            journal.entries.iter().any(|entry| entry.what.to_string().contains("paused by eva: patching")).then_some(())
        });
        assert_eq!(bed.active(), Some(B));

        says(&bed, "resume telisca", DONE, &["its policy switches again"]);
        bed.wait_well(A);
        says(&bed, "why telisca", DONE, &["T2"]);
    });
}

#[test]
fn a_pause_outlives_the_edge() {
    in_a_world_of_its_own(|dir| {
        let mut bed = Bed::ready(dir);
        says(&bed, "pause telisca --reason patching", DONE, &[]);
        bed.kill_edge();
        says(&bed, "status", NO_EDGE, &["is `lockstep edge` running?"]);
        bed.start_edge();
        bed.wait_well(A);
        says(&bed, "status", DONE, &["by eva", "patching"]);
    });
}

#[test]
fn who_has_not_the_token_is_refused() {
    in_a_world_of_its_own(|dir| {
        let bed = Bed::ready(dir);
        let wrong = dir.join("wrong");
        std::fs::write(&wrong, "0".repeat(64)).unwrap();
        let output = lockstep().args(["switch", PAIR, "--to", "b", "--token-file"]).arg(&wrong).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(REFUSED), "{said}");
        assert!(said.contains("admin token"), "{said}");
        assert_eq!(bed.active(), Some(A));
    });
}
