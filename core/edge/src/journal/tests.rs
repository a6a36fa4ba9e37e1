use super::pair::{Limits, PairFiles};
use super::*;
use lockstep_policy::event::{Connection, Link, What};
use lockstep_policy::host::{Fingerprint, LifeRecord, Snapshot};
use lockstep_policy::journal::{Entry, Note};
use lockstep_policy::{Action, At, Event, Setup, Side};
use serde_json::json;
use std::time::Instant;
use tempfile::TempDir;

const CONFIG: JournalConfig = JournalConfig { max_size: 64 << 20, max_age: Duration::from_secs(3600) };

fn link(seq: u64) -> Event {
    let what = What::Link(Link { side: Side::A, connection: Connection::Main, up: true });
    Event { seq, at: At::from_millis(seq), what }
}

fn life(number: u64) -> LifeRecord {
    let side = json!({"servers": ["10.0.0.1:80"], "agent": true});
    let setup: Setup = serde_json::from_value(json!({
        "pair": "phones", "parameters": {}, "detect": {"interval_ms": 100, "timeout_ms": 200, "failures": 2},
        "sides": {"a": side, "b": side},
    }))
    .unwrap();
    LifeRecord {
        life: number,
        plugin: "told".into(),
        version: "1".into(),
        fingerprint: Fingerprint([1; 32]),
        state_version: 1,
        setup,
        seed: 1,
        restored: None,
        given: 0,
    }
}

fn snapshot(given: u64) -> Snapshot {
    Snapshot { policy: "told".into(), state_version: 1, given, state: vec![b'x'; 100] }
}

fn open(directory: &TempDir) -> Journal {
    Journal::open(directory.path(), "edge", CONFIG, &["phones"]).unwrap()
}

/// All that is in a pair's segments, those of the preambles left out.
fn entries(directory: &TempDir) -> Vec<Entry> {
    let directory = pair::directory(&directory.path().join(DIRECTORY), "phones");
    let mut own = false;
    let files = lockstep_policy::journal::files(&directory).unwrap();
    let all = files.iter().flat_map(|file| lockstep_policy::journal::Reader::open(file).unwrap()).map(Result::unwrap);
    all.filter(|entry| {
        match entry {
            Entry::Segment(_) => own = false,
            Entry::Begins { .. } => {
                own = true;
                return false;
            }
            _ => {}
        }
        own
    })
    .collect()
}

fn seqs(entries: &[Entry]) -> Vec<u64> {
    let seq = |entry: &Entry| if let Entry::Event(event) = entry { Some(event.seq) } else { None };
    entries.iter().filter_map(seq).collect()
}

#[tokio::test]
async fn what_is_noted_is_read_back() {
    let directory = TempDir::new().unwrap();
    let journal = open(&directory);
    assert_eq!(journal.next_seq("phones"), 1);
    let pair = journal.pair("phones", 1);
    pair.life(At::ZERO, &life(1));
    for seq in 1..=50 {
        pair.event(&link(seq));
        let given = if seq % 10 == 0 { vec![Action::Prepare(Side::B)] } else { Vec::new() };
        pair.answer(1, seq, At::from_millis(seq), seq / 10, &given);
    }
    pair.note(50, At::from_millis(51), &Note { kind: "operator".into(), what: json!({"by": "eva"}) });
    let reader = journal.reader("phones").await;
    let (all, next) = reader.page(0, 1000);
    assert_eq!(next, None);
    assert_eq!(all.len(), 50 + 5 + 1);
    assert_eq!(all[10].kind, "action");
    assert_eq!(all[10].what, json!({"number": 1, "action": {"prepare": "b"}}));
    assert_eq!((all[10].seq, all[10].at_ms), (10, 10.0));
    let page = |from, wanted| {
        let (entries, next) = reader.page(from, wanted);
        (entries.iter().map(|entry| entry.seq).collect::<Vec<_>>(), next)
    };
    assert_eq!(page(45, 3), (vec![45, 46], Some(47)), "the last number may have more");
    assert_eq!(page(10, 1), (vec![10, 10], Some(11)), "an event is not torn from its actions");
    assert_eq!(page(50, 1), (vec![50; 3], None));
    assert_eq!(reader.events(&[7, 3, 99]).iter().map(|entry| entry.seq).collect::<Vec<_>>(), [3, 7]);
    journal.close().await;
}

#[tokio::test]
async fn no_number_is_used_by_two_lives() {
    let directory = TempDir::new().unwrap();
    let journal = open(&directory);
    let pair = journal.pair("phones", 1);
    (1..=12_345).for_each(|seq| pair.event(&link(seq)));
    journal.close().await;
    let journal = open(&directory);
    assert_eq!(journal.next_seq("phones"), 20_001);
    // A life without any event, too, has its own numbers.
    let pair = journal.pair("phones", 20_001);
    pair.note(20_000, At::ZERO, &Note { kind: "edge".into(), what: json!(null) });
    journal.close().await;
    assert_eq!(open(&directory).next_seq("phones"), 30_001);
}

#[tokio::test]
async fn a_torn_tail_is_cut_off_by_the_next_life() {
    let directory = TempDir::new().unwrap();
    let journal = open(&directory);
    let pair = journal.pair("phones", 1);
    (1..=10).for_each(|seq| pair.event(&link(seq)));
    journal.reader("phones").await;
    (11..=20).for_each(|seq| pair.event(&link(seq)));
    journal.close().await;
    let file = files_of(&directory).pop().unwrap();
    let size = file.metadata().unwrap().len();
    std::fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(size - 5).unwrap();
    assert_eq!(open(&directory).next_seq("phones"), 10_001);
    assert_eq!(seqs(&entries(&directory)), (1..=10).collect::<Vec<_>>());
}

fn files_of(directory: &TempDir) -> Vec<PathBuf> {
    let directory = pair::directory(&directory.path().join(DIRECTORY), "phones");
    lockstep_policy::journal::files(&directory).unwrap()
}

/// What does not fit is counted, and stands as a gap before what comes next.
#[test]
fn what_finds_no_room_is_written_down_as_a_gap() {
    let slot = Arc::new(Slot::default());
    let (jobs, _inbox) = sync_channel(1);
    let pair = PairJournal::new(Arc::clone(&slot), jobs);
    let mut last = 0;
    while slot.lost_in_all() < 10 {
        last += 1;
        pair.event(&link(last));
    }
    let mut held = slot.held();
    assert!(held.finish() && held.block.len() <= slot::ROOM);
    let mut block = std::mem::take(&mut held.block);
    drop(held);
    lockstep_policy::journal::block::seal(&mut block, 0);
    let first: Vec<Entry> = lockstep_policy::journal::Reader::new(&block[..]).map(Result::unwrap).collect();
    assert_eq!(seqs(&first), (1..=last - 10).collect::<Vec<_>>());
    pair.event(&link(last + 1));
    let mut held = slot.held();
    assert!(held.finish());
    let mut block = std::mem::take(&mut held.block);
    lockstep_policy::journal::block::seal(&mut block, 0);
    let next: Vec<Entry> = lockstep_policy::journal::Reader::new(&block[..]).map(Result::unwrap).collect();
    let Entry::Gap(gap) = &next[0] else { panic!("{next:?}") };
    assert_eq!((gap.from, gap.to, gap.lost), (last - 9, last, 10));
    assert_eq!(seqs(&next), [last + 1]);
}

/// Writes events in blocks of ten with an answer to each tenth, and a snapshot now and then.
fn written(directory: &TempDir, limits: Limits, events: u64, snapshots: u64) -> PairFiles {
    let root = directory.path().join(DIRECTORY);
    let slot = Arc::new(Slot::default());
    let (jobs, _inbox) = sync_channel(1);
    let pair = PairJournal::new(Arc::clone(&slot), jobs);
    slot.held().next = 1;
    let mut files = PairFiles::new(&root, "edge", "phones", Arc::clone(&slot), limits);
    pair.life(At::ZERO, &life(1));
    for seq in 1..=events {
        pair.event(&link(seq));
        if seq % 10 == 0 {
            pair.answer(1, seq, At::from_millis(seq), seq / 10, &[Action::Prepare(Side::B)]);
            if seq % snapshots == 0 {
                // Late, as it is when the policy works on its own thread.
                pair.snapshot(At::from_millis(seq), seq - 3, &snapshot(seq / 10));
            }
            let mut held = slot.held();
            assert!(held.finish());
            let mut block = std::mem::take(&mut held.block);
            let base = std::mem::take(&mut held.base);
            let (next, at) = (held.next, held.at);
            drop(held);
            files.write(&mut block, next, at, base).unwrap();
        }
    }
    files
}

/// Each segment can be replayed by itself: life, latest snapshot and all events since stand before its own.
#[test]
fn every_segment_begins_with_what_makes_it_replayable() {
    let directory = TempDir::new().unwrap();
    let limits = Limits { bytes: 16 << 10, age: Duration::from_secs(3600) };
    written(&directory, limits, 5_000, 50);
    assert_eq!(seqs(&entries(&directory)), (1..=5_000).collect::<Vec<_>>(), "nothing twice, nothing missing");
    let files = files_of(&directory);
    assert!(files.len() > 5, "{}", files.len());
    for file in &files[1..] {
        let mut entries = lockstep_policy::journal::Reader::open(file).unwrap().map(Result::unwrap);
        assert!(matches!(entries.next(), Some(Entry::Segment(header)) if header.pair == "phones"));
        assert!(matches!(entries.next(), Some(Entry::Life(record)) if *record == life(1)));
        let Some(Entry::Snapshot(snapped)) = entries.next() else { panic!("no snapshot") };
        let mut expected = snapped.seq;
        let next = loop {
            match entries.next().unwrap() {
                Entry::Event(event) => {
                    expected += 1;
                    assert_eq!(event.seq, expected);
                }
                Entry::Answer(answer) => assert!(answer.seq > snapped.seq && answer.seq <= expected),
                Entry::Begins { next, whole } => {
                    assert!(whole);
                    break next;
                }
                other => panic!("{other:?}"),
            }
        };
        assert_eq!((next, pair::first_of(file)), (expected + 1, Some(next)));
    }
}

/// Without snapshots the events since the life's beginning are soon too many to be written again: that is said.
#[test]
fn a_segment_that_cannot_begin_a_replay_says_so() {
    let directory = TempDir::new().unwrap();
    let limits = Limits { bytes: 16 << 10, age: Duration::from_secs(3600) };
    written(&directory, limits, 2_000, u64::MAX);
    let whole = |file: &PathBuf| {
        let mut entries = lockstep_policy::journal::Reader::open(file).unwrap().map(Result::unwrap);
        entries.find_map(|entry| if let Entry::Begins { whole, .. } = entry { Some(whole) } else { None }).unwrap()
    };
    let told: Vec<bool> = files_of(&directory).iter().map(whole).collect();
    assert!(told[0] && !told[1..].iter().any(|whole| *whole), "{told:?}");
}

#[test]
fn segments_are_kept_within_size_and_the_largest_journal_is_shortened_first() {
    let directory = TempDir::new().unwrap();
    let root = directory.path().join(DIRECTORY);
    let put = |pair: &str, number: u64, size: usize| {
        std::fs::create_dir_all(root.join(pair)).unwrap();
        let path = root.join(pair).join(format!("{number:020}.lsj"));
        std::fs::write(&path, vec![0; size]).unwrap();
        path
    };
    let loud: Vec<PathBuf> = (0..10).map(|number| put("loud", number, 10_000)).collect();
    let quiet: Vec<PathBuf> = (0..3).map(|number| put("quiet", number, 5_000)).collect();
    let config = JournalConfig { max_size: 50_000, max_age: Duration::from_secs(3600) };
    keep::trim(&root, config, &[&loud[9], &quiet[2]]);
    assert!(quiet.iter().all(|path| path.exists()), "it uses less than its share");
    let left: Vec<bool> = loud.iter().map(|path| path.exists()).collect();
    assert_eq!(left, (0..10).map(|number| number >= 7).collect::<Vec<_>>());
    let nothing = JournalConfig { max_size: 0, ..config };
    keep::trim(&root, nothing, &[&loud[9], &quiet[2]]);
    assert!(loud[9].exists() && quiet[2].exists(), "what is being written stays");
    assert!(!loud[8].exists() && !quiet[1].exists());
}

#[test]
fn segments_that_are_too_old_go() {
    let directory = TempDir::new().unwrap();
    let root = directory.path().join(DIRECTORY);
    std::fs::create_dir_all(root.join("gone")).unwrap();
    let path = root.join("gone").join(format!("{:020}.lsj", 1));
    let file = std::fs::File::create(&path).unwrap();
    keep::trim(&root, CONFIG, &[]);
    assert!(path.exists());
    file.set_modified(std::time::SystemTime::now() - 2 * CONFIG.max_age).unwrap();
    keep::trim(&root, CONFIG, &[]);
    assert!(!path.exists() && !root.join("gone").exists());
}

/// A disk that takes nothing: here a file stands where the pair's directory is to be.
#[tokio::test]
async fn a_disk_that_takes_nothing_is_told_once_and_the_gap_is_written_down() {
    let directory = TempDir::new().unwrap();
    let root = directory.path().join(DIRECTORY);
    std::fs::create_dir_all(&root).unwrap();
    std::fs::write(root.join("phones"), "in the way").unwrap();
    let journal = open(&directory);
    let pair = journal.pair("phones", 1);
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut seq = 0;
    let mut news = || loop {
        seq += 1;
        pair.event(&link(seq));
        if let Some(news) = pair.news() {
            return (news, seq);
        }
        assert!(Instant::now() < deadline, "nothing is said");
        std::thread::sleep(Duration::from_millis(5));
    };
    let (first, _) = news();
    assert!(matches!(first, News::Fails(_)), "{first:?}");
    std::fs::remove_file(root.join("phones")).unwrap();
    let (then, last) = news();
    let News::Works(lost) = then else { panic!("{then:?}") };
    assert!(lost > 0 && journal.lost() == lost, "{lost}");
    journal.close().await;
    let entries = entries(&directory);
    let Entry::Gap(gap) = &entries[0] else { panic!("{:?}", entries[0]) };
    assert_eq!((gap.from, gap.lost), (1, lost));
    assert_eq!(seqs(&entries), (lost + 1..=last).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_export_is_whole_and_begins_where_it_is_asked_for() {
    let directory = TempDir::new().unwrap();
    let limits = Limits { bytes: 16 << 10, age: Duration::from_secs(3600) };
    written(&directory, limits, 2_000, 50);
    let journal = open(&directory);
    let reader = journal.reader("phones").await;
    let export = |since| {
        let mut bytes = Vec::new();
        reader.export(since, |piece| {
            bytes.extend(piece.unwrap());
            true
        });
        lockstep_policy::journal::Reader::new(&bytes[..]).collect::<Result<Vec<_>, _>>().unwrap()
    };
    assert!(export(Since::Seq(0)).contains(&Entry::Event(link(1))));
    assert!(export(Since::Ago(Duration::from_secs(3600))).contains(&Entry::Event(link(1))));
    let late = export(Since::Seq(1_900));
    assert!(matches!(late[0], Entry::Segment(_)));
    assert!(late.contains(&Entry::Event(link(1_900))) && late.contains(&Entry::Event(link(2_000))));
    assert!(!late.contains(&Entry::Event(link(1_000))));
    let mut pieces = 0;
    reader.export(Since::Seq(0), |_| {
        pieces += 1;
        false
    });
    assert_eq!(pieces, 1, "who has gone is told no more");
}
