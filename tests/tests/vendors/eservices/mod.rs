//! Two eServices sites of which one is active: pools (E1), a passive site (E4), the runbook (E5) with a store that is away (E6), and a
//! rule that is armed (E3).

mod shared;
mod site;

use lockstep_demo::tally::Exchange;
use lockstep_demo::{app, now};
use lockstep_policy::Side::{self, A, B};
use lockstep_tests::bed::{Bed, until};
use lockstep_tests::http;
use lockstep_tests::network::address;
use lockstep_tests::processes::{Life, lockstep};
use lockstep_tests::stream::{Seen, Stream, figure, judge_logs};
use lockstep_tests::world::in_a_world_of_its_own;
use site::{PAIR, alerts, kill_server, open_gate, shown, sites, vip, wait_served, wait_shown, wait_told, waits};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

const DONE: i32 = 0;
const REFUSED: i32 = 1;
const NOT_CONFIRMED: i32 = 4;

fn client(dir: &Path, pool: &str) -> Stream {
    Stream::start_to(dir, pool, vip(pool), &["--rate", "100", "--timeout", "30s"])
}

/// What must hold of all that clients saw: whoever served was active, at the application's own word.
fn judge(bed: &Bed, seen: &Seen) {
    let misplaced: Vec<&Exchange> = seen.exchanges().iter().filter(|exchange| exchange.by_standby()).collect();
    assert!(misplaced.is_empty(), "I2: served by a site whose core was not active: {misplaced:#?}");
    judge_logs(bed, |_| false);
    let whole = seen.summary();
    println!("client: {} of {} failed {:?}", whole.failed, whole.requests, whole.failures);
}

#[track_caller]
fn types(bed: &Bed, name: &str, words: &[&str], code: i32, part: &str) -> String {
    let (ended, text) = bed.type_as(name, words);
    assert!(ended == code && text.contains(part), "{words:?}: code {code} and {part:?} expected, {ended}: {text}");
    text
}

/// E1: a server that has died is left out at once, and comes back. E4: that the passive site does not listen is told to nobody; that it
/// does is.
#[test]
fn a_killed_proxy_is_left_out_and_the_passive_site_is_quiet() {
    in_a_world_of_its_own(|dir| {
        let bed = sites(dir, "1s");
        let (interaction, ucs) = (client(dir, "interaction"), client(dir, "ucs"));
        by_both("interaction");
        by_both("ucs");
        // The one that has the client's connection.
        let killed = interaction.exchanges().last().map(|one| server(one).to_owned()).expect("it has been answered");

        let fault = now();
        kill_server(&bed, A, &killed);
        wait_shown(&bed, A, "Active: interaction 1 of 2, ucs 2 of 2");
        let left_out = now();
        wait_told(&bed, "E1: pool `interaction` of Site_A (a) has one server left, and none to spare");
        interaction.let_flow(30);
        let until_then = now();
        wait_shown(&bed, A, "Active: interaction 2 of 2, ucs 2 of 2");
        wait_told(&bed, "E1: pool `interaction` of Site_A (a) has servers to spare again");
        by_both("interaction");
        ucs.let_flow(20);
        assert_eq!(bed.pair().unwrap().epoch.0, 1, "no site has moved");

        assert_eq!(shown(&bed, B), "Passive");
        let e4 = || alerts(&bed).into_iter().filter(|alert| alert.contains("E4")).count();
        assert_eq!(e4(), 0, "a refused connection at a passive site is no news");
        let mut command = bed.network().command_on(B, lockstep().get_program());
        command.args(["simulate", "app", "--side", "b", "--listen", &format!("{}:7011", address(B))]);
        command.arg("--lock").arg(dir.join("stray.lock")).arg("--log").arg(dir.join("stray.misplaced"));
        let stray = Life::begin(command, &dir.join("stray.log"), None);
        wait_shown(&bed, B, "Passive, but servers listen: 1");
        wait_told(&bed, "E4: Site_B (b) is passive");
        stray.kill();
        until("the passive site to be quiet again", || (shown(&bed, B) == "Passive").then_some(()));

        let (interaction, ucs) = (interaction.end(), ucs.end());
        for seen in [&interaction, &ucs] {
            seen.nothing_lost();
            judge(&bed, seen);
        }
        let meanwhile = |exchange: &&Exchange| (left_out..until_then).contains(&exchange.sent);
        let to_it = interaction.exchanges().iter().filter(meanwhile).filter(|one| server(one) == killed);
        assert_eq!(to_it.count(), 0, "who is left out gets nothing");
        let took = Duration::from_nanos(left_out - fault);
        // Two refused connections, one each 100 ms, and the look of who tells the story.
        figure("kill -9 of a proxy, left out", took, Duration::from_millis(300));
    });
}

fn server(exchange: &Exchange) -> &str {
    exchange.server.as_deref().unwrap_or_default()
}

/// Waits until both servers of a pool have answered from now on: each connection goes to either.
fn by_both(pool: &str) {
    let mut answered = BTreeSet::new();
    until(&format!("both servers of {pool} to answer"), || {
        let answer = http::get(vip(pool), "/work", &[])?;
        assert_eq!(answer.status, 200, "{answer:?}");
        answered.insert(answer.fields[app::SERVER_HEADER].clone());
        (answered.len() == 2).then_some(())
    });
}

/// E5: the site moves step by step, each confirmed by whom it concerns. E6: the site option waits for its store.
#[test]
fn the_runbook_moves_the_site_step_by_step() {
    in_a_world_of_its_own(|dir| {
        let bed = sites(dir, "500ms");
        std::fs::write(dir.join(site::SITE_OPTION), "Site_A\n").unwrap();
        std::fs::write(dir.join(site::STORE_AWAY), "").unwrap();
        let option = || std::fs::read_to_string(dir.join(site::SITE_OPTION)).unwrap().trim().to_owned();
        let client = client(dir, "interaction");
        client.let_flow(20);
        let runbook = |name: &str, words: &[&str], code: i32, part: &str| {
            let words = [&["order", PAIR, "runbook"], words].concat();
            types(&bed, name, &words, code, part)
        };

        runbook("eva", &["start", "--side", "b"], NOT_CONFIRMED, "Site_A (a) works");
        assert_eq!(bed.active(), Some(A), "nothing has changed");
        runbook("eva", &["start", "--side", "b", "--yes"], DONE, "E5: the runbook to Site_B (b) has started");
        wait_shown(&bed, B, "runbook to b: step 3 of 7, database");
        wait_told(&bed, "E5: step database waits for a person");
        types(&bed, "ute", &["status"], DONE, "runbook to b: step 3 of 7, database");
        assert_eq!(bed.cti(A), None, "what ran at the old site is stopped");
        assert_eq!(std::fs::read_to_string(dir.join(site::SUSPENDED)).unwrap(), "b\n", "the hook ran once, at b");

        runbook("eva", &["stop"], DONE, "stopped at step 3 of 7, database");
        wait_shown(&bed, B, "runbook to b: stopped at step 3 of 7, database");
        runbook("olaf", &["confirm core"], REFUSED, "`core` is not the present step");
        types(&bed, "eva", &["switch", PAIR, "--to", "b"], REFUSED, "runbook to b");
        runbook("eva", &["resume"], DONE, "step 3 of 7, database");
        runbook("olaf", &["confirm database"], DONE, "E5: database is confirmed by olaf");

        wait_told(&bed, "E6: the site option cannot be written");
        wait_served(&bed, B);
        assert_eq!(bed.active(), Some(B));
        assert_eq!(option(), "Site_A", "the store is away");
        std::fs::remove_file(dir.join(site::STORE_AWAY)).unwrap();
        wait_told(&bed, "The runbook to b is done");
        assert_eq!(option(), "Site_B", "it was tried until it worked");
        client.let_flow(20);

        let story = runbook("ute", &["show"], DONE, "runbook to b: done");
        in_this_order(
            &story,
            &[
                "started by eva",
                "stop: ",
                "suspend: the hook on the node of b is done",
                "stopped by eva",
                "resumed by eva",
                "database: confirmed by olaf",
                "core: b is active by handover",
                "proxies: a server of each pool of b answers",
                "site-option: the store cannot be written",
                "site-option: the hook on the node of b is done",
                "clients: ",
            ],
        );
        said_in_the_journal(&bed);
        types(&bed, "ute", &["status"], DONE, "E5: step database is done: confirmed by olaf");
        let seen = client.end();
        judge(&bed, &seen);
        let last = seen.exchanges().iter().rev().take(10).all(|one| one.is_good() && one.side == Some(B));
        assert!(last, "the other site serves");
    });
}

fn in_this_order(text: &str, parts: &[&str]) {
    let mut rest = text;
    for part in parts {
        let found = rest.find(part);
        rest = &rest[found.unwrap_or_else(|| panic!("no {part:?} where it should be in: {text}")) + part.len()..];
    }
}

/// Who did what stands in the journal, and who opened the gate on the node too.
fn said_in_the_journal(bed: &Bed) {
    let journal: Vec<String> = bed.journal().into_iter().map(|entry| entry.what.to_string()).collect();
    for (who, what) in [("eva", "start"), ("eva", "stop"), ("eva", "resume"), ("olaf", "confirm database")] {
        let said = journal.iter().any(|entry| entry.contains("runbook") && entry.contains(who) && entry.contains(what));
        assert!(said, "the journal does not say that {who} ordered {what}");
    }
    let opened = |entry: &&String| entry.contains("confirm_gate") && entry.contains("olaf");
    assert_eq!(journal.iter().filter(opened).count(), 1, "who opened the gate at b");
    assert!(bed.log("agent-b").contains("olaf"), "the node's log has the name too");
}

/// E3: no failure moves a site, but a rule that somebody has armed does, once.
#[test]
fn an_armed_rule_moves_the_site() {
    in_a_world_of_its_own(|dir| {
        let bed = sites(dir, "10m");
        let client = client(dir, "interaction");
        client.let_flow(20);
        types(&bed, "eva", &["order", PAIR, "arm", "ucs 1s"], DONE, "E3: armed: when all servers of pool `ucs`");
        wait_shown(&bed, A, "armed: ucs 1s");

        // A pool that nobody has armed a rule for.
        ["interaction-1", "interaction-2"].into_iter().for_each(|name| kill_server(&bed, A, name));
        wait_told(&bed, "E1: no server of pool `interaction` of Site_A (a) is left");
        let events = bed.pair().unwrap().policy.events;
        until("probes to fail for much longer than a second", || {
            (bed.pair()?.policy.events > events + 100).then_some(())
        });
        let pair = bed.pair().unwrap();
        assert!(pair.epoch.0 == 1 && pair.active.is_some(), "no failure moves a site");

        let fault = now();
        ["ucs-1", "ucs-2"].into_iter().for_each(|name| kill_server(&bed, A, name));
        wait_told(&bed, "as the rule says that eva armed");
        let fired = Duration::from_nanos(now() - fault);
        assert!(fired >= Duration::from_secs(1), "not before its time: {fired:?}");
        // The new site's database is for a person all the same.
        open_gate(&bed, B);
        wait_served(&bed, B);
        bed.print_handover();
        assert!(!waits(&bed.pair().unwrap(), B));
        types(&bed, "eva", &["order", PAIR, "arm"], DONE, "E3: nothing is armed");
        client.let_flow(20);
        let seen = client.end();
        judge(&bed, &seen);
        let of = |side: Side| seen.exchanges().iter().filter(move |one| one.is_good() && one.side == Some(side));
        assert!(of(A).count() > 0 && of(B).count() > 0);
        figure("an armed rule of 1 s, fired", fired, Duration::from_millis(1_300));
    });
}
