//! Many worlds, on all cores when there are very many.

use crate::world::{Mutation, Stats, Vendor};
use crate::{SEEDS, world_of};
use lockstep_policy::host::Library;
use lockstep_tests::plugin;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};

/// From one line of progress to the next.
const PROGRESS: Duration = Duration::from_secs(10);

/// A vendor's plugin; its file is read once.
pub fn library(policy: Vendor) -> Library {
    static LOADED: LazyLock<[Library; 3]> =
        LazyLock::new(|| Vendor::ALL.map(|policy| Library::open(&plugin(policy.name())).expect("the plugin loads")));
    let place = Vendor::ALL.iter().position(|one| *one == policy).expect("it is one of them");
    LOADED[place].clone()
}

/// One world to its end: what was counted, and what was broken. A panic is of the production code's own checks.
pub fn play(seed: u64, mutation: Mutation) -> (Stats, Result<(), String>) {
    quietly(|| {
        let mut world = world_of(seed, mutation);
        let ended = catch_unwind(AssertUnwindSafe(|| world.run()));
        (world.stats, ended.unwrap_or_else(|panic| Err(text_of(panic.as_ref()))))
    })
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_else(|| "a panic".to_owned())
}

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// What panics inside is not printed: there may be thousands that are expected.
fn quietly<T>(play: impl FnOnce() -> T) -> T {
    static HOOK: std::sync::Once = std::sync::Once::new();
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                usual(info);
            }
        }));
    });
    let before = QUIET.replace(true);
    let played = play();
    QUIET.set(before);
    played
}

/// All seeds of one policy. `SEEDS=n` in the environment: so many of all policies together, on all cores.
pub fn hold_together(policy: Vendor) {
    let wanted: Option<u64> = std::env::var("SEEDS").ok().map(|seeds| seeds.parse().expect("SEEDS is a number"));
    let from: u64 = std::env::var("FROM").ok().map_or(0, |from| from.parse().expect("FROM is a number"));
    let count = wanted.map_or(SEEDS, |seeds| seeds.div_ceil(3));
    let workers = wanted.map_or(1, |_| std::thread::available_parallelism().map_or(1, usize::from));
    let place = Vendor::ALL.iter().position(|one| *one == policy).expect("it is one of them") as u64;
    let crowd = Crowd { policy, from, place, count, ..Crowd::new() };
    std::thread::scope(|scope| (0..workers).for_each(|_| drop(scope.spawn(|| crowd.work(wanted.is_some())))));
    crowd.judge();
}

struct Crowd {
    policy: Vendor,
    from: u64,
    place: u64,
    count: u64,
    next: AtomicU64,
    done: Mutex<Done>,
}

struct Done {
    worlds: u64,
    total: Stats,
    failures: Vec<(u64, String)>,
    since: Instant,
    told: Instant,
}

impl Crowd {
    fn new() -> Crowd {
        let now = Instant::now();
        let done = Done { worlds: 0, total: Stats::default(), failures: Vec::new(), since: now, told: now };
        Crowd { policy: Vendor::Telisca, from: 0, place: 0, count: 0, next: AtomicU64::new(0), done: Mutex::new(done) }
    }

    fn work(&self, shows_progress: bool) {
        loop {
            let number = self.next.fetch_add(1, Relaxed);
            if number >= self.count {
                return;
            }
            let seed = (self.from / 3 + number) * 3 + self.place;
            let (stats, ended) = play(seed, Mutation::None);
            let mut done = self.done.lock().expect("no world panics outside of its play");
            done.worlds += 1;
            done.total.add(&stats);
            done.failures.extend(ended.err().map(|why| (seed, why)));
            if shows_progress && done.told.elapsed() >= PROGRESS {
                done.told = Instant::now();
                eprintln!(
                    "{}: {} of {} worlds, {} broken, {:.0} s",
                    self.policy.name(),
                    done.worlds,
                    self.count,
                    done.failures.len(),
                    done.since.elapsed().as_secs_f64()
                );
            }
        }
    }

    fn judge(self) {
        let Done { worlds, total, mut failures, since, .. } = self.done.into_inner().expect("all have ended");
        println!("{}: {worlds} worlds in {:.1} s: {total:#?}", self.policy.name(), since.elapsed().as_secs_f64());
        failures.sort();
        let told: Vec<String> = failures
            .iter()
            .take(20)
            .map(|(seed, why)| format!("seed {seed} broke at {why}\n  make sim SEED={seed}"))
            .collect();
        assert!(failures.is_empty(), "{} of {worlds} worlds broke:\n{}", failures.len(), told.join("\n"));
        // The worlds are wild, but not so wild that nothing ever happens in them.
        assert!(total.completed > worlds, "only {} handovers completed in {worlds} worlds", total.completed);
        assert!(total.edge_crashes + total.agent_crashes > worlds / 4, "hardly anything died: {total:?}");
        assert!(total.held > worlds && total.answered > worlds * 20, "clients saw hardly anything: {total:?}");
    }
}

impl Stats {
    fn add(&mut self, other: &Stats) {
        let longest = self.longest.max(other.longest);
        macro_rules! sum {
            ($($field:ident),*) => { $(self.$field += other.$field;)* };
        }
        sum!(events, policy_events, faults, completed, rolled_back, no_active, settled, edge_crashes, agent_crashes);
        sum!(reboots, deadman, isolations, requests, held, answered, errors, refused, turned_away, waited_in_vain);
        sum!(cut, left, unreached, mended);
        self.longest = longest;
    }
}
