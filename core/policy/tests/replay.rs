//! A journal that a host has written plays again: to the same bytes with the same plugin, and otherwise with another.
#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

use lockstep_policy::event::{Connection, Link, Start, What};
use lockstep_policy::host::replay::{Difference, ReplayError, Summary, compare, lives, verify};
use lockstep_policy::host::{Instance, Library, LifeRecord, Snapshot};
use lockstep_policy::journal::{self, FORMAT, Gap, Header, Skipped, block};
use lockstep_policy::{Action, At, Epoch, Event, Setup, Side};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

fn plugin() -> Library {
    let this = std::env::current_exe().unwrap();
    let target = this.parent().and_then(Path::parent).unwrap();
    let file = target.join("examples/libtallies.so");
    if !file.exists() {
        // Only one target was asked for: the example was not built along.
        let built =
            Command::new(env!("CARGO")).args(["build", "-p", "lockstep-policy", "--example", "tallies"]).status();
        assert!(built.unwrap().success());
    }
    Library::open(&file).unwrap()
}

fn setup(parameters: serde_json::Value) -> Setup {
    let side = json!({"servers": ["10.0.0.1:80"], "agent": true});
    serde_json::from_value(json!({
        "pair": "phones", "parameters": parameters,
        "detect": {"interval_ms": 100, "timeout_ms": 200, "failures": 2},
        "sides": {"a": side, "b": side},
    }))
    .unwrap()
}

/// What a host does: hands events over, and writes down what comes of them.
struct Host {
    library: Library,
    directory: TempDir,
    block: Vec<u8>,
    /// The segment's first number, and what is in it.
    segment: (u64, Vec<u8>),
    instance: Option<Instance>,
    life: Option<LifeRecord>,
    snapshot: Option<(u64, Snapshot)>,
    next: u64,
}

impl Host {
    fn new() -> Host {
        let mut host = Host {
            library: plugin(),
            directory: TempDir::new().unwrap(),
            block: Vec::new(),
            segment: (1, Vec::new()),
            instance: None,
            life: None,
            snapshot: None,
            next: 1,
        };
        host.begin_segment(true);
        host
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn put(&mut self, put: impl FnOnce(&mut Vec<u8>)) {
        if self.block.is_empty() {
            block::begin(&mut self.block);
        }
        put(&mut self.block);
    }

    fn flush(&mut self) -> PathBuf {
        if !self.block.is_empty() {
            block::seal(&mut self.block, 0);
            self.segment.1.append(&mut self.block);
        }
        let path = self.path().join(format!("{:020}.lsj", self.segment.0));
        std::fs::write(&path, &self.segment.1).unwrap();
        path
    }

    /// Ends the present segment and begins another.
    fn begin_segment(&mut self, whole: bool) -> PathBuf {
        let last = self.flush();
        let at = At::from_millis(self.next);
        self.segment = (self.next, Vec::new());
        let header = Header {
            format: FORMAT,
            abi_minor: lockstep_policy::abi::MINOR,
            edge: "edge".into(),
            pair: "phones".into(),
            at,
            unix_ms: 1,
        };
        let (next, life, snapshot) = (self.next, self.life.clone(), self.snapshot.clone());
        self.put(|out| {
            journal::put_header(&header, next, at, out);
            if let Some(life) = life {
                journal::put_life(&life, next, at, out);
            }
            if let Some((seq, snapshot)) = snapshot {
                journal::put_snapshot(seq, at, &snapshot, out);
            }
            journal::put_begins(next, at, whole, out);
        });
        last
    }

    fn begin_life(&mut self, parameters: serde_json::Value, restored: Option<Snapshot>) {
        let setup = setup(parameters);
        let mut instance = self.library.instance(&setup, 77).unwrap();
        if let Some(snapshot) = &restored {
            instance.restore(snapshot).unwrap();
        }
        let life = LifeRecord {
            life: self.life.as_ref().map_or(1, |life| life.life + 1),
            plugin: self.library.id().to_owned(),
            version: self.library.version().to_owned(),
            fingerprint: self.library.fingerprint(),
            state_version: self.library.state_version(),
            setup,
            seed: 77,
            given: instance.given(),
            restored,
        };
        let (next, at) = (self.next, At::from_millis(self.next));
        self.put(|out| journal::put_life(&life, next, at, out));
        self.instance = Some(instance);
        self.life = Some(life);
        self.snapshot = None;
        let start = Start { active: Some(Side::A), epoch: Epoch(1), restored: false, since_handover: None };
        self.tell(What::Start(start));
    }

    /// Writes an event down; it is then handed over by [`Host::answer`], or never.
    fn note(&mut self, what: What) -> Event {
        let event = Event { seq: self.next, at: At::from_millis(self.next), what };
        self.next += 1;
        let noted = event.clone();
        self.put(|out| journal::put_event(&noted, out));
        event
    }

    fn answer(&mut self, event: &Event) -> Vec<Action> {
        let instance = self.instance.as_mut().unwrap();
        let first = instance.given() + 1;
        let actions = instance.step(event).unwrap();
        let (life, given) = (self.life.as_ref().unwrap().life, actions.clone());
        self.put(|out| journal::put_answer(life, event.seq, event.at, first, &given, out));
        actions
    }

    fn tell(&mut self, what: What) -> Vec<Action> {
        let event = self.note(what);
        self.answer(&event)
    }

    fn link(&mut self, up: bool) -> Vec<Action> {
        self.tell(What::Link(Link { side: Side::A, connection: Connection::Main, up }))
    }

    fn save(&mut self) -> Snapshot {
        let snapshot = self.instance.as_ref().unwrap().save().unwrap();
        let (seq, at) = (self.next - 1, At::from_millis(self.next));
        self.snapshot = Some((seq, snapshot.clone()));
        let noted = snapshot.clone();
        self.put(|out| journal::put_snapshot(seq, at, &noted, out));
        snapshot
    }

    fn verify(&mut self) -> Result<Summary, ReplayError> {
        self.flush();
        verify(self.path(), &self.library)
    }
}

fn difference(result: Result<Summary, ReplayError>) -> Difference {
    match result {
        Err(ReplayError::Different(difference)) => *difference,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_same_plugin_gives_the_same_bytes() {
    let mut host = Host::new();
    host.begin_life(json!({"failures": 3}), None);
    for failures in [2, 3, 1, 5] {
        (0..failures).for_each(|_| drop(host.link(false)));
        host.link(true);
    }
    let summary = host.verify().unwrap();
    assert_eq!((summary.lives, summary.events, summary.actions), (1, 16, 5));
    assert_eq!((summary.otherwise, summary.passed_over), (0, 0));
    assert_eq!((summary.switched, summary.would_switch), (None, None), "both do the same");
    assert_eq!(summary.gaps, Vec::<String>::new());
    assert_eq!(lives(host.path()).unwrap(), [host.life.clone().unwrap()]);
}

/// An answer comes when it comes: events that were noted meanwhile are handed over in their own order.
#[test]
fn answers_that_come_late_belong_to_their_events() {
    let mut host = Host::new();
    host.begin_life(json!({"failures": 2}), None);
    let link = |up| What::Link(Link { side: Side::A, connection: Connection::Main, up });
    let events: Vec<Event> = [false, false, true, false].into_iter().map(|up| host.note(link(up))).collect();
    events[..3].iter().for_each(|event| drop(host.answer(event)));
    let summary = host.verify().unwrap();
    assert_eq!((summary.events, summary.actions, summary.passed_over), (4, 2, 1), "the last one has no answer");
}

#[test]
fn a_plugin_that_depends_on_more_than_its_events_is_found_out() {
    let mut host = Host::new();
    host.begin_life(json!({"failures": 3, "unsteady": true}), None);
    (0..30).for_each(|_| drop(host.link(true)));
    let found = difference(host.verify());
    assert_eq!(found.event.seq, 10);
    let text = found.to_string();
    assert!(text.contains("#10 at 0.010s: link a: main connection up"), "{text}");
    assert!(text.contains("\n  - show beside a: ") && text.contains("\n  + show beside a: "), "{text}");
}

/// What is in the journal and what the plugin did must agree, down to the number of an action.
#[test]
fn an_action_that_was_not_given_is_a_difference() {
    let mut host = Host::new();
    host.begin_life(json!({"failures": 3}), None);
    let event = host.note(What::Link(Link { side: Side::A, connection: Connection::Main, up: true }));
    let made_up = [Action::Prepare(Side::B)];
    host.put(|out| journal::put_answer(1, event.seq, event.at, 1, &made_up, out));
    let found = difference(host.verify());
    assert_eq!((found.recorded, found.given), (made_up.to_vec(), Ok(Vec::new())));

    let mut host = Host::new();
    host.begin_life(json!({"failures": 1}), None);
    let event = host.note(What::Link(Link { side: Side::A, connection: Connection::Main, up: false }));
    let actions = host.instance.as_mut().unwrap().step(&event).unwrap();
    host.put(|out| journal::put_answer(1, event.seq, event.at, 2, &actions, out));
    let found = difference(host.verify());
    assert!(found.to_string().ends_with("other bytes: numbers differ"), "{found}");
}

/// An event that an answer passes by was answered by nothing.
#[test]
fn an_answer_that_is_missing_is_a_difference() {
    let mut host = Host::new();
    host.begin_life(json!({"failures": 1}), None);
    let event = host.note(What::Link(Link { side: Side::A, connection: Connection::Main, up: false }));
    let actions = host.instance.as_mut().unwrap().step(&event).unwrap();
    host.link(true);
    let found = difference(host.verify());
    assert_eq!((found.event, found.recorded, found.given), (event, Vec::new(), Ok(actions)));
}

#[test]
fn what_was_not_handed_over_is_not_played() {
    let mut host = Host::new();
    host.begin_life(json!({"failures": 2}), None);
    host.link(false);
    let event = host.note(What::Link(Link { side: Side::A, connection: Connection::Main, up: false }));
    let skipped = Skipped { seq: event.seq, why: "too many wait".into() };
    host.put(|out| journal::put_skipped(&skipped, event.at, out));
    assert_eq!(host.link(true), []);
    // One that was too large is named only.
    let skipped = Skipped { seq: host.next, why: "it is too large".into() };
    host.next += 1;
    host.put(|out| journal::put_skipped(&skipped, event.at, out));
    host.link(false);
    assert_eq!(host.link(false).len(), 2);
    let summary = host.verify().unwrap();
    assert_eq!((summary.events, summary.actions, summary.passed_over), (5, 2, 1));
    assert_eq!(summary.gaps, Vec::<String>::new());
}

#[test]
fn a_life_goes_on_from_its_snapshot() {
    let mut host = Host::new();
    host.begin_life(json!({"failures": 3}), None);
    (0..20).for_each(|_| drop(host.link(false)));
    let snapshot = host.save();
    assert!(snapshot.given > 0);
    host.begin_life(json!({"failures": 3}), Some(snapshot));
    host.link(true);
    (0..20).for_each(|_| drop(host.link(false)));
    let summary = host.verify().unwrap();
    assert_eq!((summary.lives, summary.events), (2, 43));
}

/// A journal of several segments is one; and each segment can be played by itself from its snapshot on.
#[test]
fn any_segment_is_played_by_itself() {
    let mut host = Host::new();
    host.begin_life(json!({"failures": 3}), None);
    let mut segments = Vec::new();
    for _ in 0..3 {
        (0..25).for_each(|_| drop(host.link(false)));
        host.link(true);
        host.save();
        segments.push(host.begin_segment(true));
    }
    (0..5).for_each(|_| drop(host.link(false)));
    let all = host.verify().unwrap();
    assert_eq!((all.lives, all.events, all.passed_over), (1, 84, 0));
    let library = host.library.clone();
    let alone = verify(&segments[2], &library).unwrap();
    assert_eq!((alone.lives, alone.events, alone.passed_over), (1, 26, 0));
    // A segment in the middle is lost: what follows it is played all the same.
    std::fs::remove_file(&segments[1]).unwrap();
    let rest = host.verify().unwrap();
    assert_eq!((rest.events, rest.passed_over), (84 - 26, 0));
    // Joined, they are what an export is.
    let joined = host.path().join("joined");
    std::fs::write(&joined, [&segments[0], &segments[2]].map(|path| std::fs::read(path).unwrap()).concat()).unwrap();
    assert_eq!(verify(&joined, &library).unwrap().events, 27 + 26);
}

/// A segment that begins in the middle is played from its first snapshot on.
#[test]
fn without_its_beginning_a_life_is_played_from_the_next_snapshot_on() {
    let mut host = Host::new();
    host.begin_life(json!({"failures": 3}), None);
    (0..9).for_each(|_| drop(host.link(false)));
    host.begin_segment(false);
    (0..9).for_each(|_| drop(host.link(false)));
    host.save();
    (0..9).for_each(|_| drop(host.link(false)));
    let path = host.flush();
    let summary = verify(&path, &host.library).unwrap();
    assert_eq!((summary.lives, summary.events, summary.passed_over), (1, 9, 9));
    assert!(summary.gaps[0].contains("begins in the middle"), "{:?}", summary.gaps);
}

#[test]
fn after_a_gap_the_next_snapshot_goes_on() {
    let mut host = Host::new();
    host.begin_life(json!({"failures": 3}), None);
    host.link(false);
    let gap = Gap { from: host.next, to: host.next + 4, lost: 7, why: "the disk is full".into() };
    for _ in 0..5 {
        let event = Event {
            seq: host.next,
            at: At::ZERO,
            what: What::Link(Link { side: Side::A, connection: Connection::Main, up: false }),
        };
        host.next += 1;
        host.instance.as_mut().unwrap().step(&event).unwrap();
    }
    host.put(|out| journal::put_gap(&gap, At::ZERO, out));
    (0..3).for_each(|_| drop(host.link(true)));
    host.save();
    (0..3).for_each(|_| drop(host.link(false)));
    let summary = host.verify().unwrap();
    assert_eq!((summary.events, summary.passed_over), (2 + 3, 3));
    assert!(summary.gaps[0].contains("7 records about #3 to #7: the disk is full"), "{:?}", summary.gaps);
}

#[test]
fn a_torn_tail_is_no_difference_and_what_was_torn_off_is_not_played() {
    let mut host = Host::new();
    host.begin_life(json!({"failures": 3}), None);
    (0..5).for_each(|_| drop(host.link(false)));
    host.flush();
    (0..5).for_each(|_| drop(host.link(false)));
    let path = host.flush();
    let size = path.metadata().unwrap().len();
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(size - 1).unwrap();
    let summary = verify(&path, &host.library).unwrap();
    assert_eq!(summary.events, 6);
    assert!(summary.gaps[0].contains("the last block is cut off"), "{:?}", summary.gaps);
}

#[test]
fn other_parameters_show_where_they_would_have_decided_otherwise() {
    let mut host = Host::new();
    host.begin_life(json!({"failures": 3}), None);
    for failures in [2, 4] {
        (0..failures).for_each(|_| drop(host.link(false)));
        host.link(true);
    }
    let path = host.flush();
    let change = |setup: &Setup| {
        let mut setup = setup.clone();
        setup.parameters.insert("failures".into(), json!(4));
        setup
    };
    let mut found = Vec::new();
    let summary = compare(&path, &host.library, &change, &mut |difference| found.push(difference)).unwrap();
    let seqs: Vec<u64> = found.iter().map(|difference| difference.event.seq).collect();
    assert_eq!(seqs, [7, 8], "the third failure in a row, and the fourth");
    assert!(found.iter().all(Difference::is_decision));
    assert_eq!((summary.otherwise, summary.events), (2, 9));
    let numbers = |switch: Option<(u64, At)>| switch.map(|(seq, _)| seq);
    assert_eq!((numbers(summary.switched), numbers(summary.would_switch)), (Some(7), Some(8)));
    let same = |setup: &Setup| setup.clone();
    let summary = compare(&path, &host.library, &same, &mut |difference| panic!("{difference}")).unwrap();
    assert_eq!(summary.otherwise, 0);
}

#[test]
fn what_holds_nothing_to_play_is_refused() {
    let directory = TempDir::new().unwrap();
    let said = verify(directory.path(), &plugin()).unwrap_err().to_string();
    assert!(said.contains("holds no life of policy `tallies`"), "{said}");
    let text = directory.path().join("text");
    std::fs::write(&text, "no journal at all").unwrap();
    let said = verify(&text, &plugin()).unwrap_err().to_string();
    assert!(said.contains("no block begins here"), "{said}");
    assert!(matches!(verify(Path::new("/nonexistent.lsj"), &plugin()), Err(ReplayError::Read { .. })));
}
