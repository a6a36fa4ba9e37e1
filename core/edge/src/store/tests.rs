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

/// Writes a state and waits for the answer.
fn put(store: &Store, pair: &str, state: Stored) -> Result<(), String> {
    let (answer, answered) = mpsc::channel();
    store.put_state(pair, state, Box::new(move |result| answer.send(result).unwrap()));
    answered.recv().unwrap()
}

/// Returns when all that was put before has been written.
fn settle(store: &Store) {
    while store.later_waiting.load(Ordering::Relaxed) > 0 {
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
fn a_state_does_not_wait_behind_what_nobody_waits_for() {
    let directory = TempDir::new().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let (go, wait) = mpsc::channel();
    store.jobs.send(Job::Wait(wait)).unwrap();
    for seq in 1..=2000 {
        store.put_numbers("phones", seq);
    }
    let (answer, answered) = mpsc::channel();
    store.put_state("phones", stored(1), Box::new(move |result| answer.send(result).unwrap()));
    go.send(()).unwrap();
    answered.recv().unwrap().unwrap();
    settle(&store);
    assert_eq!(store.find("phones").unwrap().next_seq, 2000);
}

#[test]
fn however_much_waits_there_is_a_place_for_a_state() {
    let directory = TempDir::new().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let (go, wait) = mpsc::channel();
    store.jobs.send(Job::Wait(wait)).unwrap();
    for seq in 0..QUEUE as u64 {
        store.put_numbers("phones", seq);
    }
    let (answer, answered) = mpsc::channel();
    store.put_state("phones", stored(1), Box::new(move |result| answer.send(result).unwrap()));
    go.send(()).unwrap();
    assert_eq!(answered.recv().unwrap(), Ok(()));
}

/// Version 1 had the journal in a table. Its events go; none of their numbers is used again.
#[test]
fn a_store_of_version_1_is_brought_up_to_date() {
    let directory = TempDir::new().unwrap();
    let store = Store::open(directory.path()).unwrap();
    put(&store, "phones", stored(7)).unwrap();
    let old = "DROP TABLE numbers; PRAGMA user_version = 1;
        CREATE TABLE journal (id INTEGER PRIMARY KEY, pair TEXT NOT NULL, seq INTEGER NOT NULL) STRICT;
        INSERT INTO journal (pair, seq) VALUES ('phones', 3), ('phones', 12345), ('mail', 7);";
    sqlite(&directory).execute_batch(old).unwrap();
    let store = reopen(store, &directory).unwrap();
    assert_eq!(store.find("phones").unwrap(), Found { stored: stored(7), next_seq: 20_001, ..Found::default() });
    assert_eq!(store.find("mail").unwrap().next_seq, 10_001);
    let tables: i64 = sqlite(&directory)
        .query_row("SELECT count(*) FROM sqlite_schema WHERE name = 'journal'", [], |row| row.get(0))
        .unwrap();
    assert_eq!(tables, 0);
}

#[test]
fn maintenance_lasts_until_it_is_over() {
    let directory = TempDir::new().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let begun = Maintenance { by: "eva".into(), text: "patching".into(), since: crate::wall::now() };
    for wanted in [Some(begun), None] {
        let (answer, answered) = mpsc::channel();
        store.put_maintenance("phones", wanted.clone(), Box::new(move |result| answer.send(result).unwrap()));
        answered.recv().unwrap().unwrap();
        assert_eq!(store.find("phones").unwrap().maintenance, wanted);
    }
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
    assert!(said.contains("has tables of version 99, and this lockstep knows 2"), "{said}");
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

#[test]
fn what_a_disk_does_not_take_is_tried_again() {
    let directory = TempDir::new().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let other = sqlite(&directory);
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    store.put_numbers("phones", 7);
    // It comes after the numbers, whose write has been tried when the next state is answered.
    put(&store, "phones", stored(1)).unwrap_err();
    put(&store, "phones", stored(1)).unwrap_err();
    other.execute_batch("COMMIT").unwrap();
    settle(&store);
    assert_eq!(store.find("phones").unwrap().next_seq, 7);
}
