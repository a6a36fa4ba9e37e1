//! The rapid profile: how soon an unplugged side is replaced, beside an HAProxy with the same application, and at which load it begins
//! to replace sides that have not failed.

use crate::burn::Busy;
use crate::options::Options;
use crate::table::{self, ms, one, percentile};
use crate::unplug::{self, numbers};
use crate::{site, worlds};
use lockstep_tests::configuration::CTI_START;
use lockstep_tests::witness::Witness;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

/// What unplugging may take beyond the CTI's start.
const TARGET: Duration = Duration::from_millis(350);
/// A step of load: its name, busy processes, and what each wants of a processor.
const LOADS: [(&str, usize, u32); 5] = [
    ("idle", 0, 0),
    ("50 % of both", 2, 50),
    ("100 % of both", 2, 100),
    ("4 busy processes", 4, 100),
    ("8 busy processes", 8, 100),
];

pub fn measure(options: &Options) -> bool {
    let machine = table::machine();
    let (runs, seed, minutes) = (options.runs.to_string(), options.seed.to_string(), options.minutes.to_string());
    let unplugged = ["unplug-world", "--runs", &runs, "--seed", &seed, "--profile", "rapid"];
    let ours = worlds::run("rapid", &unplugged);
    let theirs = worlds::run("haproxy", &["balancer-world", "--runs", &runs, "--seed", &seed]);
    println!("\n{runs} runs each, one after the other, CTI start {} ms, on {machine}", one(ms(CTI_START)));
    let rows: Vec<_> = [("lockstep, rapid", &ours), ("HAProxy, 0.1 s x 2", &theirs)]
        .map(|(name, found)| row(name, found.as_ref()))
        .to_vec();
    table::print(&["unplug to the first answer, ms", "runs", "p50", "p99", "max", "both CTI active"], &rows);
    if let Some(ours) = &ours {
        unplug::show(ours);
    }
    let mut rows = Vec::new();
    for (name, busy, percent) in LOADS {
        let (busy, percent) = (busy.to_string(), percent.to_string());
        let words = ["rapid-world", "--minutes", &minutes, "--seed", &seed, "--busy", &busy, "--percent", &percent];
        let found = worlds::run(name, &words).unwrap_or_default();
        let text = |key: &str| found[key].to_string().trim_matches('"').to_owned();
        rows.push(vec![name.to_owned(), text("false"), text("stood"), text("realtime")]);
    }
    println!("{minutes} minutes at each load:");
    table::print(
        &["load", "false failovers", "a thread without priority stood still for", "real-time priority"],
        &rows,
    );
    let p99 = ours.map_or(f64::NAN, |ours| percentile(&mut numbers(&ours, "answer", None), 99.0));
    p99 <= ms(TARGET + CTI_START)
}

fn row(name: &str, found: Option<&Value>) -> Vec<String> {
    let Some(found) = found else { return vec![name.to_owned(), "not measured".to_owned()] };
    let mut answers = numbers(found, "answer", None);
    let mut row = vec![name.to_owned(), answers.len().to_string()];
    row.extend([50.0, 99.0, 100.0].map(|percent| one(percentile(&mut answers, percent))));
    row.push(found["both"].as_str().unwrap_or("never (a failure if it were)").to_owned());
    row
}

/// Nothing fails; how often the role moves all the same.
pub fn load_in_world(options: &Options, dir: &Path) -> Value {
    let bed = site::start(dir, "rapid", "");
    let before = site::epoch(&bed).unwrap();
    let witness = Witness::begin();
    let _busy = Busy::start(options.busy, options.percent);
    unplug::quietly(&bed, options.time());
    let why = site::handovers(&bed, before);
    why.iter().for_each(|why| println!("{why}"));
    let given = |name: &str| bed.log(name).contains("realtime: yes");
    json!({
        "false": why.len(),
        "stood": format!("{:.0} ms", ms(witness.longest_standstill())),
        "realtime": if given("edge") && given("agent-a") { "given" } else { "refused" },
    })
}
