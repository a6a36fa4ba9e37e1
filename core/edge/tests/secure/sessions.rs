//! Sessions by what clients of TLS resume, in a pair in which both sides may serve.
//!
//! All clients here come from one address: what keeps them apart, and where they were, is their tickets.

use super::rig::{PATIENCE, Rig};
use super::{Pki, Web, ask, connect};
use lockstep_edge::config::{ListenerTls, Protocol};
use lockstep_edge::proxy::{ListenSettings, Listener, SessionBy, SessionSettings, StreamSettings, Termination};
use lockstep_policy::Sides;
use lockstep_policy::action::Share;
use lockstep_wire::clock;
use rustls::HandshakeKind;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

const CLIENTS: usize = 4;

/// A pair that gives each side every other new session, and a listener with TLS.
async fn rig(pki: &Pki) -> (Rig, Arc<Termination>, SocketAddr) {
    let rig = Rig::sharing(SessionSettings { by: SessionBy::Tls, ..SessionSettings::default() }).await;
    let share = Share {
        parts: Sides { a: 1, b: 1 },
        rules: Vec::new(),
        from: None,
        window: Duration::ZERO,
        warning: Duration::ZERO,
        reason: "as told".to_owned(),
        evidence: Vec::new(),
        order: 0,
    };
    rig.pair.share(clock::now(), 1, &share).unwrap();
    let tls = Arc::new(Termination::open(&pki.listener(&[pki.issue("vip.pem", &["pair"])])).unwrap());
    let at = super::secured(&rig, &tls, ListenSettings::default());
    (rig, tls, at)
}

/// One request by OpenSSL, which keeps its session in a file. Where it was answered, and whether it had resumed.
async fn openssl(pki: &Pki, at: SocketAddr, words: &[&str], session: &Path) -> (String, bool) {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &at.to_string(), "-servername", "pair", "-ign_eof"]);
    command.args(["-nocommands", "-CAfile"]).arg(pki.ca()).args(words).arg("-sess_out").arg(session);
    if session.exists() {
        command.arg("-sess_in").arg(session);
    }
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut client = piped.kill_on_drop(true).spawn().expect("openssl is installed");
    let mut words = client.stdin.take().unwrap();
    words.write_all(b"GET / HTTP/1.1\r\nHost: pair\r\nConnection: close\r\n\r\n").await.unwrap();
    let output = tokio::time::timeout(PATIENCE, client.wait_with_output()).await.expect("it ends in time").unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("HTTP/1.1 200 "), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let body = text.split_once("HTTP/1.1 200 ").and_then(|(_, answer)| answer.split_once("\r\n\r\n"));
    let body = body.map(|(_, body)| body.chars().take(1).collect()).unwrap_or_default();
    (body, text.contains("Reused, "))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_resumes_stays_where_it_was_and_others_are_shared_out() {
    let pki = Pki::new();
    let (_rig, tls, at) = rig(&pki).await;
    // By tickets of both versions, and by the number that a session of TLS 1.2 has without one.
    for (number, words) in [&["-tls1_3"][..], &["-tls1_2"], &["-tls1_2", "-no_ticket"]].into_iter().enumerate() {
        let file = |client: usize| pki.file(&format!("session-{number}-{client}"));
        let mut sides = Vec::new();
        for client in 0..CLIENTS {
            let (side, resumed) = openssl(&pki, at, words, &file(client)).await;
            assert!(!resumed, "{words:?}");
            sides.push(side);
        }
        assert_eq!(sides.iter().filter(|side| *side == "a").count(), CLIENTS / 2, "{words:?}: {sides:?}");
        for round in 0..2 {
            for (client, side) in sides.iter().enumerate() {
                // Twice: by turns, the second would go elsewhere.
                for _ in 0..2 {
                    let again = openssl(&pki, at, words, &file(client)).await;
                    assert_eq!(again, (side.clone(), true), "{words:?}, client {client}, round {round}");
                }
            }
            // Its files are read again: what clients have kept is good.
            tls.take_over(&tls.read_again().unwrap());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_http2_are_of_their_connections_session() {
    let pki = Pki::new();
    let (_rig, _tls, at) = rig(&pki).await;
    let clients: Vec<_> = (0..CLIENTS).map(|_| pki.client(&["h2"], None)).collect();
    let mut sides = Vec::new();
    for visit in 0..3 * 2 * CLIENTS {
        // Each client twice in a row: by turns, the second would go elsewhere.
        let number = visit / 2 % CLIENTS;
        let stream = connect(&clients[number], "pair", at).await.unwrap();
        let mut web = Web::over(stream).await;
        let pages = [web.get("/").await.unwrap().body, web.get("/").await.unwrap().body];
        assert_eq!(pages[0], pages[1], "one connection is one session");
        match sides.get(number) {
            None => sides.push(pages[0].clone()),
            Some(side) => assert_eq!(pages[0], *side, "client {number}, visit {visit}"),
        }
        web.driver.abort();
    }
    assert_eq!(sides.iter().filter(|side| *side == "a").count(), CLIENTS / 2, "{sides:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_whose_tls_ends_at_the_edge_are_of_sessions_too() {
    let pki = Pki::new();
    let (rig, _tls, _at) = rig(&pki).await;
    let files = ListenerTls { protocol: Protocol::Tcp, ..pki.listener(&[pki.issue("stream.pem", &["pair"])]) };
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), ListenSettings::default()).unwrap();
    let listener = listener.secured(Arc::new(Termination::open(&files).unwrap()));
    let (at, pool) = (listener.address(), rig.pair.pool("").unwrap());
    tokio::spawn(listener.pass_streams(
        Arc::clone(&rig.pair),
        pool,
        StreamSettings::default(),
        rig.closing.subscribe(),
    ));
    let clients: Vec<_> = (0..CLIENTS).map(|_| pki.client(&[], None)).collect();
    let mut sides = Vec::new();
    for visit in 0..3 * 2 * CLIENTS {
        let number = visit / 2 % CLIENTS;
        let mut stream = connect(&clients[number], "pair", at).await.unwrap();
        let answer = ask(&mut stream, "/").await.unwrap();
        let side = answer.chars().last().unwrap();
        let resumed = stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed);
        assert_eq!(resumed, sides.len() > number, "client {number}, visit {visit}");
        match sides.get(number) {
            None => sides.push(side),
            Some(before) => assert_eq!(side, *before, "client {number}, visit {visit}"),
        }
    }
    assert_eq!(sides.iter().filter(|side| **side == 'a').count(), CLIENTS / 2, "{sides:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_cannot_resume_count_by_their_address() {
    let pki = Pki::new();
    let (rig, _tls, _at) = rig(&pki).await;
    let files = ListenerTls {
        client_ca: Some(pki.ca()),
        client_required: false,
        ..pki.listener(&[pki.issue("asks.pem", &["pair"])])
    };
    let asks = super::secured(&rig, &Arc::new(Termination::open(&files).unwrap()), ListenSettings::default());
    let plain = super::rig::get(rig.at, "/").await.unwrap().body;
    for number in 0..CLIENTS {
        let mut stream = connect(&pki.client(&[], None), "pair", asks).await.unwrap();
        let answer = ask(&mut stream, "/").await.unwrap();
        assert!(answer.ends_with(&plain), "client {number}: {answer}, not {plain}");
    }
}
