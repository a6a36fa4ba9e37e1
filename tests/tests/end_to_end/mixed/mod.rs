//! All that clients do, at once, through a planned switch and a `kill -9`: short requests, downloads, WebSockets, long polls, streams.

mod crowd;

use crate::bed::{Bed, until};
use crate::configuration::{self, PAIR, vip};
use crate::network::{VIP, address};
use crate::stream::Stream;
use crate::world::in_a_world_of_its_own;
use crowd::{Book, Crowd, End};
use lockstep_demo::play::processes::{of_node, signal_all};
use lockstep_policy::Side::{self, A, B};
use nix::sys::signal::Signal;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

/// WebSockets, by the word of their listener.
const SOCKETS_CLOSE: usize = 400;
const SOCKETS_RESET: usize = 50;
const SOCKETS_FINISH: usize = 50;
const SOCKETS: usize = SOCKETS_CLOSE + SOCKETS_RESET + SOCKETS_FINISH;
const POLLS: usize = 500;
/// A poll's time: longer than the drain, so that most of them are at the old side when that stands down.
const POLL: Duration = Duration::from_secs(6);
const LINES_EACH: usize = 50;
const DOWNLOADS: usize = 3;
/// Short requests in a second.
const RATE: &str = "200";
/// The VIP's ports for WebSockets, beside that of the pair.
const RESET: u16 = 81;
const FINISH: u16 = 82;
/// Where the nodes' servers for streams listen, and the VIP's ports for them.
const LINES: u16 = 2011;
const LINES_CLOSE: u16 = 2011;
const LINES_RESET: u16 = 2012;

#[test]
fn a_planned_switch_serves_everybody() {
    in_a_world_of_its_own(|dir| {
        let bed = bed(dir, |edge| edge);
        let client = Stream::start_to(dir, "client", vip(), &["--rate", RATE, "--post-every", "10"]);
        let crowd = crowd();
        all_are_at(&crowd, A);
        let before = crowd.book();

        let begun = Instant::now();
        bed.switch(B);
        let switched = begun.elapsed();
        all_are_at(&crowd, B);
        println!("the switch took {switched:?}, and all were back after {:?}", begun.elapsed());
        none_left(&bed, A);

        each_by_its_listeners_word(&crowd.book());
        goes_on(&crowd, &before);
        assert_eq!(crowd.book().failures, BTreeMap::new(), "no poll and no download has failed");
        client.finish(&bed).nothing_lost();
    });
}

#[test]
fn a_killed_application_costs_nobody_more_than_what_was_half_done() {
    in_a_world_of_its_own(|dir| {
        let bed = bed(dir, |edge| edge);
        // A request that is not idempotent must not be sent twice: those that were with the dead would be lost.
        let client = Stream::start_to(dir, "client", vip(), &["--rate", RATE]);
        let crowd = crowd();
        all_are_at(&crowd, A);
        let before = crowd.book();

        let begun = Instant::now();
        kill_application(dir, A);
        bed.wait_served(B);
        println!("side B serves after {:?}", begun.elapsed());
        all_are_at(&crowd, B);
        println!("and all are back after {:?}", begun.elapsed());
        none_left(&bed, A);

        let book = crowd.book();
        for port in [80, RESET, FINISH] {
            // The dead server's own end comes first, and no Close with it.
            let ends = book.ends_at(port, A);
            let odd = ends.keys().find(|end| matches!(end, End::Odd(_)));
            assert_eq!(odd, None, "{ends:?}");
        }
        // The servers of streams live: it is the cut that ends what was on them, by their listener's word.
        only(&book, LINES_CLOSE, End::Fin, LINES_EACH);
        only(&book, LINES_RESET, End::Reset, LINES_EACH);
        goes_on(&crowd, &before);
        let failures = crowd.book().failures;
        let polls = failures.keys().find(|failure| failure.starts_with("a long poll"));
        assert_eq!(polls, None, "a poll that nobody had answered is another side's to answer");
        assert!(failures.values().sum::<usize>() <= DOWNLOADS, "only what was half done: {failures:?}");
        client.finish(&bed).nothing_lost();
    });
}

/// What lasts stays with the process before, which tells it of the switch that another process makes.
#[test]
fn an_upgrade_disturbs_nobody_and_a_switch_after_it_reaches_everybody() {
    in_a_world_of_its_own(|dir| {
        let mut bed = bed(dir, |edge| configuration::calm(&edge));
        let client = Stream::start_to(dir, "client", vip(), &["--rate", RATE, "--post-every", "10"]);
        let crowd = crowd();
        all_are_at(&crowd, A);
        let (code, said) = bed.type_as("eva", &["upgrade"]);
        assert_eq!(code, 0, "{said}");
        // Once where they were, and once at the process that goes on.
        all_are_at(&crowd, A);
        all_are_at(&crowd, A);
        let before = crowd.book();
        assert_eq!(before.ends, BTreeMap::new(), "nothing that lasts has ended");
        assert!(!bed.edge_has_ended(), "the process before has it");

        bed.switch(B);
        all_are_at(&crowd, B);
        none_left(&bed, A);
        until("the process before to end", || bed.edge_has_ended().then_some(()));
        each_by_its_listeners_word(&crowd.book());
        goes_on(&crowd, &before);
        assert_eq!(crowd.book().failures, BTreeMap::new(), "no poll and no download has failed");
        client.finish(&bed).nothing_lost();
    });
}

/// A pair that serves, with servers for streams beside its own, and listeners of several words; configured otherwise as `change` says.
fn bed(dir: &Path, change: impl Fn(String) -> String) -> Bed {
    let policy = "first_server_auto_restart_as_active = false";
    let mut bed = Bed::with_policy(dir, policy);
    let listener = |port: u16, more: &str| format!("[[pair.listener]]\nlisten = [\"{VIP}:{port}\"]\n{more}\n");
    let listeners = [
        listener(RESET, "on_switch = \"reset\""),
        listener(FINISH, "on_switch = \"finish\"\nfinish_within = \"1h\""),
        listener(LINES_CLOSE, "protocol = \"tcp\"\npool = \"lines\"\non_switch = \"close\""),
        listener(LINES_RESET, "protocol = \"tcp\"\npool = \"lines\"\non_switch = \"reset\""),
    ];
    // All that was closed, reset and cut comes back within the hold, and finds room. Downloads have time to end, and polls have not.
    let hold = "[pair.hold]\nmax_requests = 5000\n[pair.handover]\ndrain = \"3s\"\n";
    let edge = change(configuration::edge(dir, policy));
    let edge = edge.replace("[pair.policy]", &format!("{}{hold}[pair.policy]", listeners.concat()));
    let pools = [A, B].map(|side| format!("[pair.{side}.pools]\nlines = [\"{}:{LINES}\"]\n", address(side))).concat();
    bed.configure_edge(&format!("{edge}\n{pools}"));
    for side in Side::BOTH {
        let (node, log, lock) =
            (address(side), dir.join(format!("lines-{side}.jsonl")), dir.join(format!("cti-{side}.lock")));
        let lines = format!(
            "\n[[service]]\nname = \"lines\"\ndriver = \"exec\"\ncommand = [{:?}, \"simulate\", \"app\", \"--side\", \
             \"{side}\", \"--listen\", \"{node}:{LINES}\", \"--lock\", {lock:?}, \"--log\", {log:?}]\n",
            lockstep_tests::lockstep(),
        );
        bed.configure_agent(side, &(configuration::agent(dir, side, PAIR) + &lines));
    }
    bed.start();
    bed
}

fn crowd() -> Crowd {
    let crowd = Crowd::new();
    crowd.sockets(SOCKETS_CLOSE, 80);
    crowd.sockets(SOCKETS_RESET, RESET);
    crowd.sockets(SOCKETS_FINISH, FINISH);
    crowd.lines(LINES_EACH, LINES_CLOSE);
    crowd.lines(LINES_EACH, LINES_RESET);
    crowd.polls(POLLS, POLL);
    crowd.downloads(DOWNLOADS);
    crowd
}

/// Waits until all that lasts is at one side, and polls and downloads are served by it.
fn all_are_at(crowd: &Crowd, side: Side) {
    let served = |book: &Book| (book.polls[side], book.downloads[side]);
    let before = served(&crowd.book());
    until(&format!("everybody to be at side {side}"), || {
        let book = crowd.book();
        let lasting = (book.sockets[side], book.lines[side]) == (SOCKETS, 2 * LINES_EACH);
        let (polls, downloads) = served(&book);
        (lasting && polls >= before.0 + POLLS && downloads > before.1).then_some(())
    });
}

/// Nothing of the data plane is connected to a side any more: by what the edge says, and by the kernel's own list.
fn none_left(bed: &Bed, side: Side) {
    until(&format!("no connection to be left at side {side}"), || {
        let connections = bed.pair()?.seen.sides[side].connections;
        (connections == 0 && lines_at(side) == 0).then_some(())
    });
}

/// Connections to a side's server for streams.
fn lines_at(side: Side) -> usize {
    let std::net::IpAddr::V4(node) = address(side) else { panic!("the bed is of IPv4") };
    let remote = format!("{:08X}:{LINES:04X}", u32::from_le_bytes(node.octets()));
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let lines = table.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    // 02 is a probe's, which knocks at a node that is out of reach; 06 is nothing but the memory of one that has ended.
    let is_open = |state: &&str| !["02", "06"].contains(state);
    lines.filter(|fields| fields.get(2) == Some(&remote.as_str()) && fields.get(3).is_some_and(is_open)).count()
}

/// All that lasted at side A has ended at a planned switch.
fn each_by_its_listeners_word(book: &Book) {
    // What finishes is cut with what else is left when the old side has stood down: `leftover` is "cut".
    only(book, 80, End::Told(1012), SOCKETS_CLOSE);
    only(book, RESET, End::Reset, SOCKETS_RESET);
    only(book, FINISH, End::Told(1012), SOCKETS_FINISH);
    only(book, LINES_CLOSE, End::Fin, LINES_EACH);
    only(book, LINES_RESET, End::Reset, LINES_EACH);
}

/// All that lasted at a port and at side A has ended, in this one way.
fn only(book: &Book, port: u16, end: End, count: usize) {
    assert_eq!(book.ends_at(port, A), BTreeMap::from([(end, count)]), "at port {port}");
}

/// Polls and downloads are served by the new side.
fn goes_on(crowd: &Crowd, before: &Book) {
    let book = crowd.book();
    assert!(book.polls.b >= before.polls.b + POLLS && book.downloads.b > before.downloads.b, "{book:?}");
}

/// `kill -9` of the application that requests go to, and not of the one that streams go to.
fn kill_application(dir: &Path, side: Side) {
    let listens = format!("{}:80", address(side));
    let mut found = of_node(dir, side).unwrap();
    found.retain(|process| process.runs(&["simulate", "app"]) && process.command.contains(&listens));
    assert_eq!(found.len(), 1, "{found:?}");
    signal_all(&found, Signal::SIGKILL);
}
