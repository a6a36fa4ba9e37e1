//! One pair's instance in a worker, as the edge keeps it: what it was made from, its last state and the events since.
//!
//! From these it is made again, in another worker or in the same one, and nobody notices: actions are numbered, so
//! those that were delivered before are not delivered again.

use super::frame::{Frame, is};
use super::instance::head;
use super::occupant::{Deliver, Report, StepOutcome};
use super::{LifeRecord, PluginFile, Snapshot, StepError};
use crate::abi::{self, Decoded, Given, kind};
use crate::{Action, At, Level, Setup};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Events after which the state is saved.
const SAVE_AFTER: usize = 128;
/// From one save to the next, at least.
const SAVE_PACE: Duration = Duration::from_secs(1);
/// Events that are kept since the last state, and their bytes.
const KEPT_EVENTS: usize = 4096;
const KEPT_BYTES: usize = 1 << 20;
/// The memory for them grows by so many bytes.
const GROWTH: usize = 1024;

/// An instance that worked for so long since its last failure has a clean record.
const PROVEN: Duration = Duration::from_secs(300);
/// The first wait before a policy that failed too often is made anew; it doubles with each failure.
const AGAIN_FIRST: Duration = Duration::from_secs(1);
const AGAIN_LONGEST: Duration = Duration::from_secs(60);

/// From one alert about a slow event to the next.
const SLOW_PACE: Duration = Duration::from_secs(60);

/// Where an instance is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// To be put into the worker. Its events are kept for it.
    Waiting,
    /// In the worker.
    Placed,
    /// Failed too often: nobody is here until then.
    Empty(Instant),
}

pub(super) struct Post {
    file: PluginFile,
    setup: Setup,
    config: Vec<u8>,
    /// What a life that begins without a state is made from, when that has changed.
    next: Option<Setup>,
    deliver: Deliver,
    pub state: State,
    life: u64,
    seed: u64,
    /// Counts the times it was put into a worker: frames of an earlier time are not listened to.
    time: u16,
    /// That this life has begun was reported.
    begun: bool,
    begin: Option<Snapshot>,
    snapshot: Option<Snapshot>,
    log: Log,
    saving: Option<u64>,
    saved: Instant,
    cannot_save: bool,
    /// The last event that was answered, and the last action that was delivered.
    answered: u64,
    delivered: u64,
    failures: u32,
    failed: Option<Instant>,
    /// The event that it failed at last.
    suspect: Option<u64>,
    slow: Option<Instant>,
}

/// What went wrong, where.
pub(super) struct Fault {
    /// `crashed`, `panicked: …`.
    pub how: String,
    /// The event at which, or what else was being done.
    pub at: Result<u64, &'static str>,
}

impl Post {
    pub fn new(file: PluginFile, setup: &Setup, life: LifeOf, deliver: Deliver) -> Post {
        let LifeOf { life, seed, restored } = life;
        Post {
            file,
            setup: setup.clone(),
            // Our own type, with string keys only: it always serializes.
            config: serde_json::to_vec(setup).unwrap_or_default(),
            next: None,
            deliver,
            state: State::Waiting,
            life,
            seed,
            time: 0,
            begun: false,
            delivered: restored.as_ref().map_or(0, |snapshot| snapshot.given),
            begin: restored.clone(),
            snapshot: restored,
            log: Log::default(),
            saving: None,
            saved: Instant::now(),
            cannot_save: false,
            answered: 0,
            failures: 0,
            failed: None,
            suspect: None,
            slow: None,
        }
    }

    pub fn reconfigure(&mut self, setup: &Setup) {
        self.next = Some(setup.clone());
    }

    pub fn life(&self) -> u64 {
        self.life
    }

    pub fn report(&mut self, report: Report) {
        (self.deliver)(report);
    }

    pub fn alert(&mut self, level: Level, text: String) {
        self.report(Report::Alert { level, text });
    }

    /// The policy with its version, for a person to read.
    pub fn name(&self) -> String {
        format!("policy `{}` {}", self.file.id(), self.file.version())
    }

    /// Puts it into a worker: made from its setup, restored, and told what it had been told.
    pub fn place(&mut self, post: u64, out: &mut Vec<u8>) {
        self.time = self.time.wrapping_add(1);
        self.state = State::Placed;
        self.saving = None;
        let instance = self.instance(post);
        Frame { number: self.seed, body: &self.config, ..Frame::new(is::CREATE, instance) }.put(out);
        if let Some(snapshot) = &self.snapshot {
            let (number, extra) = (snapshot.state_version.into(), snapshot.given);
            Frame { number, extra, body: &snapshot.state, ..Frame::new(is::RESTORE, instance) }.put(out);
        }
        for (entry, record) in self.log.iter() {
            Frame { number: entry.seq, body: record, ..Frame::new(is::EVENT, instance) }.put(out);
        }
    }

    /// Its name on the wire, this time.
    pub fn instance(&self, post: u64) -> u64 {
        post << 16 | u64::from(self.time)
    }

    pub fn is_this_time(&self, instance: u64) -> bool {
        instance & 0xffff == u64::from(self.time)
    }

    /// Keeps an event for as long as it may have to be told again; false: too many are kept already.
    pub fn keep(&mut self, seq: u64, record: &[u8]) -> bool {
        if self.log.is_full() && self.cannot_save {
            self.log.forget_first();
        }
        if self.log.is_full() {
            return false;
        }
        self.log.push(seq, record);
        true
    }

    /// Asks for its state, when that is due.
    pub fn save_if_due(&mut self, post: u64, out: &mut Vec<u8>) {
        let due =
            self.log.entries.len() >= SAVE_AFTER && self.saved.elapsed() >= SAVE_PACE || self.log.is_nearly_full();
        if due && !self.cannot_save {
            self.save(post, out);
        }
    }

    /// Asks for its state now.
    pub fn save(&mut self, post: u64, out: &mut Vec<u8>) {
        if self.state == State::Placed && self.saving.is_none() {
            let number = self.log.entries.back().map_or(self.answered, |entry| entry.seq);
            self.saving = Some(number);
            self.saved = Instant::now();
            Frame { number, ..Frame::new(is::SAVE, self.instance(post)) }.put(out);
        }
    }

    /// It is made.
    pub fn made(&mut self) {
        if std::mem::replace(&mut self.begun, true) {
            return self.report(Report::Back);
        }
        let record = LifeRecord {
            life: self.life,
            plugin: self.file.id().to_owned(),
            version: self.file.version().to_owned(),
            fingerprint: self.file.fingerprint(),
            state_version: self.file.state_version(),
            setup: self.setup.clone(),
            seed: self.seed,
            given: self.begin.as_ref().map_or(0, |begin| begin.given),
            restored: self.begin.clone(),
        };
        self.report(Report::Began(Box::new(record)));
    }

    /// An event is answered. An error is a worker that makes no sense.
    pub fn stepped(&mut self, frame: &Frame<'_>, warn: Duration) -> Result<(), String> {
        let (seq, cpu) = (frame.number, Duration::from_nanos(frame.extra));
        // How many it has given is the worker's own word, and may be any number.
        let mut first = self.delivered.saturating_add(1);
        let actions = if frame.body.is_empty() { Vec::new() } else { self.actions(frame.body, &mut first)? };
        let again = seq <= self.answered;
        self.answered = self.answered.max(seq);
        self.delivered = self.delivered.saturating_add(actions.len() as u64);
        if cpu >= warn && !again {
            self.slow_step(seq, cpu);
        }
        if !again || !actions.is_empty() {
            self.report(Report::Stepped(StepOutcome { seq, at: self.log.at(seq), first, actions, cpu }));
        }
        Ok(())
    }

    /// The actions that were not delivered yet, and the number of the first.
    fn actions(&self, mut body: &[u8], first: &mut u64) -> Result<Vec<Action>, String> {
        let mut actions = Vec::new();
        while !body.is_empty() {
            let (decoded, rest) = abi::action(body).map_err(|error| error.to_string())?;
            body = rest;
            match decoded {
                Decoded::Known(Given::Action(number, _)) if number <= self.delivered => {}
                Decoded::Known(Given::Action(number, action)) => {
                    if actions.is_empty() {
                        *first = number;
                    }
                    actions.push(action);
                }
                Decoded::Known(Given::Fault(_)) | Decoded::Unknown { .. } => {}
            }
        }
        Ok(actions)
    }

    /// An event took long: said now and then.
    pub fn slow_step(&mut self, seq: u64, cpu: Duration) {
        if self.slow.is_some_and(|said| said.elapsed() < SLOW_PACE) {
            return;
        }
        self.slow = Some(Instant::now());
        let text = format!("{} is slow: {} has taken {cpu:.1?} of CPU time", self.name(), self.event(seq));
        self.alert(Level::Warning, text);
    }

    /// `event 17 (timer)`.
    pub fn event(&self, seq: u64) -> String {
        match self.log.find(seq) {
            Some(entry) => format!("event {seq} ({})", kind_name(entry.kind)),
            None => format!("event {seq}"),
        }
    }

    /// Its state has come.
    pub fn saved(&mut self, seq: u64, given: u64, state: &[u8]) {
        if self.saving.take() != Some(seq) {
            return;
        }
        let (policy, state_version) = (self.file.id().to_owned(), self.file.state_version());
        let snapshot = Snapshot { policy, state_version, given, state: state.to_vec() };
        self.log.forget_to(seq);
        self.snapshot = Some(snapshot.clone());
        self.report(Report::Saved { seq, snapshot });
    }

    pub fn not_saved(&mut self, why: &str) {
        self.saving = None;
        if !std::mem::replace(&mut self.cannot_save, true) {
            let text =
                format!("{} cannot save its state: {why}; after a failure it may have to start anew", self.name());
            self.alert(Level::Warning, text);
        }
    }

    /// The worker died, and not of this one: it is made again as it was.
    pub fn disturbed(&mut self) {
        if !matches!(self.state, State::Empty(_)) {
            self.state = State::Waiting;
            self.report(Report::Away);
        }
    }

    /// It failed: it is made again as it was; at the second failure at the same event without that event; at the third
    /// failure without its state; afterwards after a wait.
    pub fn fail(&mut self, now: Instant, fault: &Fault) {
        if self.failed.is_some_and(|failed| now - failed >= PROVEN) {
            self.failures = 0;
        }
        self.failed = Some(now);
        self.failures += 1;
        let (at, seq) = match fault.at {
            Ok(seq) => (format!("at {}", self.event(seq)), Some(seq)),
            Err(doing) => (doing.to_owned(), None),
        };
        let what = format!("{} failed {at}: {}", self.name(), fault.how);
        let again = seq.is_some() && seq == std::mem::replace(&mut self.suspect, seq);
        let nothing_to_keep = self.snapshot.is_none() && self.log.entries.is_empty();
        let done = match (self.failures, seq) {
            (failures, _) if failures > 3 || nothing_to_keep => self.give_up(now, &what, nothing_to_keep),
            (failures, _) if failures == 3 || self.log.has_forgotten => {
                self.start_anew(&what);
                "it starts anew, without its state".to_owned()
            }
            (2, Some(seq)) if again => {
                self.log.remove(seq);
                let why = format!("it failed twice at this event: {}", fault.how);
                self.report(Report::Skipped { seq, why });
                format!("this was the second time, so event {seq} is left out; otherwise it goes on with its state")
            }
            _ => "it is made again and goes on with its state".to_owned(),
        };
        if self.state == State::Placed {
            self.state = State::Waiting;
        }
        if self.state == State::Waiting {
            self.report(Report::Away);
        }
        self.alert(Level::Critical, format!("{what}; {done}"));
    }

    /// Leaves the place empty for a while.
    fn give_up(&mut self, now: Instant, what: &str, at_once: bool) -> String {
        let before = if at_once { 1 } else { 4 };
        let doublings = self.failures.saturating_sub(before).min(6);
        let wait = AGAIN_FIRST.saturating_mul(1 << doublings).min(AGAIN_LONGEST);
        self.skip_unanswered(what);
        self.state = State::Empty(now + wait);
        self.report(Report::Gone(what.to_owned()));
        format!("it is started again in {wait:?}, and until then the pair keeps its course")
    }

    /// Another life, without what the last one knew.
    pub fn start_anew(&mut self, why: &str) {
        self.skip_unanswered(why);
        if let Some(setup) = self.next.take() {
            self.config = serde_json::to_vec(&setup).unwrap_or_default();
            self.setup = setup;
        }
        self.life += 1;
        // Another number each time, and the same ones again when this pair's history is played again.
        self.seed = self.seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(self.life | 1);
        self.begin = None;
        self.snapshot = None;
        self.saving = None;
        self.delivered = 0;
        self.begun = false;
        self.cannot_save = false;
        self.state = State::Waiting;
    }

    fn skip_unanswered(&mut self, why: &str) {
        let unheard: Vec<u64> =
            self.log.entries.iter().map(|entry| entry.seq).filter(|seq| *seq > self.answered).collect();
        self.log = Log::default();
        for seq in unheard {
            self.report(Report::Skipped { seq, why: why.to_owned() });
        }
    }

    /// A step that returned an error, as a fault.
    pub fn step_failed(&mut self, body: &[u8], seq: u64) -> Fault {
        let how = match serde_json::from_slice(body) {
            Ok(StepError::Panicked { why, .. }) => format!("it panicked: {why}"),
            Ok(StepError::TooMuch { why, .. }) => format!("it gave too much: {why}"),
            Ok(StepError::Broken { why, .. }) => why,
            Ok(other) => other.to_string(),
            Err(_) => "it does not say why".to_owned(),
        };
        Fault { how, at: Ok(seq) }
    }
}

/// What a post's first life is.
pub(super) struct LifeOf {
    pub life: u64,
    pub seed: u64,
    pub restored: Option<Snapshot>,
}

/// The events since the last state.
#[derive(Debug, Default)]
struct Log {
    entries: VecDeque<Entry>,
    bytes: Vec<u8>,
    /// Some were dropped: the state cannot be had from it any more.
    has_forgotten: bool,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    seq: u64,
    kind: u16,
    at: At,
    size: usize,
}

impl Log {
    fn is_full(&self) -> bool {
        self.entries.len() >= KEPT_EVENTS || self.bytes.len() >= KEPT_BYTES
    }

    fn is_nearly_full(&self) -> bool {
        self.entries.len() >= KEPT_EVENTS / 2 || self.bytes.len() >= KEPT_BYTES / 2
    }

    fn push(&mut self, seq: u64, record: &[u8]) {
        let (kind, _, at) = head(record);
        // Thousands of pairs have one each: none grows by its own size.
        if self.entries.len() == self.entries.capacity() {
            self.entries.reserve_exact(GROWTH / size_of::<Entry>());
        }
        if self.bytes.capacity() - self.bytes.len() < record.len() {
            self.bytes.reserve_exact(record.len().max(GROWTH));
        }
        self.entries.push_back(Entry { seq, kind, at, size: record.len() });
        self.bytes.extend_from_slice(record);
    }

    /// Numbers of events only grow.
    fn find(&self, seq: u64) -> Option<&Entry> {
        let index = self.entries.binary_search_by_key(&seq, |entry| entry.seq).ok()?;
        self.entries.get(index)
    }

    fn at(&self, seq: u64) -> At {
        self.find(seq).map_or(At::ZERO, |entry| entry.at)
    }

    fn iter(&self) -> impl Iterator<Item = (Entry, &[u8])> {
        let mut rest = self.bytes.as_slice();
        self.entries.iter().map(move |entry| {
            let (record, after) = rest.split_at(entry.size.min(rest.len()));
            rest = after;
            (*entry, record)
        })
    }

    /// Drops the events up to this one.
    fn forget_to(&mut self, seq: u64) {
        let count = self.entries.iter().take_while(|entry| entry.seq <= seq).count();
        let bytes: usize = self.entries.drain(..count).map(|entry| entry.size).sum();
        self.bytes.drain(..bytes);
    }

    fn forget_first(&mut self) {
        if let Some(first) = self.entries.pop_front() {
            self.bytes.drain(..first.size);
            self.has_forgotten = true;
        }
    }

    fn remove(&mut self, seq: u64) {
        let Ok(index) = self.entries.binary_search_by_key(&seq, |entry| entry.seq) else { return };
        let before: usize = self.entries.range(..index).map(|entry| entry.size).sum();
        if let Some(entry) = self.entries.remove(index) {
            self.bytes.drain(before..before + entry.size);
        }
    }
}

/// What happened, for a person to read.
fn kind_name(number: u16) -> String {
    let known = [
        (kind::START, "start"),
        (kind::PROBE, "probe result"),
        (kind::AGENT, "agent's report"),
        (kind::LINK, "agent's connection"),
        (kind::TRAFFIC, "traffic"),
        (kind::TIMER, "timer"),
        (kind::ORDER, "operator's order"),
        (kind::HANDOVER, "handover"),
        (kind::RESULT, "result of an action"),
        (kind::CONFIG, "change of the configuration"),
        (kind::COMMAND, "operator's command"),
        (kind::SESSIONS, "sessions"),
    ];
    let name = known.iter().find(|(kind, _)| *kind == number);
    name.map_or_else(|| format!("kind {number}"), |(_, name)| (*name).to_owned())
}
