//! One journal being played.

use super::{Difference, ReplayError, Summary};
use crate::abi::MINOR;
use crate::host::{Instance, Library, LifeRecord, Snapshot};
use crate::journal::{Answered, Entry, Snapped};
use crate::{Action, At, Event, Setup, Side, abi};
use std::collections::VecDeque;

/// Gaps that are told one by one.
const GAPS: usize = 20;

/// Events that may wait for their answers: a policy is never further behind.
const WAITING: usize = 200_000;

/// Takes each event at which the candidate gives other actions; an error ends the replay.
pub(super) type Tell<'a> = dyn FnMut(Difference) -> Result<(), ReplayError> + 'a;

/// Where the player stands.
enum Stage {
    /// Nobody is at work, or a life that is not to be played.
    Empty,
    /// Something is missing: the next snapshot or life goes on.
    Lost,
    /// An instance is at work.
    Playing(Box<Instance>),
}

/// Takes a journal's entries one after the other.
pub(super) struct Player<'a> {
    library: &'a Library,
    setup: &'a dyn Fn(&LifeRecord) -> Option<Setup>,
    tell: &'a mut Tell<'a>,
    stage: Stage,
    life: Option<LifeRecord>,
    /// The number of the last action that was given.
    given: u64,
    /// The number of the next event, while none is missing.
    next: Option<u64>,
    /// Something is missing up to this event.
    missing: u64,
    /// Events that are not known to have been answered.
    waiting: VecDeque<Event>,
    /// What a segment prepares with, until it is known whether that is needed.
    preparing: Option<Vec<Entry>>,
    /// Actions were encoded by another version: their bytes need not be the same.
    other_abi: bool,
    summary: Summary,
}

impl<'a> Player<'a> {
    pub fn new(
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
            given: 0,
            next: None,
            missing: 0,
            waiting: VecDeque::new(),
            preparing: None,
            other_abi: false,
            summary: Summary::default(),
        }
    }

    pub fn take(&mut self, entry: Result<Entry, String>) -> Result<(), ReplayError> {
        match (entry, &mut self.preparing) {
            (Err(torn), _) => {
                self.preparing = None;
                self.leave();
                self.remember(&torn);
                self.next = None;
                if matches!(self.stage, Stage::Playing(_)) {
                    self.stage = Stage::Lost;
                }
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
        self.missing = 0;
        // From a snapshot rather than from the life's beginning: the events before it are not here.
        let snapped = prepared.iter().any(|entry| matches!(entry, Entry::Snapshot(_)));
        for entry in prepared {
            self.next = None;
            match entry {
                Entry::Life(life) if snapped => {
                    self.stage = if (self.setup)(&life).is_some() { Stage::Lost } else { Stage::Empty };
                    self.life = Some(*life);
                }
                entry => self.handle(entry)?,
            }
        }
        self.next = Some(next);
        if !whole {
            self.lose(next.saturating_sub(1), "the journal begins in the middle");
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
                let before = self.waiting.len();
                self.waiting.retain(|event| event.seq != skipped.seq);
                self.summary.passed_over += (before - self.waiting.len()) as u64;
                // One that was too large to be written down is only named.
                if self.next == Some(skipped.seq) {
                    self.next = skipped.seq.checked_add(1);
                }
                Ok(())
            }
            Entry::Gap(gap) => {
                self.next = None;
                let why = format!("{} records about #{} to #{}: {}", gap.lost, gap.from, gap.to, gap.why);
                self.lose(gap.to, &why);
                Ok(())
            }
            Entry::Unknown { kind, seq } => {
                // An event: one of our own records would say that it must be known.
                if kind < 256 {
                    self.next = seq.checked_add(1);
                    self.lose(seq, &format!("event #{seq} is of a kind ({kind}) that this lockstep does not know"));
                }
                Ok(())
            }
            Entry::Segment(_) | Entry::Begins { .. } | Entry::Note { .. } => Ok(()),
        }
    }

    fn begin_life(&mut self, life: LifeRecord) -> Result<(), ReplayError> {
        self.leave();
        self.stage = Stage::Empty;
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
    fn restore(&mut self, instance: &mut Instance, life: u64, snapshot: &Snapshot) -> Result<(), ReplayError> {
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
            self.lose(
                event.seq.saturating_sub(1),
                &format!("event #{} follows where #{expected} was to be", event.seq),
            );
        }
        if self.waiting.len() >= WAITING {
            self.lose(event.seq.saturating_sub(1), &format!("no answer for {WAITING} events"));
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
        let mut known = false;
        while self.waiting.front().is_some_and(|event| event.seq <= answer.seq) {
            let Some(event) = self.waiting.pop_front() else { break };
            let own = event.seq == answer.seq;
            known |= own;
            self.step(event, own.then_some(answer))?;
        }
        if !known && !answer.bytes.is_empty() {
            self.lose(answer.seq, &format!("actions answer event #{}, which is not here", answer.seq));
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
        let same = match &given {
            Ok(actions) => {
                note_switches(&mut self.summary, &event, recorded, actions);
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
            let seq = difference.event.seq;
            self.lose(seq, &format!("the candidate fails at #{seq}"));
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
        let Some(life) = self.life.clone() else { return Ok(()) };
        if !matches!(self.stage, Stage::Lost) || snapped.seq < self.missing {
            return Ok(());
        }
        let Some(setup) = (self.setup)(&life) else { return Ok(()) };
        let before = self.waiting.len();
        self.waiting.retain(|event| event.seq > snapped.seq);
        self.summary.passed_over += (before - self.waiting.len()) as u64;
        let mut instance = self.make(&life, &setup)?;
        self.given = snapped.snapshot.given;
        self.restore(&mut instance, life.life, &snapped.snapshot)?;
        if self.summary.lives == 0 {
            self.summary.lives = 1;
        }
        self.stage = Stage::Playing(Box::new(instance));
        Ok(())
    }

    /// Something is missing up to an event: what waits cannot be compared, and an older snapshot is of no use.
    fn lose(&mut self, to: u64, why: &str) {
        self.leave();
        self.missing = to;
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

    /// What was seen.
    pub fn end(mut self) -> Summary {
        self.leave();
        self.summary
    }
}

/// Remembers the first switches in which the two come apart.
fn note_switches(summary: &mut Summary, event: &Event, recorded: &[Action], given: &[Action]) {
    let sides = |actions: &[Action]| -> Vec<Side> {
        let side = |action: &Action| if let Action::Switch(switch) = action { Some(switch.to) } else { None };
        actions.iter().filter_map(side).collect()
    };
    let (was, would) = (sides(recorded), sides(given));
    if was == would {
        return;
    }
    let here = (event.seq, event.at);
    if !was.is_empty() {
        summary.switched.get_or_insert(here);
    }
    if !would.is_empty() {
        summary.would_switch.get_or_insert(here);
    }
}

fn encode(first: u64, at: At, actions: &[Action]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (number, action) in (first..).zip(actions) {
        abi::encode_action(number, at, action, &mut bytes);
    }
    bytes
}
