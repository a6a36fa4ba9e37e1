//! What every policy must do, whatever it decides: the same for the same events, from any cut on, and no harm to a host
//! that hands it nonsense.

use super::fenced::{Fenced, full_sink};
use super::story;
use crate::abi::{self, MUST_KNOW, layout};
use crate::host::{Instance, Library, Snapshot};
use crate::{Event, Setup};
use std::collections::BTreeSet;
use std::fmt;

/// Events of one story.
const LENGTH: usize = 240;

/// Stories, each with a seed of its own.
const SEEDS: u64 = 4;

/// Events of one batch: far below what one step may answer with.
const BATCH: usize = 8;

/// One check.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    /// Short, for the report.
    pub name: &'static str,
    /// What a plugin must do.
    pub demand: &'static str,
    run: fn(&Bench<'_>) -> Result<(), Broken>,
}

/// Why a check failed: what was handed in, what came, what should have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken(String);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// All checks, in the order in which they are made: the later ones trust the earlier ones.
pub const CHECKS: [Check; 11] = [
    Check {
        name: "describes itself",
        demand: "rules with ids of their own, an explanation, lints, a delay",
        run: describes,
    },
    Check { name: "the same twice", demand: "the same setup, seed and events give the same actions", run: twice },
    Check { name: "one by one as in a batch", demand: "several events in one call are several calls", run: batched },
    Check { name: "pairs apart", demand: "instances share nothing", run: apart },
    Check { name: "saved and restored at every cut", demand: "a snapshot is all that an instance knows", run: cut },
    Check {
        name: "snapshots that are none",
        demand: "what is no snapshot is refused, and changes nothing",
        run: no_snapshot,
    },
    Check { name: "unknown kinds", demand: "an unknown record is skipped, unless it must be known", run: unknown },
    Check { name: "longer records", demand: "fields that a later version appends change nothing", run: longer },
    Check { name: "shorter records", demand: "fields that ABI 1.0 did not have are absent, not read", run: shorter },
    Check {
        name: "lying sizes",
        demand: "a record whose size lies is LS_MALFORMED; nothing beyond its end is read",
        run: lies,
    },
    Check { name: "a full sink", demand: "what the sink does not take is not pressed upon it", run: full },
];

/// What the checks are made with.
#[derive(Debug)]
pub struct Bench<'a> {
    /// The plugin.
    pub library: &'a Library,
    /// A pair's configuration that the plugin takes.
    pub setup: &'a Setup,
}

impl Bench<'_> {
    /// Makes one check.
    pub fn make(&self, check: &Check) -> Result<(), Broken> {
        (check.run)(self)
    }

    fn instance(&self, seed: u64) -> Result<Instance, Broken> {
        self.library.instance(self.setup, seed).map_err(|error| Broken(format!("it makes no instance: {error}")))
    }

    fn story(&self, seed: u64) -> Result<Vec<Event>, Broken> {
        let mut instance = self.instance(seed)?;
        story::play(&mut instance, self.library.commands(), seed, LENGTH)
            .map_err(|error| Broken(format!("in story {seed}: {error}")))
    }

    /// Each story's seed and events.
    fn stories(&self) -> impl Iterator<Item = Result<(u64, Vec<Event>), Broken>> {
        (1..=SEEDS).map(|seed| Ok((seed, self.story(seed)?)))
    }
}

/// An event's record; none when the plugin does not know its kind, and hosts leave it out.
fn record(library: &Library, event: &Event) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    abi::encode_event(event, &mut bytes);
    library.hears(&bytes).then_some(bytes)
}

/// What an instance answers to some events, one after the other.
fn answers(bench: &Bench<'_>, instance: &mut Instance, events: &[Event]) -> Result<Vec<(u64, Vec<u8>)>, Broken> {
    let mut answers = Vec::new();
    for event in events {
        let Some(record) = record(bench.library, event) else { continue };
        let (code, answer) = instance.hand(&record);
        if code != abi::OK {
            return Err(Broken(format!("event {} ({:?}) is answered with code {code}", event.seq, event.what)));
        }
        answers.push((event.seq, answer));
    }
    Ok(answers)
}

fn same(what: &str, seed: u64, expected: &[(u64, Vec<u8>)], given: &[(u64, Vec<u8>)]) -> Result<(), Broken> {
    let differs = expected.iter().zip(given).find(|(expected, given)| expected != given);
    match differs {
        None if expected.len() == given.len() => Ok(()),
        None => Err(Broken(format!("in story {seed} {what}: {} answers instead of {}", given.len(), expected.len()))),
        Some(((seq, expected), (_, given))) => Err(Broken(format!(
            "in story {seed} {what}, event {seq} is answered otherwise:\n  {}\n  instead of\n  {}",
            told(given),
            told(expected)
        ))),
    }
}

/// Actions as text.
fn told(mut answer: &[u8]) -> String {
    let mut actions = Vec::new();
    while !answer.is_empty() {
        match abi::action(answer) {
            Ok((decoded, rest)) => {
                actions.push(format!("{decoded:?}"));
                answer = rest;
            }
            Err(error) => {
                actions.push(error.to_string());
                break;
            }
        }
    }
    if actions.is_empty() { "nothing".to_owned() } else { actions.join("\n  ") }
}

fn describes(bench: &Bench<'_>) -> Result<(), Broken> {
    let library = bench.library;
    let broken = |error: &dyn fmt::Display| Broken(error.to_string());
    let ids: BTreeSet<&str> = library.rules().iter().map(|rule| rule.id.as_ref()).collect();
    if ids.is_empty() || ids.len() < library.rules().len() {
        return Err(Broken("it has no rules, or two of one id: reasons could not name them".to_owned()));
    }
    if let Some(silent) = library.rules().iter().find(|rule| rule.id.is_empty() || rule.text.trim().is_empty()) {
        return Err(Broken(format!("rule `{}` says nothing", silent.id)));
    }
    if library.schema().get("type").and_then(serde_json::Value::as_str) != Some("object") {
        return Err(Broken("its schema is not that of a table: `\"type\": \"object\"`".to_owned()));
    }
    let mut unknown = bench.setup.parameters.clone();
    unknown.insert("no_parameter_has_this_name".to_owned(), true.into());
    if library.check_parameters(&unknown).is_ok() {
        let remedy = "`\"additionalProperties\": false` in C, `deny_unknown_fields` in Rust";
        return Err(Broken(format!("its schema takes a parameter that it does not know: say {remedy}")));
    }
    library.check_parameters(&bench.setup.parameters).map_err(|errors| Broken(format!("{errors:?}")))?;
    if library.explain(bench.setup).map_err(|error| broken(&error))?.trim().is_empty() {
        return Err(Broken("its explanation is empty".to_owned()));
    }
    library.lint(bench.setup).map_err(|error| broken(&error))?;
    library.expected_delay(bench.setup).map_err(|error| broken(&error))?;
    library.traits(bench.setup).map_err(|error| broken(&error))?;
    Ok(())
}

fn twice(bench: &Bench<'_>) -> Result<(), Broken> {
    for story in bench.stories() {
        let (seed, events) = story?;
        let first = answers(bench, &mut bench.instance(seed)?, &events)?;
        let second = answers(bench, &mut bench.instance(seed)?, &events)?;
        same("when it is told a second time", seed, &first, &second)?;
    }
    Ok(())
}

fn batched(bench: &Bench<'_>) -> Result<(), Broken> {
    for story in bench.stories() {
        let (seed, events) = story?;
        let one_by_one = answers(bench, &mut bench.instance(seed)?, &events)?;
        let mut instance = bench.instance(seed)?;
        for (batch, alone) in records(bench, &events).chunks(BATCH).zip(one_by_one.chunks(BATCH)) {
            let (code, answer) = instance.hand(&batch.concat());
            let expected: Vec<u8> = alone.iter().flat_map(|(_, answer)| answer.clone()).collect();
            let (first, last) = (alone.first().map_or(0, |(seq, _)| *seq), alone.last().map_or(0, |(seq, _)| *seq));
            if code != abi::OK || answer != expected {
                return Err(Broken(format!(
                    "in story {seed}, events {first} to {last} in one call give code {code} and\n  {}\n  instead of\n  {}",
                    told(&answer),
                    told(&expected)
                )));
            }
        }
    }
    Ok(())
}

/// The records of those events that the plugin knows.
fn records(bench: &Bench<'_>, events: &[Event]) -> Vec<Vec<u8>> {
    events.iter().filter_map(|event| record(bench.library, event)).collect()
}

fn apart(bench: &Bench<'_>) -> Result<(), Broken> {
    let (one, other) = (bench.story(1)?, bench.story(2)?);
    let (alone, other_alone) =
        (answers(bench, &mut bench.instance(1)?, &one)?, answers(bench, &mut bench.instance(2)?, &other)?);
    let (mut left, mut right) = (bench.instance(1)?, bench.instance(2)?);
    let (mut beside, mut other_beside) = (Vec::new(), Vec::new());
    for (mine, its) in one.chunks(1).zip(other.chunks(1)) {
        beside.extend(answers(bench, &mut left, mine)?);
        other_beside.extend(answers(bench, &mut right, its)?);
    }
    same("beside another pair's", 1, &alone, &beside)?;
    same("beside another pair's", 2, &other_alone, &other_beside)
}

fn cut(bench: &Bench<'_>) -> Result<(), Broken> {
    for story in bench.stories().take(2) {
        let (seed, events) = story?;
        let whole = answers(bench, &mut bench.instance(seed)?, &events)?;
        let mut instance = bench.instance(seed)?;
        for at in 0..events.len() {
            let refused =
                |error: &dyn fmt::Display| Broken(format!("in story {seed}, before event {}: {error}", at + 1));
            let snapshot = instance.save().map_err(|error| refused(&error))?;
            let mut restored = bench.instance(seed)?;
            restored.restore(&snapshot).map_err(|error| refused(&error))?;
            // What differs shows soon, or not at all: the rest of the story each time would be its square.
            let rest = &events[at..events.len().min(at + 40)];
            let expected: Vec<_> =
                whole.iter().filter(|(seq, _)| rest.iter().any(|event| event.seq == *seq)).cloned().collect();
            let given = answers(bench, &mut restored, rest)?;
            same(&format!("restored before event {}", at + 1), seed, &expected, &given)?;
            answers(bench, &mut instance, &events[at..=at])?;
        }
    }
    Ok(())
}

fn no_snapshot(bench: &Bench<'_>) -> Result<(), Broken> {
    let events = bench.story(1)?;
    let (lived, rest) = events.split_at(events.len() / 2);
    let mut instance = bench.instance(1)?;
    answers(bench, &mut instance, lived)?;
    let sound = instance.save().map_err(|error| Broken(error.to_string()))?;
    let expected = answers(bench, &mut bench_restored(bench, &sound)?, rest)?;
    let garbage = [vec![], vec![0], vec![0xff; 333], b"{\"given\":-1}".to_vec()];
    let cut_off = sound.state[..sound.state.len() / 2].to_vec();
    for state in garbage.into_iter().chain([cut_off]) {
        let length = state.len();
        if state != sound.state && instance.restore(&Snapshot { state, ..sound.clone() }).is_ok() {
            return Err(Broken(format!("it goes on from {length} bytes that are no snapshot of its own")));
        }
    }
    let version = sound.state_version.wrapping_add(1_000);
    if instance.restore(&Snapshot { state_version: version, ..sound.clone() }).is_ok() {
        return Err(Broken(format!("it goes on from state version {version}, which there is not yet")));
    }
    let given = answers(bench, &mut instance, rest)?;
    same("after snapshots that it refused", 1, &expected, &given)
}

fn bench_restored(bench: &Bench<'_>, snapshot: &Snapshot) -> Result<Instance, Broken> {
    let mut instance = bench.instance(1)?;
    instance.restore(snapshot).map_err(|error| Broken(error.to_string()))?;
    Ok(instance)
}

fn unknown(bench: &Bench<'_>) -> Result<(), Broken> {
    let events = bench.story(1)?;
    let expected = answers(bench, &mut bench.instance(1)?, &events)?;
    let mut instance = bench.instance(1)?;
    let mut given = Vec::new();
    for (index, event) in events.iter().enumerate() {
        let stranger = of_kind(200 + (index % 50) as u16, 0);
        let (code, answer) = instance.hand(&stranger);
        if code != abi::OK || !answer.is_empty() {
            return Err(Broken(format!("a record of an unknown kind gives code {code} and {}", told(&answer))));
        }
        given.extend(answers(bench, &mut instance, std::slice::from_ref(event))?);
    }
    same("with unknown records in between", 1, &expected, &given)?;
    let (code, _) = instance.hand(&of_kind(201, MUST_KNOW));
    if code == abi::OK {
        return Err(Broken("a record that must be known, and is not, is skipped: return LS_MALFORMED".to_owned()));
    }
    Ok(())
}

/// An event of a kind that nobody knows.
fn of_kind(kind: u16, flags: u16) -> Vec<u8> {
    let mut bytes = vec![0; 64];
    bytes[0..4].copy_from_slice(&64_u32.to_le_bytes());
    bytes[4..6].copy_from_slice(&kind.to_le_bytes());
    bytes[6..8].copy_from_slice(&flags.to_le_bytes());
    bytes[8..12].copy_from_slice(&64_u32.to_le_bytes());
    bytes
}

fn longer(bench: &Bench<'_>) -> Result<(), Broken> {
    // Texts and lists move along when the fixed part grows: events that have neither are enough.
    let plain = |event: &&Event| !has_tail(event);
    for story in bench.stories() {
        let (seed, events) = story?;
        let events: Vec<Event> = events.iter().filter(plain).cloned().collect();
        let expected = answers(bench, &mut bench.instance(seed)?, &events)?;
        let mut instance = bench.instance(seed)?;
        let mut given = Vec::new();
        for event in &events {
            let Some(mut record) = record(bench.library, event) else { continue };
            record.extend([0xab; 16]);
            let size = u32::try_from(record.len()).unwrap_or(u32::MAX);
            record[0..4].copy_from_slice(&size.to_le_bytes());
            record[8..12].copy_from_slice(&size.to_le_bytes());
            let (code, answer) = instance.hand(&record);
            if code != abi::OK {
                return Err(Broken(format!("event {} with 16 bytes appended gives code {code}", event.seq)));
            }
            given.push((event.seq, answer));
        }
        same("with fields appended", seed, &expected, &given)?;
    }
    Ok(())
}

fn has_tail(event: &Event) -> bool {
    let mut record = Vec::new();
    abi::encode_event(event, &mut record);
    let word = |at: usize| record[at..at + 4].try_into().map_or(0, u32::from_le_bytes);
    word(0) != word(8)
}

fn shorter(bench: &Bench<'_>) -> Result<(), Broken> {
    // The one event of 1.0 that has no text and has grown since.
    let least = layout::least("ls_ev_start");
    let events = bench.story(1)?;
    let Some(mut start) = events.first().and_then(|event| record(bench.library, event)) else { return Ok(()) };
    start.truncate(least);
    let size = u32::try_from(least).unwrap_or(u32::MAX);
    start[0..4].copy_from_slice(&size.to_le_bytes());
    start[8..12].copy_from_slice(&size.to_le_bytes());
    let mut fenced = Fenced::new().map_err(|error| Broken(format!("no memory for the check: {error}")))?;
    match bench.instance(1)?.hand(fenced.put(&start)) {
        (abi::OK, _) => Ok(()),
        (code, _) => Err(Broken(format!("a start as ABI 1.0 has it gives code {code}"))),
    }
}

fn lies(bench: &Bench<'_>) -> Result<(), Broken> {
    let mut fenced = Fenced::new().map_err(|error| Broken(format!("no memory for the check: {error}")))?;
    let events = bench.story(3)?;
    for event in &events {
        let Some(sound) = record(bench.library, event) else { continue };
        for (what, bad) in lying(&sound) {
            let mut instance = bench.instance(3)?;
            let (code, _) = instance.hand(fenced.put(&bad));
            if code == abi::OK {
                return Err(Broken(format!("event {} ({:?}) {what} is taken for sound", event.seq, event.what)));
            }
        }
        // Texts and lists that lead outside: refused or not looked at, but nothing outside is read.
        for at in (32..sound.len().saturating_sub(4)).step_by(4) {
            let mut wild = sound.clone();
            wild[at..at + 4].copy_from_slice(&0x7fff_fff8_u32.to_le_bytes());
            let _ = bench.instance(3)?.hand(fenced.put(&wild));
        }
    }
    Ok(())
}

/// Records whose head cannot be true.
fn lying(sound: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let with = |at: usize, value: u32| {
        let mut bad = sound.to_vec();
        bad[at..at + 4].copy_from_slice(&value.to_le_bytes());
        bad
    };
    let size = u32::try_from(sound.len()).unwrap_or(u32::MAX);
    vec![
        ("of size 0", with(0, 0)),
        ("smaller than its head", with(0, 8)),
        ("longer than the bytes that are there", with(0, size + 8)),
        ("of size 4294967288", with(0, u32::MAX - 7)),
        ("with a fixed part longer than itself", with(8, size + 8)),
        ("with a fixed part smaller than a head", with(8, 8)),
        ("cut off inside its head", sound[..24].to_vec()),
    ]
}

fn full(bench: &Bench<'_>) -> Result<(), Broken> {
    for story in bench.stories() {
        let (seed, events) = story?;
        let spoken = answers(bench, &mut bench.instance(seed)?, &events)?;
        let Some((seq, _)) = spoken.iter().find(|(_, answer)| !answer.is_empty()) else { continue };
        let mut instance = bench.instance(seed)?;
        let before: Vec<Event> = events.iter().take_while(|event| event.seq < *seq).cloned().collect();
        answers(bench, &mut instance, &before)?;
        let event = events.iter().find(|event| event.seq == *seq);
        let Some(record) = event.and_then(|event| record(bench.library, event)) else { continue };
        let mut sink = full_sink();
        let code = instance.hand_to(&record, &raw mut sink);
        if code != abi::FULL {
            return Err(Broken(format!(
                "in story {seed}, event {seq}: the sink takes nothing, and the step returns {code}"
            )));
        }
    }
    Ok(())
}
