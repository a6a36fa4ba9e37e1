//! Clients that behave badly are answered or cut within limits, and hurt nobody else.

use super::rig::{Client, PATIENCE, Rig, eventually, field, get, long, send};
use lockstep_edge::proxy::{ListenSettings, Listener, ProxySettings};
use lockstep_policy::Side;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;

/// A rig that serves side A, with short patience for clients.
async fn strict() -> Rig {
    let listen = ListenSettings {
        head_timeout: Duration::from_millis(300),
        idle_timeout: Duration::from_millis(300),
        ..ListenSettings::default()
    };
    let rig = Rig::with(ProxySettings::default(), listen).await;
    rig.serve(Side::A, 1);
    rig
}

/// What is answered to these bytes; the connection must end then.
async fn answer(rig: &Rig, bytes: impl AsRef<[u8]>) -> Option<(u16, String)> {
    let mut client = Client::connect(rig.at).await;
    // The answer may come, and the connection end, before all is sent.
    let _ = client.socket.write_all(bytes.as_ref()).await;
    let reply = client.reply().await?;
    assert_eq!(field(&reply.head, "connection").unwrap(), "close");
    assert!(client.rest().await.is_empty());
    Some((reply.status, reply.body))
}

#[tokio::test]
async fn bad_requests_are_refused_and_reach_no_server() {
    let rig = strict().await;
    let neighbour = tokio::spawn({
        let at = rig.at;
        async move {
            for _ in 0..200 {
                assert_eq!(get(at, "/").await.expect("a neighbour is served").status, 200);
            }
        }
    });
    let flood = format!("GET / HTTP/1.1\r\nHost: pair\r\nX: {}\r\n\r\n", "x".repeat(1024 * 1024));
    assert_eq!(answer(&rig, flood).await.unwrap().0, 431);
    let many = format!("GET / HTTP/1.1\r\nHost: pair\r\n{}\r\n", "X: x\r\n".repeat(20_000));
    assert_eq!(answer(&rig, many).await.unwrap().0, 431);
    assert_eq!(answer(&rig, "\r\n".repeat(100_000)).await.unwrap().0, 431);
    assert_eq!(answer(&rig, "\x16\x03\x01\x02\0\x01\0\x01\x7c\x03\x03").await.unwrap().0, 400);
    assert_eq!(answer(&rig, [0xff; 100]).await.unwrap().0, 400);
    assert_eq!(answer(&rig, "GET / HTTP/1.1\r\n\r\n").await.unwrap().0, 400);
    assert_eq!(answer(&rig, "TRACE / HTTP/1.1\r\nHost: pair\r\n\r\n").await.unwrap().0, 405);
    assert_eq!(answer(&rig, "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n").await.unwrap().0, 405);
    let both = "POST / HTTP/1.1\r\nHost: pair\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    assert_eq!(answer(&rig, both).await.unwrap().0, 400);
    assert_eq!(answer(&rig, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap().0, 400);
    neighbour.await.unwrap();
    assert_eq!(rig.a.count(), 200, "only the neighbour's requests reached the server");
}

#[tokio::test]
async fn a_slow_head_is_ended_however_steadily_it_comes() {
    let rig = strict().await;
    let mut client = Client::connect(rig.at).await;
    client.send("GET / HTTP/1.1\r\nHost: pair\r\n").await;
    let drip = async {
        while client.socket.write_all(b"X: x\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(super::rig::PATIENCE, drip).await.is_ok(), "it was never cut");
    assert_eq!(answer(&rig, "GET / HTT").await.unwrap().0, 408);
    assert_eq!(rig.a.count(), 0);
}

#[tokio::test]
async fn a_client_that_says_nothing_is_cut() {
    let rig = strict().await;
    let mut silent = Client::connect(rig.at).await;
    assert!(silent.rest().await.is_empty());
    let mut idle = Client::connect(rig.at).await;
    assert_eq!(idle.get("/").await.unwrap().status, 200);
    assert!(idle.rest().await.is_empty());
}

#[tokio::test]
async fn requests_sent_ahead_are_answered_in_order() {
    let rig = strict().await;
    let mut client = Client::connect(rig.at).await;
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: pair\r\n\r\n");
    let post = "POST /status/202 HTTP/1.1\r\nHost: pair\r\nContent-Length: 5\r\n\r\norder";
    client.send(format!("{}{post}{}", get("/status/201"), get("/status/203"))).await;
    for status in [201, 202, 203] {
        assert_eq!(client.reply().await.unwrap().status, status);
    }
    assert_eq!(rig.a.seen()[1].body, b"order");
}

#[tokio::test]
async fn a_chunked_body_arrives() {
    let rig = strict().await;
    let mut client = Client::connect(rig.at).await;
    client.send("POST / HTTP/1.1\r\nHost: pair\r\nTransfer-Encoding: chunked\r\n\r\n5\r\norder\r\n0\r\n\r\n").await;
    assert_eq!(client.reply().await.unwrap().status, 200);
    assert_eq!(client.get("/").await.unwrap().status, 200, "the connection goes on");
}

/// What has come with its head and what comes behind it, of any length, on one connection: each request ends where it ends.
#[tokio::test]
async fn bodies_arrive_as_they_were_sent_however_they_come() {
    let rig = Rig::new().await;
    rig.serve(Side::A, 1);
    let mut client = Client::connect(rig.at).await;
    let mut sent = Vec::new();
    for length in [2, 9, 4_000, 16 * 1024 - 1, 16 * 1024, 16 * 1024 + 1, 100_000] {
        let body = long(length + 16)[..length].to_owned();
        let post = format!("POST / HTTP/1.1\r\nHost: pair\r\nContent-Length: {length}\r\n\r\n{body}");
        let head = post.len() - length;
        // Whole, and the next one with it; the head alone; a part of the body with it.
        for (parts, pause) in [
            (vec![post.len()], 0),
            (vec![head, post.len()], 0),
            (vec![head, post.len()], 10),
            (vec![head + 1, post.len()], 10),
            (vec![head - 1, post.len()], 10),
        ] {
            let (mut from, next) = (0, "GET /next HTTP/1.1\r\nHost: pair\r\n\r\n");
            for &to in &parts {
                let more = if to == post.len() { next } else { "" };
                client.send(format!("{}{more}", &post[from..to])).await;
                from = to;
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
            for _ in 0..2 {
                assert_eq!(client.reply().await.unwrap().body, "a", "{length}, {parts:?}, {pause}");
            }
            sent.extend([body.clone().into_bytes(), Vec::new()]);
        }
    }
    let seen = rig.a.seen();
    assert_eq!(seen.len(), sent.len());
    for (number, (seen, sent)) in seen.iter().zip(&sent).enumerate() {
        assert!(seen.body == *sent, "request {number}: {} bytes of {}", seen.body.len(), sent.len());
    }
}

#[tokio::test]
async fn long_bodies_arrive_whole_both_ways() {
    let rig = strict().await;
    let body = long(4_000_000);
    assert_eq!(send(rig.at, "POST", "/", &body).await.unwrap().status, 200);
    assert!(rig.a.seen()[0].body == body.as_bytes(), "the request's body has changed");
    let mut client = Client::connect(rig.at).await;
    for _ in 0..3 {
        assert!(client.get("/long/4000000").await.unwrap().body == body, "the answer's body has changed");
    }
}

#[tokio::test]
async fn a_head_request_and_an_old_client_are_served() {
    let rig = strict().await;
    let mut client = Client::connect(rig.at).await;
    client.send("HEAD / HTTP/1.1\r\nHost: pair\r\nConnection: close\r\n\r\n").await;
    let answer = String::from_utf8(client.rest().await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\n"), "{answer}");
    let mut old = Client::connect(rig.at).await;
    old.send("GET / HTTP/1.0\r\n\r\n").await;
    assert_eq!(old.reply().await.unwrap().body, "a");
    assert!(old.rest().await.is_empty(), "an HTTP/1.0 connection ends with its answer");
}

#[tokio::test]
async fn a_client_cannot_say_for_whom_it_is_forwarded() {
    let rig = strict().await;
    let mut client = Client::connect(rig.at).await;
    let forged = "X-Forwarded-For: 10.9.8.7\r\nX-Forwarded-Proto: https\r\nForwarded: for=10.9.8.7\r\n";
    client.send(format!("GET / HTTP/1.1\r\nHost: pair\r\n{forged}\r\n")).await;
    assert_eq!(client.reply().await.unwrap().status, 200);
    let head = &rig.a.seen()[0].head;
    assert_eq!(field(head, "x-forwarded-for").unwrap(), "127.0.0.1");
    assert_eq!(field(head, "x-forwarded-proto").unwrap(), "http");
    assert_eq!(field(head, "host").unwrap(), "pair");
    assert!(!head.contains("10.9.8.7") && !head.contains("https"), "{head}");
}

#[tokio::test]
async fn a_refusal_reaches_a_client_that_is_still_sending() {
    let rig = strict().await;
    rig.refuse(2);
    for _ in 0..20 {
        let reply = send(rig.at, "POST", "/", &"x".repeat(1024 * 1024)).await;
        assert_eq!(reply.expect("the answer is not lost to a reset").status, 503);
    }
}

#[tokio::test]
async fn one_client_too_many_is_told_so() {
    let listen = ListenSettings { connections: 2, ..ListenSettings::default() };
    let rig = Rig::with(ProxySettings::default(), listen).await;
    rig.serve(Side::A, 1);
    let mut clients = [Client::connect(rig.at).await, Client::connect(rig.at).await];
    for client in &mut clients {
        assert_eq!(client.get("/").await.unwrap().status, 200);
    }
    assert_eq!(Client::connect(rig.at).await.reply().await.unwrap().status, 503);
    drop(clients);
    eventually("there is a place again", || {
        std::net::TcpStream::connect(rig.at).is_ok() && rig.pair.in_flight(Side::A) == 0
    })
    .await;
    let mut served = false;
    while !served {
        served = get(rig.at, "/").await.is_some_and(|reply| reply.status == 200);
    }
}

#[tokio::test]
async fn a_listener_that_closes_lets_requests_end() {
    let rig = Rig::new().await;
    rig.serve(Side::A, 1);
    let mut idle = Client::connect(rig.at).await;
    idle.get("/").await.unwrap();
    let busy = rig.spawn_get("/hang");
    eventually("a request is under way", || rig.a.count() == 2).await;
    rig.closing.send_replace(true);
    assert!(idle.rest().await.is_empty());
    eventually("nobody listens", || std::net::TcpStream::connect(rig.at).is_err()).await;
    rig.a.let_go();
    assert_eq!(busy.await.unwrap().unwrap().body, "a");
    tokio::time::timeout(super::rig::PATIENCE, rig.serving).await.unwrap().unwrap();
}

/// A process that ends when its listeners have must not take along what is said last.
#[tokio::test]
async fn a_listener_that_closes_waits_for_what_is_still_read_of_a_client() {
    let rig = strict().await;
    rig.refuse(2);
    let (mut client, begun) = (Client::connect(rig.at).await, Instant::now());
    client.send("POST / HTTP/1.1\r\nHost: pair\r\nContent-Length: 1000000\r\n\r\nand no more").await;
    assert_eq!(client.reply().await.unwrap().status, 503);
    rig.closing.send(true).unwrap();
    tokio::time::timeout(PATIENCE, rig.serving).await.expect("it is read for a moment only").unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(950), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn an_address_that_is_taken_is_an_error_that_says_what_to_do() {
    let rig = Rig::new().await;
    let error = Listener::bind(rig.at, ListenSettings::default()).unwrap_err();
    let sentence = format!("cannot listen on {}: another process listens there; stop it or change `listen`", rig.at);
    assert_eq!(error.to_string(), sentence);
}

#[tokio::test]
async fn an_address_that_is_not_here_yet_can_be_listened_on() {
    // TEST-NET-1 (RFC 5737): no machine has it.
    let address = "192.0.2.1:0".parse().unwrap();
    assert!(Listener::bind(address, ListenSettings::default()).is_ok());
    let strict = ListenSettings { freebind: false, ..ListenSettings::default() };
    let error = Listener::bind(address, strict).unwrap_err();
    assert!(error.to_string().contains("this machine does not have that address"), "{error}");
}
