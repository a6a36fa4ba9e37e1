//! What the edge itself answers to balancers and monitors.

use super::rig::{Client, Rig, field, get, send};
use lockstep_policy::action::{Answer, When};
use lockstep_policy::{At, Epoch, Side};
use lockstep_wire::clock;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const PAGE: &str = "/IPSCFG/admin/monitor.aspx";

fn answer(rule: u32, query: &str, when: When, body: &str) -> Answer {
    Answer {
        rule,
        path: PAGE.to_owned(),
        query: query.to_owned(),
        host: String::new(),
        when,
        status: 200,
        content_type: "text/html".to_owned(),
        body: body.to_owned(),
    }
}

/// T11: what the vendor's page says, by side.
async fn rig() -> (Rig, SocketAddr) {
    let rig = Rig::new().await;
    for (number, side) in [(1, Side::A), (2, Side::B)] {
        let query = format!("mod=FT&side={side}");
        rig.pair.set_answer(&answer(number, &query, When::Serves(side), "ACTIVE")).unwrap();
        rig.pair.set_answer(&answer(number + 2, &query, When::ServesNot(side), "STANDBY")).unwrap();
    }
    rig.pair.set_answer(&answer(9, "mod=NONE", When::Always, "")).unwrap();
    let at = rig.answers();
    (rig, at)
}

async fn said(at: SocketAddr, side: Side) -> String {
    get(at, &format!("{PAGE}?side={side}&mod=FT")).await.unwrap().body
}

#[tokio::test]
async fn t11_balancers_are_told_who_is_served() {
    let (rig, at) = rig().await;
    assert_eq!((&*said(at, Side::A).await, &*said(at, Side::B).await), ("STANDBY", "STANDBY"));
    rig.serve(Side::A, 1);
    assert_eq!((&*said(at, Side::A).await, &*said(at, Side::B).await), ("ACTIVE", "STANDBY"));
    rig.hold(2);
    assert_eq!((&*said(at, Side::A).await, &*said(at, Side::B).await), ("STANDBY", "STANDBY"));
    rig.serve(Side::B, 2);
    assert_eq!((&*said(at, Side::A).await, &*said(at, Side::B).await), ("STANDBY", "ACTIVE"));
    rig.pair.cut(Side::B, Epoch(3));
    assert_eq!(said(at, Side::B).await, "STANDBY", "what was cut is served no more");
    rig.serve(Side::B, 3);
    rig.pair.serve_until(clock::now());
    assert_eq!(said(at, Side::B).await, "STANDBY", "nor is anybody once the lease may be over");
    rig.refuse(4);
    rig.pair.serve_until(At(u64::MAX));
    assert_eq!(said(at, Side::B).await, "STANDBY");
    assert_eq!(rig.a.count() + rig.b.count(), 0, "no server is asked");
}

#[tokio::test]
async fn only_what_is_declared_is_answered() {
    let (rig, at) = rig().await;
    let none = get(at, &format!("{PAGE}?mod=NONE")).await.unwrap();
    assert_eq!((none.status, &*none.body), (200, ""));
    assert_eq!(field(&none.head, "cache-control").unwrap(), "no-store");
    for unknown in ["/", "/IPSCFG", &format!("{PAGE}?mod=OTHER"), &format!("{PAGE}/?mod=NONE")] {
        let reply = get(at, unknown).await.unwrap();
        assert_eq!((reply.status, &*reply.body), (404, "there is no answer to this\n"), "{unknown}");
    }
    let post = send(at, "POST", PAGE, "x").await.unwrap();
    assert_eq!((post.status, field(&post.head, "allow").unwrap()), (405, "GET, HEAD".to_owned()));
    rig.pair.forget_answer(9);
    assert_eq!(get(at, &format!("{PAGE}?mod=NONE")).await.unwrap().status, 404);
    let named = Answer { host: "node-b.example".to_owned(), ..answer(8, "mod=NONE", When::Always, "b") };
    rig.pair.set_answer(&named).unwrap();
    let mut client = Client::connect(at).await;
    for (host, status) in [("Node-B.example:80", 200), ("node-a.example", 404)] {
        client.send(format!("GET {PAGE}?mod=NONE HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert_eq!(client.reply().await.unwrap().status, status, "{host}");
    }
    client.send(format!("HEAD {PAGE}?mod=NONE HTTP/1.1\r\nHost: node-b.example\r\nConnection: close\r\n\r\n")).await;
    let head = String::from_utf8(client.rest().await).unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    assert_eq!(field(&head, "content-length").unwrap(), "1");
}

#[tokio::test]
async fn bad_requests_are_refused_here_too() {
    let (_rig, at) = rig().await;
    for (bytes, status) in [
        (&b"\x16\x03\x01\x02\0"[..], 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET /%zz{ HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        (b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
    ] {
        let mut client = Client::connect(at).await;
        client.send(bytes).await;
        assert_eq!(client.reply().await.unwrap().status, status, "{:?}", String::from_utf8_lossy(bytes));
    }
}

/// One answer: when it was asked for, when it had come, and which side it calls active.
type Claim = (At, At, Side);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn i2_no_side_is_called_active_unless_it_is_served_and_never_both() {
    const CHANGES: u64 = 400;
    let (rig, at) = rig().await;
    let stop = Arc::new(AtomicBool::new(false));
    let asked = Arc::new(AtomicU64::new(0));
    let claims = Arc::new(Mutex::new(Vec::<Claim>::new()));
    let pollers: Vec<_> = [Side::A, Side::B, Side::A, Side::B]
        .into_iter()
        .map(|side| {
            let (stop, asked, claims) = (Arc::clone(&stop), Arc::clone(&asked), Arc::clone(&claims));
            tokio::spawn(async move {
                let mut client = Client::connect(at).await;
                while !stop.load(SeqCst) {
                    let from = clock::now();
                    let said = client.get(&format!("{PAGE}?mod=FT&side={side}")).await.unwrap().body;
                    if said == "ACTIVE" {
                        claims.lock().unwrap().push((from, clock::now(), side));
                    } else {
                        assert_eq!(said, "STANDBY");
                    }
                    asked.fetch_add(1, SeqCst);
                }
            })
        })
        .collect();
    // When each side may have been served: from before the route led to it until after it did no more.
    let mut served: Vec<(At, At, Side)> = Vec::new();
    let mut side = Side::A;
    for change in 1..=CHANGES {
        let from = clock::now();
        rig.serve(side, change * 2);
        let before = asked.load(SeqCst);
        super::rig::eventually("it is asked", || asked.load(SeqCst) > before + 4).await;
        if change % 3 == 0 {
            rig.pair.serve_until(clock::now());
        } else {
            rig.hold(change * 2 + 1);
        }
        served.push((from, clock::now(), side));
        rig.pair.drained(side).await;
        if change % 5 == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        rig.hold(change * 2 + 1);
        rig.pair.serve_until(At(u64::MAX));
        side = side.other();
    }
    stop.store(true, SeqCst);
    for poller in pollers {
        poller.await.unwrap();
    }
    let claims = std::mem::take(&mut *claims.lock().unwrap());
    assert!(claims.len() as u64 > CHANGES / 2, "{} claims", claims.len());
    for (from, to, side) in &claims {
        let possible = served.iter().any(|(begun, ended, of)| of == side && from <= ended && to >= begun);
        assert!(possible, "{side} was called active at {from} to {to}, when it was not served");
    }
    for (from, to, _) in claims.iter().filter(|(.., side)| *side == Side::A) {
        // Two answers that lie whole within one period of service can never name both sides.
        let within = |(begun, ended, _): &&(At, At, Side)| begun <= from && to <= ended;
        if let Some((begun, ended, _)) = served.iter().find(within) {
            let both = claims.iter().any(|(f, t, side)| *side == Side::B && begun <= f && t <= ended);
            assert!(!both, "both sides were called active between {begun} and {ended}");
        }
    }
}
