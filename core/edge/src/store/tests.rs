use super::*;
use lockstep_pair::coordinator::Intent;
use lockstep_policy::{Epoch, Side};
use std::sync::mpsc;
use tempfile::TempDir;

fn stored(epoch: u64) -> Stored {
    Stored {
        epoch: Epoch(epoch),
        active: Some((Side::A, Epoch(epoch))),
        intent: Some(Intent { epoch: Epoch(epoch), to: Side::B }),
    }
}

fn entry(seq: u64) -> JournalEntry {
    JournalEntry {
        seq,
        at_ms: 1.5,
        when: crate::wall::now(),
        kind: "event".into(),
        what: serde_json::json!({"n": seq}),
    }
}

/// Writes a state and waits for the answer.
fn put(store: &Store, pair: &str, state: Stored) -> Result<(), String> {
    let (answer, answered) = mpsc::channel();
    store.put_state(pair, state, Box::new(move |result| answer.send(result).unwrap()));
    answered.recv().unwrap()
}

/// Returns when all that was put before has been written.
fn settle(store: &Store) {
    while store.journal_waiting.load(Ordering::Relaxed) > 0 {
        std::thread::yield_now();
    }
}

/// The next life.
fn reopen(store: Store, directory: &TempDir) -> Result<Store, StoreError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(store.close());
    Store::open(directory.path())
}

fn sqlite(directory: &TempDir) -> rusqlite::Connection {
    rusqlite::Connection::open(directory.path().join("lockstep.db")).unwrap()
}

fn refusal(directory: &TempDir) -> String {
    Store::open(directory.path()).expect_err("must be refused").to_string()
}

#[test]
fn a_state_that_was_answered_is_found_by_the_next_life() {
    let directory = TempDir::new().unwrap();
    let store = Store::open(directory.path()).unwrap();
    assert_eq!(store.find("phones").unwrap(), Found { next_seq: 1, ..Found::default() });
    put(&store, "phones", stored(7)).unwrap();
    put(&store, "other", stored(1)).unwrap();
    let store = reopen(store, &directory).unwrap();
    assert_eq!(store.find("phones").unwrap().stored, stored(7));
}

#[test]
fn a_person_can_read_who_is_active() {
    let directory = TempDir::new().unwrap();
    let store = Store::open(directory.path()).unwrap();
    put(&store, "phones", stored(7)).unwrap();
    let row: (i64, String, i64, String) = sqlite(&directory)
        .query_row("SELECT epoch, active, active_epoch, intent_to FROM pair WHERE name = 'phones'", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })
        .unwrap();
    assert_eq!(row, (7, "a".into(), 7, "b".into()));
}

#[test]
fn a_state_does_not_wait_behind_the_journal() {
    let directory = TempDir::new().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let (go, wait) = mpsc::channel();
    store.jobs.send(Job::Wait(wait)).unwrap();
    for seq in 1..=2000 {
        store.put_journal("phones", entry(seq));
    }
    let (answer, answered) = mpsc::channel();
    let waiting = Arc::clone(&store.journal_waiting);
    store.put_state("phones", stored(1), Box::new(move |_| answer.send(waiting.load(Ordering::Relaxed)).unwrap()));
    go.send(()).unwrap();
    answered.recv().unwrap();
    settle(&store);
    assert_eq!(store.reader().unwrap().journal("phones", 0, 5000).unwrap().len(), 2000);
    assert_eq!(store.journal_lost(), 0);
}

#[test]
fn a_full_journal_loses_entries_and_no_state() {
    let directory = TempDir::new().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let (go, wait) = mpsc::channel();
    store.jobs.send(Job::Wait(wait)).unwrap();
    for seq in 0..QUEUE as u64 {
        store.put_journal("phones", entry(seq));
    }
    assert_eq!(store.journal_lost(), (QUEUE - JOURNAL_QUEUE) as u64);
    let (answer, answered) = mpsc::channel();
    store.put_state("phones", stored(1), Box::new(move |result| answer.send(result).unwrap()));
    go.send(()).unwrap();
    assert_eq!(answered.recv().unwrap(), Ok(()));
}

#[test]
fn no_number_of_an_event_is_used_twice() {
    let directory = TempDir::new().unwrap();
    let store = Store::open(directory.path()).unwrap();
    store.put_journal("phones", entry(12_345));
    settle(&store);
    assert_eq!(store.find("phones").unwrap().next_seq, 20_001);
}

#[test]
fn a_pause_lasts_until_it_is_ended() {
    let directory = TempDir::new().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let pause = Pause { by: "eva".into(), reason: "patching".into(), since: crate::wall::now() };
    for wanted in [Some(pause), None] {
        let (answer, answered) = mpsc::channel();
        store.put_pause("phones", wanted.clone(), Box::new(move |result| answer.send(result).unwrap()));
        answered.recv().unwrap().unwrap();
        assert_eq!(store.find("phones").unwrap().pause, wanted);
    }
}

#[test]
fn a_second_edge_is_kept_out() {
    let directory = TempDir::new().unwrap();
    let _first = Store::open(directory.path()).unwrap();
    let said = refusal(&directory);
    assert!(said.contains("another edge has this state directory open: stop it"), "{said}");
}

#[test]
fn a_damaged_file_is_refused_with_the_remedy() {
    let directory = TempDir::new().unwrap();
    std::fs::write(directory.path().join("lockstep.db"), "this is a text, and no database at all").unwrap();
    let said = refusal(&directory);
    assert!(said.contains("lockstep.db: is damaged") && said.contains("move it and its -wal away"), "{said}");
}

#[test]
fn a_database_of_another_program_is_left_alone() {
    let directory = TempDir::new().unwrap();
    sqlite(&directory).execute_batch("CREATE TABLE recipes (name TEXT)").unwrap();
    let said = refusal(&directory);
    assert!(said.contains("is a database of another program"), "{said}");
}

#[test]
fn tables_of_another_version_are_refused() {
    let directory = TempDir::new().unwrap();
    let store = Store::open(directory.path()).unwrap();
    sqlite(&directory).pragma_update(None, "user_version", 99).unwrap();
    let said = reopen(store, &directory).expect_err("must be refused").to_string();
    assert!(said.contains("has tables of version 99, and this lockstep knows 1"), "{said}");
}

#[test]
fn a_lock_of_another_program_is_an_answer_and_not_a_wait() {
    let directory = TempDir::new().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let other = sqlite(&directory);
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let said = put(&store, "phones", stored(1)).unwrap_err();
    assert!(said.contains("locked"), "{said}");
    other.execute_batch("COMMIT").unwrap();
    put(&store, "phones", stored(1)).unwrap();
}
