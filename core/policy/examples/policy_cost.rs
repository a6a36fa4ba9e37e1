//! What a policy costs: a step in this process, an event's way through a worker and back, and a worker with very many pairs.
//!
//! ```text
//! cargo build --release -p lockstep-telisca
//! cargo run --release -p lockstep-policy --example policy_cost -- target/release/liblockstep_telisca.so
//! ```
//!
//! Nothing here is a test: a busy machine gives worse figures.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "it measures time")]

use lockstep_policy::event::{Event, ProbeId, ProbeResult, Start, Verdict, What};
use lockstep_policy::host::{Isolation, Library, Occupant, Plugin, PluginFile, Program, Report, Terms, worker};
use lockstep_policy::setup::{Detect, SideSetup};
use lockstep_policy::{At, Epoch, Setup, Side, Sides};
use rustix::time::{ClockId, clock_gettime};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

const STEPS: u64 = 200_000;
const TRIPS: u64 = 20_000;
const PAIRS: u64 = 10_000;
const SECONDS: u64 = 10;

type Done<T> = Result<T, Box<dyn Error>>;

fn main() -> Done<()> {
    let argument = std::env::args().nth(1).unwrap_or_default();
    if argument == "policy-worker" {
        return Ok(worker::serve()?);
    }
    let plugin = PathBuf::from(argument);
    step_in_this_process(&plugin)?;
    for isolation in [Isolation::Process, Isolation::InProcess] {
        trip(&plugin, isolation)?;
    }
    back_after_a_kill(&plugin)?;
    many_pairs(&plugin)
}

fn terms(isolation: Isolation) -> Terms {
    let program = Program { file: "/proc/self/exe".into(), arguments: vec!["policy-worker".into()] };
    Terms { isolation, program, ..Terms::default() }
}

fn setup() -> Setup {
    let side = |server: &str| SideSetup { servers: vec![server.to_owned()], pools: Vec::new(), agent: true };
    Setup {
        pair: "phones".to_owned(),
        parameters: serde_json::Map::new(),
        detect: Detect { interval_ms: 100, timeout_ms: 200, failures: 3 },
        sides: Sides { a: side("192.0.2.1:80"), b: side("192.0.2.2:80") },
    }
}

fn start() -> Event {
    let start = Start { active: Some(Side::A), epoch: Epoch(1), restored: false, since_handover: None };
    Event { seq: 1, at: At::ZERO, what: What::Start(start) }
}

/// A good answer of the active side: what policies are told most of the time.
fn probe(seq: u64) -> Event {
    let result = ProbeResult {
        probe: ProbeId(1),
        side: Side::A,
        server: 1,
        verdict: Verdict::Good,
        latency: Duration::from_micros(800),
        status: 200,
        detail: String::new(),
        facts: Vec::new(),
    };
    Event { seq, at: At::from_millis(seq * 100), what: What::Probe(result) }
}

fn step_in_this_process(plugin: &Path) -> Done<()> {
    let mut instance = Library::open(plugin)?.instance(&setup(), 1)?;
    instance.step(&start())?;
    let events: Vec<Event> = (2..STEPS + 2).map(probe).collect();
    let begin = Instant::now();
    for event in &events {
        instance.step(event)?;
    }
    println!("step in this process: {:.0} ns", nanos(begin.elapsed()) / STEPS as f64);
    Ok(())
}

/// One event after the other, each when the one before is answered.
fn trip(plugin: &Path, isolation: Isolation) -> Done<()> {
    let plugin = Plugin::open(PluginFile::read(plugin)?, terms(isolation))?;
    plugin.dismiss();
    let (report, reports) = channel();
    let tell = move |told| drop(report.send((Instant::now(), told)));
    let occupant = Occupant::new(&plugin, &setup(), 1, 1, None, tell)?;
    while !matches!(reports.recv()?.1, Report::Began(_)) {}
    occupant.send(1, &start())?;
    let mut times = Vec::new();
    for seq in 2..TRIPS + 2 {
        let sent = Instant::now();
        occupant.send(1, &probe(seq))?;
        loop {
            let (at, told) = reports.recv()?;
            if matches!(&told, Report::Stepped(outcome) if outcome.seq == seq) {
                times.push(at - sent);
                break;
            }
        }
    }
    times.sort_unstable();
    let at = |part: f64| nanos(times[((times.len() - 1) as f64 * part) as usize]) / 1e3;
    println!(
        "from sending to the delivered answer, {}: median {:.1} µs, 99 % {:.1} µs, longest {:.0} µs",
        isolation.name(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
    Ok(())
}

/// From the worker's death to the instance's being back with its state, and its next answer.
fn back_after_a_kill(plugin: &Path) -> Done<()> {
    let plugin = Plugin::open(PluginFile::read(plugin)?, terms(Isolation::Process))?;
    plugin.dismiss();
    let (report, reports) = channel();
    let tell = move |told| drop(report.send(told));
    let occupant = Occupant::new(&plugin, &setup(), 1, 1, None, tell)?;
    while !matches!(reports.recv()?, Report::Began(_)) {}
    occupant.send(1, &start())?;
    let mut longest = Duration::ZERO;
    for round in 0..10 {
        let seqs = 2 + round * 101..2 + (round + 1) * 101;
        for seq in seqs.clone() {
            occupant.send(1, &probe(seq))?;
        }
        while !matches!(reports.recv()?, Report::Stepped(outcome) if outcome.seq + 1 == seqs.end) {}
        let pid =
            occupant.worker_pid().and_then(|pid| i32::try_from(pid).ok()).and_then(rustix::process::Pid::from_raw);
        let killed = Instant::now();
        rustix::process::kill_process(pid.ok_or("it has a worker")?, rustix::process::Signal::KILL)?;
        while !matches!(reports.recv()?, Report::Back) {}
        longest = longest.max(killed.elapsed());
        // A worker that dies again soon is not blamed, and not started again at once.
        std::thread::sleep(Duration::from_secs(5));
    }
    println!("back with its state after its worker was killed: {:.0} ms at most", nanos(longest) / 1e6);
    Ok(())
}

/// Each pair has a probe's result once a second; ten pairs have theirs at each millisecond.
fn many_pairs(plugin: &Path) -> Done<()> {
    let plugin = Plugin::open(PluginFile::read(plugin)?, terms(Isolation::Process))?;
    plugin.dismiss();
    let (begun, answered) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut pairs = Vec::new();
    for _ in 0..PAIRS {
        let (begun, answered) = (Arc::clone(&begun), Arc::clone(&answered));
        let tell = move |told| {
            let count = match told {
                Report::Began(_) => &begun,
                Report::Stepped(_) => &answered,
                _ => return,
            };
            count.fetch_add(1, Ordering::Relaxed);
        };
        pairs.push(Occupant::new(&plugin, &setup(), 1, 1, None, tell)?);
    }
    wait(|| begun.load(Ordering::Relaxed) == PAIRS);
    for pair in &pairs {
        pair.send(1, &start())?;
    }
    wait(|| answered.load(Ordering::Relaxed) == PAIRS);
    let worker = pairs[0].worker_pid().ok_or("the pairs have a worker")?;
    let each = PAIRS / 1000;
    let (edge_before, worker_before, begin) = (own_cpu(), cpu_of(worker)?, Instant::now());
    for tick in 0..SECONDS * 1000 {
        let due = begin + Duration::from_millis(tick + 1);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let first = tick % 1000 * each;
        for pair in first..first + each {
            pairs[pair as usize].send(1, &probe(2 + tick / 1000))?;
        }
    }
    wait(|| answered.load(Ordering::Relaxed) == PAIRS * (1 + SECONDS));
    let took = begin.elapsed();
    let share = |used: Duration| 100.0 * used.as_secs_f64() / took.as_secs_f64();
    let (edge, policy) = (share(own_cpu() - edge_before), share(cpu_of(worker)? - worker_before));
    println!(
        "{PAIRS} pairs at 1 Hz: edge {edge:.1} % of a core, worker {policy:.1} %, together {:.1} %",
        edge + policy
    );
    Ok(())
}

fn wait(until: impl Fn() -> bool) {
    while !until() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn own_cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// From the kernel's table, in its ticks of 10 ms.
fn cpu_of(pid: u32) -> Done<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(") ").ok_or("the kernel's table is not as expected")?;
    let ticks: u64 = fields.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(10 * ticks))
}

fn nanos(time: Duration) -> f64 {
    time.as_secs_f64() * 1e9
}
