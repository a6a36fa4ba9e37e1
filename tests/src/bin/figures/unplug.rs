//! How long no side is active when the active one is suddenly out of reach: its cable is pulled, or cut in one direction.
//!
//! Both CTI services write down when they are active, by one clock; the client writes down when it was answered.

use crate::options::Options;
use crate::site::{self, Client};
use crate::table::{self, ms, nanos_ms, one, percentile};
use crate::worlds;
use lockstep_demo::activity::{self, Instant, Mark};
use lockstep_demo::now;
use lockstep_policy::Side;
use lockstep_tests::bed::Bed;
use lockstep_tests::configuration::CTI_START;
use lockstep_tests::network::Way;
use lockstep_tests::stream::judge_logs;
use lockstep_tests::witness::Witness;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

const RATE: u32 = 200;
/// What the lease's own times may be exceeded by.
const ALLOWED: Duration = Duration::from_millis(100);

/// How the active node is cut off.
const WAYS: [&str; 3] = ["cable", "nothing to it", "nothing from it"];

/// The times of a lease, and what unplugging may take by them.
pub struct Terms {
    pub profile: &'static str,
    pub ttl: Duration,
    pub stop_max: Duration,
    pub margin: Duration,
}

pub const LAN: Terms = Terms {
    profile: "lan",
    ttl: Duration::from_millis(600),
    stop_max: Duration::from_millis(250),
    margin: Duration::from_millis(20),
};
pub const RAPID: Terms = Terms {
    profile: "rapid",
    ttl: Duration::from_millis(200),
    stop_max: Duration::from_millis(80),
    margin: Duration::from_millis(10),
};

impl Terms {
    fn drift(&self) -> Duration {
        (self.ttl + self.stop_max) / 100
    }

    pub fn bound(&self) -> Duration {
        self.ttl + self.drift() + self.margin + self.stop_max + CTI_START + ALLOWED
    }

    fn sum(&self) -> String {
        format!(
            "{} = lease {} + drift {} + margin {} + stop_max {} + CTI start {} + {}",
            one(ms(self.bound())),
            one(ms(self.ttl)),
            table::tenths(ms(self.drift())),
            one(ms(self.margin)),
            one(ms(self.stop_max)),
            one(ms(CTI_START)),
            one(ms(ALLOWED)),
        )
    }
}

pub fn measure(options: &Options) -> bool {
    let machine = table::machine();
    let terms = if options.profile == "rapid" { &RAPID } else { &LAN };
    let (runs, seed) = (options.runs.to_string(), options.seed.to_string());
    let words = ["unplug-world", "--runs", &runs, "--seed", &seed, "--profile", terms.profile];
    let Some(found) = worlds::run("unplug", &words) else { return false };
    println!("\nprofile {}, {runs} runs, seed {seed}, on {machine}", terms.profile);
    show(&found);
    println!("bound in ms: {}", terms.sum());
    println!("the machine stood still for {} at most; load after {}", found["stood"], table::load());
    let p99 = percentile(&mut numbers(&found, "active", None), 99.0);
    p99 <= ms(terms.bound())
}

/// The values of one sort, of all runs or of those that were cut off in one way.
pub fn numbers(found: &Value, key: &str, way: Option<&str>) -> Vec<f64> {
    let runs = found["runs"].as_array().map_or(&[][..], Vec::as_slice);
    let wanted = runs.iter().filter(|run| way.is_none_or(|way| run["way"] == way));
    wanted.filter_map(|run| run[key].as_f64()).collect()
}

const MEASURED: [(&str, &str); 3] = [
    ("active", "cut to the other CTI's being active"),
    ("neither", "neither CTI active"),
    ("answer", "cut to the client's first answer from the other side"),
];

pub fn show(found: &Value) {
    let row = |(key, name): (&str, &str), way: Option<&str>| {
        let mut values = numbers(found, key, way);
        let of = [50.0, 99.0, 100.0].map(|percent| one(percentile(&mut values, percent)));
        let mut row = vec![name.to_owned(), way.unwrap_or("all").to_owned(), values.len().to_string()];
        row.extend(of);
        row
    };
    let mut rows: Vec<_> = MEASURED.map(|measured| row(measured, None)).to_vec();
    rows.extend(WAYS.map(|way| row(MEASURED[0], Some(way))));
    table::print(&["in ms", "cut off by", "runs", "p50", "p99", "max"], &rows);
}

pub fn in_world(options: &Options, dir: &Path) -> Value {
    let bed = site::start(dir, &options.profile, "");
    let client = Client::start(dir, RATE);
    site::within(Duration::from_secs(20), || (client.exchanges().len() > 20).then_some(())).unwrap();
    let witness = Witness::begin();
    let mut random = fastrand::Rng::with_seed(options.seed);
    let mut cuts = Vec::new();
    for number in 0..options.runs {
        let active = bed.wait_any_well();
        // Whatever keeps step with the lease's renewals is met at every point of its step.
        std::thread::sleep(Duration::from_micros(random.u64(100_000..600_000)));
        let way = WAYS[number % WAYS.len()];
        let cut = now();
        match way {
            "cable" => bed.unplug(active),
            "nothing to it" => bed.network().cut_one_way(active, Way::To),
            _ => bed.network().cut_one_way(active, Way::From),
        }
        bed.wait_served(active.other());
        match way {
            "cable" => bed.plug(active),
            _ => bed.network().heal_one_way(active),
        }
        if number < 6 {
            println!("{way}:");
            bed.print_handover();
        }
        cuts.push((cut, active, way));
        if number % 20 == 19 {
            println!("{} of {}", number + 1, options.runs);
        }
    }
    bed.wait_any_well();
    let exchanges = client.end();
    judge_logs(&bed, |_| false);
    let logs = lockstep_policy::Sides::from_fn(|side| activity::read(&dir.join(activity::file_name(side))).unwrap());
    let run = |(cut, side, way): &(u64, Side, &str)| {
        let active = first(&logs[side.other()], Mark::Active, *cut);
        let ended = end_of_activity(&logs[*side], *cut);
        let from_other = exchanges.iter().filter(|exchange| exchange.is_good() && exchange.side == Some(side.other()));
        let answer = from_other.map(|exchange| exchange.ended).filter(|ended| ended > cut).min();
        let since = |at: Option<u64>| at.map(|at| nanos_ms(at.saturating_sub(*cut)));
        let neither = active.zip(ended).map(|(active, ended)| nanos_ms(active.saturating_sub(ended)));
        json!({ "way": way, "active": since(active), "neither": neither, "answer": since(answer) })
    };
    let stood = format!("{:.0} ms", ms(witness.longest_standstill()));
    json!({ "runs": cuts.iter().map(run).collect::<Vec<_>>(), "stood": stood })
}

fn first(log: &[Instant], mark: Mark, after: u64) -> Option<u64> {
    log.iter().filter(|instant| instant.mark == mark && instant.at > after).map(|instant| instant.at).min()
}

/// When the CTI that was active at that time was so no more: it was told to stop, or was killed.
fn end_of_activity(log: &[Instant], at: u64) -> Option<u64> {
    let pid = log.iter().filter(|instant| instant.at <= at).max_by_key(|instant| instant.at)?.pid;
    let its = || log.iter().filter(|instant| instant.pid == pid);
    let told = its().filter(|instant| instant.mark == Mark::Stopping).map(|instant| instant.at).min();
    told.or_else(|| its().map(|instant| instant.at).max())
}

/// The pair is left as it is by whoever measures it: for the lines of other measurements.
pub fn quietly(bed: &Bed, time: Duration) -> u64 {
    let before = site::epoch(bed).unwrap();
    std::thread::sleep(time);
    site::epoch(bed).unwrap().saturating_sub(before)
}
