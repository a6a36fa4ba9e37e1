use super::*;
use crate::action::{Alert, Switch, Urgency};
use crate::event::{Connection, Link, Start, What};
use crate::host::{Fingerprint, LifeRecord, Snapshot};
use crate::{Action, At, Epoch, Event, Level, Setup, Side};
use proptest::prelude::*;

fn header() -> Header {
    Header {
        format: FORMAT,
        abi_minor: crate::abi::MINOR,
        edge: "edge-1".into(),
        pair: "phones".into(),
        at: At::from_millis(1_000),
        unix_ms: 1_772_366_399_999,
    }
}

fn life(restored: Option<Snapshot>) -> LifeRecord {
    let side = serde_json::json!({"servers": ["10.0.0.1:80"], "agent": true, "pools": []});
    LifeRecord {
        life: 3,
        plugin: "telisca".into(),
        version: "0.1.0".into(),
        fingerprint: Fingerprint([7; 32]),
        state_version: 1,
        setup: serde_json::from_value::<Setup>(serde_json::json!({
            "pair": "phones", "parameters": {"fast": true},
            "detect": {"interval_ms": 100, "timeout_ms": 200, "failures": 2},
            "sides": {"a": side, "b": side},
        }))
        .unwrap(),
        seed: u64::MAX,
        given: restored.as_ref().map_or(0, |snapshot| snapshot.given),
        restored,
    }
}

fn snapshot(bytes: &[u8]) -> Snapshot {
    Snapshot { policy: "telisca".into(), state_version: 1, given: 5, state: bytes.to_vec() }
}

fn link(seq: u64) -> Event {
    let what = What::Link(Link { side: Side::A, connection: Connection::Main, up: seq.is_multiple_of(2) });
    Event { seq, at: At::from_millis(1_000 + seq), what }
}

fn actions() -> Vec<Action> {
    let reason = "T1: a failed 2 probes in a row".to_owned();
    vec![
        Action::Alert(Alert { level: Level::Warning, text: "side a is away".into() }),
        Action::Switch(Switch { to: Side::B, urgency: Urgency::Failover, reason, evidence: vec![2], order: 0 }),
    ]
}

/// A journal of several blocks, and what stands in it.
fn sample(state: &[u8], events: u64) -> (Vec<Vec<u8>>, Vec<Entry>) {
    let (mut blocks, mut entries) = (Vec::new(), Vec::new());
    let mut head = Vec::new();
    block::begin(&mut head);
    let (header, life) = (header(), life(Some(snapshot(state))));
    put_header(&header, 1, header.at, &mut head);
    put_life(&life, 1, header.at, &mut head);
    put_begins(1, header.at, true, &mut head);
    entries.extend([Entry::Segment(header), Entry::Life(Box::new(life)), Entry::Begins { next: 1, whole: true }]);
    block::seal(&mut head, 0);
    blocks.push(head);
    for seq in 1..=events {
        let mut block = Vec::new();
        block::begin(&mut block);
        let (event, actions) = (link(seq), actions());
        put_event(&event, &mut block);
        entries.push(Entry::Event(event));
        let from = block.len();
        put_answer(3, seq, At::from_millis(seq), seq * 2, &actions, &mut block);
        let bytes = block[from + 48..].to_vec();
        entries.push(Entry::Answer(Answered { seq, at: At::from_millis(seq), life: 3, actions, bytes }));
        let note = Note { kind: "operator".into(), what: serde_json::json!({"by": "eva", "pause": null}) };
        put_note(seq, At::ZERO, &note, &mut block);
        entries.push(Entry::Note { seq, at: At::ZERO, note });
        let skipped = Skipped { seq, why: "1024 events wait".into() };
        put_skipped(&skipped, At::ZERO, &mut block);
        entries.push(Entry::Skipped(skipped));
        let gap = Gap { from: seq, to: seq + 3, lost: 9, why: "the disk is full".into() };
        put_gap(&gap, At::ZERO, &mut block);
        entries.push(Entry::Gap(gap));
        put_snapshot(seq, At::ZERO, &snapshot(state), &mut block);
        entries.push(Entry::Snapshot(Snapped { seq, snapshot: snapshot(state) }));
        block::seal(&mut block, 0);
        blocks.push(block);
    }
    (blocks, entries)
}

fn read(bytes: &[u8]) -> (Vec<Entry>, Option<Torn>) {
    let (mut entries, mut torn) = (Vec::new(), None);
    for entry in Reader::new(bytes) {
        match entry {
            Ok(entry) => entries.push(entry),
            Err(error) => torn = Some(error),
        }
    }
    (entries, torn)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_was_written_is_read(state in prop::collection::vec(any::<u8>(), 0..100), events in 0_u64..4) {
        let (blocks, entries) = sample(&state, events);
        prop_assert_eq!(read(&blocks.concat()), (entries, None));
    }

    /// A write that a power cut has torn anywhere is cut off: whole blocks stay, nothing else is made of it.
    #[test]
    fn a_torn_tail_is_noticed_and_never_misread(cut in any::<prop::sample::Index>()) {
        let (blocks, entries) = sample(b"state", 3);
        let whole = blocks.concat();
        let cut = cut.index(whole.len());
        let (found, torn) = read(&whole[..cut]);
        prop_assert_eq!(&found[..], &entries[..found.len()]);
        let sound: usize = blocks.iter().scan(0, |end, block| { *end += block.len(); Some(*end) })
            .take_while(|end| *end <= cut).last().unwrap_or(0);
        match torn {
            None => prop_assert_eq!(sound, cut),
            Some(torn) => {
                prop_assert!(torn.cut_off);
                prop_assert_eq!(torn.after, sound as u64);
            }
        }
    }

    #[test]
    fn any_flipped_bit_is_noticed(bit in any::<prop::sample::Index>()) {
        let (blocks, entries) = sample(b"state", 2);
        let mut whole = blocks.concat();
        let bit = bit.index(whole.len() * 8);
        whole[bit / 8] ^= 1 << (bit % 8);
        let (found, torn) = read(&whole);
        prop_assert!(torn.is_some(), "bit {bit}");
        prop_assert!(found.len() < entries.len());
        prop_assert_eq!(&found[..], &entries[..found.len()]);
    }

    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..300), sealed in any::<bool>()) {
        let mut file = bytes;
        if sealed {
            // A sound checksum over anything: each record is still read with care.
            file.splice(..0, [0; block::HEAD]);
            block::seal(&mut file, 0);
        }
        let _ = read(&file);
    }

    #[test]
    fn any_record_is_answered(kind in 0_u16..1100, words in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut file = Vec::new();
        block::begin(&mut file);
        let body = words.len().next_multiple_of(8);
        file.extend(u32::try_from(32 + body).unwrap().to_le_bytes());
        file.extend(kind.to_le_bytes());
        file.extend([0, 0, 32, 0, 0, 0, 0, 0, 0, 0]);
        file.extend([0; 16]);
        file.extend(&words);
        file.resize(block::HEAD + 32 + body, 0);
        block::seal(&mut file, 0);
        let _ = read(&file);
    }
}

#[test]
fn joined_files_are_read_as_one() {
    let (blocks, entries) = sample(b"state", 1);
    let joined = [blocks.concat(), blocks.concat()].concat();
    assert_eq!(read(&joined), ([entries.clone(), entries].concat(), None));
}

#[test]
fn another_format_is_refused() {
    let mut block = Vec::new();
    block::begin(&mut block);
    put_header(&Header { format: 99, ..header() }, 1, At::ZERO, &mut block);
    block::seal(&mut block, 0);
    let (entries, torn) = read(&block);
    let torn = torn.unwrap();
    assert!(entries.is_empty() && !torn.cut_off && torn.why.contains("it has format 99"), "{torn}");
}

#[test]
fn a_foreign_file_is_not_called_cut_off() {
    for bytes in [b"hello".as_slice(), b"this is a text, and no journal at all", &[0; 4]] {
        let (_, torn) = read(bytes);
        assert!(!torn.unwrap().cut_off);
    }
}

#[test]
fn a_kind_of_later_versions_is_passed_over() {
    let mut block = Vec::new();
    block::begin(&mut block);
    put_note(7, At::ZERO, &Note { kind: "edge".into(), what: serde_json::Value::Null }, &mut block);
    block[block::HEAD + 4..block::HEAD + 6].copy_from_slice(&2_000_u16.to_le_bytes());
    put_event(&link(8), &mut block);
    block::seal(&mut block, 0);
    assert_eq!(read(&block), (vec![Entry::Unknown { kind: 2_000, seq: 7 }, Entry::Event(link(8))], None));
}

#[test]
fn a_transcript_reads_like_this() {
    let (at, mut lines) = (At::from_millis(1_500), transcript());
    let start = Start { active: Some(Side::A), epoch: Epoch(4), restored: false, since_handover: None };
    let answer = Answered { seq: 1, at, life: 3, actions: actions(), bytes: Vec::new() };
    let text: String = [
        Entry::Segment(header()),
        Entry::Life(Box::new(life(None))),
        Entry::Begins { next: 1, whole: true },
        Entry::Event(Event { seq: 1, at, what: What::Start(start) }),
        Entry::Answer(answer.clone()),
        Entry::Event(Event { at: At::from_millis(3_000), ..link(2) }),
        Entry::Answer(answer),
        Entry::Note {
            seq: 2,
            at: At::from_millis(3_001),
            note: Note { kind: "operator".into(), what: serde_json::json!({"pause": {"by": "eva"}}) },
        },
    ]
    .iter()
    .map(|entry| lines.lines(entry))
    .collect();
    assert_eq!(
        text,
        "\
pair phones, edge edge-1
              = policy telisca 0.1.0 (070707070707), life 3, begins anew: fast true
2026-03-01
12:00:00.499  #1 start: a active, epoch 4
                -> alert, warning: side a is away
                -> switch to b, failover: T1: a failed 2 probes in a row [#2]
12:00:01.999  #2 link a: main connection up
                (#1) -> alert, warning: side a is away
                (#1) -> switch to b, failover: T1: a failed 2 probes in a row [#2]
12:00:02.000  * operator: pause {by eva}
"
    );
}
