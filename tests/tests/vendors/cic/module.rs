//! C2, C3, C7: the monitored module hangs, is slow, dies, or is started again and again.

use super::site::{DETECT, LEASE, Site, pings};
use lockstep_policy::Side::{A, B};
use lockstep_tests::bed::until;
use lockstep_tests::stream::figure;
use lockstep_tests::world::in_a_world_of_its_own;
use std::time::Duration;

fn fast() -> String {
    [DETECT, LEASE].concat()
}

/// With the vendor's times: the process lives and answers nobody. Pings fail on the main connection, then on the auxiliary one, and
/// once more in the diagnosis; then the backup takes over at once, and what hears no TERM is killed.
#[test]
fn c2_c7_a_module_that_hangs_is_left_after_both_connections_were_tried() {
    in_a_world_of_its_own(|dir| {
        let policy = "module_timeout = \"5s\"\nmodule_max_failures = 1\nprimary_timeout = \"500ms\"";
        let site = Site::ready(dir, policy, LEASE);
        let clients = site.client();
        clients.let_flow(20);
        let hung = site.server(A).expect("it runs");
        site.make_ill(A, "hang");
        // Up to five seconds until a ping fails, and five until the next one.
        site.wait_journal("wrong after", 1);
        assert_eq!(site.server(A), Some(hung), "it lives");
        site.nothing_moved();
        let module = "C2, C7: the module `tsserver` of a failed 2 pings in a row";
        let handover = site.wait_switched(B, &[module, "rejected", "PrimaryReached", "both connections up"]);
        let evidence = &handover.record.evidence;
        assert!(evidence.len() >= 4, "two pings, the one of the diagnosis, and the address: {evidence:?}");
        let pings = [pings("main"), pings("auxiliary"), pings("main")];
        site.journal_tells(&[&pings[0], &pings[1], &pings[2], "icmp", "-> switch to b, failover"]);
        site.make_well(A);
        // C10: nobody has to do anything for it.
        site.wait_backup(A);
        clients.let_flow(20);
        site.judge(Some(clients));
    });
}

/// A slow answer is an answer, and a failure that is followed by one counts for nothing; an end is believed at once.
#[test]
fn c2_c7_a_slow_module_stays_a_hung_and_a_dead_one_are_left_fast() {
    in_a_world_of_its_own(|dir| {
        let site = Site::ready(dir, "fast = true", &fast());
        let clients = site.client();
        site.make_ill(A, "120ms");
        clients.let_flow(100);
        // Hung for one ping, not for four.
        site.make_ill(A, "hang");
        site.wait_journal("wrong", 1);
        site.make_well(A);
        clients.let_flow(100);
        site.nothing_moved();

        let hang = lockstep_demo::now();
        site.make_ill(A, "hang");
        site.wait_switched(B, &["C2, C7: the module `tsserver` of a failed 4 pings in a row", "the module is down"]);
        figure("cic_hung_module fast", Duration::from_nanos(lockstep_demo::now() - hang), Duration::from_millis(2_500));
        site.make_well(A);
        site.wait_backup(A);

        let death = lockstep_demo::now();
        site.kill_server(B);
        site.wait_switched(A, &["C2, C7: the module `tsserver` of b has ended, by its agent's word"]);
        figure(
            "cic_dead_module fast",
            Duration::from_nanos(lockstep_demo::now() - death),
            Duration::from_millis(1_500),
        );
        site.wait_backup(B);
        site.judge(Some(clients));
    });
}

/// Every new process answers well; the third change of its id within five minutes is one too many.
#[test]
fn c3_a_module_that_is_started_again_and_again_is_left() {
    in_a_world_of_its_own(|dir| {
        let mut site = Site::new(dir, "fast = true", &fast()).with_process_trees();
        site.start();
        let clients = site.client();
        for _ in 0..2 {
            clients.let_flow(50);
            let before = site.kill_server(A);
            until("another process", || site.server(A).filter(|server| *server != before).map(drop));
        }
        // Two are borne.
        clients.let_flow(100);
        site.nothing_moved();
        site.kill_server(A);
        site.wait_switched(B, &["C3, C7: the module `tsserver` of a has started again 3 times in 5m, more than 2"]);
        site.wait_backup(A);
        // B's process is another side's: its id is no change.
        clients.let_flow(100);
        assert_eq!(site.bed.active(), Some(B));
        site.judge(Some(clients));
    });
}

/// With `manual_switch_only` nothing moves, and monitoring has stopped until it is started anew.
#[test]
fn c7_in_manual_mode_the_backup_is_stopping() {
    in_a_world_of_its_own(|dir| {
        let mut site = Site::new(dir, "fast = true\nmanual_switch_only = true", &fast());
        site.bed.start_agents();
        site.bed.start_edge();
        site.wait_shown(B, "Backup: manual switch only");
        site.make_ill(A, "hang");
        site.wait_shown(B, "Stopping: manual switch only, and the module is down");
        assert!(site.wait_alert("Manual switch only").contains("monitoring has stopped"));
        site.nothing_moved();
        site.make_well(A);
        site.says(None, "order cic monitor", 0, &["monitoring of a has begun anew"]);
        site.wait_shown(B, "Backup: manual switch only");
        site.nothing_moved();
        site.judge(None);
    });
}
