//! How often the active role moves although nothing has failed: under loss, under load, and with processes that stand still for a while.
//!
//! Each form has a pair and a client of its own. Whatever epoch is used after the first is a failover that nobody needed.

use crate::burn::Busy;
use crate::options::Options;
use crate::site::{self, Client};
use crate::{table, worlds};
use lockstep_demo::tally;
use lockstep_policy::Side;
use lockstep_tests::bed::Bed;
use lockstep_tests::stream::judge_logs;
use lockstep_tests::witness::Witness;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

const LOSS: u32 = 10;
const RATE: u32 = 100;
/// For how long a process is stopped, and how long none is between two stops.
const STALL: Duration = Duration::from_millis(500);
const CALM: std::ops::Range<u64> = 300..1_500;
/// An answer that takes longer is late.
const LATE: u64 = 1_000_000_000;

pub fn measure(options: &Options) -> bool {
    let machine = table::machine();
    let (minutes, seed) = (options.minutes.to_string(), options.seed.to_string());
    let run = |form: &String| {
        let words = ["soak-world", "--minutes", &minutes, "--seed", &seed, "--forms", form];
        (form.clone(), worlds::begin(form, &words))
    };
    let worlds: Vec<_> = options.forms.iter().map(run).collect();
    let found: Vec<(String, Option<Value>)> =
        worlds.into_iter().map(|(form, world)| (form, world.join().ok().flatten())).collect();
    let head = [
        "form",
        "false failovers",
        "stalls",
        "longest hold",
        "requests",
        "held",
        "failed",
        "late (> 1 s)",
        "slowest answer",
        "the machine stood still",
    ];
    let row = |(form, found): &(String, Option<Value>)| {
        let Some(found) = found else { return vec![form.clone(), "not measured".to_owned()] };
        let text = |key: &str| found[key].to_string().trim_matches('"').to_owned();
        let keys =
            ["false", "stalls", "gap", "requests", "held", "failed", "late", "slowest", "stood", "load", "realtime"];
        std::iter::once(form.clone()).chain(keys.map(text)).collect()
    };
    println!("\n{minutes} minutes of each form at once, seed {seed}, on {machine}");
    table::print(&head, &found.iter().map(row).collect::<Vec<_>>());
    found.iter().all(|(_, found)| found.as_ref().is_some_and(|found| found["false"] == 0))
}

pub fn in_world(options: &Options, dir: &Path) -> Value {
    let form = options.forms[0].as_str();
    let bed = site::start(dir, &options.profile, "");
    let client = Client::start(dir, RATE);
    site::within(Duration::from_secs(20), || (client.exchanges().len() > 20).then_some(())).unwrap();
    let before = site::epoch(&bed).unwrap();
    let witness = Witness::begin();
    let stalls = match form {
        "loss" => {
            bed.network().lose(LOSS);
            client.place.lose(LOSS);
            watch(&bed, options.time(), before)
        }
        "load" => {
            let processors = std::thread::available_parallelism().map_or(2, usize::from);
            let _busy = Busy::start(processors, 100);
            watch(&bed, options.time(), before)
        }
        "stalls" => stall(&bed, options),
        "calm" => watch(&bed, options.time(), before),
        other => panic!("`{other}` is no form of a soak: loss, load, stalls, calm"),
    };
    let why = site::handovers(&bed, before);
    why.iter().for_each(|why| println!("{why}"));
    let held = bed.pair().map_or(0, |pair| pair.traffic.held);
    let exchanges = client.end();
    let summary = tally::summarise_all(&exchanges);
    let late = exchanges.iter().filter(|exchange| exchange.is_good() && exchange.ended - exchange.sent > LATE).count();
    println!("failed because: {:?}", summary.failures);
    judge_logs(&bed, |_| false);
    if !why.is_empty() {
        keep_logs(&bed, form);
    }
    json!({
        "false": why.len(),
        "stalls": stalls,
        "gap": format!("{:.0} ms", summary.longest_gap_ms),
        "requests": summary.requests,
        "held": held,
        "failed": summary.failed,
        "late": late,
        "slowest": format!("{:.0} ms", summary.max_ms),
        "realtime": if bed.log("edge").contains("realtime: yes") { "given" } else { "refused" },
        "load": table::load(),
        "stood": format!("{:.0} ms", table::ms(witness.longest_standstill())),
    })
}

/// Waits, and says at once what has happened.
fn watch(bed: &Bed, time: Duration, mut epoch: u64) -> usize {
    let begin = Instant::now();
    while begin.elapsed() < time {
        std::thread::sleep(Duration::from_secs(1).min(time.saturating_sub(begin.elapsed())));
        epoch = tell(bed, epoch, begin);
    }
    0
}

fn tell(bed: &Bed, epoch: u64, begin: Instant) -> u64 {
    match site::epoch(bed) {
        Some(now) if now != epoch => {
            println!("after {:.0} s: epoch {now}", begin.elapsed().as_secs_f64());
            now
        }
        _ => epoch,
    }
}

/// Stops one process after the other, each for a while and not much longer: whoever measures is served first. How often.
fn stall(bed: &Bed, options: &Options) -> usize {
    let mut random = fastrand::Rng::with_seed(options.seed);
    let (begin, mut stalls) = (Instant::now(), 0);
    let mut epoch = site::epoch(bed).unwrap();
    let mut longest = Duration::ZERO;
    site::serve_me_first();
    while begin.elapsed() < options.time() {
        std::thread::sleep(Duration::from_millis(random.u64(CALM)));
        let side = if random.bool() { Side::A } else { Side::B };
        let verb: Option<&[&str]> = match random.u32(0..4) {
            0 => None,
            1 => Some(&["agent"]),
            2 => Some(&["simulate", "app"]),
            _ => Some(&["simulate", "cti"]),
        };
        let target = match verb {
            None => None,
            Some(verb) => match bed.process(side, verb) {
                Some(process) => Some(process.pid),
                None => continue,
            },
        };
        let stopped = Instant::now();
        signal(bed, target, Signal::SIGSTOP);
        std::thread::sleep(STALL);
        signal(bed, target, Signal::SIGCONT);
        longest = longest.max(stopped.elapsed());
        stalls += 1;
        let now = tell(bed, epoch, begin);
        if now != epoch {
            println!(
                "  the last one was of {}",
                verb.map_or("the edge".to_owned(), |verb| format!("{verb:?} of {side}"))
            );
        }
        epoch = now;
    }
    println!("the longest stop has lasted {:.0} ms", table::ms(longest));
    stalls
}

/// The edge, or the process of a node that is given; none where it does not run.
fn signal(bed: &Bed, target: Option<Pid>, signal: Signal) {
    match target {
        None => bed.signal_edge(signal),
        // One that has ended meanwhile has ended.
        Some(pid) => drop(nix::sys::signal::kill(pid, signal)),
    }
}

/// What edge and agents said, for who asks why.
fn keep_logs(bed: &Bed, form: &str) {
    let kept = lockstep_tests::kept().join(format!("soak-{form}"));
    if std::fs::create_dir_all(&kept).is_ok() {
        for name in ["edge", "agent-a", "agent-b"] {
            let _ = std::fs::write(kept.join(format!("{name}.log")), bed.log(name));
        }
        println!("what edge and agents said is kept in {}", kept.display());
    }
}
