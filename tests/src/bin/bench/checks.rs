//! What it costs to check 2,000 servers each second: an edge with 1,000 pairs, beside an HAProxy with as many servers.

use crate::options::Options;
use crate::processes::{Program, Shown, allow_files, pinned, resident, spent};
use crate::{machine, origin, work_world};
use lockstep_policy::Side;
use lockstep_tests::configuration::{ADMIN, edge_1, trust, trust_plugin};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

const PAIRS: u32 = 1_000;
const FILES: u64 = 50_000;
/// Until all are started, and checked for the first time.
const SETTLE: Duration = Duration::from_secs(10);
/// For how many times the seconds of a round each is watched.
const LONGER: u32 = 4;

pub fn in_world(options: &Options, dir: &Path) -> Value {
    let _shown = Shown(dir);
    allow_files(FILES);
    work_world::up();
    let _origin = origin::start(dir, &machine::of_others(1));
    trust_plugin(dir, "eservices");
    let file = dir.join("edge.toml");
    std::fs::write(&file, edge(dir)).unwrap();
    let mut command = pinned(&machine::of_contender(1), lockstep_tests::lockstep());
    command.arg("edge").arg("--config").arg(file);
    let edge = Program::start(command, dir, "edge");
    let ours = watched("lockstep", &edge, options.seconds * LONGER);
    let log = std::fs::read_to_string(dir.join("edge.log")).unwrap_or_default();
    log.lines().filter(|line| line.contains("ERROR")).take(5).for_each(|line| println!("{line}"));
    drop(edge);
    let file = dir.join("haproxy.cfg");
    std::fs::write(&file, haproxy()).unwrap();
    let mut command = pinned(&machine::of_contender(1), "haproxy");
    command.arg("-db").arg("-f").arg(file);
    let theirs = watched("haproxy", &Program::start(command, dir, "haproxy"), options.seconds * LONGER);
    json!({ "pairs": PAIRS, "lockstep": ours, "haproxy": theirs })
}

fn watched(name: &str, program: &Program, seconds: u32) -> Value {
    std::thread::sleep(SETTLE);
    let processes = program.tree();
    let (before, asked) = (spent(&processes), origin::answered());
    std::thread::sleep(Duration::from_secs(seconds.into()));
    let share = spent(&processes).saturating_sub(before) as f64 / 1e9 / f64::from(seconds) * 100.0;
    let checks = (origin::answered() - asked) / f64::from(seconds);
    println!("{name}: {checks:.0} checks a second, {share:.1} % of a processor");
    let of = |pid: &u32| json!({ "process": name_of(*pid), "mb": resident(&BTreeSet::from([*pid])) / 1_024 });
    json!({ "percent": share, "checks": checks, "processes": processes.iter().map(of).collect::<Vec<_>>() })
}

fn name_of(pid: u32) -> String {
    let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<_> = words.split(|byte| *byte == 0).take(2).map(String::from_utf8_lossy).collect();
    words.join(" ").rsplit('/').next().unwrap_or_default().to_owned()
}

/// Loopback addresses of a pair's listener and servers, each its own.
fn addresses(pair: u32) -> [String; 3] {
    let (high, low) = (pair / 250, pair % 250 + 1);
    let server = |net: u32, side| format!("127.{net}.{high}.{low}:{}", origin::server(side).port());
    [format!("127.1.{high}.{low}:80"), server(2, Side::A), server(3, Side::B)]
}

fn edge(dir: &Path) -> String {
    let mut text = format!(
        "[edge]\nname = \"edge-1\"\nstate = {:?}\nadmin = \"{ADMIN}\"\n{}\n",
        dir.join("edge"),
        trust(dir, &edge_1())
    );
    for pair in 0..PAIRS {
        let [listen, a, b] = addresses(pair);
        write!(
            text,
            "[[pair]]\nname = \"pair-{pair}\"\nlisten = [\"{listen}\"]\n[pair.policy]\nplugin = {plugin:?}\nsites = \"both\"\n\
             site_a = \"one\"\nsite_b = \"two\"\nprobe_path = \"/2\"\nfast = true\n[pair.detect]\ninterval = \"1s\"\n\
             timeout = \"1s\"\n[pair.a]\nservers = [\"{a}\"]\n[pair.b]\nservers = [\"{b}\"]\n",
            plugin = lockstep_tests::plugin("eservices"),
        )
        .unwrap();
    }
    text
}

fn haproxy() -> String {
    let mut text = String::from(
        "global\n  no strict-limits\n  maxconn 2000\n  nbthread 1\ndefaults\n  mode http\n  timeout connect 1s\n  timeout client 60s\n  timeout server 60s\n",
    );
    for pair in 0..PAIRS {
        let [listen, a, b] = addresses(pair);
        write!(
            text,
            "frontend f{pair}\n  bind {listen}\n  default_backend b{pair}\nbackend b{pair}\n  option httpchk GET /2\n  \
             server a {a} check inter 1s\n  server b {b} check inter 1s\n"
        )
        .unwrap();
    }
    text
}
