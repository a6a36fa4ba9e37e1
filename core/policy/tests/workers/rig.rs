//! Plugins compiled for a test, and instances of them at work.

use lockstep_policy::event::{Event, Order, Start, TimerId, What};
use lockstep_policy::host::{Isolation, Occupant, Plugin, PluginFile, Program, Report, Sent, StepOutcome, Terms};
use lockstep_policy::setup::{Detect, SideSetup};
use lockstep_policy::{At, Epoch, Level, Setup, Side, Sides};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// What is not there by then never comes; far beyond what a busy machine needs.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The test by this name in this program, as a worker.
pub fn program() -> Program {
    let arguments = ["policy_worker", "--exact", "--nocapture"].map(Into::into).to_vec();
    Program { file: std::env::current_exe().expect("this test has a file"), arguments }
}

/// The usual terms, with this program's worker.
pub fn terms(isolation: Isolation) -> Terms {
    Terms { isolation, program: program(), ..Terms::default() }
}

/// A policy in C, compiled with some macros against a header.
#[derive(Debug)]
pub struct Fixture {
    folder: TempDir,
    pub file: PathBuf,
}

impl Fixture {
    pub fn new(source: &str, header: &str, macros: &[&str]) -> Fixture {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("policy.so");
        let compiled = Command::new("cc")
            .args(["-std=c11", "-O1", "-D_DEFAULT_SOURCE", "-shared", "-fPIC", "-I"])
            .arg(root.join(header))
            .args(macros)
            .arg("-o")
            .args([&file, &root.join("tests/fixtures").join(source)])
            .output()
            .expect("a C compiler is installed");
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        Fixture { folder, file }
    }

    /// The policy that misbehaves at an order. Each has an id of its own, so that each has a worker of its own.
    pub fn hostile(sort: &str) -> Fixture {
        let id = format!("-DID=\"{}\"", sort.to_lowercase().replace('_', "-"));
        Fixture::new("hostile.c", "include", &[&format!("-DHOSTILE={sort}"), &id])
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn plugin(&self, terms: Terms) -> Plugin {
        let file = PluginFile::read(&self.file).expect("it is sound");
        Plugin::open(file, terms).expect("it loads")
    }
}

pub fn setup() -> Setup {
    let side = |server: &str| SideSetup { servers: vec![server.to_owned()], pools: Vec::new(), agent: true };
    Setup {
        pair: "phones".to_owned(),
        parameters: serde_json::Map::new(),
        detect: Detect { interval_ms: 100, timeout_ms: 200, failures: 3 },
        sides: Sides { a: side("192.0.2.1:80"), b: side("192.0.2.2:80") },
    }
}

/// An instance at work, and what it has reported.
pub struct Place {
    pub occupant: Occupant,
    reports: Receiver<Report>,
    pub life: u64,
    pub seq: u64,
    /// Since the last look.
    pub seen: Vec<Report>,
}

impl Place {
    /// An instance whose first life has begun, and was told of it.
    pub fn new(plugin: &Plugin) -> Place {
        let mut place = Place::unbegun(plugin);
        place.begin();
        place
    }

    pub fn unbegun(plugin: &Plugin) -> Place {
        let (report, reports) = channel();
        let occupant = Occupant::new(plugin, &setup(), 1, 7, None, move |told| drop(report.send(told)));
        Place { occupant: occupant.expect("it can be had"), reports, life: 1, seq: 0, seen: Vec::new() }
    }

    /// Waits for a life, and tells it the start.
    pub fn begin(&mut self) {
        self.life = self.wait("a life", |report| match report {
            Report::Began(record) => Some(record.life),
            _ => None,
        });
        let start = Start { active: Some(Side::A), epoch: Epoch(1), restored: false, since_handover: None };
        self.send(What::Start(start));
    }

    /// Hands an event over; its number.
    pub fn send(&mut self, what: What) -> u64 {
        self.seq += 1;
        let event = Event { seq: self.seq, at: At::from_millis(self.seq), what };
        assert_eq!(self.occupant.send(self.life, &event), Ok(Sent::Told));
        self.seq
    }

    /// Hands a timer over.
    pub fn timer(&mut self) -> u64 {
        self.send(What::Timer(TimerId(1)))
    }

    /// Hands an order over: what `hostile.c` misbehaves at.
    pub fn order(&mut self) -> u64 {
        let rights = vec!["all".to_owned()];
        let order = Order { order: 1, to: Side::B, confirmed: false, by: "eva".to_owned(), rights };
        self.send(What::Order(order))
    }

    /// Waits for the answer to an event.
    pub fn answer(&mut self, to: u64) -> StepOutcome {
        self.wait(&format!("the answer to event {to}"), |report| match report {
            Report::Stepped(outcome) if outcome.seq == to => Some(outcome.clone()),
            _ => None,
        })
    }

    /// Waits for an alert of a level.
    pub fn alert(&mut self, wanted: Level) -> String {
        self.wait("an alert", |report| match report {
            Report::Alert { level, text } if *level == wanted => Some(text.clone()),
            _ => None,
        })
    }

    /// Waits for a report; those before are in `seen`.
    pub fn wait<T>(&mut self, what: &str, is: impl Fn(&Report) -> Option<T>) -> T {
        let begin = Instant::now();
        loop {
            let left = PATIENCE.saturating_sub(begin.elapsed());
            let Ok(report) = self.reports.recv_timeout(left) else {
                panic!("waited in vain for {what}; there was: {:#?}", self.seen)
            };
            let found = is(&report);
            self.seen.push(report);
            if let Some(found) = found {
                return found;
            }
        }
    }

    /// That it has its state: timers were counted, and each of them was answered once.
    pub fn assert_has_given(&mut self, before: u64) {
        let seq = self.timer();
        assert_eq!(self.answer(seq).first, before + 1, "it counts on");
    }
}
