//! Cisco Finesse: sessions of desktops move between publisher and subscriber as the rules of the policy say.

mod by_hand;
mod certificates;
mod prosody;
mod site;

use by_hand::Listener;
use lockstep_demo::finesse::Kind;
use lockstep_demo::now;
use lockstep_policy::Side::{self, A, B};
use lockstep_policy::Sides;
use lockstep_tests::processes::until;
use lockstep_tests::stream::figure;
use lockstep_tests::world::in_a_world_of_its_own;
use site::{DESKTOPS, Desktop, PAIR, POLL, RHYTHM, Site, WARNING, WINDOW};
use std::time::Duration;

/// Other work may share the machine's processors.
const MACHINE: Duration = Duration::from_millis(500);

/// F8: the turns of these desktops are spread evenly over the window, in the order in which they came. Returns the first and the last.
fn at_a_pace(site: &Site, desktops: &[Desktop], to: Side, from: u64) -> (u64, u64) {
    let turns = desktops.iter().map(|desktop| site.turn(desktop, to, from).expect("he has moved"));
    let turns: Vec<u64> = turns.collect();
    let (first, last) = (turns[0], turns[turns.len() - 1]);
    let count = u32::try_from(desktops.len()).unwrap();
    for (number, turn) in (0..).zip(&turns) {
        let (due, found) = (WINDOW * number / count, Duration::from_nanos(turn.saturating_sub(first)));
        let margin = RHYTHM + MACHINE;
        let in_time = due.saturating_sub(margin) <= found && found <= due + margin;
        assert!(in_time, "F8: turn {number} after {found:?}, due after {due:?}: {turns:?}");
    }
    (first, last)
}

#[test]
fn f1_f2_f3_f8_a_publisher_that_goes_out_of_service_is_looked_at_again_and_its_sessions_leave_at_a_pace() {
    in_a_world_of_its_own(|dir| {
        let site = Site::well(dir);
        let desktops = site.desktops(1..=DESKTOPS);
        site.wait_on(A, u32::from(DESKTOPS));
        let fault = now();
        site.say(A, "unavailable");
        let sessions = site.wait_on(B, u32::from(DESKTOPS));
        let moved = now();
        desktops.iter().for_each(|desktop| desktop.stream.let_flow(10));

        for part in [
            "F2: a is out of service: its SystemInfo says 503 Service Unavailable (Service Unavailable)",
            "also by the second look (F3); b is eligible (F4); 8 sessions move over 2s",
        ] {
            assert!(sessions.reason.contains(part), "no `{part}` in `{}`", sessions.reason);
        }
        assert_eq!((sessions.moved, sessions.failed), (u32::from(DESKTOPS), 0));
        let (first, last) = at_a_pace(&site, &desktops, B, fault);
        a_second_look_came_before(&site, fault, first);
        site.nobody_came_back(&desktops, A);
        desktops.iter().for_each(|desktop| desktop.is_served_by(B, moved));
        // From the fault: a poll, the second look, and the window.
        figure(
            "Finesse: publisher out of service, last session moved",
            Duration::from_nanos(last - fault),
            POLL + WINDOW,
        );
    });
}

/// F3: both sides are asked once more, at once, before the first session leaves.
fn a_second_look_came_before(site: &Site, fault: u64, first: u64) {
    let polls = |side: Side| {
        let asked = site.asked(side).into_iter();
        asked.filter(|seen| seen.kind == Kind::Poll && (fault..first).contains(&seen.at)).collect::<Vec<_>>()
    };
    let out: Vec<_> = polls(A).into_iter().filter(|poll| !poll.in_service).map(|poll| poll.at).collect();
    let [noticed, again, ..] = out[..] else { panic!("F3: no second look: {out:?}") };
    assert!(Duration::from_nanos(again - noticed) < POLL / 2, "F3: the second look came late: {out:?}");
    let other = polls(B).iter().any(|poll| poll.at > noticed && poll.in_service);
    assert!(other, "F4: b was not asked before its first session came");
}

/// F3: it has recovered by the second look.
#[test]
fn f3_a_publisher_that_falters_keeps_its_sessions() {
    in_a_world_of_its_own(|dir| {
        let site = Site::well(dir);
        let desktops = site.desktops(1..=DESKTOPS);
        let before = site.wait_on(A, u32::from(DESKTOPS));
        site.say(A, "falter");
        site.wait_told("F3: a was out of service, and has recovered by the second look: nothing moves");
        desktops.iter().for_each(|desktop| desktop.stream.let_flow(10));
        assert_eq!(site.sessions(), before);
        desktops.iter().for_each(|desktop| desktop.is_served_by(A, 0));
    });
}

#[test]
fn f2_f5_sessions_leave_a_publisher_without_its_notification_service_and_come_back_when_an_operator_says_so() {
    in_a_world_of_its_own(|dir| {
        let mut site = Site::well(dir);
        let desktops = site.desktops(1..=DESKTOPS);
        site.wait_on(A, u32::from(DESKTOPS));
        let fault = now();
        site.kill_notification(A);
        let sessions = site.wait_on(B, u32::from(DESKTOPS));
        // Three, and that of the second look.
        let part = "its Notification Service is disconnected, 4 attempts in a row, the last refused the connection";
        assert!(sessions.reason.contains(part), "{}", sessions.reason);
        at_a_pace(&site, &desktops, B, fault);

        site.start_notification(A);
        prosody::wait(A);
        site.wait_shown(A, "In service");
        let back = now();
        // The policy has seen it recover by two polls, and more.
        let polls = || site.asked(A).iter().filter(|seen| seen.kind == Kind::Poll && seen.at > back).count();
        until("two more polls", || (polls() > 2).then_some(()));
        assert_eq!(site.sessions().on, Sides { a: 0, b: u32::from(DESKTOPS) }, "F5: no way back by itself");
        desktops.iter().for_each(|desktop| desktop.is_served_by(B, back));

        let ordered = now();
        let text = site.types(&["switch", PAIR, "--to", "a"]);
        assert!(text.contains("the 8 sessions of side b are moved within 2s"), "{text}");
        let sessions = site.wait_on(A, u32::from(DESKTOPS));
        assert!(sessions.reason.contains("F5: anna asks for it; a is eligible (F4)"), "{}", sessions.reason);
        let (first, _) = at_a_pace(&site, &desktops, A, ordered);
        assert!(Duration::from_nanos(first - ordered) >= WARNING, "F8: each is warned before");
        desktops.iter().for_each(|desktop| desktop.stream.let_flow(2));
        site.nobody_came_back_since(&desktops, B, ordered);
        // The publisher served all the time, and the move disturbs nobody.
        desktops.iter().for_each(Desktop::nothing_lost);
    });
}

/// F2's third trigger, by a log-in with the edge's own secret.
#[test]
fn f2_sessions_leave_a_publisher_whose_user_is_not_present_any_more() {
    in_a_world_of_its_own(|dir| {
        let site = Site::well(dir);
        let desktops = site.desktops(1..=DESKTOPS);
        site.wait_on(A, u32::from(DESKTOPS));
        site.say(A, "absent");
        let sessions = site.wait_on(B, u32::from(DESKTOPS));
        assert!(sessions.reason.contains("the presence of its user `finesse` is unavailable"), "{}", sessions.reason);
        desktops.iter().for_each(|desktop| desktop.stream.let_flow(2));
        site.nobody_came_back(&desktops, A);
        site.say(A, "in-service");
        site.wait_shown(A, "In service");
        desktops.iter().for_each(Desktop::nothing_lost);
    });
}

#[test]
fn f6_when_both_are_out_new_ones_are_told_at_once_and_what_is_open_stays_open() {
    in_a_world_of_its_own(|dir| {
        let site = Site::well(dir);
        let desktops = site.desktops(1..=4);
        let listener = Listener::begin(5);
        until("events", || (listener.since(0) > 3).then_some(()));
        site.wait_on(A, 5);
        site.say(A, "out-of-service");
        site.say(B, "out-of-service");
        site.wait("nobody to be let in", |sessions| sessions.parts == Sides { a: 0, b: 0 });
        let refusing = now();
        site.wait_told("F6: neither side is eligible: a: its SystemInfo says OUT_OF_SERVICE (Finesse is restarting)");
        for number in 40..45 {
            let reply = by_hand::ask(number);
            assert_eq!(reply.status(), 503, "{reply:?}");
            assert!(reply.text.to_lowercase().contains("\r\nretry-after: "), "{reply:?}");
            assert!(reply.took < MACHINE, "F6: at once, not after a hold: {reply:?}");
        }
        // Those who are in still reach their server, which answers for itself.
        let his =
            until("answers to who is in", || Some(desktops[0].seen_since(refusing)).filter(|seen| seen.len() > 2));
        assert!(his.iter().all(|exchange| exchange.status == Some(503) && exchange.side == Some(A)), "{his:#?}");
        // The vendor's server sends no events now; nobody cuts the connection.
        assert_eq!(listener.since(refusing), 0);

        site.say(B, "in-service");
        site.say(A, "in-service");
        let back = site.wait("somebody to be let in", |sessions| sessions.parts != Sides { a: 0, b: 0 });
        println!("{}", back.reason);
        let well = now();
        until("events on the same connection", || (listener.since(well) > 3).then_some(()));
        assert_eq!(by_hand::ask(40).status(), 200);
        desktops.iter().for_each(|desktop| desktop.stream.let_flow(5));
    });
}

/// F7: both sides need the same CTI server, and one of them is slower to find the other.
#[test]
fn f7_when_the_active_cti_server_dies_sessions_stay_until_its_standby_answers() {
    in_a_world_of_its_own(|dir| {
        let mut site = Site::well(dir);
        let desktops = site.desktops(1..=4);
        site.wait_on(A, 4);
        site.wait_shown(A, "CTI servers: 1 active, 1 standby");
        site.wait_shown(B, "CTI servers: 1 active, 1 standby");
        assert!(!site.was_told("F7"), "a standby is no fault");
        site.kill_cti(0);
        site.wait_told("F6: neither side is eligible: a: its SystemInfo says OUT_OF_SERVICE (CTI server is down)");
        site.wait_told("F7: no CTI server of a answers as active");
        site.wait_told("F7: no CTI server of b answers as active");
        assert_eq!(site.sessions().on, Sides { a: 4, b: 0 });

        site.say(B, "out-of-service");
        site.cti_is(1, "active");
        let sessions = site.wait("a to be taken up", |sessions| sessions.parts.a > 0);
        assert_eq!(sessions.reason, "F6: a is eligible again: its sessions stay");
        site.say(B, "in-service");
        site.wait_shown(B, "In service");
        site.wait_shown(A, "CTI servers: 1 active, 1 lost");
        let well = now();
        desktops.iter().for_each(|desktop| desktop.stream.let_flow(10));
        desktops.iter().for_each(|desktop| desktop.is_served_by(A, well));
        let moved = desktops.iter().find(|desktop| site.turn(desktop, B, 0).is_some());
        assert!(moved.is_none(), "F4: nobody moves to a side that has lost its CTI server too");
    });
}

#[test]
fn f9_an_operator_empties_the_publisher_takes_it_down_and_has_it_back() {
    in_a_world_of_its_own(|dir| {
        let mut site = Site::well(dir);
        let mut desktops = site.desktops(1..=DESKTOPS);
        site.wait_on(A, u32::from(DESKTOPS));
        let ordered = now();
        let text = site.types(&["order", PAIR, "maintenance", "start", "--side", "a"]);
        assert!(text.contains("F9: a is in maintenance: 8 sessions move over 2s, each warned 1s before"), "{text}");
        // The policy hears of progress a few times a second: not of each turn.
        let counts =
            (1..=4).map(|moved| format!("maintenance; move to b: {moved} moved, {} left, 0 failed", 8 - moved));
        let counts: Vec<String> = counts.collect();
        let shown = || Some(site.pair().sides.a.shown).filter(|shown| counts.iter().any(|count| shown.contains(count)));
        println!("{}", until("progress beside a", shown));
        let status = site.types(&["status"]);
        assert!(status.contains("moved from a"), "{status}");
        site.wait_shown(A, "maintenance: may be taken down");
        site.wait_told("F9: the sessions of a are on b, and a may be taken down: 8 moved");
        let (first, _) = at_a_pace(&site, &desktops, B, ordered);
        assert!(Duration::from_nanos(first - ordered) >= WARNING, "F9: each is warned before");
        desktops.iter().for_each(|desktop| desktop.stream.let_flow(2));
        site.nobody_came_back(&desktops, A);

        site.kill_server(A);
        site.kill_notification(A);
        desktops.extend(site.desktops(9..=9));
        site.wait_shown(A, "Out of service");
        site.start_notification(A);
        prosody::wait(A);
        site.start_server(A);
        site.wait_told("F9: a was down and is eligible again: its maintenance has ended");
        site.wait_on(B, u32::from(DESKTOPS) + 1);
        desktops.iter().for_each(Desktop::nothing_lost);
    });
}

#[test]
fn f10_new_sessions_alternate_and_an_outage_moves_half_of_them() {
    in_a_world_of_its_own(|dir| {
        let site = Site::with(dir, "distribute = \"even\"");
        site.wait("both sides to take sessions", |sessions| sessions.parts == Sides { a: 1, b: 1 });
        let desktops = site.desktops(1..=DESKTOPS);
        site.settle(Sides { a: 4, b: 4 });
        let sides: String =
            desktops.iter().map(|desktop| if site.turn(desktop, A, 0).is_some() { 'a' } else { 'b' }).collect();
        assert!(sides == "abababab" || sides == "babababa", "F10: {sides}");
        let (of_a, of_b): (Vec<_>, Vec<_>) =
            desktops.into_iter().partition(|desktop| site.turn(desktop, A, 0).is_some());
        site.say(A, "unavailable");
        let sessions = site.wait_on(B, u32::from(DESKTOPS));
        assert!(sessions.reason.contains("4 sessions move over 1s"), "{}", sessions.reason);
        of_a.iter().for_each(|desktop| desktop.stream.let_flow(2));
        site.nobody_came_back(&of_a, A);
        of_b.iter().for_each(|desktop| desktop.is_served_by(B, 0));

        site.say(A, "in-service");
        let sessions = site.wait("a to be taken up", |sessions| sessions.parts.a > 0);
        assert_eq!(sessions.reason, "F10: a is eligible: new sessions go to it in turn, and none moves");
        let well = now();
        let new = site.desktops(11..=12);
        site.wait("new sessions in turn", |sessions| sessions.on == Sides { a: 1, b: u32::from(DESKTOPS) + 1 });
        of_a.iter().chain(&of_b).for_each(|desktop| desktop.is_served_by(B, well));
        new.iter().for_each(Desktop::nothing_lost);
    });
}
