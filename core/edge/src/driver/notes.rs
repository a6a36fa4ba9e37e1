//! What is written down: the numbers of events, the journal, the alerts.

use super::measure::ms;
use crate::admin::api::{AlertStatus, JournalEntry};
use crate::store::Store;
use crate::wall;
use lockstep_policy::{Action, At, Event, Level};
use serde_json::{Value, json};
use std::collections::VecDeque;

/// Alerts that are shown.
const ALERTS: usize = 50;

/// Events whose times are remembered, to tell how long before an order its evidence began.
const REMEMBERED: usize = 16_384;

/// The longest alert, in characters.
const ALERT_MAX: usize = 1000;

pub(super) struct Notes {
    pair: String,
    store: Store,
    next_seq: u64,
    /// Times of the latest events, the last one's last.
    times: VecDeque<At>,
    alerts: VecDeque<AlertStatus>,
}

impl Notes {
    pub fn new(pair: &str, next_seq: u64, store: Store) -> Notes {
        Notes { pair: pair.to_owned(), store, next_seq, times: VecDeque::new(), alerts: VecDeque::new() }
    }

    /// The number of an event that happens now.
    pub fn next_seq(&mut self, now: At) -> u64 {
        if self.times.len() >= REMEMBERED {
            self.times.pop_front();
        }
        self.times.push_back(now);
        let seq = self.next_seq;
        self.next_seq += 1;
        seq
    }

    /// When an event happened, if that is still remembered.
    pub fn time_of(&self, seq: u64) -> Option<At> {
        let back = self.next_seq.checked_sub(1)?.checked_sub(seq)?;
        let index = self.times.len().checked_sub(1)?.checked_sub(usize::try_from(back).ok()?)?;
        self.times.get(index).copied()
    }

    pub fn event(&self, event: &Event) {
        self.write(event.seq, event.at, "event", to_json(&event.what));
    }

    /// An action, after the event that it answers.
    pub fn action(&self, seq: u64, now: At, number: u64, action: &Action) {
        self.write(seq, now, "action", json!({ "number": number, "action": to_json(action) }));
    }

    pub fn operator(&self, now: At, what: Value) {
        self.write(self.last_seq(), now, "operator", what);
    }

    pub fn edge(&self, now: At, what: Value) {
        self.write(self.last_seq(), now, "edge", what);
    }

    pub fn alert(&mut self, now: At, level: Level, from: &str, text: &str) {
        let text: String = text.chars().take(ALERT_MAX).collect();
        match level {
            Level::Info => tracing::info!(pair = self.pair, from, "{text}"),
            Level::Warning => tracing::warn!(pair = self.pair, from, "{text}"),
            Level::Critical => tracing::error!(pair = self.pair, from, "{text}"),
        }
        self.write(self.last_seq(), now, "alert", json!({ "level": level, "from": from, "text": text }));
        if self.alerts.len() >= ALERTS {
            self.alerts.pop_back();
        }
        self.alerts.push_front(AlertStatus { when: wall::now(), level, from: from.to_owned(), text });
    }

    /// Newest first.
    pub fn alerts(&self) -> Vec<AlertStatus> {
        self.alerts.iter().cloned().collect()
    }

    fn last_seq(&self) -> u64 {
        self.next_seq.saturating_sub(1)
    }

    fn write(&self, seq: u64, at: At, kind: &str, what: Value) {
        let at_ms = ms(at.since(At::ZERO));
        self.store.put_journal(&self.pair, JournalEntry { seq, at_ms, when: wall::now(), kind: kind.to_owned(), what });
    }
}

fn to_json(value: &impl serde::Serialize) -> Value {
    // Events and actions are ours, with string keys only: they always serialize.
    serde_json::to_value(value).unwrap_or(Value::Null)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    #[test]
    fn the_time_of_evidence_is_remembered_for_a_while() {
        let directory = TempDir::new().unwrap();
        let mut notes = Notes::new("phones", 20_001, Store::open(directory.path()).unwrap());
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
    fn alerts_are_bounded_in_number_and_length_and_the_newest_comes_first() {
        let directory = TempDir::new().unwrap();
        let mut notes = Notes::new("phones", 1, Store::open(directory.path()).unwrap());
        for number in 0..ALERTS + 5 {
            notes.alert(At::ZERO, Level::Info, "edge", &format!("{number} {}", "x".repeat(2 * ALERT_MAX)));
        }
        let alerts = notes.alerts();
        assert_eq!((alerts.len(), alerts[0].text.len()), (ALERTS, ALERT_MAX));
        assert!(alerts[0].text.starts_with("54 "), "{}", &alerts[0].text[..10]);
    }
}
