//! Sessions of clients, in a pair in which both sides may serve.

use super::rig::{Client, Rig, eventually, field};
use lockstep_edge::proxy::{SessionBy, SessionSettings};
use lockstep_policy::action::{Share, ShareRule};
use lockstep_policy::event::Sessions;
use lockstep_policy::{At, Side, Sides};
use lockstep_wire::clock;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const NOW: Duration = Duration::ZERO;

fn parts(a: u32, b: u32) -> Share {
    Share {
        parts: Sides { a, b },
        rules: Vec::new(),
        from: None,
        window: NOW,
        warning: NOW,
        reason: "as told".to_owned(),
        evidence: Vec::new(),
        order: 0,
    }
}

async fn rig() -> Rig {
    Rig::sharing(SessionSettings::default()).await
}

fn by(by: SessionBy) -> SessionSettings {
    SessionSettings { by, ..SessionSettings::default() }
}

impl Rig {
    fn share(&self, number: u64, share: &Share) -> Option<Sessions> {
        self.pair.share(clock::now(), number, share).unwrap()
    }

    fn sessions(&self) -> Sessions {
        self.pair.sessions().unwrap().report()
    }

    async fn visit(&self, client: u8) -> Client {
        Client::connect_from(client, self.at).await
    }

    async fn side_of(&self, client: u8) -> String {
        self.visit(client).await.get("/").await.unwrap().body
    }
}

#[tokio::test]
async fn requests_wait_until_sessions_are_shared_out_and_then_alternate_and_stay() {
    let rig = rig().await;
    let first = {
        let at = rig.at;
        tokio::spawn(async move { Client::connect_from(1, at).await.get("/").await })
    };
    eventually("the request waits", || rig.pair.totals().held_now == 1).await;
    rig.share(1, &parts(1, 1));
    assert_eq!(first.await.unwrap().unwrap().body, "a");
    let mut sides = Vec::new();
    for _ in 0..3 {
        for client in 2..8 {
            sides.push(rig.side_of(client).await);
        }
    }
    assert_eq!(sides.concat(), "bababa".repeat(3));
    assert_eq!(rig.sessions().on, Sides { a: 4, b: 3 });
    assert!(rig.pair.totals().released == 1 && rig.pair.in_flight(Side::A) == 0);
}

#[tokio::test]
async fn f6_without_parts_new_clients_are_told_at_once_and_old_ones_stay() {
    let rig = rig().await;
    rig.share(1, &parts(1, 0));
    assert_eq!(rig.side_of(1).await, "a");
    rig.share(2, &parts(0, 0));
    let refused = rig.visit(2).await.get("/").await.unwrap();
    assert_eq!((refused.status, &*refused.body), (503, "no side of the pair takes sessions\n"));
    assert_eq!(field(&refused.head, "retry-after").unwrap(), "5");
    assert_eq!(rig.side_of(1).await, "a");
    rig.a.kill().await;
    // The hold's limit is 15 seconds: this does not wait for it.
    let told = tokio::time::timeout(Duration::from_secs(10), async { rig.visit(1).await.get("/").await });
    assert_eq!(told.await.expect("at once").unwrap().status, 503);
}

#[tokio::test]
async fn a_share_that_cannot_be_followed_changes_nothing() {
    let rig = rig().await;
    rig.share(1, &parts(1, 0));
    let rules = vec![ShareRule { attribute: "form:x".to_owned(), value: "y".to_owned(), side: Side::B }];
    let why = rig.pair.share(clock::now(), 2, &Share { rules, ..parts(0, 1) }).unwrap_err();
    assert!(why.contains("\"form:x\" is neither a header field"), "{why}");
    assert_eq!((rig.side_of(1).await, rig.sessions().share), ("a".to_owned(), 1));
    let exclusive = Rig::new().await;
    assert!(exclusive.pair.share(clock::now(), 1, &parts(1, 0)).unwrap_err().contains("one side is active at a time"));
}

#[tokio::test]
async fn e7_rules_count_before_parts() {
    let rig = rig().await;
    let rule =
        |attribute: &str, value: &str, side| ShareRule { attribute: attribute.into(), value: value.into(), side };
    let rules =
        vec![rule("X-Tenant", "south", Side::B), rule("query:site", "b", Side::B), rule("cookie:s", "b", Side::B)];
    rig.share(1, &Share { rules, ..parts(1, 0) });
    for (client, request) in [
        (1, "GET / HTTP/1.1\r\nHost: pair\r\nX-Tenant: south\r\n\r\n"),
        (2, "GET /?x=1&site=b HTTP/1.1\r\nHost: pair\r\n\r\n"),
        (3, "GET / HTTP/1.1\r\nHost: pair\r\nCookie: r=a; s=b\r\n\r\n"),
    ] {
        let mut client = rig.visit(client).await;
        client.send(request).await;
        assert_eq!(client.reply().await.unwrap().body, "b", "{request}");
    }
    assert_eq!(rig.side_of(4).await, "a");
}

#[tokio::test]
async fn a_move_takes_a_session_between_two_requests_and_its_connections_with_it() {
    let rig = rig().await;
    rig.share(1, &parts(1, 0));
    let mut busy = rig.visit(2).await;
    busy.send("GET /hang HTTP/1.1\r\nHost: pair\r\n\r\n").await;
    let mut socket = rig.visit(3).await;
    socket.send("GET /upgrade HTTP/1.1\r\nHost: pair\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n").await;
    assert_eq!(socket.reply().await.unwrap().status, 101);
    // An empty ping, masked.
    socket.send(b"\x89\x80mask").await;
    let mut echo = [0; 6];
    socket.socket.read_exact(&mut echo).await.unwrap();
    // Last: else another session would have used its connection again.
    let mut idle = rig.visit(1).await;
    assert_eq!(idle.get("/").await.unwrap().body, "a");
    eventually("all three are at a", || rig.a.count() == 3).await;
    assert_eq!((rig.sessions().on, rig.a.open()), (Sides { a: 3, b: 0 }, 3));

    rig.share(2, &Share { from: Some(Side::A), ..parts(0, 1) });
    // The WebSocket and the unused connection end; the request that waits for its answer is let alone.
    socket.send(b"\x88\x80mask").await;
    let told = socket.rest().await;
    assert!(told.starts_with(b"\x88\x11\x03\xf4"), "the WebSocket is closed at its turn: {told:?}");
    eventually("one connection is left at a", || rig.a.open() == 1).await;
    let report = rig.sessions();
    assert_eq!((report.on, report.moved, report.left, report.ended), (Sides { a: 0, b: 3 }, 0, 3, false));
    assert_eq!(idle.get("/").await.unwrap().body, "b", "the client's own connection goes on");
    rig.a.let_go();
    assert_eq!(busy.reply().await.unwrap().body, "a");
    eventually("its connection is not kept", || rig.a.open() == 0).await;
    assert_eq!(busy.get("/").await.unwrap().body, "b");
    drop(socket);
    assert_eq!((rig.sessions().moved, rig.sessions().left), (2, 1));
    rig.pair.pass_sessions(clock::now() + Duration::from_secs(11));
    let report = rig.sessions();
    assert_eq!((report.moved, report.left, report.failed, report.ended), (2, 0, 1, true));
    assert_eq!(report.names, ["127.0.1.3"]);
    assert!(rig.events.lock().unwrap().iter().all(|event| !format!("{event:?}").contains("Trouble")));
}

#[tokio::test]
async fn f8_moves_are_spread_over_the_window_and_a_share_without_a_move_stops_them() {
    let rig = rig().await;
    rig.share(1, &parts(1, 0));
    for client in 1..=10 {
        assert_eq!(rig.side_of(client).await, "a");
    }
    eventually("their connections are closed", || {
        rig.pair.sessions().unwrap().report().on.a == 10 && rig.pair.in_flight(Side::A) == 0
    })
    .await;
    let begun = clock::now();
    let share = Share { from: Some(Side::A), window: Duration::from_secs(1000), ..parts(0, 1) };
    rig.pair.share(begun, 2, &share).unwrap();
    let at = |s: u64| begun + Duration::from_secs(s);
    assert_eq!(rig.sessions().on.b, 1, "the first turn is at once");
    for (time, moved) in [(99, 1), (100, 2), (399, 4), (400, 5)] {
        rig.pair.pass_sessions(at(time));
        assert_eq!(rig.sessions().on.b, moved, "after {time} s");
    }
    assert_eq!(rig.pair.sessions().unwrap().moving_from(), Some(Side::A));
    let stopped = rig.pair.share(at(401), 3, &parts(0, 1)).unwrap().expect("a move was under way");
    assert_eq!((stopped.share, stopped.left, stopped.ended), (2, 5, true));
    rig.pair.pass_sessions(at(1100));
    let mut sides = String::new();
    for client in 1..=10 {
        sides.push_str(&rig.side_of(client).await);
    }
    assert_eq!(sides, "bbbbbaaaaa", "in the order in which they came");
}

#[tokio::test]
async fn a_cookie_that_a_server_gives_names_a_session_of_its_side() {
    let rig = Rig::sharing(by(SessionBy::Cookie("SID".to_owned()))).await;
    rig.share(1, &parts(1, 1));
    let login = |client: u8, value: &'static str| {
        let at = rig.at;
        async move { Client::connect_from(client, at).await.get(&format!("/session/{value}")).await.unwrap().body }
    };
    let (first, second) = (login(1, "one").await, login(2, "two").await);
    assert_eq!((&*first, &*second), ("a", "b"));
    for (value, side) in [("one", "a"), ("two", "b"), ("two", "b"), ("one", "a")] {
        // From yet another address: the cookie alone counts.
        let mut client = rig.visit(9).await;
        client.send(format!("GET / HTTP/1.1\r\nHost: pair\r\nCookie: x=y; SID={value}\r\n\r\n")).await;
        assert_eq!(client.reply().await.unwrap().body, side, "{value}");
    }
}

#[tokio::test]
async fn a_header_names_a_session() {
    let rig = Rig::sharing(by(SessionBy::Header("x-agent".to_owned()))).await;
    rig.share(1, &parts(1, 1));
    let mut sides = String::new();
    for agent in ["1001", "1002", "1001", "1002", "1003"] {
        let mut client = rig.visit(1).await;
        client.send(format!("GET / HTTP/1.1\r\nHost: pair\r\nX-Agent: {agent}\r\n\r\n")).await;
        sides.push_str(&client.reply().await.unwrap().body);
    }
    assert_eq!((&*sides, rig.sessions().on), ("ababa", Sides { a: 2, b: 1 }));
}

#[tokio::test]
async fn a_session_whose_side_is_away_waits_until_it_is_moved() {
    let rig = rig().await;
    rig.share(1, &parts(1, 0));
    let mut client = rig.visit(1).await;
    assert_eq!(client.get("/").await.unwrap().body, "a");
    rig.a.kill().await;
    client.send("POST / HTTP/1.1\r\nHost: pair\r\nContent-Length: 5\r\n\r\norder").await;
    eventually("it waits", || rig.pair.totals().held_now == 1).await;
    rig.share(2, &Share { from: Some(Side::A), ..parts(0, 1) });
    assert_eq!(client.reply().await.unwrap().body, "b");
    assert_eq!(rig.sessions().moved, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn f9_moves_back_and_forth_under_requests_lose_none() {
    let rig = rig().await;
    rig.share(1, &parts(1, 1));
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (1..=12)
        .map(|number| {
            let (at, stop) = (rig.at, Arc::clone(&stop));
            tokio::spawn(async move {
                let (mut client, mut served) = (Client::connect_from(number, at).await, 0_usize);
                while !stop.load(SeqCst) {
                    assert_eq!(client.get("/").await.expect("an answer").status, 200);
                    served += 1;
                }
                served
            })
        })
        .collect();
    eventually("all have come", || rig.sessions().on.a + rig.sessions().on.b == 12).await;
    for turn in 0..40_u64 {
        let from = if turn % 2 == 0 { Side::A } else { Side::B };
        let to = if from == Side::A { parts(0, 1) } else { parts(1, 0) };
        rig.share(turn + 2, &Share { from: Some(from), window: Duration::from_millis(20), ..to });
        let mut moved = Sessions::default();
        eventually("the move ends", || {
            rig.pair.pass_sessions(clock::now());
            moved = rig.sessions();
            moved.ended
        })
        .await;
        assert_eq!((moved.failed, moved.on[from]), (0, 0), "{moved:?}");
        assert_eq!(moved.on[from.other()], 12);
    }
    stop.store(true, SeqCst);
    for client in clients {
        assert!(client.await.unwrap() > 0);
    }
    assert_eq!((rig.pair.totals().refused, rig.pair.totals().failed), (0, 0));
}

#[tokio::test]
async fn an_open_connection_keeps_its_session() {
    let rig = Rig::sharing(SessionSettings { idle: Duration::from_secs(60), ..SessionSettings::default() }).await;
    rig.share(1, &parts(1, 1));
    let mut stays = rig.visit(1).await;
    stays.get("/").await.unwrap();
    let mut goes = rig.visit(2).await;
    goes.get("/").await.unwrap();
    goes.socket.shutdown().await.unwrap();
    assert!(goes.rest().await.is_empty());
    let later = |s: u64| -> At { clock::now() + Duration::from_secs(s) };
    eventually("the one without a connection has ended", || {
        rig.pair.pass_sessions(later(61));
        rig.sessions().on == Sides { a: 1, b: 0 }
    })
    .await;
}

/// An answer's cookie of that name.
fn cookie(head: &str, name: &str) -> Option<String> {
    let given = field(head, "set-cookie")?;
    given.split(';').next()?.strip_prefix(&format!("{name}=")).map(str::to_owned)
}

#[tokio::test]
async fn a_client_is_given_a_cookie_that_no_server_sees_and_stays_where_it_was() {
    let rig = Rig::sharing(by(SessionBy::Insert("EDGE".to_owned()))).await;
    rig.share(1, &parts(1, 1));
    let ask = async |cookies: &str| {
        let mut client = rig.visit(1).await;
        client.send(format!("GET / HTTP/1.1\r\nHost: pair\r\n{cookies}\r\n")).await;
        client.reply().await.unwrap()
    };
    let first = ask("").await;
    let given = field(&first.head, "set-cookie").unwrap();
    assert!(given.ends_with("; Path=/; HttpOnly; SameSite=Lax"), "{given}");
    let value = cookie(&first.head, "EDGE").unwrap();
    assert_eq!(ask("").await.body, "b", "without its cookie it is somebody else, whatever its address");
    for _ in 0..3 {
        let again = ask(&format!("Cookie: a=1; EDGE={value}; b=2\r\n")).await;
        assert_eq!((again.body.as_str(), field(&again.head, "set-cookie")), ("a", None));
    }
    let seen = rig.a.seen().pop().unwrap().head;
    assert_eq!(field(&seen, "cookie").unwrap(), "a=1; b=2");
    // What the edge has never given does no harm, and goes to no server.
    let long = "f".repeat(8000);
    for foreign in ["1", "../../etc", &value.to_uppercase(), &long] {
        let told = ask(&format!("Cookie: EDGE={foreign}\r\n")).await;
        assert_eq!(told.status, 200);
        assert!(cookie(&told.head, "EDGE").is_some_and(|new| new != value), "{foreign}");
    }
    for server in [&rig.a, &rig.b] {
        assert!(server.seen().iter().all(|seen| !seen.head.contains("EDGE")), "no server sees it");
    }
    // What comes over one connection before its cookie is known there is one client's.
    let mut client = rig.visit(1).await;
    let (one, two) = (client.get("/").await.unwrap(), client.get("/").await.unwrap());
    assert_eq!((cookie(&one.head, "EDGE"), &one.body), (cookie(&two.head, "EDGE"), &two.body));
    assert!(cookie(&two.head, "EDGE").is_some());
}

#[tokio::test]
async fn a_session_that_is_moved_keeps_its_cookie_and_not_its_side() {
    let rig = Rig::sharing(by(SessionBy::Insert("EDGE".to_owned()))).await;
    rig.share(1, &parts(1, 0));
    let first = rig.visit(1).await.get("/").await.unwrap();
    let value = cookie(&first.head, "EDGE").unwrap();
    rig.share(2, &Share { from: Some(Side::A), ..parts(0, 1) });
    let mut client = rig.visit(2).await;
    client.send(format!("GET / HTTP/1.1\r\nHost: pair\r\nCookie: EDGE={value}\r\n\r\n")).await;
    let moved = client.reply().await.unwrap();
    assert_eq!((first.body.as_str(), moved.body.as_str(), field(&moved.head, "set-cookie")), ("a", "b", None));
    assert_eq!(rig.sessions().moved, 1);
}

#[tokio::test]
async fn a_parameter_of_the_address_names_a_session_and_begins_where_its_client_was() {
    let rig = Rig::sharing(by(SessionBy::Parameter("jsessionid".to_owned()))).await;
    rig.share(1, &parts(1, 1));
    let side = async |client: u8, path: &str| rig.visit(client).await.get(path).await.unwrap().body;
    assert_eq!((side(1, "/").await.as_str(), side(2, "/").await.as_str()), ("a", "b"));
    // Who asked without it was at b, and there it got it.
    assert_eq!(side(2, "/x;jsessionid=7.node").await, "b");
    for client in [1, 3] {
        assert_eq!(side(client, "/y?jsessionid=7.node").await, "b", "whoever shows it");
    }
    let turns = [side(4, "/;jsessionid=8").await, side(5, "/;jsessionid=9").await];
    assert_ne!(turns[0], turns[1], "one that is new takes its turn");
}
