//! What a hostile worker may send to its edge: whatever it is, the edge goes on, and is told by the frames what it may believe.

use super::frame::{Frame, Inbox, is};
use super::post::{LifeOf, Post};
use super::{PluginFile, Report, Snapshot};
use crate::abi;
use crate::action::Action;
use crate::event::{Event, TimerId, What};
use crate::{At, Level, Setup, Side};
use lockstep_fuzz::{Became, became, run};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const POST: u64 = 1;

fn setup() -> Setup {
    let side = serde_json::json!({ "servers": ["10.0.0.1:80"], "agent": true });
    let detect = serde_json::json!({ "interval_ms": 100, "timeout_ms": 200, "failures": 2 });
    let setup =
        serde_json::json!({ "pair": "pair", "parameters": {}, "detect": detect, "sides": { "a": side, "b": side } });
    serde_json::from_value(setup).expect("a setup")
}

/// Hears frames as the keeper does; what became of each.
fn hear(bytes: &[u8]) -> Became {
    let setup = setup();
    let saved = Arc::<Mutex<Option<Snapshot>>>::default();
    let keep = Arc::clone(&saved);
    let deliver = Box::new(move |report| {
        if let Report::Saved { snapshot, .. } = report {
            keep.lock().expect("nobody panics here").replace(snapshot);
        }
    });
    let life = LifeOf { life: 1, seed: 7, restored: None };
    let mut post = Post::new(PluginFile::of_nothing(), &setup, life, deliver);
    let mut out = Vec::new();
    post.place(POST, &mut out);
    for seq in 1..=4 {
        let mut record = Vec::new();
        abi::encode_event(&Event { seq, at: At(seq), what: What::Timer(TimerId(1)) }, &mut record);
        assert!(post.keep(seq, &record));
    }
    post.save(POST, &mut out);
    let mut inbox = Inbox::default();
    let Ok(_) = inbox.fill(bytes) else { return 0 };
    let mut heard = Vec::new();
    while let Ok(Some(frame)) = inbox.next() {
        let mut said = Ok(());
        match frame.kind {
            is::MADE => post.made(),
            is::STEPPED => said = post.stepped(&frame, Duration::from_secs(1)),
            is::SAVED => post.saved(frame.number, frame.extra, frame.body),
            is::UNSAVED => post.not_saved(&frame.text()),
            is::FAILED => {
                let fault = post.step_failed(frame.body, frame.number);
                post.fail(Instant::now(), &fault);
                post.place(POST, &mut out);
            }
            _ => {}
        }
        heard.push((frame.kind, said.map_err(|why| why.len().min(64))));
        post.save_if_due(POST, &mut out);
        if heard.len() > 64 {
            break;
        }
    }
    // Whatever it has said, it can be made again, and go on.
    post.disturbed();
    post.place(POST, &mut out);
    let fine = Frame { number: 5, ..Frame::new(is::STEPPED, post.instance(POST)) };
    assert_eq!(post.stepped(&fine, Duration::from_secs(1)), Ok(()));
    // An edge that starts anew goes on from what it has said its state is.
    let restored = saved.lock().expect("nobody panics here").take();
    let mut later =
        Post::new(PluginFile::of_nothing(), &setup, LifeOf { life: 2, seed: 8, restored }, Box::new(|_| {}));
    later.place(POST, &mut out);
    later.made();
    let actions = actions();
    let fine = Frame { number: 1, body: &actions, ..Frame::new(is::STEPPED, later.instance(POST)) };
    assert_eq!(later.stepped(&fine, Duration::from_secs(1)), Ok(()));
    became(heard)
}

fn frame(kind: u32, number: u64, extra: u64, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    Frame { number, extra, body, ..Frame::new(kind, POST << 16 | 1) }.put(&mut bytes);
    bytes
}

fn actions() -> Vec<u8> {
    let mut bytes = Vec::new();
    let some = [
        Action::Show(Side::A, "well".to_owned()),
        Action::SetTimer(TimerId(1), At(9)),
        Action::Alert(crate::action::Alert { level: Level::Warning, text: "look".to_owned() }),
        Action::SetAlarm(TimerId(2), 60),
    ];
    for (number, action) in (1..).zip(&some) {
        abi::encode_action(number, At(1), action, &mut bytes);
    }
    bytes
}

#[test]
fn frames_of_workers() {
    let all = [
        frame(is::MADE, 0, 0, &[]),
        frame(is::STEPPED, 1, 1_000, &actions()),
        frame(is::STEPPED, 2, u64::MAX, &[]),
        frame(is::SAVED, 4, 4, b"{}"),
        frame(is::FAILED, 3, 0, br#"{"Panicked":{"why":"x"}}"#),
        frame(is::UNSAVED, 0, 0, b"no room"),
    ];
    let whole = all.concat();
    let mut seeds: Vec<&[u8]> = all.iter().map(Vec::as_slice).collect();
    seeds.push(&whole);
    let largest = frame(is::SAVED, 4, u64::MAX, b"state");
    run("frames_of_workers", &seeds, &[&all[1], &all[4], &largest, &[0xff; 8], &[0; 8]], hear);
}

#[test]
fn records() {
    let mut event = Vec::new();
    abi::encode_event(&Event { seq: 1, at: At(1), what: What::Timer(TimerId(1)) }, &mut event);
    let actions = actions();
    run("records", &[&actions, &event], &[&[0xff; 4], &[0; 4], &[1, 0, 0, 0]], |bytes| {
        let (mut rest, mut became_of) = (bytes, Vec::new());
        while let Ok((decoded, after)) = abi::action(rest) {
            assert!(after.len() < rest.len());
            became_of.push(matches!(decoded, abi::Decoded::Known(_)));
            rest = after;
        }
        let action = abi::action(rest).err().map(|error| error.to_string().len());
        let event = abi::event(bytes).map(|(decoded, _)| matches!(decoded, abi::Decoded::Known(_)));
        became((became_of.len().min(9), action, event.map_err(|error| error.to_string().len())))
    });
}
