//! HTTP/2 with clients.

use super::rig::{self, Client, PATIENCE, Rig, eventually, long};
use super::{Page, Pki, Web, ask, connect, page, secured};
use bytes::Bytes;
use h2::Reason;
use lockstep_edge::proxy::{ListenSettings, ProxySettings, Termination};
use lockstep_policy::{Epoch, Side, Sides};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const H2: &[&str] = &["h2", "http/1.1"];

/// A pair behind a listener that offers HTTP/2.
struct Secure {
    rig: Rig,
    pki: Pki,
    at: SocketAddr,
}

impl Secure {
    async fn new() -> Secure {
        Secure::with(ListenSettings::default()).await
    }

    async fn with(settings: ListenSettings) -> Secure {
        let (pki, rig) = (Pki::new(), Rig::new().await);
        let tls = Arc::new(Termination::open(&pki.listener(&[pki.issue("vip.pem", &["pair"])])).unwrap());
        let at = secured(&rig, &tls, settings);
        Secure { rig, pki, at }
    }

    async fn web(&self) -> Web {
        let stream = connect(&self.pki.client(H2, None), "pair", self.at).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        Web::over(stream).await
    }
}

fn is_calm(error: &h2::Error) -> bool {
    error.is_go_away() && error.reason() == Some(Reason::ENHANCE_YOUR_CALM)
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_one_connection_do_not_wait_for_each_other() {
    let secure = Secure::new().await;
    secure.rig.serve(Side::A, 1);
    let mut web = secure.web().await;
    let hanging = web.begin("GET", "/hang", None).await.unwrap();
    let slow = web.begin("POST", "/hang", Some(Bytes::from(vec![b'x'; 60_000]))).await.unwrap();
    eventually("both have arrived", || secure.rig.a.count() == 2).await;
    for path in ["/", "/long/300000", "/status/404"] {
        let Page { status, body, .. } = web.get(path).await.unwrap();
        match path {
            "/" => assert_eq!((status, body.as_str()), (200, "a")),
            "/status/404" => assert_eq!(status, 404),
            _ => assert_eq!(body, long(300_000)),
        }
    }
    secure.rig.a.let_go();
    assert_eq!(page(hanging).await.unwrap().status, 200);
    assert_eq!(page(slow).await.unwrap().status, 200);
    let seen = secure.rig.a.seen();
    let told = |name| rig::field(&seen[0].head, name).unwrap_or_default();
    assert_eq!((told("host").as_str(), told("x-forwarded-proto").as_str()), ("pair", "https"));
    assert!(seen.iter().any(|seen| seen.body.len() == 60_000), "a body arrives whole");
    // Who knows HTTP/1.1 only is met at the same address.
    let mut old = connect(&secure.pki.client(&["http/1.1"], None), "pair", secure.at).await.unwrap();
    assert!(ask(&mut old, "/").await.unwrap().starts_with("HTTP/1.1 200 "));
}

#[tokio::test(flavor = "multi_thread")]
async fn i6_held_requests_of_one_connection_are_all_answered_bodies_included() {
    let secure = Secure::new().await;
    secure.rig.hold(1);
    let mut web = secure.web().await;
    let mut held = Vec::new();
    for _ in 0..50 {
        held.push(web.begin("GET", "/", None).await.unwrap());
    }
    // More than one stream may send: it has to be taken while the other side of the connection goes on.
    let body = Bytes::from(long(400_000));
    held.push(web.begin("POST", "/", Some(body.clone())).await.unwrap());
    eventually("all wait", || secure.rig.pair.totals().held_now == 51).await;
    secure.rig.serve(Side::B, 2);
    for answer in held {
        assert_eq!(page(answer).await.unwrap().body, "b");
    }
    assert!(secure.rig.b.seen().iter().any(|seen| seen.body == body));
}

#[tokio::test(flavor = "multi_thread")]
async fn i2_i6_a_planned_switch_loses_no_stream_and_reaches_the_old_side_never_again() {
    let secure = Secure::new().await;
    let rig = &secure.rig;
    rig.serve(Side::A, 1);
    let (stop, good) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut web = secure.web().await;
        let (stop, good) = (Arc::clone(&stop), Arc::clone(&good));
        clients.push(tokio::spawn(async move {
            while !stop.load(SeqCst) {
                let mut answers = Vec::new();
                for _ in 0..8 {
                    answers.push(web.begin("GET", "/", None).await.unwrap());
                }
                for answer in answers {
                    assert_eq!(page(answer).await.unwrap().status, 200);
                    good.fetch_add(1, SeqCst);
                }
            }
        }));
    }
    let runs = || async {
        let from = good.load(SeqCst);
        eventually("clients are served", || good.load(SeqCst) > from + 200).await;
    };
    let mut from = Side::A;
    for epoch in 2..8 {
        runs().await;
        rig.hold(epoch);
        rig.pair.drained(from).await;
        let old = if from == Side::A { &rig.a } else { &rig.b };
        let before = old.count();
        rig.pair.cut(from, Epoch(epoch));
        rig.serve(from.other(), epoch);
        runs().await;
        assert_eq!(old.count(), before, "requests reached the old side after it was drained");
        eventually("the old side has no connection left", || old.open() == 0).await;
        from = from.other();
    }
    stop.store(true, SeqCst);
    for client in clients {
        client.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_a_held_request_frees_its_place() {
    let secure = Secure::new().await;
    secure.rig.hold(1);
    let mut web = secure.web().await;
    let (left, stays) = (web.begin("GET", "/", None).await.unwrap(), web.begin("GET", "/", None).await.unwrap());
    eventually("both wait", || secure.rig.pair.totals().held_now == 2).await;
    drop(left);
    eventually("one has left", || secure.rig.pair.totals().abandoned == 1).await;
    secure.rig.serve(Side::A, 2);
    assert_eq!(page(stays).await.unwrap().status, 200);
    assert_eq!(secure.rig.a.count(), 1, "what nobody waits for is not sent");
}

/// A frame as it is on the wire.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
/// `GET https://pair/`, by RFC 7541's static table.
const REQUEST: &[u8] = b"\x82\x87\x84\x41\x04pair";

/// Writes bytes to a connection of its own, in steps, and returns the reason of the GOAWAY that came, if one came.
async fn flood(secure: &Secure, steps: Vec<Vec<u8>>) -> Option<u32> {
    let stream = connect(&secure.pki.client(&["h2"], None), "pair", secure.at).await.unwrap();
    let (mut read, mut write) = tokio::io::split(stream);
    let writing = tokio::spawn(async move {
        write.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, b"")].concat()).await?;
        for step in steps {
            write.write_all(&step).await?;
            write.flush().await?;
            tokio::task::yield_now().await;
        }
        std::io::Result::Ok(write)
    });
    let mut bytes = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, read.read_to_end(&mut bytes)).await.expect("the connection ends in time");
    let _ = writing.await.unwrap();
    let mut rest = &bytes[..];
    while let [high, middle, low, kind, _, _, _, _, _, payload @ ..] = rest {
        let length = usize::from(*high) << 16 | usize::from(*middle) << 8 | usize::from(*low);
        if *kind == GOAWAY {
            return Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
        }
        rest = payload.get(length..)?;
    }
    None
}

fn reset_flood(number: u32) -> Vec<Vec<u8>> {
    let pair = |number: u32| {
        let stream = 2 * number + 1;
        [frame(HEADERS, 0b101, stream, REQUEST), frame(RST_STREAM, 0, stream, &8u32.to_be_bytes())].concat()
    };
    (0..number).map(pair).collect()
}

/// A client that asks on while something else happens; returns how many answers it had.
async fn beside<T>(secure: &Secure, other: impl Future<Output = T>) -> T {
    let mut web = secure.web().await;
    let stop = Arc::<AtomicBool>::default();
    let stopped = Arc::clone(&stop);
    let asking = tokio::spawn(async move {
        let mut good = 0;
        while !stopped.load(SeqCst) || good < 20 {
            assert_eq!(web.get("/").await.unwrap().status, 200);
            good += 1;
        }
    });
    let result = other.await;
    stop.store(true, SeqCst);
    asking.await.unwrap();
    result
}

const CALM: u32 = 0xb;

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_resets_is_ended_and_others_go_on() {
    let secure = Secure::new().await;
    secure.rig.serve(Side::A, 1);
    // All at once: the h2 crate sees it. One by one, each request taken before it is reset: we do.
    let at_once = vec![reset_flood(10_000).concat()];
    assert_eq!(beside(&secure, flood(&secure, at_once)).await, Some(CALM));
    assert_eq!(beside(&secure, flood(&secure, reset_flood(10_000))).await, Some(CALM));
    eventually("no request is left at the side", || secure.rig.pair.in_flight(Side::A) == 0).await;
}

/// The h2 crate bounds resets of what nobody has taken yet; a client that waits until it was taken is bounded here.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_resets_that_wait_is_ended_too() {
    let secure = Secure::new().await;
    secure.rig.hold(1);
    let mut stream = connect(&secure.pki.client(&["h2"], None), "pair", secure.at).await.unwrap();
    stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, b"")].concat()).await.unwrap();
    let patience = tokio::time::Instant::now() + PATIENCE;
    let mut sent = 0;
    while sent < 2_000 && stream.write_all(&frame(HEADERS, 0b101, 2 * sent + 1, REQUEST)).await.is_ok() {
        sent += 1;
        let taken = || secure.rig.pair.totals().requests == u64::from(sent);
        // What is not taken any more was sent after the end.
        let late = tokio::time::Instant::now() + Duration::from_millis(500);
        while !taken() && tokio::time::Instant::now() < late.min(patience) {
            tokio::task::yield_now().await;
        }
        if !taken() || stream.write_all(&frame(RST_STREAM, 0, 2 * sent - 1, &8u32.to_be_bytes())).await.is_err() {
            break;
        }
    }
    assert!((256..1_500).contains(&sent), "{sent} were taken");
    eventually("nobody waits", || secure.rig.pair.totals().held_now == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_continuations_or_fields_is_ended_and_others_go_on() {
    let secure = Secure::new().await;
    secure.rig.serve(Side::A, 1);
    let mut endless = vec![frame(HEADERS, 0b001, 1, REQUEST)];
    endless.extend((0..10_000).map(|_| frame(CONTINUATION, 0, 1, b"\x00\x01a\x01b")));
    assert!(beside(&secure, flood(&secure, endless)).await.is_some());
    let mut web = secure.web().await;
    let mut send = web.send.clone().ready().await.unwrap();
    let mut long = http::Request::builder().uri("https://pair/").body(()).unwrap();
    long.headers_mut().insert("x-long", "x".repeat(70_000).parse().unwrap());
    let refused = match send.send_request(long, true).unwrap().0.await {
        Ok(answer) => answer.status() == 431,
        Err(error) => error.is_reset() || error.is_go_away(),
    };
    assert!(refused, "a head of more than 64 KB");
    let many = |number: usize| {
        let mut request = http::Request::builder().uri("https://pair/").body(()).unwrap();
        for index in 0..number {
            request
                .headers_mut()
                .insert(http::HeaderName::from_bytes(format!("x-{index}").as_bytes()).unwrap(), "x".parse().unwrap());
        }
        request
    };
    let mut send = secure.web().await.send.clone().ready().await.unwrap();
    assert_eq!(send.send_request(many(200), true).unwrap().0.await.unwrap().status(), 431);
    assert_eq!(page(web.begin("TRACE", "/", None).await.unwrap()).await.map(|page| page.status).unwrap_or(405), 405);
    assert_eq!(secure.rig.a.seen().iter().filter(|seen| seen.head.starts_with("TRACE")).count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_one_connection_are_bounded() {
    let secure = Secure::new().await;
    secure.rig.serve(Side::A, 1);
    let mut web = secure.web().await;
    let first = web.get("/").await.unwrap();
    assert_eq!(first.status, 200);
    let mut open = Vec::new();
    for _ in 0..128 {
        open.push(web.begin("GET", "/hang", None).await.unwrap());
    }
    eventually("all have arrived", || secure.rig.a.count() == 129).await;
    let ready = tokio::time::timeout(Duration::from_millis(300), web.begin("GET", "/", None)).await;
    // It is kept back by the client itself, which was told the bound.
    if let Ok(kept) = ready {
        let answer = tokio::time::timeout(Duration::from_millis(300), kept.unwrap()).await;
        assert!(answer.is_err(), "one more than the bound is answered");
    }
    assert_eq!(secure.rig.a.count(), 129);
    secure.rig.a.let_go();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_nothing_is_told_to_go_away() {
    let settings = ListenSettings { idle_timeout: Duration::from_millis(300), ..ListenSettings::default() };
    let secure = Secure::with(settings).await;
    secure.rig.serve(Side::A, 1);
    let mut web = secure.web().await;
    assert_eq!(web.get("/").await.unwrap().status, 200);
    let ended = tokio::time::timeout(PATIENCE, &mut web.driver).await.unwrap().unwrap();
    assert!(ended.is_ok(), "it ends in order: {ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_closes_lets_streams_end() {
    let secure = Secure::new().await;
    secure.rig.serve(Side::A, 1);
    let mut web = secure.web().await;
    let hanging = web.begin("GET", "/hang", None).await.unwrap();
    eventually("it has arrived", || secure.rig.a.count() == 1).await;
    secure.rig.closing.send_replace(true);
    // GOAWAY comes, and with it the client opens no further stream.
    let refused = tokio::time::timeout(PATIENCE, async {
        loop {
            match web.get("/").await {
                Ok(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                Err(error) => return error,
            }
        }
    });
    let refused = refused.await.unwrap();
    assert!(refused.is_go_away() && !is_calm(&refused), "{refused:?}");
    secure.rig.a.let_go();
    assert_eq!(page(hanging).await.unwrap().status, 200);
    let ended = tokio::time::timeout(PATIENCE, &mut web.driver).await.unwrap().unwrap();
    assert!(ended.is_ok(), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn prior_knowledge_is_for_listeners_that_say_so() {
    let rig = Rig::with(
        lockstep_edge::proxy::ProxySettings::default(),
        ListenSettings { prior_knowledge: true, ..ListenSettings::default() },
    );
    let rig = rig.await;
    rig.serve(Side::A, 1);
    let mut web = Web::over(tokio::net::TcpStream::connect(rig.at).await.unwrap()).await;
    assert_eq!(web.get("/").await.unwrap().status, 200);
    assert_eq!(rig::field(&rig.a.seen()[0].head, "x-forwarded-proto").as_deref(), Some("http"));
    assert_eq!(rig::get(rig.at, "/").await.unwrap().status, 200);
    let mut slow = Client::connect(rig.at).await;
    slow.send("P").await;
    tokio::task::yield_now().await;
    slow.send("OST / HTTP/1.1\r\nHost: pair\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(slow.reply().await.unwrap().status, 200, "what begins like a preface and is none");
    let other = Rig::new().await;
    let mut refused = Client::connect(other.at).await;
    refused.send(PREFACE).await;
    assert!(refused.rest().await.starts_with(b"HTTP/1.1 400 "));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_asks_as_often_as_it_may_by_http2_too() {
    const BURST: usize = 3;
    let settings = ListenSettings { requests_per_source: 1, request_burst: 3, ..ListenSettings::default() };
    let secure = Secure::with(settings).await;
    secure.rig.serve(Side::A, 1);
    let (mut one, mut other) = (secure.web().await, secure.web().await);
    let begun = std::time::Instant::now();
    let mut asked = Vec::new();
    for _ in 0..40 {
        asked.push(one.begin("GET", "/", None).await.unwrap());
        asked.push(other.begin("GET", "/", None).await.unwrap());
    }
    let (mut served, mut refused) = (0, 0);
    for answer in asked {
        let answer = tokio::time::timeout(PATIENCE, answer).await.expect("an answer in time").unwrap();
        match answer.status().as_u16() {
            200 => served += 1,
            429 => {
                refused += 1;
                let after: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
                assert!((1..=4).contains(&after), "{after}");
            }
            status => panic!("{status}"),
        }
    }
    // With both connections it is one source, and each second that this took is worth one more.
    let seconds = usize::try_from(begun.elapsed().as_secs()).unwrap() + 1;
    assert!((BURST..=BURST + seconds).contains(&served), "{served} in {seconds} s");
    assert_eq!((secure.rig.pair.totals().turned_away.requests, secure.rig.a.count()), (refused, served));
    assert!(refused > 0);
}

/// Begins a request whose body comes part by part; it says how long it will be, or does not.
async fn begin_body(web: &mut Web, length: Option<usize>) -> (h2::client::ResponseFuture, h2::SendStream<Bytes>) {
    let mut send = web.send.clone().ready().await.unwrap();
    let mut request = http::Request::builder().method("POST").uri("https://pair/");
    if let Some(length) = length {
        request = request.header("content-length", length);
    }
    send.send_request(request.body(()).unwrap(), false).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_by_http2_have_a_largest_size() {
    let secure = Secure::with(ListenSettings { body_bytes: 1000, ..ListenSettings::default() }).await;
    secure.rig.serve(Side::A, 1);
    let mut web = secure.web().await;
    let post = async |web: &mut Web, size: usize| {
        page(web.begin("POST", "/", Some(Bytes::from(vec![b'x'; size]))).await.unwrap()).await.unwrap().status
    };
    assert_eq!(post(&mut web, 1000).await, 200);
    let before = secure.rig.a.count();
    let (answer, _body) = begin_body(&mut web, Some(1001)).await;
    let answer = tokio::time::timeout(PATIENCE, answer).await.expect("it is answered before its body comes");
    assert_eq!(answer.unwrap().status(), 413);
    assert_eq!(secure.rig.a.count(), before, "what says that it is too long reaches no server");
    assert_eq!(web.get("/").await.unwrap().status, 200, "the connection's other requests go on");
}

/// A server that answers when it has all of a chunked body, and no sooner.
async fn patient_server() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut read = Vec::new();
                while !read.ends_with(b"\r\n0\r\n\r\n") {
                    if !matches!(socket.read_buf(&mut read).await, Ok(1..)) {
                        return;
                    }
                }
                let _ = socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_by_http2_that_does_not_say_its_size_has_a_largest_one() {
    let (pki, there) = (Pki::new(), patient_server().await.to_string());
    let (a, b) = (rig::Server::start("a").await, rig::Server::start("b").await);
    let servers = Sides { a: vec![there.clone()], b: vec![there] };
    let rig = Rig::of(a, b, servers, ProxySettings::default(), ListenSettings::default());
    rig.serve(Side::A, 1);
    let tls = Arc::new(Termination::open(&pki.listener(&[pki.issue("vip.pem", &["pair"])])).unwrap());
    let at = secured(&rig, &tls, ListenSettings { body_bytes: 1000, ..ListenSettings::default() });
    let secure = Secure { rig, pki, at };
    let mut web = secure.web().await;
    for (last, status) in [(300, 200), (301, 413)] {
        let (answer, mut body) = begin_body(&mut web, None).await;
        body.send_data(Bytes::from(vec![b'x'; 700]), false).unwrap();
        body.send_data(Bytes::from(vec![b'x'; last]), true).unwrap();
        let answer = tokio::time::timeout(PATIENCE, answer).await.expect("an answer in time");
        assert_eq!(answer.unwrap().status(), status, "{last}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_by_http2_that_does_not_come_ends_its_request_only() {
    let settings = ListenSettings { read_timeout: Duration::from_secs(1), ..ListenSettings::default() };
    let secure = Secure::with(settings).await;
    secure.rig.serve(Side::A, 1);
    let mut web = secure.web().await;
    let hanging = web.begin("GET", "/hang", None).await.unwrap();
    let (answer, mut body) = begin_body(&mut web, Some(1000)).await;
    // On a busy machine its time may be over already.
    let _ = body.send_data(Bytes::from_static(b"a part"), false);
    let ended = tokio::time::timeout(PATIENCE, answer).await.expect("it is ended").unwrap_err();
    assert!(ended.is_reset() && ended.is_remote(), "{ended:?}");
    assert_eq!(web.get("/").await.unwrap().status, 200);
    eventually("only what hangs is at the side", || secure.rig.pair.in_flight(Side::A) == 1).await;
    secure.rig.a.let_go();
    assert_eq!(page(hanging).await.unwrap().status, 200, "who has sent all may wait for his answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_malformed_by_http2_is_counted() {
    let secure = Secure::new().await;
    secure.rig.serve(Side::A, 1);
    let malformed = || secure.rig.pair.seen().malformed;
    let mut web = secure.web().await;
    assert_eq!((web.get("/").await.unwrap().status, malformed()), (200, 0));
    // The h2 crate resets streams: for a field of a connection, a field's name in capitals. Pingora does, for two lengths.
    for field in [&b"\x00\x0aconnection\x05close"[..], b"\x00\x01A\x01b"] {
        let before = malformed();
        let steps = vec![frame(HEADERS, 0b101, 1, &[REQUEST, field].concat())];
        let connection = tokio::spawn({
            let stream = connect(&secure.pki.client(&["h2"], None), "pair", secure.at).await.unwrap();
            async move {
                let (mut read, mut write) = tokio::io::split(stream);
                write.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, b"")].concat()).await.unwrap();
                for step in steps {
                    write.write_all(&step).await.unwrap();
                }
                write.flush().await.unwrap();
                let mut bytes = Vec::new();
                let _ = read.read_to_end(&mut bytes).await;
            }
        });
        eventually("it is counted", || malformed() == before + 1).await;
        connection.abort();
    }
    let before = malformed();
    // A frame that nobody may send ends its connection.
    assert!(flood(&secure, vec![frame(HEADERS, 0b101, 0, REQUEST)]).await.is_some());
    eventually("it is counted", || malformed() == before + 1).await;
    assert_eq!(web.get("/").await.unwrap().status, 200);
    assert_eq!(secure.rig.a.count(), 2, "none of it has reached a server");
}

#[tokio::test(flavor = "multi_thread")]
async fn cookies_that_come_in_parts_are_one_field_to_a_server() {
    let secure = Secure::new().await;
    secure.rig.serve(Side::A, 1);
    let web = secure.web().await;
    let mut send = web.send.clone().ready().await.unwrap();
    let request = http::Request::builder().uri("https://pair/").header("cookie", "a=1").header("cookie", "b=2; c=3");
    let answer = send.send_request(request.body(()).unwrap(), true).unwrap().0;
    assert_eq!(answer.await.unwrap().status(), 200);
    let head = secure.rig.a.seen().pop().unwrap().head.to_ascii_lowercase();
    assert!(head.contains("\r\ncookie: a=1; b=2; c=3\r\n") && head.matches("cookie:").count() == 1, "{head}");
}
