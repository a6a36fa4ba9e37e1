//! What a real edge writes down of a real policy plays again: no agents, no servers, and so a story of failing probes.

use crate::place::{PATIENT, Place};
use lockstep_edge::Side;
use lockstep_edge::admin::api::SwitchOrder;
use lockstep_policy::host::Library;
use lockstep_policy::host::replay::{lives, verify};
use lockstep_policy::journal::{Entry, Reader, files};
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::{Instant, sleep};

fn plugin() -> PathBuf {
    let this = std::env::current_exe().unwrap();
    this.parent().unwrap().join("liblockstep_telisca.so")
}

/// Waits until so many events stand in the journal.
async fn noted(place: &Place, events: usize) {
    let deadline = Instant::now() + PATIENT;
    while place.client().journal("phones", 0, 10_000).await.unwrap().entries.len() < events {
        assert!(Instant::now() < deadline, "nothing is written");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_edge_writes_down_plays_again() {
    let place = Place::new();
    for _ in 0..2 {
        let edge = place.start().await;
        let from = place.client().journal("phones", 0, 10_000).await.unwrap().entries.len();
        noted(&place, from + 60).await;
        let order = SwitchOrder { to: Side::B, confirmed: false, unsafe_because: None, by: "eva".into() };
        let _ = place.client().switch("phones", &order).await.unwrap();
        edge.stop().await;
    }
    let journal = place.directory.path().join("state/journal/phones");
    assert_eq!(lives(&journal).unwrap().len(), 2);
    let summary = verify(&journal, &Library::open(&plugin()).unwrap()).unwrap();
    assert_eq!((summary.lives, &summary.gaps), (2, &Vec::new()));
    assert!(summary.events >= 60 && summary.actions > 4, "{summary:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_the_journal_in_one_file() {
    let place = Place::new();
    let edge = place.start().await;
    noted(&place, 40).await;
    let client = place.client();
    let mut file = Vec::new();
    let bytes = client.export("phones", None, &mut file).await.unwrap();
    assert_eq!(bytes, file.len() as u64);
    let exported: Vec<Entry> = Reader::new(&file[..]).map(Result::unwrap).collect();
    assert!(matches!(exported[0], Entry::Segment(_)));
    assert!(exported.iter().any(|entry| matches!(entry, Entry::Life(life) if life.plugin == "telisca")));
    let refused = client.export("mail", None, &mut Vec::new()).await.unwrap_err().to_string();
    assert_eq!(refused, "this edge has no pair \"mail\"; it has: phones");
    let refused = client.export("phones", Some("yesterday"), &mut Vec::new()).await.unwrap_err().to_string();
    assert!(refused.contains("neither an event's number nor a time such as 2h"), "{refused}");
    assert!(client.export("phones", Some("2h"), &mut Vec::new()).await.unwrap() >= bytes);
    edge.stop().await;
    let path = files(&place.directory.path().join("state/journal/phones")).unwrap().pop().unwrap();
    assert!(std::fs::read(path).unwrap().starts_with(&file), "the same bytes");
}
