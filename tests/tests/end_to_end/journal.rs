//! What the edge has written down plays again by an operator's own hands.

use crate::bed::Bed;
use crate::configuration::PAIR;
use crate::processes::lockstep;
use crate::world::in_a_world_of_its_own;
use lockstep_policy::Side::{A, B};
use nix::sys::signal::Signal;
use std::process::Output;

fn says(output: &Output) -> String {
    let text = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned()).concat();
    println!("{text}");
    text
}

/// A failover that probes have brought about is exported, shown and played again; had it taken more failures, the policy
/// would have decided otherwise.
#[test]
fn an_operator_exports_a_switch_and_plays_it_again() {
    in_a_world_of_its_own(|dir| {
        let bed = Bed::ready(dir);
        let client = bed.client(200);
        client.let_flow(50);
        bed.signal(A, &["simulate", "app"], Signal::SIGSTOP);
        bed.wait_served(B);
        client.let_flow(50);
        client.finish(&bed);

        let file = dir.join("switch.lsj");
        let export =
            lockstep().args(["journal", "export", PAIR]).arg(&file).arg("--config").arg(bed.edge_file()).output();
        let export = export.unwrap();
        assert!(export.status.success(), "{}", says(&export));

        let show = lockstep().args(["journal", "show"]).arg(&file).output().unwrap();
        let shown = says(&show);
        assert!(show.status.success());
        for part in
            ["pair telisca, edge edge-1", "= policy telisca", "probe ", "silent", "-> switch to b, failover: T1"]
        {
            assert!(shown.contains(part), "no {part:?}");
        }

        let replay = |more: &[&str]| {
            let plugin = lockstep_tests::plugin("telisca");
            let output =
                lockstep().args(["policy", "replay"]).arg(&file).arg("--policy").arg(plugin).args(more).output();
            let output = output.unwrap();
            (output.status.code(), says(&output))
        };
        let (code, text) = replay(&[]);
        assert_eq!(code, Some(0));
        assert!(text.contains("no difference"));

        let (code, text) = replay(&["--set", "detect.failures=50"]);
        assert_eq!(code, Some(0), "another decision is no failure");
        assert!(text.contains("a candidate is not told of what it would have done"));
        assert!(text.contains("\n  - switch to b, failover: T1"), "what it did");
        assert!(text.contains("events decided otherwise; the first switch that differs: "), "the last line");

        let (code, text) = replay(&["--set", "detect.failures=none"]);
        assert_eq!(code, Some(1));
        assert!(text.contains("--set detect.failures: valid: a number"));
    });
}
