//! A telisca pair behind somebody else's balancer (T7, T11), and with a LAN that is not the edge's way to the nodes (T4).

use crate::balancer::{self, Balancer, FALL, INTERVAL, backend_that_asks};
use lockstep_demo::{activity, app, now};
use lockstep_edge::admin::api::PairStatus;
use lockstep_policy::Side::{self, A, B};
use lockstep_policy::Sides;
use lockstep_policy::event::Lan;
use lockstep_tests::bed::{Bed, until};
use lockstep_tests::configuration::{self, CTI_START, PAIR};
use lockstep_tests::http;
use lockstep_tests::network::{self, address, second_address};
use lockstep_tests::stream::{Seen, Stream, figure, judge_logs};
use lockstep_tests::world::in_a_world_of_its_own;
use nix::sys::signal::Signal;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

const APP: [&str; 2] = ["simulate", "app"];
/// Where the edge answers balancers.
const ANSWER: SocketAddr = SocketAddr::new(network::VIP, 8080);
/// A CTI that starts slowly enough for a balancer of 2 × 100 ms to have left the old side by then, on any machine.
const SLOW_START: &str = "800ms";
/// Each story ends where it has left the pair.
const SWITCH_OFF: &str = "first_server_auto_restart_as_active = false\n";

/// A bed whose edge answers balancers, and does not wait for requests through its own VIP.
fn bed_with_answers(dir: &Path, policy: &str) -> Bed {
    let bed = Bed::with_policy(dir, policy);
    let text = configuration::edge(dir, policy)
        .replace("[pair.policy]", &format!("answer = [\"{ANSWER}\"]\n[pair.policy]"))
        .replace("[pair.lease]", "[pair.handover]\nsettle = \"100ms\"\n[pair.detect]\nfailures = 3\n[pair.lease]");
    bed.configure_edge(&text);
    for side in Side::BOTH {
        let text = configuration::agent(dir, side, PAIR).replace("\"300ms\"", &format!("{SLOW_START:?}"));
        bed.configure_agent(side, &text);
    }
    bed
}

/// Somebody who asks the edge all the time, as a balancer does: what it said of side A, of B, and of A again.
struct Asker {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Said>>,
}

#[derive(Clone, Copy, Debug)]
struct Said {
    at: u64,
    active: Sides<bool>,
    a_again: bool,
}

impl Asker {
    fn start() -> Asker {
        let over = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            let mut said = Vec::new();
            while !ended.load(Ordering::Relaxed) {
                let at = now();
                let (a, b, a_again) = (monitor("mod=FT&side=a"), monitor("mod=FT&side=b"), monitor("mod=FT&side=a"));
                let is_active = |text: String| text == "ACTIVE";
                said.push(Said { at, active: Sides { a: is_active(a), b: is_active(b) }, a_again: is_active(a_again) });
                std::thread::sleep(Duration::from_millis(3));
            }
            said
        });
        Asker { over, thread }
    }

    fn end(self) -> Vec<Said> {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn monitor(query: &str) -> String {
    let answer = http::get(ANSWER, &format!("{}?{query}", app::MONITOR), &[]).expect("the edge answers");
    assert_eq!(answer.status, 200, "{query}");
    answer.body
}

/// One move of the active role, as everybody saw it.
struct Move {
    from: Side,
    begun: u64,
    ended: u64,
}

/// T11: the balancer sends requests to the nodes themselves, and knows from the edge to which.
#[test]
fn a_foreign_balancer_follows_the_edge() {
    in_a_world_of_its_own(|dir| {
        let names = Sides::from_fn(balancer::name);
        let policy = format!("{SWITCH_OFF}name_a = {:?}\nname_b = {:?}", names.a, names.b);
        let mut bed = bed_with_answers(dir, &policy);
        bed.start();
        assert_eq!(monitor("mod=NONE"), "OK");
        assert_eq!(monitor("mod=IPSWS"), "IPSWS=OK");
        assert_eq!(monitor("mod=FT"), "ACTIVE", "the pair has an active side");

        let page = app::MONITOR;
        let by_query = backend_that_asks(
            "phones",
            &Sides::from_fn(|side| side.to_string()),
            &format!("uri-lf \"{page}?mod=FT&side=%[srv_name]\""),
            ANSWER,
        );
        let by_name = backend_that_asks(
            "by_name",
            &names,
            &format!("uri \"{page}?mod=FT\" ver HTTP/1.1 hdr Host \"%[srv_name]\""),
            ANSWER,
        );
        let balancer = Balancer::start(dir, &(by_query + &by_name));
        balancer.wait_only("phones", A);
        balancer.wait_only("by_name", A);

        let client = Stream::start_to(dir, "client", balancer::VIP, &["--rate", "200"]);
        client.let_flow(50);
        let (watch, asker) = (balancer.watch(), Asker::start());

        let begun = now();
        let (code, text) = bed.type_as("eva", &["switch", PAIR, "--to", "b"]);
        assert_eq!(code, 0, "{text}");
        balancer.wait_only("phones", B);
        balancer.wait_only("by_name", B);
        client.let_flow(50);
        bed.wait_well(B);
        let planned = Move { from: A, begun, ended: now() };
        // What was asked until then has its answer before the next thing happens.
        client.let_flow(20);

        let begun = now();
        bed.signal(B, &APP, Signal::SIGKILL);
        bed.wait_served(A);
        bed.print_handover();
        balancer.wait_only("phones", A);
        balancer.wait_only("by_name", A);
        client.let_flow(50);
        bed.wait_well(A);
        let failover = Move { from: B, begun, ended: now() };
        client.let_flow(20);

        let (held, said, seen) = (watch.end(), asker.end(), client.end());
        let both = said.iter().find(|said| said.active.a && said.active.b && said.a_again);
        assert!(both.is_none(), "T11: the edge called both sides active: {both:?}");
        let both = held.iter().find(|seen| seen.up.a && seen.up.b);
        assert!(both.is_none(), "the balancer held both servers up: {both:?}");
        let mut excused = Vec::new();
        for (what, change) in [("planned switch", &planned), ("failover", &failover)] {
            excused.push(judge_move(what, change, &held, &said, &seen));
        }
        let late = u64::try_from(INTERVAL.as_nanos()).unwrap();
        judge_logs(&bed, |at| excused.iter().any(|(from, to)| (*from..*to + late).contains(&at)));
    });
}

/// What the balancer made of a move. Requests that it still gave to the old side are its own delay: from when, and until when.
fn judge_move(what: &str, change: &Move, held: &[balancer::Seen], said: &[Said], seen: &Seen) -> (u64, u64) {
    let (from, to) = (change.from, change.from.other());
    let during = |at: u64| (change.begun..change.ended).contains(&at);
    let first = |found: Option<u64>, of: &str| found.unwrap_or_else(|| panic!("{what}: never seen: {of}"));
    let standby = first(said.iter().find(|said| during(said.at) && !said.active[from]).map(|said| said.at), "STANDBY");
    let active = first(said.iter().find(|said| said.at > standby && said.active[to]).map(|said| said.at), "ACTIVE");
    let left = first(held.iter().find(|seen| during(seen.at) && !seen.up[from]).map(|seen| seen.at), "its leaving");
    let there = first(held.iter().find(|seen| seen.at > left && seen.up[to]).map(|seen| seen.at), "its coming");

    let time = |from: u64, to: u64| Duration::from_nanos(to.saturating_sub(from));
    figure(&format!("{what} behind HAProxy, it leaves the old side"), time(standby, left), FALL * INTERVAL);
    figure(&format!("{what} behind HAProxy, it takes the new side"), time(active, there), INTERVAL);

    let wrong = |exchange: &&lockstep_demo::tally::Exchange| exchange.by_standby() && during(exchange.sent);
    let wrong: Vec<_> = seen.exchanges().iter().filter(wrong).collect();
    println!("{what}: {} requests reached {from} after its CTI was stopped, in the balancer's own delay", wrong.len());
    for exchange in &wrong {
        assert!(exchange.side == Some(from) && exchange.sent <= left, "I2: not the balancer's delay: {exchange:?}");
    }

    let after = seen.between(there, change.ended);
    assert!(after.requests > 0 && after.failed == 0 && after.by_standby == 0, "{what}: after it: {after:?}");
    let of_old = if from == A { after.from_a } else { after.from_b };
    assert_eq!(of_old, 0, "{what}: the old side is not asked any more");
    (change.begun, left)
}

/// T7: an administrator moves the balancer's traffic, and the active role follows.
#[test]
fn the_active_role_follows_a_foreign_balancer() {
    in_a_world_of_its_own(|dir| {
        let url = format!("http://{}{}?mod=FT", balancer::VIP, app::MONITOR);
        let mut bed = bed_with_answers(dir, &format!("{SWITCH_OFF}test_vip_destination = true\nvip_url = {url:?}"));
        // A balancer that knows nothing of roles: it takes A, and B where an administrator has taken A out.
        let servers = format!("  server a {}:80 check\n  server b {}:80 check backup\n", address(A), address(B));
        let balancer = Balancer::start(dir, &format!("backend phones\n{servers}"));
        bed.start();
        let client = Stream::start_to(dir, "client", balancer::VIP, &["--rate", "100"]);
        client.let_flow(20);

        for (line, to) in [("set server phones/a state maint", B), ("set server phones/a state ready", A)] {
            let turned = now();
            balancer.order(line);
            bed.wait_served(to);
            bed.print_handover();
            bed.wait_well(to);
            let active = now();
            let Some(handover) = bed.ask(async |operator| operator.why(PAIR, None).await).ok() else { panic!("none") };
            let reason = &handover.record.reason;
            assert_eq!(reason, &format!("T7: the VIP has reached {to} 3 times in a row"));
            assert_eq!(handover.evidence.iter().filter(|entry| entry.kind == "event").count(), 3, "its three probes");
            client.let_flow(20);
            println!("the role was at {to} after {} ms", (active - turned) / 1_000_000);
        }
        // In between requests reach a side that is not active: the balancer's administrator did that, not the edge.
        let seen = client.end();
        let last = seen.exchanges().iter().rev().take(10).all(|exchange| exchange.active == Some(true));
        assert!(last, "in the end the VIP reaches the active side");
        let quiet = |pair: &PairStatus| pair.alerts.iter().all(|alert| !alert.text.starts_with("T7"));
        assert!(quiet(&bed.pair().unwrap()), "nobody had to be told");
        let moved = |side| activity::read(&dir.join(activity::file_name(side))).unwrap();
        assert_eq!(activity::overlaps(&moved(A), &moved(B)), [], "I1");
    });
}

/// T4: the edge reaches the nodes over a second network, and would never know.
#[test]
fn a_node_that_loses_its_lan_stands_down_by_itself() {
    in_a_world_of_its_own(|dir| {
        let mut bed = Bed::new(dir);
        bed.network().lay_second();
        let over_second = |text: String| {
            Side::BOTH.into_iter().fold(text, |text, side| {
                text.replace(&format!("{}:", address(side)), &format!("{}:", second_address(side)))
            })
        };
        // Probes that a busy machine answers late are not what this is about.
        let text =
            configuration::edge(dir, SWITCH_OFF).replace("[pair.lease]", "[pair.detect]\nfailures = 10\n[pair.lease]");
        bed.configure_edge(&over_second(text));
        for side in Side::BOTH {
            let lan = format!(
                "[lan]\ninterval = \"100ms\"\nfailures = 2\ncarrier = \"eth0\"\ngateway = \"{}\"\n",
                network::VIP
            );
            bed.configure_agent(side, &(over_second(configuration::agent(dir, side, PAIR)) + &lan));
        }
        bed.start();
        let client = bed.client(200);
        client.let_flow(50);

        let fault = now();
        bed.unplug(A);
        isolated(&bed, A, "eth0");
        let carrier = now();
        let (code, text) = bed.type_as("eva", &["switch", PAIR, "--to", "a"]);
        assert!(code != 0 && text.contains("off the LAN"), "nobody can make it active: {text}");
        bed.plug(A);
        bed.wait_well(B);

        let second = now();
        bed.network().cut_pings(B);
        isolated(&bed, B, "does not answer");
        bed.network().heal_pings(B);
        bed.wait_well(A);
        client.let_flow(50);

        let journal: Vec<String> = bed.journal().iter().map(|entry| entry.what.to_string()).collect();
        let links = |up| journal.iter().filter(|entry| entry.contains(&format!("\"up\":{up}"))).count();
        assert!(links(true) >= 4 && links(false) == 0, "the edge's connections to the agents were there all the time");
        let seen = client.finish(&bed);
        seen.nothing_lost();
        // The agent's two checks, of which a ping's takes its whole time, the word to the edge, and the CTI's start.
        let target = Duration::from_millis(300) + CTI_START + Duration::from_millis(100);
        figure("LAN without carrier, first good answer", seen.good_again_within(fault, carrier.max(second)), target);
        figure("LAN's gateway silent, first good answer", seen.good_again(second), target);
    });
}

/// Waits until the other side serves because this one has found itself off the LAN.
fn isolated(bed: &Bed, side: Side, why: &str) {
    bed.wait_served(side.other());
    bed.print_handover();
    let handover = bed.ask(async |operator| operator.why(PAIR, None).await).unwrap();
    let reason = handover.record.reason;
    assert!(reason.starts_with(&format!("T4: {side} finds itself off the LAN")), "{reason}");
    let pair = bed.pair().unwrap();
    let lan = pair.sides[side].report.as_ref().map(|report| report.lan);
    assert_eq!(lan, Some(Lan::Isolated));
    assert!(pair.sides[side].main && bed.cti(side).is_none(), "it is connected, and nothing exclusive runs there");
    until("operators to be told", || {
        bed.pair()?.alerts.iter().any(|alert| alert.text.starts_with(&format!("T4: {side} is active"))).then_some(())
    });
    let log = bed.log(&format!("agent-{side}"));
    assert!(log.contains(why), "the agent's log says why: {why}");
}
