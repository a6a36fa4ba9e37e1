//! A round of schedules, several at once, each in a world of its own; what fails is printed with the command that plays it again.

use crate::judge::{Alive, Evidence, judge};
use crate::play::{NONE, fills_the_edges_disk, play};
use crate::schedule::Schedule;
use lockstep_policy::host::Library;
use lockstep_policy::host::replay::verify;
use lockstep_tests::{replay, world};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// How many schedules are played.
const SCHEDULES: &str = "LOCKSTEP_FAULTS_SCHEDULES";
/// The first seed.
const SEED: &str = "LOCKSTEP_FAULTS_SEED";
/// How many are played at once.
const AT_ONCE: &str = "LOCKSTEP_FAULTS_AT_ONCE";
/// Schedules of a short round, and its first seed: always the same, so that a change is blamed for what it has changed.
const SHORT: (u64, u64) = (30, 1);

/// Plays a round; inside of a world, the one schedule that it is for.
pub fn play_all() {
    if let Some(dir) = world::enter() {
        return play_one(&dir, number(SEED).expect("a world is for one seed"));
    }
    world::demand_tools();
    let first = number(SEED).unwrap_or(SHORT.1);
    let many = number(SCHEDULES).unwrap_or(if number(SEED).is_some() { 1 } else { SHORT.0 });
    let at_once = number(AT_ONCE).unwrap_or(4).clamp(1, many.max(1));
    let next = AtomicU64::new(first);
    let failed = Mutex::new(BTreeMap::new());
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + many {
                        return;
                    }
                    if let Err(log) = tell(seed) {
                        failed.lock().unwrap().insert(seed, log);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    println!("{many} schedules from seed {first} in {:.0?}: {} failed", begin.elapsed(), failed.len());
    for (seed, log) in &failed {
        println!("\n{}", std::fs::read_to_string(log).unwrap_or_default());
        println!(
            "seed {seed} again: make faults SCHEDULES=1 SEED={seed}; its logs: {}",
            log.with_extension("").display()
        );
    }
    assert!(failed.is_empty(), "failed: seeds {:?}", failed.keys());
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")))
}

/// Where what a seed has left is kept when it fails; beside it, with the ending `log`, what was said.
fn kept(seed: u64) -> PathBuf {
    lockstep_tests::kept().join(format!("faults-{seed}"))
}

/// Plays one seed in a world of its own; when it fails, where its log is.
fn tell(seed: u64) -> Result<(), PathBuf> {
    let (begin, log) = (Instant::now(), kept(seed).with_extension("log"));
    let _ = std::fs::remove_dir_all(kept(seed));
    let status = in_a_world("schedules", &log, &[(SEED, seed.to_string())]);
    let said = std::fs::read_to_string(&log).unwrap_or_default();
    let summary = said.lines().find_map(|line| line.strip_prefix("summary: ")).unwrap_or("it broke off");
    println!("seed {seed}: {} in {:.1?}: {summary}", if status.success() { "good" } else { "FAILED" }, begin.elapsed());
    if status.success() {
        let _ = std::fs::remove_file(&log);
        return Ok(());
    }
    Err(log)
}

/// Runs a test of this program in a world of its own, with more in its environment.
pub fn in_a_world(test: &str, log: &Path, environment: &[(&str, String)]) -> ExitStatus {
    let dir = tempfile::Builder::new().prefix("lockstep-test-").tempdir().unwrap();
    std::fs::create_dir_all(log.parent().unwrap()).unwrap();
    let output = File::create(log).unwrap();
    let mut command = world::command(test, dir.path());
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    let mut inside = command.stdout(output.try_clone().unwrap()).stderr(output).spawn().unwrap();
    // Its input stays open for as long as this process lives.
    let held_open = inside.stdin.take();
    let status = inside.wait().unwrap();
    drop(held_open);
    status
}

fn play_one(dir: &Path, seed: u64) {
    let schedule = Schedule::of(seed);
    println!("{schedule}");
    let keeper = Keeper { dir, seed };
    let evidence = play(dir, &schedule, NONE);
    let mut wrong = judge(&schedule, &evidence);
    wrong.extend(plays_again(dir, &schedule));
    println!("summary: {}", summary(&evidence));
    if !wrong.is_empty() {
        for deed in &evidence.deeds {
            println!("{:>8.1} ms: {}", ms(deed.at, evidence.began), deed.what);
        }
        panic!("\n{}", wrong.join("\n"));
    }
    drop(keeper);
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of a few minutes")]
fn ms(at: u64, began: u64) -> f64 {
    (at as f64 - began as f64) / 1e6
}

fn summary(evidence: &Evidence) -> String {
    let failed = evidence.exchanges.iter().filter(|exchange| !exchange.is_good()).count();
    let alive = match &evidence.alive {
        Alive::After(time) => format!("well after {time:.1?}"),
        Alive::Never(_) => "never well".to_owned(),
        Alive::Unknown(why) => format!("liveness not judged: {why}"),
    };
    let misplaced: usize = evidence.misplaced.iter().map(Vec::len).sum();
    format!(
        "{alive}, {} handovers, epoch {}, {failed} of {} requests without a good answer, {} given, {misplaced} overtaken, \
         the machine stood still for {:.0?} at most",
        evidence.store.handovers.len(),
        evidence.store.state.epoch.0,
        evidence.exchanges.len(),
        evidence.given.len(),
        evidence.stood_still,
    )
}

/// The journal plays again. What no disk took may be missing from it.
fn plays_again(dir: &Path, schedule: &Schedule) -> Option<String> {
    if !fills_the_edges_disk(schedule) {
        replay::plays_again(dir);
        return None;
    }
    let journals = std::fs::read_dir(dir.join("edge/journal")).ok()?;
    let library = Library::open(&lockstep_tests::plugin("telisca")).unwrap();
    let mut differ = journals.filter_map(|pair| verify(&pair.unwrap().path(), &library).err());
    differ.next().map(|error| format!("the journal: {error}"))
}

/// Keeps what a failed play has left: the world and its directory are about to go.
struct Keeper<'d> {
    dir: &'d Path,
    seed: u64,
}

impl Drop for Keeper<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let _ = std::fs::create_dir_all(kept(self.seed));
        for entry in std::fs::read_dir(self.dir).into_iter().flatten().filter_map(Result::ok) {
            if entry.path().is_file() {
                let _ = std::fs::copy(entry.path(), kept(self.seed).join(entry.file_name()));
            }
        }
    }
}
