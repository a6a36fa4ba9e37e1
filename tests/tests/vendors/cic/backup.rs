//! C10, C11: what keeps a side from being a backup, and what kind of backup it is.

use super::site::{DETECT, LEASE, Site};
use lockstep_policy::Side::{A, B};
use lockstep_tests::world::in_a_world_of_its_own;
use nix::sys::signal::Signal;

fn fast() -> String {
    [DETECT, LEASE].concat()
}

/// Without a restart there is no way back, not by hand and not by itself; with one there is.
#[test]
fn c10_a_side_that_has_lost_the_role_is_inactive_until_it_was_restarted() {
    in_a_world_of_its_own(|dir| {
        let site = Site::ready(dir, "fast = true\nrestart_stale = false", &fast());
        let clients = site.client();
        clients.let_flow(50);
        site.kill_server(A);
        site.wait_switched(B, &["C2, C7: "]);
        site.wait_shown(A, "Inactive: stale until it has been started anew");
        site.wait_shown(B, "Primary; no backup in place: no switch can happen");
        site.wait_alert(
            "C10: no backup is in place: a is stale: it has lost the role, and `switchover` has not been started anew",
        );
        site.says(None, "switch cic --to a --yes", 1, &["refused: C12: the role cannot be moved to a now: a is stale"]);
        site.says(None, "order cic drill", 1, &["C16: a is stale"]);
        assert_eq!(site.bed.active(), Some(B));

        // Somebody starts it anew by hand.
        site.bed.signal(A, &["simulate", "app"], Signal::SIGKILL);
        site.wait_backup(A);
        site.wait_alert("C10: a has been started anew: it is a backup again");
        // Now it takes over again, and B is the one that is stale.
        site.kill_server(B);
        site.wait_switched(A, &["C2, C7: "]);
        site.wait_shown(B, "Inactive: stale until it has been started anew");
        site.says(
            None,
            "order cic backup --side b",
            0,
            &["C10: b counts as a backup again, by the word of the-operator"],
        );
        site.wait_backup(B);
        site.says(None, "order cic backup --side b", 1, &["C10: b is not stale"]);
        clients.let_flow(50);
        site.judge(Some(clients));
    });
}

/// Nothing is monitored between two releases; only an operator moves the role, and is warned before.
#[test]
fn c11_sides_of_different_releases_are_switched_by_hand_only() {
    in_a_world_of_its_own(|dir| {
        let mut site = Site::new(dir, "fast = true", &fast());
        site.release(B, "2021 R10");
        site.bed.start_agents();
        site.bed.start_edge();
        site.wait_shown(B, "UpgradeHigher: manual switch only, 2021 R10 against 2021 R2 of a");
        site.wait_alert(
            "C11: b runs release 2021 R10, newer than 2021 R2 of a: manual switch only, and replication is limited",
        );
        site.bed.wait_served(A);
        let clients = site.client();
        site.make_ill(A, "hang");
        // As long as a hung module takes where it is monitored, and more.
        clients.let_flow(200);
        site.nothing_moved();
        assert!(!site.was_pinged("main"), "nothing is monitored");
        site.make_well(A);

        site.says(
            None,
            "switch cic --to b",
            4,
            &["b runs release 2021 R10 and a runs 2021 R2: replication is limited"],
        );
        site.nothing_moved();
        site.says(None, "switch cic --to b --yes", 0, &[]);
        site.bed.wait_served(B);
        site.wait_shown(A, "UpgradeLower: manual switch only, 2021 R2 against 2021 R10 of b");
        // A is brought to the same release: its agent is started anew with it.
        site.release(A, "2021 R10");
        site.bed.kill_agent(A);
        site.bed.start_agent(A);
        site.wait_backup(A);
        site.wait_pinged("main");
        site.judge(Some(clients));
    });
}
