//! Planned switches and kills of the active server under load, on a whole site with cables: an edge, two nodes, a simulated
//! application and CTI on each.

use crate::options::Options;
use lockstep_demo::now;
use lockstep_demo::play::processes::DEMO;
use lockstep_demo::tally::{self, Exchange};
use lockstep_policy::Side;
use lockstep_tests::bed::Bed;
use lockstep_tests::configuration::vip;
use lockstep_tests::network::Place;
use lockstep_tests::processes::Life;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Requests a second; every tenth is a POST, which nobody may send twice.
const RATE: u32 = 500;
/// What is looked at of the client's exchanges, from the event on.
pub const WINDOW: Duration = Duration::from_secs(3);
/// Bytes of a log's end: more than is written between two looks.
const LATEST: u64 = 16 * 1024;
/// How each event is named in results.
pub const PLANNED: &str = "planned";
pub const KILLED: &str = "killed";

pub fn in_world(options: &Options, dir: &Path) -> Value {
    let bed = Bed::ready(dir);
    let client = Client::start(dir);
    let mut events = Vec::new();
    for _ in 0..options.rounds {
        for kind in [PLANNED, KILLED] {
            std::thread::sleep(Duration::from_millis(500));
            let active = bed.wait_any_well();
            let (at, held) = (now(), held(&bed));
            match kind {
                PLANNED => drop(bed.switch(active.other())),
                _ => bed.signal(active, &["simulate", "app"], Signal::SIGKILL),
            }
            bed.wait_served(active.other());
            std::thread::sleep(WINDOW);
            events.push((kind, at, held_since(&bed, held)));
        }
    }
    let exchanges = client.end();
    let found = events.into_iter().map(|(kind, at, held)| judged(&exchanges, kind, at, Some(held)));
    json!({ "rate": RATE, "events": found.collect::<Vec<_>>() })
}

fn held(bed: &Bed) -> u64 {
    bed.pair().map_or(0, |pair| pair.traffic.held)
}

fn held_since(bed: &Bed, before: u64) -> u64 {
    held(bed).saturating_sub(before)
}

/// What clients felt of an event.
pub fn judged(exchanges: &[Exchange], kind: &str, at: u64, held: Option<u64>) -> Value {
    let to = at + u64::try_from(WINDOW.as_nanos()).unwrap();
    let of = |method: &str| {
        let some: Vec<_> = exchanges.iter().filter(|exchange| exchange.method == method).cloned().collect();
        tally::summarise(&some, at, to)
    };
    let (all, gets, posts) = (tally::summarise(exchanges, at, to), of("GET"), of("POST"));
    json!({
        "kind": kind,
        "requests": all.requests,
        "gets_failed": gets.failed,
        "posts_failed": posts.failed,
        "by_standby": all.by_standby,
        "held": held,
        "gap": all.longest_gap_ms,
        "p99": all.p99_ms,
        "max": all.max_ms,
        "causes": all.failures,
    })
}

/// A client on a machine of its own.
pub struct Client {
    life: Life,
    log: PathBuf,
    _place: Place,
}

impl Client {
    pub fn start(dir: &Path) -> Client {
        let place = Place::lay("client", IpAddr::V4(Ipv4Addr::new(10, 77, 0, 50)));
        let log = dir.join("client.jsonl");
        let mut command = place.command(lockstep_tests::lockstep());
        let url = format!("http://{}/work", vip());
        command.args(["simulate", "client", "--url", &url, "--post-every", "10", "--timeout", "15s"]);
        command.args(["--rate", &RATE.to_string(), "--log"]).arg(&log).env(DEMO, dir);
        let client = Client { life: Life::begin(command, &dir.join("client.log"), None), log, _place: place };
        client.wait_served(None, now());
        client
    }

    /// Waits for a good answer to what was sent after that time, by that side.
    pub fn wait_served(&self, side: Option<Side>, after: u64) {
        lockstep_tests::processes::until("the client to be served", || {
            let wanted = |one: &&Exchange| one.is_good() && one.sent > after && (side.is_none() || one.side == side);
            self.latest().iter().rev().find(wanted).map(drop)
        });
    }

    /// What it has seen last. Who reads all of a long log again and again takes the processors from what is measured.
    fn latest(&self) -> Vec<Exchange> {
        let read = || {
            let mut log = File::open(&self.log)?;
            let length = log.metadata()?.len();
            log.seek(SeekFrom::Start(length.saturating_sub(LATEST)))?;
            let mut text = String::new();
            log.read_to_string(&mut text)?;
            Ok::<_, std::io::Error>(text)
        };
        // The first line, and the last one, may be torn.
        read().unwrap_or_default().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Ends it, and waits for what is under way.
    pub fn end(self) -> Vec<Exchange> {
        self.life.signal(Signal::SIGTERM);
        let status = self.life.wait("the client");
        assert!(status.success(), "the client failed: {status}");
        tally::read(&self.log).unwrap()
    }
}
