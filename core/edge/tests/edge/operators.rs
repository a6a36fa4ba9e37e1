//! An edge without agents: how it starts, what operators are told, and what it keeps.

use crate::place::{PATIENT, Place, free};
use lockstep_edge::Side;
use lockstep_edge::admin::api::{PauseOrder, SwitchAnswer, SwitchOrder};
use lockstep_edge::admin::client::{Client, ClientError};
use lockstep_edge::run;
use std::net::TcpListener;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

fn pause(by: &str) -> PauseOrder {
    PauseOrder { by: by.into(), reason: "patching the servers".into() }
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_is_never_up() {
    let place = Place::new();
    let edge = place.start().await;
    let status = place.client().status().await.unwrap();
    let pair = &status.pairs[0];
    assert_eq!((status.edge.as_str(), pair.name.as_str()), ("edge", "phones"));
    assert_eq!(pair.active, None);
    assert!(!pair.sides.a.main && !pair.sides.b.auxiliary && pair.sides.a.report.is_none());
    assert_eq!(pair.policy.id, "telisca");
    assert_eq!(pair.policy.fingerprint.len(), 64);
    assert!(pair.policy.expected_delay_ms.is_some());
    let mut client = TcpStream::connect(place.vip).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nhost: vip\r\n\r\n").await.unwrap();
    let mut answer = [0; 12];
    timeout(PATIENT, client.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer, b"HTTP/1.1 503");
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_has_the_token_is_answered() {
    let place = Place::new();
    let edge = place.start().await;
    let wrong = place.directory.path().join("wrong");
    std::fs::write(&wrong, "0".repeat(64)).unwrap();
    for path in ["/v1/status", "/v1/pairs/phones/switch", "/nothing"] {
        let mut stream = TcpStream::connect(place.admin).await.unwrap();
        stream
            .write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    }
    let error = Client::new(place.admin, &wrong).unwrap().status().await.unwrap_err();
    assert!(error.to_string().contains("the token is missing, or neither the present admin token"), "{error}");
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_errors_are_sentences() {
    let place = Place::new();
    let gone = match Client::from_config(&place.config()) {
        Err(error) => error.to_string(),
        Ok(client) => client.status().await.map(|_| ()).unwrap_err().to_string(),
    };
    assert!(gone.contains("the admin token cannot be read") || gone.contains("no edge answers at"), "{gone}");
    let edge = place.start().await;
    let client = place.client();
    let error = client.why("mail", None).await.unwrap_err();
    assert_eq!(error.to_string(), "this edge has no pair \"mail\"; it has: phones");
    let error = client.why("phones", None).await.unwrap_err();
    assert_eq!(error.to_string(), "pair \"phones\" has had no handover yet");
    let error = client.why("phones", Some(77)).await.unwrap_err();
    assert_eq!(error.to_string(), "no handover of pair \"phones\" has the epoch 77, or it is no longer kept");
    let explained = client.explain("phones").await.unwrap();
    assert!(explained.text.contains("T1"), "{}", explained.text);
    let order = SwitchOrder { to: Side::B, confirmed: true, unsafe_because: None, by: "eva".into() };
    let answer = timeout(PATIENT, client.switch("phones", &order)).await.unwrap().unwrap();
    assert!(matches!(answer, SwitchAnswer::Refused(_) | SwitchAnswer::Question(_)), "{answer:?}");
    edge.stop().await;
    let error = client.status().await.unwrap_err();
    let said = error.to_string();
    assert!(said.starts_with(&format!("no edge answers at {}: is `lockstep edge` running?", place.admin)), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_outlives_the_edge_and_the_journal_tells_of_it() {
    let place = Place::new();
    let edge = place.start().await;
    let paused = place.client().pause("phones", &pause("eva")).await.unwrap().paused.unwrap();
    assert_eq!((paused.by.as_str(), paused.reason.as_str()), ("eva", "patching the servers"));
    edge.stop().await;
    let edge = place.start().await;
    let client = place.client();
    assert_eq!(client.status().await.unwrap().pairs[0].paused, Some(paused));
    let journal = client.journal("phones", 0, 1000).await.unwrap();
    let kinds: Vec<&str> = journal.entries.iter().map(|entry| entry.kind.as_str()).collect();
    assert!(kinds.contains(&"event") && kinds.contains(&"action") && kinds.contains(&"operator"), "{kinds:?}");
    assert_eq!(client.resume("phones", &pause("eva")).await.unwrap().paused, None);
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_is_read_in_pages_without_a_gap() {
    let place = Place::new();
    let edge = place.start().await;
    let client = place.client();
    let deadline = Instant::now() + PATIENT;
    let whole = loop {
        let whole = client.journal("phones", 0, 10_000).await.unwrap().entries;
        if whole.len() >= 30 {
            break whole;
        }
        assert!(Instant::now() < deadline, "nothing is written");
        sleep(Duration::from_millis(50)).await;
    };
    let (mut paged, mut from) = (Vec::new(), Some(0));
    while let Some(next) = from.filter(|_| paged.len() < whole.len()) {
        let page = client.journal("phones", next, 7).await.unwrap();
        paged.extend(page.entries);
        from = page.next;
    }
    assert_eq!(paged[..whole.len()], whole[..]);
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_starts_by_halves() {
    let place = Place::new();
    let taken = TcpListener::bind(place.vip).unwrap();
    let error = run(&place.config(), std::future::pending()).await.unwrap_err().to_string();
    assert!(error.contains("edge.toml: pair.listen of pair \"phones\": cannot listen on"), "{error}");
    assert!(TcpListener::bind(place.admin).is_ok(), "the admin API must not be left open");
    drop(taken);
    let _taken = TcpListener::bind(place.admin).unwrap();
    let error = run(&place.config(), std::future::pending()).await.unwrap_err().to_string();
    assert!(error.contains("edge.admin: cannot listen on"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_edge_leaves_the_first_one_in_peace() {
    let place = Place::new();
    let edge = place.start().await;
    let error = run(&place.config(), std::future::pending()).await.unwrap_err().to_string();
    assert!(error.contains("another edge has this state directory open"), "{error}");
    place.client().status().await.expect("the first one's token must still be right");
    edge.stop().await;
}

/// Has the configuration read again; what is said of it.
async fn reload(place: &Place, wanted: &str) -> Vec<String> {
    nix::sys::signal::kill(nix::unistd::getpid(), nix::sys::signal::Signal::SIGHUP).unwrap();
    let deadline = Instant::now() + PATIENT;
    loop {
        let said = place.client().status().await.unwrap().reload;
        if said.iter().any(|line| line.contains(wanted)) {
            return said;
        }
        assert!(Instant::now() < deadline, "{wanted:?} was never said: {said:?}");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_configuration_changes_nothing_and_a_good_one_what_it_can() {
    let place = Place::new();
    let edge = place.start().await;
    let text = std::fs::read_to_string(place.config()).unwrap();
    let write = |text: &str| std::fs::write(place.config(), text).unwrap();

    write(&text.replace("fast = true", "fest = true"));
    let said = reload(&place, "the running one was kept").await;
    assert!(said.iter().any(|line| line.contains("edge.toml:10:1: pair.policy.fest")), "{said:?}");
    let pair = &place.client().status().await.unwrap().pairs[0];
    assert!(pair.policy.working || pair.policy.trouble.is_empty(), "{:?}", pair.policy);

    let slow = place.client().status().await.unwrap().pairs[0].policy.expected_delay_ms;
    write(&text.replace("fast = true", "fast = false").replace("max_wait = \"100ms\"", "max_wait = \"1s\""));
    let said = reload(&place, "made again").await;
    assert_eq!(said, ["pair \"phones\": pair.hold: applied, and the pair made again"]);
    let expected = async || place.client().status().await.unwrap().pairs[0].policy.expected_delay_ms;
    let deadline = Instant::now() + PATIENT;
    while expected().await == slow {
        assert!(Instant::now() < deadline, "the policy has its old parameters");
        sleep(Duration::from_millis(20)).await;
    }
    write(&text.replace("max_wait = \"100ms\"", "max_wait = \"1s\""));
    reload(&place, "pair.policy and pair.detect: in force").await;
    while expected().await != slow {
        assert!(Instant::now() < deadline, "the policy has its old parameters");
        sleep(Duration::from_millis(20)).await;
    }
    write(&text.replace("max_wait = \"100ms\"", "max_wait = \"1s\"").replace("[edge]", "[edge]\nname = \"another\""));
    reload(&place, "edge.name: has changed, and needs a restart of the edge").await;
    edge.stop().await;
}

#[tokio::test]
async fn a_token_that_cannot_be_read_is_named() {
    let error = Client::new(free(), "/nonexistent/admin.token".as_ref()).unwrap_err();
    assert!(matches!(error, ClientError::Token { .. }));
    assert!(error.to_string().starts_with("/nonexistent/admin.token: the admin token cannot be read"), "{error}");
}
