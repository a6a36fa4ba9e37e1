//! What an agent costs its node, with an edge connected and a lease to renew: memory, and processor time.

use crate::options::Options;
use crate::{site, table, worlds};
use lockstep_policy::Side;
use lockstep_tests::bed::Bed;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

const MEMORY: f64 = 15.0;
const PROCESSOR: f64 = 0.2;

/// What the start itself takes is no running cost.
const SETTLE: Duration = Duration::from_secs(5);

/// The program, and the lease's renewals: those that the promise is about, those of the profile, and what the edge costs that is in the
/// same program.
const WORLDS: [(&str, bool, &str); 3] = [
    ("lockstep-agent, renewed every 200 ms", true, RENEWAL),
    ("lockstep-agent, as the profile renews", true, ""),
    ("lockstep agent, renewed every 200 ms", false, RENEWAL),
];
const RENEWAL: &str = "renew = \"200ms\"";

pub fn measure(options: &Options) -> bool {
    let machine = table::machine();
    let seconds = options.seconds.to_string();
    let world = |(name, lean, lease): (&str, bool, &str)| {
        let words = ["agent-world", "--seconds", &seconds, "--lease", lease, "--lean", &lean.to_string()];
        let lines = worlds::run(name, &words).and_then(|found| found.as_array().cloned()).unwrap_or_default();
        lines.into_iter().map(move |line| (name.to_owned(), line)).collect::<Vec<_>>()
    };
    let lines: Vec<(String, Value)> = WORLDS.into_iter().flat_map(world).collect();
    println!("\n{seconds} s each, on {machine}");
    let text = |line: &Value, key: &str| line[key].to_string().trim_matches('"').to_owned();
    let keys = ["agent", "resident", "own", "processor", "threads"];
    let row = |(name, line): &(String, Value)| {
        std::iter::once(name.clone()).chain(keys.map(|key| text(line, key))).collect::<Vec<_>>()
    };
    let rows: Vec<_> = lines.iter().map(row).collect();
    let head = ["program", "agent of", "resident, MB", "of it its own, MB", "% of a processor", "threads"];
    table::print(&head, &rows);
    let all = |name: &str, met: &dyn Fn(&Value) -> bool| lines.iter().all(|(of, line)| of != name || met(line));
    let small = |line: &Value| line["resident"].as_f64().is_some_and(|memory| memory <= MEMORY);
    let quiet = |line: &Value| line["processor"].as_f64().is_some_and(|part| part < PROCESSOR);
    let [(first, ..), (second, ..), _] = WORLDS;
    lines.len() == 2 * WORLDS.len() && all(first, &|line| small(line) && quiet(line)) && all(second, &small)
}

pub fn in_world(options: &Options, dir: &Path) -> Value {
    let bed = site::start_with(dir, "lan", &options.lease, |bed| {
        if options.lean {
            bed.start_lean_agents();
        }
    });
    std::thread::sleep(SETTLE);
    let before = Side::BOTH.map(|side| spent(&bed, side));
    std::thread::sleep(Duration::from_secs(options.seconds));
    let line = |(side, before): (Side, f64)| {
        let part = (spent(&bed, side) - before) / 1e9 / options.seconds as f64 * 100.0;
        let megabytes = |key: &str| (status(&bed, side, key) / 102.4).round() / 10.0;
        json!({
            "agent": if bed.active() == Some(side) { "the active side" } else { "the other side" },
            "resident": megabytes("VmRSS:"),
            "own": megabytes("RssAnon:"),
            "processor": (part * 1_000.0).round() / 1_000.0,
            "threads": status(&bed, side, "Threads:"),
        })
    };
    Side::BOTH.into_iter().zip(before).map(line).collect()
}

fn pid(bed: &Bed, side: Side) -> i32 {
    bed.agent_pid(side).as_raw()
}

/// The processor time of all its threads, in nanoseconds.
fn spent(bed: &Bed, side: Side) -> f64 {
    let threads = std::fs::read_dir(format!("/proc/{}/task", pid(bed, side))).unwrap();
    let of = |thread: std::io::Result<std::fs::DirEntry>| {
        let text = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<f64>().ok()
    };
    threads.filter_map(of).sum()
}

/// A number of its status; memory is in KiB.
fn status(bed: &Bed, side: Side, key: &str) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{}/status", pid(bed, side))).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
    line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(f64::NAN)
}
