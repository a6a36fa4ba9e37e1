//! C4 to C6, C8, C9, C15: the primary cannot be spoken to, or the backup's own network is bad.

use super::site::{Beside, DETECT, LEASE, LONG_LEASE, Site};
use lockstep_policy::Side::{A, B};
use lockstep_tests::bed::until;
use lockstep_tests::world::in_a_world_of_its_own;
use nix::sys::signal::Signal;

/// The vendor's pings of the notifier, as short as they may be.
const NOTIFIER: &str = "primary_timeout = \"400ms\"\nprimary_retry_count = 1\nunreachable_ping_delay = \"1s\"\n";
/// What tells a backup that its network is good: an address near A for B, one near B for A.
const NETTEST: &str = "nettest_a = [\"10.77.0.22\"]\nnettest_b = [\"10.77.0.21\"]\n";

fn policy(more: &str) -> String {
    [NOTIFIER, more].concat()
}

/// The primary's agent hangs and comes back in time: the backup reconnects, copies everything afresh, and is the backup again.
#[test]
fn c4_c8_a_notifier_that_is_back_in_time_has_its_backup_copy_everything_afresh() {
    in_a_world_of_its_own(|dir| {
        let site = Site::ready(dir, &policy("reconnect_timeout = \"60s\""), LONG_LEASE);
        let clients = site.client();
        clients.let_flow(50);
        let server = site.server(A);
        site.bed.signal(A, &["agent"], Signal::SIGSTOP);
        site.wait_shown(B, "Reconnecting: the notifier of a is down");
        let alert = site.wait_alert("C8: the notifier of a failed a ping and 1 retry");
        assert!(alert.contains("NetTestUnavailable, PrimaryReached") && alert.contains("switch in 1m"), "{alert}");
        assert_eq!(site.trace("resynchronise", B), "");
        site.bed.signal(A, &["agent"], Signal::SIGCONT);
        site.wait_backup(B);
        site.wait_alert("C8: b has reached a again and copies everything afresh; it is the backup again");
        until("the hook to be run on the backup", || {
            (site.trace("resynchronise", B) == "C8: b has reached a again and copies everything afresh\n").then_some(())
        });
        assert_eq!(site.trace("resynchronise", A), "");
        site.nothing_moved();
        assert_eq!(site.server(A), server, "the telephony server has noticed nothing");
        clients.let_flow(50);
        site.judge(Some(clients));
    });
}

/// It does not come back: the backup takes over, and the old primary finds out that it is none when it wakes up.
#[test]
fn c8_c10_a_notifier_that_stays_away_is_left() {
    in_a_world_of_its_own(|dir| {
        let site = Site::ready(dir, &policy("reconnect_timeout = \"2s\""), LEASE);
        let clients = site.client();
        clients.let_flow(50);
        site.bed.signal(A, &["agent"], Signal::SIGSTOP);
        site.wait_shown(B, "Reconnecting: the notifier of a is down");
        site.wait_switched(B, &["C8: the notifier of a failed a ping", "was not reached again within 2s"]);
        site.wait_alert(
            "C10: no backup is in place: the agent of a is not connected. No switch can happen until there is one",
        );
        site.bed.signal(A, &["agent"], Signal::SIGCONT);
        site.wait_backup(A);
        site.wait_alert("C10: a has been started anew: it is a backup again");
        assert_eq!(site.trace("resynchronise", B), "", "it has become the primary");
        clients.let_flow(50);
        site.judge(Some(clients));
    });
}

/// Neither the address near the primary nor the notifier answers: it may be the backup that is cut off. Nothing moves, and operators
/// are told loudly, until the network is good again; then the primary is judged anew.
#[test]
fn c5_c6_a_backup_with_a_bad_network_takes_nothing_over() {
    in_a_world_of_its_own(|dir| {
        let site = Site::ready(dir, &policy(&[NETTEST, "reconnect_timeout = \"2s\""].concat()), LONG_LEASE);
        let clients = site.client();
        clients.let_flow(50);
        site.silence(Beside::NearA);
        site.bed.signal(A, &["agent"], Signal::SIGSTOP);
        site.wait_shown(B, "Reconnecting: its own network is bad, no switch");
        let alert = site.wait_critical_alert("C6: ");
        assert!(alert.contains("NetTestUnreachable") && alert.contains("No switch while it lasts"), "{alert}");
        // Twice as long as a lost notifier is waited for when the network is good.
        site.wait_more_looks(8);
        site.nothing_moved();
        assert_eq!(site.shown(B), "Reconnecting: its own network is bad, no switch");
        // C12: what cannot be copied counts as stopped.
        site.says(
            None,
            "order cic drill",
            1,
            &["C16", "the network of b is bad, so its replication counts as stopped"],
        );

        site.unsilence(Beside::NearA);
        site.wait_shown(B, "Reconnecting: the notifier of a is down");
        site.bed.signal(A, &["agent"], Signal::SIGCONT);
        site.wait_backup(B);
        until("the hook to be run", || site.trace("resynchronise", B).starts_with("C8: ").then_some(()));
        site.nothing_moved();
        site.judge(Some(clients));
    });
}

/// The gateway comes first where it is asked for. One that blocks pings is named as what may be wrong.
#[test]
fn c5_c6_a_gateway_that_answers_no_ping_keeps_the_backup_from_taking_over() {
    in_a_world_of_its_own(|dir| {
        let mut site = Site::new(dir, "fast = true\ngateway_ping = true", &[DETECT, LEASE].concat());
        site.route_by_gateway();
        site.start();
        site.silence(Beside::Gateway);
        site.make_ill(A, "hang");
        site.wait_shown(B, "Reconnecting: its own network is bad, no switch");
        let alert = site.wait_critical_alert("C6: ");
        for part in
            ["GatewayUnreachable", "PrimaryReached", "does a gateway block pings? Then set `gateway_ping = false`"]
        {
            assert!(alert.contains(part), "no {part:?} in {alert}");
        }
        site.nothing_moved();
        // With a good network the same fault is reason enough.
        site.unsilence(Beside::Gateway);
        site.wait_switched(B, &["C2, C7: ", "GatewayReached, PrimaryReached"]);
        site.make_well(A);
        site.wait_backup(A);
        site.judge(None);
    });
}

/// The primary's cable is pulled, and the address near it answers: it is the primary that is gone. Three more sets of pings, then the
/// switch; when it is plugged in again it is no primary.
#[test]
fn c9_a_primary_that_is_unreachable_is_left_after_three_more_sets_of_pings() {
    in_a_world_of_its_own(|dir| {
        let site = Site::ready(dir, &policy(NETTEST), LEASE);
        let clients = site.client();
        clients.let_flow(50);
        site.bed.unplug(A);
        site.wait_shown(B, "Reconnecting: a is unreachable");
        let alert = site.wait_critical_alert("C9: ");
        for part in ["NetTestReached, PrimaryUnreachable", "3 more sets of pings, one each 1s, then the switch"] {
            assert!(alert.contains(part), "no {part:?} in {alert}");
        }
        site.wait_switched(
            B,
            &["C9: ", "its address did not answer 3 more sets of pings (NetTestReached, PrimaryUnreachable"],
        );
        clients.let_flow(50);
        site.bed.plug(A);
        site.wait_backup(A);
        assert_eq!(site.bed.active(), Some(B));
        site.judge(Some(clients));
    });
}

/// One edge in front of two places: the line to A's place is cut, so that neither A nor the address near it answers. B stays what it is
/// (C6), A stands down by its own lease, and when the line is back A goes on: at no time do both sides work.
#[test]
fn c15_a_severed_line_makes_no_second_primary() {
    in_a_world_of_its_own(|dir| {
        let site = Site::ready(dir, &policy(&[NETTEST, "reconnect_timeout = \"2s\""].concat()), LEASE);
        let clients = site.client();
        clients.let_flow(50);
        site.silence(Beside::NearA);
        site.cut_off(A, || {
            site.wait_shown(B, "Reconnecting: its own network is bad, no switch");
            until("A to stand down", || site.server(A).is_none().then_some(()));
            site.wait_more_looks(8);
            assert!(site.server(B).is_none(), "nothing works now, and not two things");
            site.nothing_moved();
            site.unsilence(Beside::NearA);
        });
        // C14: it has lost its role, and nobody else has it.
        site.wait_backup(B);
        assert!(site.latest().record.reason.starts_with("C14: "), "{}", site.latest().record.reason);
        clients.let_flow(50);
        site.judge(Some(clients));
    });
}
