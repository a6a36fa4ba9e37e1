//! C12, C13, C16: what operators order, change and let happen.

use super::site::{Beside, DETECT, LEASE, Site, pings};
use lockstep_edge::admin::api::Status;
use lockstep_policy::Side::{A, B};
use lockstep_tests::bed::until;
use lockstep_tests::processes::lockstep;
use lockstep_tests::world::in_a_world_of_its_own;
use nix::sys::signal::Signal;
use std::path::Path;

fn fast() -> String {
    [DETECT, LEASE].concat()
}

/// Makes a user as an administrator does; what it says is for the configuration and for the user alone.
fn user(dir: &Path, name: &str, rights: &[&str]) -> String {
    let given = rights.iter().flat_map(|right| ["--right", *right]);
    let output = lockstep().args(["user", name]).args(given).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let token = said.lines().find(|line| !line.is_empty() && !line.starts_with('#')).unwrap();
    std::fs::write(dir.join(format!("{name}.token")), token).unwrap();
    said[said.find("[[edge.users]]").unwrap()..].to_owned()
}

/// The right that the vendor asks for, and the question while the copy is behind.
#[test]
fn c12_a_switch_by_hand_needs_the_right_and_a_confirmation_while_replication_is_behind() {
    in_a_world_of_its_own(|dir| {
        let users = [user(dir, "anna", &["operate"]), user(dir, "otto", &["operate", "remote-control"])].concat();
        let policy = "[pair.policy.mirror]\nhealth_interval = \"500ms\"\nhealth_timeout = \"500ms\"\n";
        let site = Site::ready(dir, &["fast = true\n", policy].concat(), &[&fast(), users.as_str()].concat());
        let clients = site.client();
        clients.let_flow(50);
        site.says(
            Some("anna"),
            "switch cic --to b",
            1,
            &["C12: a switch needs the right `remote-control`, which anna does not have"],
        );
        site.says(Some("anna"), "order cic drill", 1, &["C12: the command needs the right `remote-control`"]);

        site.replication(B, "behind 12 files");
        // Looked at by itself, too.
        site.wait_alert("C12: replication to b is behind: 12 files");
        site.says(Some("otto"), "switch cic --to b", 4, &["replication to b is behind: 12 files", "--yes"]);
        site.nothing_moved();
        site.says(Some("otto"), "switch cic --to b --yes", 0, &[]);
        site.wait_switched(B, &["C12: otto asks for it"]);
        site.wait_backup(A);
        // The copy is current: no question.
        site.says(Some("otto"), "switch cic --to a", 0, &[]);
        site.wait_switched(A, &["C12: otto asks for it"]);
        site.wait_backup(B);
        site.judge(Some(clients));
    });
}

fn status(site: &Site) -> Status {
    until("the edge to answer", || site.bed.ask(async |operator| operator.status().await).ok())
}

/// The configuration is written anew and the edge told by SIGHUP. It says what is in force and what waits, and both is true.
#[test]
fn c13_a_changed_parameter_is_in_force_at_once_or_says_what_it_waits_for() {
    in_a_world_of_its_own(|dir| {
        let policy = "primary_timeout = \"400ms\"\nprimary_retry_count = 1\nreconnect_timeout = \"60s\"\n";
        let site = Site::ready(dir, policy, LEASE);
        assert!(!site.journal().contains("every 7s"));
        let new = "module_timeout = \"7s\"\nprimary_timeout = \"400ms\"\nprimary_retry_count = 1\nreconnect_timeout = \"0s\"\n\
                   [pair.policy.mirror]\ncustom = \"+D:\\\\I3\\\\IC\\\\Flows\"\n";
        site.configure(new, LEASE);
        site.bed.signal_edge(Signal::SIGHUP);
        let said = until("the edge to have read it", || Some(status(&site).reload).filter(|said| !said.is_empty()));
        println!("{}", said.join("\n"));
        let [in_force, waits] = &said[..] else { panic!("{said:?}") };
        assert!(in_force.ends_with("in force"), "{in_force}");
        assert!(waits.ends_with("reconnect_timeout: from the next start of monitoring on"), "{waits}");
        // In force at once: the pings, and the directories that are mirrored.
        site.wait_journal(&format!("every 7s, timeout 7s: {}", pings("main")), 1);
        until("the hook for mirrored directories", || {
            (site.trace("mirror", B) == "C13: mirror.custom is now `+D:\\I3\\IC\\Flows`\n").then_some(())
        });
        assert_eq!(site.trace("mirror", A), "");
        // What waits: a lost notifier is still waited for.
        site.bed.signal(A, &["agent"], Signal::SIGSTOP);
        site.wait_shown(B, "Reconnecting: the notifier of a is down");
        site.wait_alert("switch in 1m unless it is back");
        site.bed.signal(A, &["agent"], Signal::SIGCONT);
        // Monitoring has begun anew by that, and with it the parameter: the same fault is left at once.
        site.wait_backup(B);
        site.bed.signal(A, &["agent"], Signal::SIGSTOP);
        site.wait_switched(B, &["C8: the notifier of a failed a ping"]);
        site.bed.signal(A, &["agent"], Signal::SIGCONT);
        site.wait_backup(A);
        // What is wrong changes nothing.
        site.configure("module_timeout = \"2s\"", LEASE);
        site.bed.signal_edge(Signal::SIGHUP);
        until("the edge to refuse it", || {
            let said = status(&site).reload.join("\n");
            (said.contains("the running one was kept") && said.contains("module_timeout")).then_some(())
        });
        site.judge(None);
    });
}

/// A drill is a planned switch with a report: nobody notices, and what stands in its way is said instead.
#[test]
fn c16_a_drill_is_made_and_reported_when_all_is_well() {
    in_a_world_of_its_own(|dir| {
        let site = Site::ready(dir, &format!("fast = true\nnettest_b = [\"{}\"]", Beside::NearA.address()), &fast());
        let clients = site.client();
        clients.let_flow(50);
        site.replication(B, "behind 1 file");
        site.bed.wait("the copy to be behind", |pair| {
            let report = pair.sides[B].report.as_ref();
            report.is_some_and(|report| report.replication_detail == "1 file")
        });
        site.says(None, "order cic drill", 1, &["C16: replication to b is behind: 1 file"]);
        site.nothing_moved();
        site.replication(B, "current all 4711 files");
        site.bed.wait("the copy to be current", |pair| {
            let report = pair.sides[B].report.as_ref();
            report.is_some_and(|report| report.replication_detail == "all 4711 files")
        });
        site.says(None, "order cic drill", 0, &["C16: the drill has begun: b takes over"]);
        site.wait_switched(B, &["C16: drill: the-operator asks for it"]);
        let report = site.wait_alert("C16: drill report: b took over from a in ");
        for part in ["in epoch 2", "Replication was current (all 4711 files)", "a is started anew to be the backup"] {
            assert!(report.contains(part), "no {part:?} in {report}");
        }
        site.wait_backup(A);
        clients.let_flow(50);
        site.judge_lossless(clients);
    });
}
