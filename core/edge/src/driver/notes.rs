//! What is written down: the numbers of events, the journal, the alerts.

use crate::admin::api::AlertStatus;
use crate::journal::{LIFE, News, PairJournal};
use crate::store::Store;
use crate::wall;
use lockstep_policy::event::{Stage, What};
use lockstep_policy::host::{LifeRecord, Snapshot};
use lockstep_policy::journal::Note;
use lockstep_policy::{Action, At, Event, Level};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::time::Duration;

/// Alerts that are shown.
const ALERTS: usize = 50;

/// Events whose times are remembered, to tell how long before an order its evidence began: so many, and for so long.
const REMEMBERED: usize = 16_384;
const REMEMBERED_FOR: Duration = Duration::from_secs(600);

/// The longest alert, in characters.
const ALERT_MAX: usize = 1000;

pub(super) struct Notes {
    pair: String,
    store: Store,
    journal: PairJournal,
    next_seq: u64,
    /// The store knows that numbers below this may have been used.
    reserved: u64,
    /// Times of the latest events, the last one's last.
    times: VecDeque<At>,
    alerts: VecDeque<AlertStatus>,
}

/// The numbers of events.
impl Notes {
    pub fn new(pair: &str, next_seq: u64, journal: PairJournal, store: Store) -> Notes {
        let mut notes = Notes {
            pair: pair.to_owned(),
            store,
            journal,
            next_seq,
            reserved: next_seq,
            times: VecDeque::new(),
            alerts: VecDeque::new(),
        };
        notes.reserve();
        notes
    }

    /// The number of an event that happens now.
    pub fn next_seq(&mut self, now: At) -> u64 {
        if self.times.len() >= REMEMBERED {
            self.times.pop_front();
        } else if self.times.len() == self.times.capacity() {
            // Before it takes more memory.
            let old = self.times.partition_point(|at| now.since(*at) > REMEMBERED_FOR);
            self.times.drain(..old);
        }
        self.times.push_back(now);
        let seq = self.next_seq;
        self.next_seq += 1;
        if self.next_seq + LIFE / 2 > self.reserved {
            self.reserve();
        }
        seq
    }

    /// The store knows early which numbers are used: a later life must not use one again, whatever becomes of the journal.
    fn reserve(&mut self) {
        self.reserved = self.next_seq + 2 * LIFE - self.next_seq % LIFE + 1;
        self.store.put_numbers(&self.pair, self.reserved);
    }

    /// When an event happened, if that is still remembered.
    pub fn time_of(&self, seq: u64) -> Option<At> {
        let back = self.next_seq.checked_sub(1)?.checked_sub(seq)?;
        let index = self.times.len().checked_sub(1)?.checked_sub(usize::try_from(back).ok()?)?;
        self.times.get(index).copied()
    }

    /// The number of the last event that happened.
    pub fn last_seq(&self) -> u64 {
        self.next_seq.saturating_sub(1)
    }
}

/// What the policy is handed and gives: all that a replay needs.
impl Notes {
    /// An event, before the policy is handed it.
    pub fn event(&mut self, event: &Event) {
        self.journal.event(event);
        // The end of a handover is what will be asked about.
        if let What::Handover(handover) = &event.what
            && handover.stage != Stage::Begun
        {
            self.journal.sync();
        }
        match self.journal.news() {
            None => {}
            Some(News::Fails(why)) => {
                let text = format!(
                    "the journal takes no writes ({why}); the edge goes on without it, and what happens now is missing in it: make room on its disk"
                );
                self.alert(event.at, Level::Warning, "edge", &text);
            }
            Some(News::Works(lost)) => {
                let text = format!("the journal takes writes again; {lost} records are missing in it");
                self.alert(event.at, Level::Info, "edge", &text);
            }
        }
    }

    /// The answer of a life to an event of that time, before any of the actions is done; the first one's number is `first`.
    pub fn answer(&self, life: u64, seq: u64, at: At, first: u64, actions: &[Action]) {
        self.journal.answer(life, seq, at, first, actions);
    }

    /// An instance is put to work; to be said before the first event that it is handed.
    pub fn life(&self, now: At, life: &LifeRecord) {
        self.journal.life(now, life);
    }

    /// What the instance of the present life knew after an event.
    pub fn snapshot(&self, now: At, seq: u64, snapshot: &Snapshot) {
        self.journal.snapshot(now, seq, snapshot);
    }

    /// An event that was noted is not handed to the policy.
    pub fn skipped(&self, now: At, seq: u64, why: &str) {
        self.journal.skipped(now, seq, why);
    }
}

/// What people say and are told.
impl Notes {
    pub fn operator(&self, now: At, what: Value) {
        self.note(now, "operator", what);
    }

    pub fn edge(&self, now: At, what: Value) {
        self.note(now, "edge", what);
    }

    pub fn alert(&mut self, now: At, level: Level, from: &str, text: &str) {
        let text: String = text.chars().take(ALERT_MAX).collect();
        match level {
            Level::Info => tracing::info!(pair = self.pair, from, "{text}"),
            Level::Warning => tracing::warn!(pair = self.pair, from, "{text}"),
            Level::Critical => tracing::error!(pair = self.pair, from, "{text}"),
        }
        self.note(now, "alert", json!({ "level": level, "from": from, "text": text }));
        if self.alerts.len() >= ALERTS {
            self.alerts.pop_back();
        }
        self.alerts.push_front(AlertStatus { when: wall::now(), level, from: from.to_owned(), text });
    }

    /// Newest first.
    pub fn alerts(&self) -> Vec<AlertStatus> {
        self.alerts.iter().cloned().collect()
    }

    fn note(&self, now: At, kind: &str, what: Value) {
        self.journal.note(self.last_seq(), now, &Note { kind: kind.to_owned(), what });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::JournalConfig;
    use crate::journal::Journal;
    use tempfile::TempDir;

    fn notes(directory: &TempDir, next_seq: u64) -> Notes {
        let journal = Journal::open(directory.path(), "edge", JournalConfig::default(), &["phones"]).unwrap();
        let journal = journal.pair("phones", next_seq);
        Notes::new("phones", next_seq, journal, Store::open(directory.path()).unwrap())
    }

    #[test]
    fn the_time_of_evidence_is_remembered_for_a_while() {
        let directory = TempDir::new().unwrap();
        let mut notes = notes(&directory, 20_001);
        assert_eq!(notes.time_of(20_000), None, "of another life of the edge");
        let told = REMEMBERED as u64 + 10;
        let seqs: Vec<u64> = (0..told).map(|ms| notes.next_seq(At::from_millis(ms))).collect();
        assert_eq!((seqs[0], notes.last_seq()), (20_001, 20_000 + told));
        assert_eq!(notes.time_of(20_001), None, "too long ago");
        assert_eq!(notes.time_of(20_011), Some(At::from_millis(10)));
        assert_eq!(notes.time_of(notes.last_seq()), Some(At::from_millis(told - 1)));
        assert_eq!(notes.time_of(notes.last_seq() + 1), None);
    }

    #[test]
    fn a_quiet_pair_remembers_no_more_than_the_last_minutes() {
        let directory = TempDir::new().unwrap();
        let mut notes = notes(&directory, 1);
        for second in 0..2_000 {
            notes.next_seq(At::from_millis(1_000 * second));
        }
        assert!(notes.times.capacity() < 2_000, "{}", notes.times.capacity());
        assert_eq!(notes.time_of(1_500), Some(At::from_millis(1_499_000)));
        assert_eq!(notes.time_of(300), None);
    }

    #[test]
    fn alerts_are_bounded_in_number_and_length_and_the_newest_comes_first() {
        let directory = TempDir::new().unwrap();
        let mut notes = notes(&directory, 1);
        for number in 0..ALERTS + 5 {
            notes.alert(At::ZERO, Level::Info, "edge", &format!("{number} {}", "x".repeat(2 * ALERT_MAX)));
        }
        let alerts = notes.alerts();
        assert_eq!((alerts.len(), alerts[0].text.len()), (ALERTS, ALERT_MAX));
        assert!(alerts[0].text.starts_with("54 "), "{}", &alerts[0].text[..10]);
    }
}
