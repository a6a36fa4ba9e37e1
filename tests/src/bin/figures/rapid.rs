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
/// The steps of load: busy processes that each want a whole processor.
const LOADS: [usize; 6] = [0, 2, 4, 8, 16, 32];
/// With the priority that edge and agents ask for, and without.
const PRIORITIES: [bool; 2] = [true, false];

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
    climb(options, &minutes, &seed);
    let p99 = ours.map_or(f64::NAN, |ours| percentile(&mut numbers(&ours, "answer", None), 99.0));
    p99 <= ms(TARGET + CTI_START)
}

/// One step of load after the other, with and without priority, until each has been held or has moved the role.
fn climb(options: &Options, minutes: &str, seed: &str) {
    let mut rows = Vec::new();
    let mut verdicts = Vec::new();
    for priority in PRIORITIES {
        let name = if priority { "with real-time priority" } else { "without real-time priority" };
        let mut begins = None;
        for busy in LOADS {
            let (number, asked) = (busy.to_string(), priority.to_string());
            let words = ["rapid-world", "--minutes", minutes, "--seed", seed, "--busy", &number, "--priority", &asked];
            let Some(found) = worlds::run(&format!("{busy} busy, {name}"), &words) else {
                rows.push(vec![number, name.to_owned(), "not measured".to_owned(), String::new(), String::new()]);
                continue;
            };
            let text = |key: &str| found[key].to_string().trim_matches('"').to_owned();
            if begins.is_none() && found["false"] != 0 {
                begins = Some(busy);
            }
            rows.push(vec![number, name.to_owned(), text("false"), text("stood"), text("realtime")]);
        }
        verdicts.push(match begins {
            Some(busy) => format!("{name}, false failovers begin at {busy} busy processes"),
            None => format!("{name}, there was none up to {} busy processes", LOADS[LOADS.len() - 1]),
        });
    }
    println!("{} minutes at each load:", options.minutes);
    let head =
        ["busy processes", "priority", "false failovers", "a thread without it stood still for", "the priority was"];
    table::print(&head, &rows);
    verdicts.iter().for_each(|verdict| println!("{verdict}"));
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
    if !options.priority {
        site::take_priority(&bed);
    }
    let before = site::epoch(&bed).unwrap();
    let witness = Witness::begin();
    let _busy = Busy::start(options.busy, options.percent);
    unplug::quietly(&bed, options.time());
    let why = site::handovers(&bed, before);
    why.iter().for_each(|why| println!("{why}"));
    let given = |name: &str| bed.log(name).contains("realtime: yes");
    let realtime = match given("edge") && given("agent-a") {
        _ if !options.priority => "taken away",
        true => "given",
        false => "refused",
    };
    json!({
        "false": why.len(),
        "stood": format!("{:.0} ms", ms(witness.longest_standstill())),
        "realtime": realtime,
    })
}
