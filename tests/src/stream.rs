//! The client's stream of requests through the VIP, and the judgement of a story by all logs.

use crate::bed::{Bed, until};
use crate::configuration::vip;
use crate::processes::{Life, lockstep};
use lockstep_demo::play::processes::DEMO;
use lockstep_demo::tally::{self, Exchange, Summary};
use lockstep_demo::{activity, app, now};
use lockstep_policy::Side;
use nix::sys::signal::Signal;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The margin of the machine: times are asserted to be within three times their target and this, because other work may share its
/// processors. Whether a target itself is met is read from the figures.
const MACHINE: Duration = Duration::from_millis(500);

/// A client at work, a process of its own.
#[derive(Debug)]
pub struct Stream {
    life: Life,
    log: PathBuf,
}

impl Stream {
    /// Starts it, and waits for its first good answer.
    pub fn start(dir: &Path, rate: u32) -> Stream {
        Stream::start_to(dir, "client", vip(), &["--post-every", "10", "--rate", &rate.to_string()])
    }

    /// The same to any address, with options of `simulate client`. The name is that of its logs.
    pub fn start_to(dir: &Path, name: &str, to: SocketAddr, options: &[&str]) -> Stream {
        let log = dir.join(format!("{name}.jsonl"));
        let mut command = lockstep();
        command.args(["simulate", "client", "--url", &format!("http://{to}/work")]).args(options);
        command.arg("--log").arg(&log).env(DEMO, dir);
        let stream = Stream { life: Life::begin(command, &dir.join(format!("{name}.log")), None), log };
        stream.let_flow(1);
        stream
    }

    /// Lets requests flow for as long as it takes to answer so many.
    pub fn let_flow(&self, requests: usize) {
        let from = now();
        until(&format!("{requests} good answers"), || {
            let good = self.exchanges().iter().filter(|exchange| exchange.is_good() && exchange.sent >= from).count();
            (good >= requests).then_some(())
        });
    }

    /// What it has seen until now.
    pub fn exchanges(&self) -> Vec<Exchange> {
        if self.log.exists() { tally::read(&self.log).unwrap() } else { Vec::new() }
    }

    /// Ends it, waits for the answers under way, and judges the story until now by all logs.
    pub fn finish(self, bed: &Bed) -> Seen {
        self.finish_but(bed, |_| false)
    }

    /// The same, but a request that was sent when `excused` says so may have been served by a side whose CTI was not active.
    pub fn finish_but(self, bed: &Bed, excused: impl Fn(u64) -> bool) -> Seen {
        let seen = self.end();
        seen.judge(bed, excused);
        seen
    }

    /// Has it send nothing more, and waits so long at most for the answers under way; whether all have come.
    pub fn quiet_down(&mut self, patience: Duration) -> bool {
        self.life.signal(Signal::SIGTERM);
        let begin = std::time::Instant::now();
        while !self.life.has_ended() && begin.elapsed() < patience {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.life.has_ended()
    }

    /// Ends it and waits for the answers under way; whoever tells the story judges.
    pub fn end(self) -> Seen {
        self.life.signal(Signal::SIGTERM);
        let status = self.life.wait("the client");
        assert!(status.success(), "the client failed: {status}");
        Seen { exchanges: tally::read(&self.log).unwrap() }
    }
}

/// What the client saw.
#[derive(Debug)]
pub struct Seen {
    exchanges: Vec<Exchange>,
}

impl Seen {
    /// What must hold in every story, whatever was broken in it.
    fn judge(&self, bed: &Bed, excused: impl Fn(u64) -> bool) {
        let whole = self.summary();
        assert!(whole.requests > whole.failed, "nothing was served: {whole:?}");
        println!(
            "client: {} of {} failed {:?}, itself late by {:.0} ms at most",
            whole.failed, whole.requests, whole.failures, whole.client_late_ms
        );
        let by_standby = self.exchanges.iter().filter(|exchange| exchange.by_standby() && !excused(exchange.sent));
        let by_standby: Vec<_> = by_standby.take(10).collect();
        assert!(by_standby.is_empty(), "I2: served by a side whose CTI was not active: {by_standby:#?}");
        judge_logs(bed, excused);
        all_agree(bed);
    }

    /// All of it.
    pub fn exchanges(&self) -> &[Exchange] {
        &self.exchanges
    }

    /// All of it, in numbers.
    pub fn summary(&self) -> Summary {
        tally::summarise_all(&self.exchanges)
    }

    /// What was due in `from..to`, in numbers.
    pub fn between(&self, from: u64, to: u64) -> Summary {
        tally::summarise(&self.exchanges, from, to)
    }

    /// No request at all has failed.
    pub fn nothing_lost(&self) {
        let whole = self.summary();
        assert_eq!(whole.failed, 0, "of {} requests: {:?}", whole.requests, whole.failures);
    }

    /// How long after a fault the service was good again: the end of the longest silence that follows it.
    pub fn good_again(&self, fault: u64) -> Duration {
        let end = self.exchanges.iter().map(|exchange| exchange.ended).max().expect("there were requests");
        self.good_again_within(fault, end)
    }

    /// The same of what came before `end`.
    pub fn good_again_within(&self, fault: u64, end: u64) -> Duration {
        tally::good_again(&self.exchanges, fault, end)
    }

    /// How long after a fault the last request was sent that a side served whose CTI was not active; zero when there was none.
    pub fn last_by_standby(&self, fault: u64) -> Duration {
        let misserved = self.exchanges.iter().filter(|exchange| exchange.by_standby());
        let last = misserved.map(|exchange| exchange.sent).max().unwrap_or(fault);
        Duration::from_nanos(last.saturating_sub(fault))
    }
}

/// I4: the edge names one side active, and only that side's CTI runs.
fn all_agree(bed: &Bed) {
    let active = until("the pair to come to rest", || bed.active());
    assert!(bed.cti(active).is_some(), "side {active} is active, and its CTI does not run");
    assert_eq!(bed.cti(active.other()), None, "side {active} is active, and the other's CTI runs");
}

/// I1 and I2 by the logs of those who would be harmed: the CTI services never ran at once, and no application served a request while
/// its own CTI was not active. Not even one that was withdrawn: what a hung application finds in its queue on waking is flushed.
pub fn judge_logs(bed: &Bed, excused: impl Fn(u64) -> bool) {
    let log = |side| activity::read(&bed.dir().join(activity::file_name(side))).unwrap();
    let overlaps = activity::overlaps(&log(Side::A), &log(Side::B));
    assert!(overlaps.is_empty(), "I1: both CTI services ran at once: {overlaps:?}");
    for side in Side::BOTH {
        let mut misplaced = app::misplaced(&bed.dir().join(app::file_name(side))).unwrap();
        misplaced.retain(|entry| !excused(entry.at));
        assert!(misplaced.is_empty(), "I2: side {side} served while its CTI was not active: {misplaced:#?}");
    }
}

/// Prints a time beside its target, where a person can compare them, and asserts it with the machine's margin.
pub fn figure(name: &str, found: Duration, target: Duration) {
    let ms = |time: Duration| time.as_secs_f64() * 1_000.0;
    let line = format!("figure: {name} {:.1} ms, target {:.1} ms", ms(found), ms(target));
    println!("{line}");
    let file = crate::kept().join("figures.txt");
    let mut figures = std::fs::OpenOptions::new().append(true).create(true).open(file).unwrap();
    writeln!(figures, "{line}").unwrap();
    assert!(found <= 3 * target + MACHINE, "{line}: beyond three times the target and {} ms", MACHINE.as_millis());
}
