//! All work, by all contenders in turn, and then what they cost at rest.

use crate::contenders::{self, Contender, Contenders};
use crate::load::Load;
use crate::options::Options;
use crate::work::{WORKS, Way, Work};
use crate::{calls, full, idle, machine, origin, paced, processes};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

/// Clients and servers of 10,000 connections, with some to spare.
const FILES: u64 = 50_000;

pub fn in_world(options: &Options, dir: &Path) -> Value {
    let _shown = processes::Shown(dir);
    processes::allow_files(FILES);
    up();
    let others = machine::of_others(options.workers);
    let _origin = origin::start(dir, &others);
    let all = Contenders::start(dir, options.workers);
    let load = Load::new(dir, others.clone());
    let served = served(&load);
    let mut found = Measured::default();
    for round in 0..options.rounds {
        println!("round {} of {}; load {}", round + 1, options.rounds, machine::load());
        for work in &WORKS {
            processes::empty_logs(dir);
            for contender in turn(round) {
                if !served.contains(&(work.name, contender)) {
                    continue;
                }
                if options.workers == 1 && work.rate > 0 {
                    found.paced.push(with_round(paced::measure(work, contender, &all, &load, options.seconds), round));
                }
                if options.workers == 1 || !work.fresh {
                    found.full.push(with_round(full::measure(work, contender, &all, &load, options.seconds), round));
                }
            }
        }
    }
    if options.workers == 1 {
        println!("idle connections and system calls");
        found.idle = Contender::ALL.map(|contender| idle::measure(contender, &all)).to_vec();
        found.calls = Contender::ALL.map(|contender| calls::measure(contender, &all, &load, dir)).to_vec();
    }
    json!({
        "paced": found.paced, "full": found.full, "idle": found.idle, "calls": found.calls,
        "commands": load.said(), "contender_on": machine::of_contender(options.workers), "others_on": others,
        "load": machine::load(),
    })
}

#[derive(Default)]
struct Measured {
    paced: Vec<Value>,
    full: Vec<Value>,
    idle: Vec<Value>,
    calls: Vec<Value>,
}

/// The loopback of this network namespace, with ports for as many connections as are made.
pub fn up() {
    assert!(Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap().success(), "there is no loopback");
    std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "10000 65000").unwrap();
}

/// Nobody is always the first, or always after the same one.
fn turn(round: usize) -> impl Iterator<Item = Contender> {
    let count = Contender::ALL.len();
    (0..count).map(move |place| Contender::ALL[(round + place) % count])
}

/// Which contender does which work at all.
fn served(load: &Load) -> Vec<(&'static str, Contender)> {
    let tried = |work: &Work, contender: Contender| match (contender.address(work.way), work.way) {
        (None, _) => false,
        (Some(address), Way::Stream) => contenders::passes_streams(address),
        (Some(address), _) => load.is_served(work, address),
    };
    let mut served = Vec::new();
    for work in &WORKS {
        for contender in Contender::ALL {
            if tried(work, contender) {
                served.push((work.name, contender));
            } else if contender.address(work.way).is_some() {
                println!("{} does not do this: {}", contender.name(), work.name);
            }
        }
    }
    served
}

fn with_round(mut found: Value, round: usize) -> Value {
    if let Some(found) = found.as_object_mut() {
        found.insert("round".to_owned(), json!(round));
    }
    found
}
