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

/// The lease's renewals that the promise is about, and those of the profile.
const RENEWALS: [(&str, &str); 2] = [("200 ms", "renew = \"200ms\""), ("of the profile", "")];

pub fn measure(options: &Options) -> bool {
    let machine = table::machine();
    let seconds = options.seconds.to_string();
    let world = |(name, lease): (&str, &str)| {
        let found = worlds::run(name, &["agent-world", "--seconds", &seconds, "--lease", lease]);
        let lines = found.and_then(|found| found.as_array().cloned()).unwrap_or_default();
        lines.into_iter().map(move |line| (name.to_owned(), line)).collect::<Vec<_>>()
    };
    let lines: Vec<(String, Value)> = RENEWALS.into_iter().flat_map(world).collect();
    println!("\n{seconds} s each, on {machine}");
    let text = |line: &Value, key: &str| line[key].to_string().trim_matches('"').to_owned();
    let keys = ["agent", "resident", "processor", "threads"];
    let row = |(name, line): &(String, Value)| {
        std::iter::once(name.clone()).chain(keys.map(|key| text(line, key))).collect::<Vec<_>>()
    };
    let rows: Vec<_> = lines.iter().map(row).collect();
    table::print(&["renewals", "agent of", "resident, MB", "% of a processor", "threads"], &rows);
    let within = |(name, line): &(String, Value)| {
        line["resident"].as_f64().is_some_and(|memory| memory <= MEMORY)
            && (name != RENEWALS[0].0 || line["processor"].as_f64().is_some_and(|part| part < PROCESSOR))
    };
    lines.len() == 2 * RENEWALS.len() && lines.iter().all(within)
}

pub fn in_world(options: &Options, dir: &Path) -> Value {
    let bed = site::start(dir, "lan", &options.lease);
    std::thread::sleep(SETTLE);
    let before = Side::BOTH.map(|side| spent(&bed, side));
    std::thread::sleep(Duration::from_secs(options.seconds));
    let line = |(side, before): (Side, f64)| {
        let part = (spent(&bed, side) - before) / 1e9 / options.seconds as f64 * 100.0;
        json!({
            "agent": if bed.active() == Some(side) { "the active side" } else { "the other side" },
            "resident": (status(&bed, side, "VmRSS:") / 102.4).round() / 10.0,
            "processor": (part * 1_000.0).round() / 1_000.0,
            "threads": status(&bed, side, "Threads:"),
        })
    };
    Side::BOTH.into_iter().zip(before).map(line).collect()
}

fn pid(bed: &Bed, side: Side) -> i32 {
    bed.process(side, &["agent"]).expect("the agent runs").pid.as_raw()
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
