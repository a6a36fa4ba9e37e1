//! A journal played again: the same plugin from the same events gives the same actions, byte for byte; another one shows
//! where it would have decided otherwise.
//!
//! Time, results of actions and handovers are those of the journal: a candidate that switches earlier is not told of its
//! own switch, only of the one that was.

use super::{Fingerprint, Instance, InstanceError, Library, LifeRecord, StepError};
use crate::abi::MINOR;
use crate::journal::{self, Answered, Entry, Reader, Snapped, action_text, event_text};
use crate::{Action, At, Event, Setup, abi};
use std::collections::VecDeque;
use std::fmt;
use std::path::{Path, PathBuf};

/// Gaps that are told one by one.
const GAPS: usize = 20;

/// Events that may wait for their answers, or be handed over again: a policy is never further behind.
const WAITING: usize = 200_000;

/// What a replay has seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Lives of the policy that were played.
    pub lives: u64,
    /// Events whose answers were compared.
    pub events: u64,
    /// Actions in the journal, of the events that were compared.
    pub actions: u64,
    /// Events at which the candidate gave other actions.
    pub otherwise: u64,
    /// Events that were not compared: nobody was handed them, or their answers were not written down.
    pub passed_over: u64,
    /// The first switch in the journal.
    pub switched: Option<(u64, At)>,
    /// The first switch of the candidate.
    pub would_switch: Option<(u64, At)>,
    /// Where something is missing, and the comparison began again afterwards; the first ones.
    pub gaps: Vec<String>,
}

/// An event at which the candidate gives other actions than the journal has.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// The event.
    pub event: Event,
    /// The actions in the journal.
    pub recorded: Vec<Action>,
    /// Those of the candidate, or how it failed.
    pub given: Result<Vec<Action>, StepError>,
}

impl Difference {
    /// Whether it is about more than how the policy watches: a switch, a stand-down, an alert, an answer to an operator.
    #[must_use]
    pub fn is_decision(&self) -> bool {
        let given = self.given.as_deref().unwrap_or_default();
        self.given.is_err() || decisions(given).ne(decisions(&self.recorded))
    }
}

fn decisions(actions: &[Action]) -> impl Iterator<Item = &Action> {
    actions.iter().filter(|action| !is_routine(action))
}

/// What a policy does all the time without having decided anything.
fn is_routine(action: &Action) -> bool {
    matches!(
        action,
        Action::Watch(_)
            | Action::Unwatch(_)
            | Action::ProbeNow(_)
            | Action::SetTimer(..)
            | Action::CancelTimer(_)
            | Action::Show(..)
    )
}

/// The event, and both lists of actions; `-` in the journal, `+` of the candidate.
impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{} at {}: {}", self.event.seq, self.event.at, event_text(&self.event))?;
        if self.recorded.is_empty() {
            write!(f, "\n  - nothing")?;
        }
        self.recorded.iter().try_for_each(|action| write!(f, "\n  - {}", action_text(action)))?;
        match &self.given {
            Err(error) => write!(f, "\n  + {error}"),
            Ok(given) if given.is_empty() => write!(f, "\n  + nothing"),
            Ok(given) if *given == self.recorded => {
                write!(f, "\n  + the same in words, and other bytes: numbers differ")
            }
            Ok(given) => given.iter().try_for_each(|action| write!(f, "\n  + {}", action_text(action))),
        }
    }
}

/// A journal cannot be played, or was not played as it was recorded.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Nothing in it can be played.
    #[error("{}: {why}", path.display())]
    Nothing {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The plugin makes no instance for a life.
    #[error("life {life}: {source}")]
    Instance {
        /// The life.
        life: u64,
        /// Why.
        source: InstanceError,
    },
    /// The same plugin does otherwise than it did.
    #[error("the policy does otherwise than it did (- in the journal, + now):\n{0}")]
    Different(Box<Difference>),
}

/// The policies' lives in a journal, oldest first; what a replay needs a plugin for.
pub fn lives(path: &Path) -> Result<Vec<LifeRecord>, ReplayError> {
    let mut lives: Vec<LifeRecord> = Vec::new();
    read(path, &mut |entry| {
        if let Ok(Entry::Life(life)) = entry
            && lives.last().is_none_or(|last| last.life != life.life)
        {
            lives.push(*life);
        }
        Ok(())
    })?;
    Ok(lives)
}

/// Plays a file or a pair's directory with the plugin that it was recorded with. Each action must be the same, byte for
/// byte. A tail that a crash has torn off is no difference.
///
/// Lives of a plugin with another fingerprint are passed over; one life at least must be played.
pub fn verify(path: &Path, library: &Library) -> Result<Summary, ReplayError> {
    let same = |life: &LifeRecord| (life.fingerprint == library.fingerprint()).then(|| life.setup.clone());
    play(path, library, &same, &mut |difference| Err(ReplayError::Different(Box::new(difference))))
}

/// Plays a journal with any plugin, on the setups that `change` makes of those in the journal, and tells each event at
/// which it gives other actions.
pub fn compare(
    path: &Path,
    library: &Library,
    change: &dyn Fn(&Setup) -> Setup,
    tell: &mut dyn FnMut(Difference),
) -> Result<Summary, ReplayError> {
    let setup = |life: &LifeRecord| Some(change(&life.setup));
    play(path, library, &setup, &mut |difference| {
        tell(difference);
        Ok(())
    })
}

type Tell<'a> = dyn FnMut(Difference) -> Result<(), ReplayError> + 'a;

fn play(
    path: &Path,
    library: &Library,
    setup: &dyn Fn(&LifeRecord) -> Option<Setup>,
    tell: &mut Tell<'_>,
) -> Result<Summary, ReplayError> {
    let mut player = Player::new(library, setup, tell);
    read(path, &mut |entry| player.take(entry))?;
    let summary = player.end();
    if summary.lives == 0 {
        let why = format!("holds no life of policy `{}` ({}…)", library.id(), short(library.fingerprint()));
        return Err(ReplayError::Nothing { path: path.to_owned(), why });
    }
    Ok(summary)
}

fn short(fingerprint: Fingerprint) -> String {
    fingerprint.to_string().chars().take(12).collect()
}

/// Hands over each entry of a journal; an error is a rest of a file that cannot be read.
fn read(
    path: &Path,
    take: &mut dyn FnMut(Result<Entry, String>) -> Result<(), ReplayError>,
) -> Result<(), ReplayError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| ReplayError::Read { path, source }
    };
    let files = journal::files(path).map_err(failed(path))?;
    for file in files {
        for entry in Reader::open(&file).map_err(failed(&file))? {
            take(entry.map_err(|torn| format!("{}: {torn}", file.display())))?;
        }
    }
    Ok(())
}

/// Where the player stands.
enum Stage {
    /// Nobody is at work, or a life that is not to be played.
    Empty,
    /// Something is missing: the next snapshot or life goes on.
    Lost,
    /// An instance is at work.
    Playing(Box<Instance>),
}

struct Player<'a> {
    library: &'a Library,
    setup: &'a dyn Fn(&LifeRecord) -> Option<Setup>,
    tell: &'a mut Tell<'a>,
    stage: Stage,
    life: Option<LifeRecord>,
    /// The number of the life's first event.
    first: u64,
    /// The number of the last action that was given.
    given: u64,
    /// The number of the next event, while none is missing.
    next: Option<u64>,
    /// Events that are not known to have been answered.
    waiting: VecDeque<Event>,
    /// Events since the last snapshot, the waiting ones not among them: a later life may be handed them again.
    since: VecDeque<Event>,
    /// Those of them that the present life may be handed again.
    again: VecDeque<Event>,
    /// What a segment prepares with, until it is known whether that is needed.
    preparing: Option<Vec<Entry>>,
    /// Actions were encoded by another version: their bytes need not be the same.
    other_abi: bool,
    summary: Summary,
}

impl<'a> Player<'a> {
    fn new(
        library: &'a Library,
        setup: &'a dyn Fn(&LifeRecord) -> Option<Setup>,
        tell: &'a mut Tell<'a>,
    ) -> Player<'a> {
        Player {
            library,
            setup,
            tell,
            stage: Stage::Empty,
            life: None,
            first: 0,
            given: 0,
            next: None,
            waiting: VecDeque::new(),
            since: VecDeque::new(),
            again: VecDeque::new(),
            preparing: None,
            other_abi: false,
            summary: Summary::default(),
        }
    }

    fn take(&mut self, entry: Result<Entry, String>) -> Result<(), ReplayError> {
        match (entry, &mut self.preparing) {
            (Err(torn), _) => {
                self.preparing = None;
                self.lose(&torn);
                Ok(())
            }
            (Ok(Entry::Segment(header)), _) => {
                self.other_abi = header.abi_minor != MINOR;
                self.preparing = Some(Vec::new());
                Ok(())
            }
            (Ok(Entry::Begins { next, whole }), _) => self.begin(next, whole),
            (Ok(entry), Some(preparing)) => {
                preparing.push(entry);
                Ok(())
            }
            (Ok(entry), None) => self.handle(entry),
        }
    }

    /// A segment's own events begin: what prepares them is passed over when nothing is missing before them.
    fn begin(&mut self, next: u64, whole: bool) -> Result<(), ReplayError> {
        let prepared = self.preparing.take().unwrap_or_default();
        let goes_on = self.next == Some(next) && !matches!(self.stage, Stage::Lost);
        if goes_on {
            return Ok(());
        }
        self.leave();
        self.stage = Stage::Empty;
        self.life = None;
        self.since.clear();
        // From a snapshot rather than from the life's beginning: the events before it are not here.
        let snapped = prepared.iter().any(|entry| matches!(entry, Entry::Snapshot(_)));
        for entry in prepared {
            self.next = None;
            match entry {
                Entry::Life(life) if snapped => {
                    self.first = next;
                    self.stage = if (self.setup)(&life).is_some() { Stage::Lost } else { Stage::Empty };
                    self.life = Some(*life);
                }
                entry => self.handle(entry)?,
            }
        }
        self.next = Some(next);
        if !whole {
            self.lose("the journal begins in the middle");
        }
        Ok(())
    }

    fn handle(&mut self, entry: Entry) -> Result<(), ReplayError> {
        match entry {
            Entry::Life(life) => self.begin_life(*life),
            Entry::Event(event) => {
                self.event(event);
                Ok(())
            }
            Entry::Answer(answer) => self.answer(&answer),
            Entry::Snapshot(snapped) => self.snapshot(&snapped),
            Entry::Skipped(skipped) => {
                self.waiting.retain(|event| event.seq != skipped.seq);
                self.summary.passed_over += 1;
                Ok(())
            }
            Entry::Gap(gap) => {
                self.next = None;
                self.lose(&format!("{} records about #{} to #{}: {}", gap.lost, gap.from, gap.to, gap.why));
                Ok(())
            }
            Entry::Unknown { kind, seq } => {
                // An event: one of our own records would say that it must be known.
                if kind < 256 {
                    self.next = seq.checked_add(1);
                    self.lose(&format!("event #{seq} is of a kind ({kind}) that this lockstep does not know"));
                }
                Ok(())
            }
            Entry::Segment(_) | Entry::Begins { .. } | Entry::Note { .. } => Ok(()),
        }
    }

    fn begin_life(&mut self, life: LifeRecord) -> Result<(), ReplayError> {
        let unanswered = std::mem::take(&mut self.waiting);
        self.summary.passed_over += unanswered.len() as u64;
        self.since.extend(unanswered);
        self.stage = Stage::Empty;
        self.first = self.next.unwrap_or(u64::MAX);
        if life.restored.is_none() {
            self.since.clear();
        }
        self.again.clone_from(&self.since);
        if let Some(setup) = (self.setup)(&life) {
            let mut instance = self.make(&life, &setup)?;
            self.given = life.given;
            if let Some(snapshot) = &life.restored {
                self.given = snapshot.given;
                self.restore(&mut instance, life.life, snapshot)?;
            }
            self.summary.lives += 1;
            self.stage = Stage::Playing(Box::new(instance));
        }
        self.life = Some(life);
        Ok(())
    }

    fn make(&self, life: &LifeRecord, setup: &Setup) -> Result<Instance, ReplayError> {
        let failed = |source| ReplayError::Instance { life: life.life, source };
        self.library.instance(setup, life.seed).map_err(failed)
    }

    /// Another policy cannot go on from the snapshot: it begins anew there, and that is said.
    fn restore(&mut self, instance: &mut Instance, life: u64, snapshot: &super::Snapshot) -> Result<(), ReplayError> {
        match instance.restore(snapshot) {
            Err(error) if snapshot.policy == self.library.id() => Err(ReplayError::Instance { life, source: error }),
            Err(error) => {
                self.remember(&format!("life {life}: {error}; it begins anew"));
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn event(&mut self, event: Event) {
        let expected = self.next.replace(event.seq.saturating_add(1));
        if matches!(self.stage, Stage::Empty) {
            self.summary.passed_over += 1;
            return;
        }
        if let Some(expected) = expected.filter(|expected| *expected != event.seq) {
            self.lose(&format!("event #{} follows where #{expected} was to be", event.seq));
        }
        if self.first == u64::MAX {
            self.first = event.seq;
        }
        if self.waiting.len() >= WAITING {
            self.lose(&format!("no answer for {WAITING} events"));
        }
        self.waiting.push_back(event);
    }

    fn answer(&mut self, answer: &Answered) -> Result<(), ReplayError> {
        if self.life.as_ref().is_none_or(|life| life.life != answer.life) {
            return Ok(());
        }
        if !matches!(self.stage, Stage::Playing(_)) {
            // While lost, what was answered is known to be over: a snapshot says what came of it.
            return Ok(());
        }
        // Events that this life was handed again are answered one by one.
        while answer.seq < self.first && self.again.front().is_some_and(|event| event.seq <= answer.seq) {
            let Some(event) = self.again.pop_front() else { break };
            let own = event.seq == answer.seq;
            self.step(event, own.then_some(answer))?;
        }
        while self.waiting.front().is_some_and(|event| event.seq <= answer.seq) {
            let Some(event) = self.waiting.pop_front() else { break };
            let own = event.seq == answer.seq;
            self.since.push_back(event.clone());
            if self.since.len() > WAITING {
                self.since.pop_front();
            }
            self.step(event, own.then_some(answer))?;
        }
        Ok(())
    }

    /// Hands over an event, and compares. Without an answer of its own it was answered by nothing.
    fn step(&mut self, event: Event, answer: Option<&Answered>) -> Result<(), ReplayError> {
        let Stage::Playing(instance) = &mut self.stage else { return Ok(()) };
        let recorded = answer.map(|answer| answer.actions.as_slice()).unwrap_or_default();
        let bytes = answer.map(|answer| answer.bytes.as_slice()).unwrap_or_default();
        let given = instance.step(&event);
        self.summary.events += 1;
        self.summary.actions += recorded.len() as u64;
        note_switch(&mut self.summary.switched, &event, recorded);
        let same = match &given {
            Ok(actions) => {
                note_switch(&mut self.summary.would_switch, &event, actions);
                let first = self.given + 1;
                self.given += actions.len() as u64;
                if self.other_abi { actions == recorded } else { encode(first, event.at, actions) == bytes }
            }
            Err(_) => false,
        };
        if same {
            return Ok(());
        }
        let failed = given.is_err();
        let difference = Difference { event, recorded: recorded.to_vec(), given };
        if failed {
            self.lose(&format!("the candidate fails at #{}", difference.event.seq));
        }
        self.differ(difference)
    }

    fn differ(&mut self, difference: Difference) -> Result<(), ReplayError> {
        // The numbers of a candidate's actions come apart with the first difference; what it does may be the same.
        if difference.given.as_ref().is_ok_and(|given| *given == difference.recorded) && self.summary.otherwise > 0 {
            return Ok(());
        }
        self.summary.otherwise += 1;
        (self.tell)(difference)
    }

    fn snapshot(&mut self, snapped: &Snapped) -> Result<(), ReplayError> {
        self.since.retain(|event| event.seq > snapped.seq);
        let Some(life) = self.life.clone() else { return Ok(()) };
        if !matches!(self.stage, Stage::Lost) {
            return Ok(());
        }
        let Some(setup) = (self.setup)(&life) else { return Ok(()) };
        self.waiting.retain(|event| event.seq > snapped.seq);
        let mut instance = self.make(&life, &setup)?;
        self.given = snapped.snapshot.given;
        self.restore(&mut instance, life.life, &snapped.snapshot)?;
        if self.summary.lives == 0 {
            self.summary.lives = 1;
        }
        self.stage = Stage::Playing(Box::new(instance));
        Ok(())
    }

    /// Something is missing: what waits cannot be compared.
    fn lose(&mut self, why: &str) {
        self.leave();
        self.since.clear();
        if matches!(self.stage, Stage::Playing(_)) {
            self.remember(why);
            self.stage = Stage::Lost;
        }
    }

    fn leave(&mut self) {
        self.summary.passed_over += self.waiting.len() as u64;
        self.waiting.clear();
    }

    fn remember(&mut self, gap: &str) {
        if self.summary.gaps.len() < GAPS {
            self.summary.gaps.push(gap.to_owned());
        }
    }

    fn end(mut self) -> Summary {
        self.leave();
        self.summary
    }
}

fn note_switch(first: &mut Option<(u64, At)>, event: &Event, actions: &[Action]) {
    if first.is_none() && actions.iter().any(|action| matches!(action, Action::Switch(_))) {
        *first = Some((event.seq, event.at));
    }
}

fn encode(first: u64, at: At, actions: &[Action]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (number, action) in (first..).zip(actions) {
        abi::encode_action(number, at, action, &mut bytes);
    }
    bytes
}
