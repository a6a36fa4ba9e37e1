//! What clients are told, what servers are told of them, and what is turned away.

use super::rig::{Client, PATIENCE, Reply, Rig, eventually, field, get, send};
use bytes::Bytes;
use lockstep_edge::proxy::{
    CrowdSettings, ForwardedFields, ForwardedRules, ListenSettings, Listener, Manner, Networks, Notice, Page,
    ProxySettings, Rewrite,
};
use lockstep_policy::{Side, Sides};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn page(content_type: &str, body: &'static str) -> Page {
    Page { content_type: content_type.to_owned(), body: Bytes::from_static(body.as_bytes()) }
}

fn notice() -> Notice {
    let pages = vec![page("text/html", "<p>later"), page("application/xml", "<ApiErrors/>")];
    Notice { status: 503, retry_after: Duration::from_secs(7), pages }
}

async fn ask(rig: &Rig, fields: &str) -> Reply {
    let mut client = Client::connect(rig.at).await;
    client.send(format!("GET /a?b=c HTTP/1.1\r\nHost: vip\r\n{fields}\r\n")).await;
    client.reply().await.expect("an answer")
}

#[tokio::test]
async fn who_is_not_served_is_told_so_in_the_configured_words() {
    let rig = Rig::new().await;
    rig.pair.set_manner(Manner { unavailable: Some(notice()), ..Manner::default() });
    rig.refuse(1);
    let html = ask(&rig, "").await;
    assert_eq!((html.status, html.body.as_str()), (503, "<p>later"));
    assert_eq!(field(&html.head, "retry-after").unwrap(), "7");
    assert_eq!(field(&html.head, "vary").unwrap(), "Accept");
    let xml = ask(&rig, "Accept: application/xml\r\n").await;
    assert_eq!(
        (xml.body.as_str(), field(&xml.head, "content-type").unwrap().as_str()),
        ("<ApiErrors/>", "application/xml")
    );
    rig.pair.set_manner(Manner::default());
    assert_eq!(ask(&rig, "").await.body, "no side of the pair is active\n");
}

#[tokio::test]
async fn maintenance_is_told_to_everybody_until_it_is_over() {
    let rig = Rig::new().await;
    rig.serve(Side::A, 1);
    let under_way = rig.spawn_get("/hang");
    eventually("a request is under way", || rig.a.count() == 1).await;
    rig.pair.set_maintenance(Some("patch day".to_owned()));
    let told = ask(&rig, "").await;
    assert_eq!((told.status, told.body.as_str()), (503, "patch day\n"));
    rig.a.let_go();
    assert_eq!(under_way.await.unwrap().unwrap().status, 200, "what was under way ends");
    // Who waits is told too.
    rig.pair.set_maintenance(None);
    rig.hold(2);
    let held = rig.spawn_get("/");
    eventually("a request waits", || rig.pair.totals().held_now == 1).await;
    rig.pair.set_maintenance(Some(String::new()));
    let told = held.await.unwrap().unwrap();
    assert_eq!((told.status, told.body.as_str()), (503, "the service is under maintenance\n"));
    rig.pair.set_maintenance(None);
    rig.serve(Side::B, 3);
    assert_eq!(ask(&rig, "").await.body, "b");
}

#[tokio::test]
async fn clients_are_sent_to_the_active_side() {
    let rig = Rig::holding(10, PATIENCE).await;
    let names = Sides { a: "https://side-a.example".to_owned(), b: "https://side-b.example:8443".to_owned() };
    rig.pair.set_manner(Manner { redirect: Some(names), ..Manner::default() });
    rig.serve(Side::A, 1);
    let sent = ask(&rig, "").await;
    assert_eq!((sent.status, field(&sent.head, "location").unwrap().as_str()), (302, "https://side-a.example/a?b=c"));
    let post = send(rig.at, "POST", "/a", "body").await.unwrap();
    assert_eq!(post.status, 307);
    // As any request it waits while the pair changes sides.
    rig.hold(2);
    let held = rig.spawn_get("/x");
    eventually("a request waits", || rig.pair.totals().held_now == 1).await;
    rig.serve(Side::B, 3);
    assert_eq!(field(&held.await.unwrap().unwrap().head, "location").unwrap(), "https://side-b.example:8443/x");
    rig.refuse(4);
    assert_eq!(ask(&rig, "").await.status, 503);
    assert_eq!(rig.a.count() + rig.b.count(), 0, "no server was asked");
}

#[tokio::test]
async fn servers_are_told_by_the_rules_for_whom_a_request_is() {
    let rig = Rig::new().await;
    rig.serve(Side::A, 1);
    let forged =
        "X-Forwarded-For: 10.9.8.7\r\nX_Forwarded_For: 10.9.8.7\r\nForwarded: for=10.9.8.7\r\nX-Real-IP: 10.9.8.7\r\n";
    let seen = async |rules: ForwardedRules| {
        rig.pair.set_manner(Manner { forwarded: rules, ..Manner::default() });
        assert_eq!(ask(&rig, forged).await.status, 200);
        rig.a.seen().pop().unwrap().head
    };
    let head = seen(ForwardedRules::default()).await;
    assert!(!head.contains("10.9.8.7"), "{head}");
    assert_eq!(field(&head, "x-forwarded-for").unwrap(), "127.0.0.1");
    let both = ForwardedRules { add: ForwardedFields::Both, trust: vec!["127.0.0.0/8".parse().unwrap()] };
    let head = seen(both).await;
    assert_eq!(field(&head, "x-forwarded-for").unwrap(), "10.9.8.7, 127.0.0.1");
    assert_eq!(field(&head, "forwarded").unwrap(), "for=10.9.8.7, for=127.0.0.1;host=vip;proto=http");
    assert!(field(&head, "x_forwarded_for").is_none());
    let head = seen(ForwardedRules { add: ForwardedFields::None, trust: Vec::new() }).await;
    assert!(field(&head, "x-forwarded-for").is_none(), "{head}");
}

/// A rig with these limits for its clients.
async fn limited(limits: ListenSettings) -> Rig {
    let rig = Rig::with(ProxySettings::default(), limits).await;
    rig.serve(Side::A, 1);
    rig
}

#[tokio::test]
async fn a_source_has_so_many_connections_and_requests() {
    let limits = ListenSettings { connections_per_source: 2, ..ListenSettings::default() };
    let rig = limited(limits).await;
    let mut own = [Client::connect(rig.at).await, Client::connect(rig.at).await];
    for client in &mut own {
        assert_eq!(client.get("/").await.unwrap().status, 200);
    }
    assert_eq!(Client::connect(rig.at).await.reply().await.unwrap().status, 429);
    assert_eq!(Client::connect_from(1, rig.at).await.get("/").await.unwrap().status, 200, "another source");
    let limits = ListenSettings { requests_per_source: 1, request_burst: 3, ..ListenSettings::default() };
    let rig = limited(limits).await;
    let mut client = Client::connect(rig.at).await;
    let mut refused = None;
    for _ in 0..4 {
        refused = client.get("/").await;
    }
    let refused = refused.unwrap();
    assert_eq!(refused.status, 429);
    let after: u64 = field(&refused.head, "retry-after").unwrap().parse().unwrap();
    assert!((1..=4).contains(&after), "{after}");
    assert_eq!(get(rig.at, "/").await.unwrap().status, 429, "who connects anew is not new");
    assert_eq!(Client::connect_from(1, rig.at).await.get("/").await.unwrap().status, 200, "another source");
}

#[tokio::test]
async fn networks_that_may_not_are_closed_without_a_word() {
    let rig = Rig::new().await;
    rig.serve(Side::A, 1);
    let deny = vec!["127.0.1.0/24".parse().unwrap()];
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), ListenSettings::default()).unwrap();
    let listener = listener.sheltered(Networks { allow: Vec::new(), deny });
    let at = listener.address();
    tokio::spawn(listener.serve(Arc::clone(&rig.pair), rig.closing.subscribe()));
    assert!(Client::connect_from(7, at).await.rest().await.is_empty());
    assert_eq!(get(at, "/").await.unwrap().status, 200);
    assert_eq!(rig.pair.totals().turned_away.networks, 1);
}

#[tokio::test]
async fn bodies_have_a_largest_size_however_they_come() {
    let rig = limited(ListenSettings { body_bytes: 1000, ..ListenSettings::default() }).await;
    assert_eq!(send(rig.at, "POST", "/", &"x".repeat(1000)).await.unwrap().status, 200);
    assert_eq!(send(rig.at, "POST", "/", &"x".repeat(1001)).await.unwrap().status, 413);
    let chunked = async |rig: &Rig, path: &str, size: usize| {
        let mut client = Client::connect(rig.at).await;
        let body = format!("{size:x}\r\n{}\r\n0\r\n\r\n", "x".repeat(size));
        client.send(format!("POST {path} HTTP/1.1\r\nHost: pair\r\nTransfer-Encoding: chunked\r\n\r\n{body}")).await;
        client.reply().await.unwrap().status
    };
    assert_eq!(chunked(&rig, "/", 1000).await, 200);
    // A server that waits for the whole body.
    let rig = limited(ListenSettings { body_bytes: 1000, ..ListenSettings::default() }).await;
    assert_eq!(chunked(&rig, "/hang", 1001).await, 413);
}

#[tokio::test]
async fn a_body_that_comes_drop_by_drop_is_ended_with_408() {
    let rig = limited(ListenSettings { body_rate: 1_000_000, ..ListenSettings::default() }).await;
    let mut client = Client::connect(rig.at).await;
    client.send("POST / HTTP/1.1\r\nHost: pair\r\nContent-Length: 100000\r\n\r\n").await;
    let (mut read, mut write) = client.socket.split();
    let drip = async {
        while write.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let begun = Instant::now();
    let answered = async {
        let mut first = [0; 12];
        tokio::io::AsyncReadExt::read_exact(&mut read, &mut first).await.unwrap();
        String::from_utf8(first.to_vec()).unwrap()
    };
    let answered = async {
        tokio::select! { answer = answered => answer, () = drip => String::new() }
    };
    let answer = tokio::time::timeout(Duration::from_secs(60), answered).await.expect("it is ended");
    assert_eq!(answer, "HTTP/1.1 408");
    assert!(begun.elapsed() > Duration::from_secs(9), "it has its grace");
}

#[tokio::test]
async fn a_client_that_takes_its_answer_drop_by_drop_is_left() {
    let rig = limited(ListenSettings { answer_rate: 1_000_000_000, ..ListenSettings::default() }).await;
    let mut client = Client::connect(rig.at).await;
    // More than all sockets on the way hold.
    client.send("GET /long/64000000 HTTP/1.1\r\nHost: pair\r\n\r\n").await;
    // The server takes its time to make it.
    client.socket.read_u8().await.unwrap();
    // Each read is of something: it is no silence.
    let (begun, mut bytes) = (Instant::now(), vec![0; 1000]);
    let read = async {
        while matches!(client.socket.read(&mut bytes).await, Ok(1..)) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        () = read => {}
        () = eventually("the server's connection is free", || rig.pair.in_flight(Side::A) == 0 && rig.a.count() == 1) => {}
    }
    assert!(begun.elapsed() > Duration::from_secs(9), "it has its grace");
}

#[tokio::test]
async fn a_stream_whose_answer_is_taken_drop_by_drop_is_ended_alone() {
    let settings = ListenSettings { answer_rate: 1_000_000_000, prior_knowledge: true, ..ListenSettings::default() };
    let rig = limited(settings).await;
    let socket = tokio::net::TcpStream::connect(rig.at).await.unwrap();
    // What the slow one leaves lying is not to be in the way of others.
    let mut builder = h2::client::Builder::new();
    builder.initial_connection_window_size(8_000_000);
    let (send, connection) = builder.handshake::<_, bytes::Bytes>(socket).await.unwrap();
    tokio::spawn(connection);
    let ask = async |path: &str| {
        let request = http::Request::builder().uri(format!("http://pair{path}")).body(()).unwrap();
        send.clone().ready().await.unwrap().send_request(request, true).unwrap().0.await.unwrap()
    };
    let mut slow = ask("/long/8000000").await.into_body();
    let begun = Instant::now();
    let drip = async {
        loop {
            match slow.data().await {
                Some(Ok(_)) => slow.flow_control().release_capacity(100).unwrap(),
                Some(Err(error)) => return error,
                None => panic!("it has come whole"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let error = tokio::time::timeout(Duration::from_secs(60), drip).await.expect("it is ended");
    assert!(error.is_reset() && error.is_remote(), "{error:?}");
    assert!(begun.elapsed() > Duration::from_secs(9), "it has its grace");
    eventually("the server's connection is free", || rig.pair.in_flight(Side::A) == 0).await;
    assert_eq!(ask("/").await.status(), 200);
}

#[tokio::test]
async fn servers_are_spared_and_who_waits_for_one_is_served_in_turn() {
    let rig = Rig::new().await;
    let crowd = CrowdSettings { connections: Some(2), queue_max: 3, queue_timeout: PATIENCE };
    rig.pair.set_manner(Manner { crowd, ..Manner::default() });
    rig.serve(Side::A, 1);
    let requests: Vec<_> = (0..5).map(|_| rig.spawn_get("/hang")).collect();
    eventually("two are at the server", || rig.a.count() == 2).await;
    eventually("the others wait for a place", || rig.pair.totals().queued == 3).await;
    let refused = get(rig.at, "/").await.unwrap();
    assert_eq!((refused.status, rig.a.count()), (503, 2), "there is no place in the queue");
    eventually("all have been served", || {
        rig.a.let_go();
        rig.a.count() == 5
    })
    .await;
    for request in requests {
        eventually("it is answered", || {
            rig.a.let_go();
            request.is_finished()
        })
        .await;
        assert_eq!(request.await.unwrap().unwrap().status, 200);
    }
    let crowd = CrowdSettings { queue_timeout: Duration::from_millis(50), ..crowd };
    rig.pair.set_manner(Manner { crowd, ..Manner::default() });
    let _busy = [rig.spawn_get("/hang"), rig.spawn_get("/hang")];
    eventually("two are at the server", || rig.a.count() == 7).await;
    assert_eq!(get(rig.at, "/").await.unwrap().body, "no server was free in time\n");
}

#[tokio::test]
async fn names_in_answers_are_replaced_by_the_rules() {
    let rig = Rig::new().await;
    rig.serve(Side::A, 1);
    let rule = |path: &str| Rewrite {
        path: path.to_owned(),
        is_prefix: true,
        content_types: Vec::new(),
        replace: vec![("0000002".to_owned(), "the VIP's name".to_owned()), ("a".to_owned(), "vip".to_owned())],
        max_bytes: 1000,
    };
    rig.pair
        .set_manner(Manner { rewrites: vec![Arc::new(rule("/long")), Arc::new(rule("/named"))], ..Manner::default() });
    let mut client = Client::connect(rig.at).await;
    client.send("GET /long/40 HTTP/1.1\r\nHost: vip\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n").await;
    let answer = String::from_utf8(client.rest().await).unwrap();
    assert!(answer.contains("0000001;the VIP's name;0000003;"), "{answer}");
    assert!(
        answer.to_ascii_lowercase().contains("transfer-encoding: chunked") && answer.ends_with("\r\n0\r\n\r\n"),
        "{answer}"
    );
    assert!(!answer.to_ascii_lowercase().contains("content-length"), "{answer}");
    assert_eq!(field(&rig.a.seen()[0].head, "accept-encoding").unwrap(), "identity");
    // One client of before chunks, and one that asks for the head only.
    let mut old = Client::connect(rig.at).await;
    old.send("GET /named HTTP/1.0\r\nHost: vip\r\n\r\n").await;
    let answer = String::from_utf8(old.rest().await).unwrap();
    assert!(answer.ends_with("\r\n\r\nvip") && !answer.to_ascii_lowercase().contains("chunked"), "{answer}");
    let mut head = Client::connect(rig.at).await;
    head.send("HEAD /named HTTP/1.1\r\nHost: vip\r\nConnection: close\r\n\r\n").await;
    let answer = String::from_utf8(head.rest().await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\n"), "{answer}");
    assert!(!answer.to_ascii_lowercase().contains("content-length"), "{answer}");
    let large = get(rig.at, "/long/4000").await.unwrap();
    assert!(large.body.contains("0000002;"), "it passes as it is");
    assert_eq!(rig.pair.totals().unwritten, 1);
    assert_eq!(get(rig.at, "/other").await.unwrap().body, "a");
}
