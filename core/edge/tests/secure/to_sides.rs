//! TLS and HTTP/2 to the servers: who is believed, and what a switch leaves behind.

use super::rig::{Front, PATIENCE, Rig, Server, eventually, get};
use super::{Pki, Web, ask, connect, page, secured};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use lockstep_edge::config::{UpstreamConfig, UpstreamTls};
use lockstep_edge::proxy::{ListenSettings, ProxySettings, Termination, TrafficCounts, Upstream};
use lockstep_policy::{Epoch, Side, Sides};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;

/// What a [`Far`] has seen.
#[derive(Default)]
struct Notes {
    requests: AtomicUsize,
    connections: AtomicUsize,
    open: AtomicUsize,
    schemes: std::sync::Mutex<Vec<String>>,
    let_go: Notify,
}

/// A server of HTTP/2. Its answer's body is its name, with the request's body behind it and a trailer `grpc-status`. `/hang` answers
/// when it is let go.
struct Far {
    address: SocketAddr,
    notes: Arc<Notes>,
}

impl Far {
    async fn start(name: &'static str, tls: Option<TlsAcceptor>) -> Far {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, notes) = (listener.local_addr().unwrap(), Arc::<Notes>::default());
        let of = Arc::clone(&notes);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (tls, notes) = (tls.clone(), Arc::clone(&of));
                tokio::spawn(async move {
                    match tls {
                        None => converse(name, socket, notes).await,
                        Some(tls) => {
                            let Ok(stream) = tls.accept(socket).await else { return };
                            converse(name, stream, notes).await;
                        }
                    }
                });
            }
        });
        Far { address, notes }
    }

    fn count(&self) -> usize {
        self.notes.requests.load(SeqCst)
    }

    fn open(&self) -> usize {
        self.notes.open.load(SeqCst)
    }

    fn connections(&self) -> usize {
        self.notes.connections.load(SeqCst)
    }
}

async fn converse(name: &'static str, stream: impl AsyncRead + AsyncWrite + Unpin, notes: Arc<Notes>) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    notes.connections.fetch_add(1, SeqCst);
    notes.open.fetch_add(1, SeqCst);
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        notes.schemes.lock().unwrap().push(request.uri().to_string());
        let notes = Arc::clone(&notes);
        tokio::spawn(async move {
            // Before it counts: who has arrived hears when he is let go.
            let let_go = notes.let_go.notified();
            notes.requests.fetch_add(1, SeqCst);
            let hangs = request.uri().path() == "/hang";
            let mut body = request.into_body();
            let mut text = name.as_bytes().to_vec();
            while let Some(Ok(part)) = body.data().await {
                let _ = body.flow_control().release_capacity(part.len());
                text.extend_from_slice(&part);
            }
            if let Ok(Some(trailers)) = body.trailers().await {
                text.extend_from_slice(format!("+{}", trailers.len()).as_bytes());
            }
            if hangs {
                let_go.await;
            }
            let Ok(mut stream) = respond.send_response(http::Response::new(()), false) else { return };
            let _ = stream.send_data(Bytes::from(text), false);
            let _ = stream.send_trailers(HeaderMap::from_iter([(
                http::HeaderName::from_static("grpc-status"),
                HeaderValue::from_static("0"),
            )]));
        });
    }
    notes.open.fetch_sub(1, SeqCst);
}

/// A pair of two such servers. The rig's own servers see nothing.
async fn far(config: &UpstreamConfig, tls: Sides<Option<TlsAcceptor>>) -> (Rig, Far, Far) {
    let (a, b) = (Far::start("a", tls.a).await, Far::start("b", tls.b).await);
    let rig = before(config, Sides { a: a.address.to_string(), b: b.address.to_string() }).await;
    (rig, a, b)
}

/// The edge before servers of these names.
async fn before(config: &UpstreamConfig, servers: Sides<String>) -> Rig {
    let servers = Sides { a: vec![servers.a], b: vec![servers.b] };
    let mut settings = ProxySettings::default();
    settings.hold.max_wait = Duration::from_secs(5);
    let (own, other) = (Server::start("a").await, Server::start("b").await);
    let listen = ListenSettings { prior_knowledge: true, ..ListenSettings::default() };
    let rig = Rig::of(own, other, servers, settings, listen);
    rig.pair.set_upstream(Upstream::open(config).unwrap());
    rig
}

fn http2(tls: Option<UpstreamTls>) -> UpstreamConfig {
    UpstreamConfig { tls, http2: true, ..UpstreamConfig::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_believed_by_its_certificate_only() {
    let (pki, strangers) = (Pki::new(), Pki::new());
    let named = pki.issue("named.pem", &["side.example"]);
    let addressed = pki.issue("addressed.pem", &["127.0.0.1"]);
    let own = pki.issue("edge.pem", &["edge"]);
    let tls = |ca: Option<&Pki>, name: Option<&str>, own: bool, insecure: bool| UpstreamTls {
        ca: ca.map(Pki::ca),
        name: name.map(str::to_owned),
        certificate: own.then(|| pki.file("edge.pem")),
        insecure,
    };
    assert!(own.exists());
    for (certificate, asks, tls, believed) in [
        (&addressed, false, tls(Some(&pki), None, false, false), true),
        (&named, false, tls(Some(&pki), Some("side.example"), false, false), true),
        (&named, false, tls(Some(&pki), None, false, false), false),
        (&named, false, tls(Some(&pki), Some("other.example"), false, false), false),
        (&addressed, false, tls(Some(&strangers), None, false, false), false),
        (&addressed, false, tls(None, None, false, false), false),
        (&named, false, tls(None, None, false, true), true),
        (&addressed, true, tls(Some(&pki), None, true, false), true),
        (&addressed, true, tls(Some(&pki), None, false, false), false),
    ] {
        let acceptor = pki.server(certificate, &["h2"], asks);
        let (rig, a, _) = far(&http2(Some(tls.clone())), Sides { a: Some(acceptor), b: None }).await;
        rig.serve(Side::A, 1);
        let answered = tokio::spawn(get(rig.at, "/"));
        if believed {
            let answer = answered.await.unwrap().unwrap();
            assert_eq!((answer.status, &answer.head[..12]), (200, "HTTP/1.1 200"), "{tls:?}");
        } else {
            // It waits for a server that may be believed, as for one that is down.
            eventually("it waits", || rig.pair.totals().held_now == 1 || answered.is_finished()).await;
            if answered.is_finished() {
                // With TLS 1.3 a server says behind the handshake that it wants another certificate.
                assert_eq!((answered.await.unwrap().unwrap().status, asks), (502, true), "{tls:?}");
            } else {
                answered.abort();
            }
            assert_eq!(a.count(), 0, "{tls:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_spoken_is_agreed_on_with_tls_and_known_without() {
    let pki = Pki::new();
    let file = pki.issue("side.pem", &["127.0.0.1"]);
    let tls = Some(UpstreamTls { ca: Some(pki.ca()), name: None, certificate: None, insecure: false });
    let acceptor = || Some(pki.server(&file, &["h2", "http/1.1"], false));
    let (rig, a, _) = far(&http2(tls), Sides { a: acceptor(), b: acceptor() }).await;
    rig.serve(Side::A, 1);
    for _ in 0..3 {
        assert_eq!(get(rig.at, "/").await.unwrap().status, 200);
    }
    assert_eq!(a.connections(), 1, "requests of several clients share one connection");
    assert_eq!(a.notes.schemes.lock().unwrap()[0], "https://pair/");
    let (rig, a, _) = far(&http2(None), Sides::default()).await;
    rig.serve(Side::A, 1);
    assert_eq!(get(rig.at, "/").await.unwrap().status, 200);
    assert_eq!(a.notes.schemes.lock().unwrap()[0], "http://pair/");
}

/// A socket of the file system is this machine's: its server shows a certificate for `localhost`, or for the name that is configured.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_on_a_socket_is_spoken_to_as_one_with_an_address() {
    let (pki, dir) = (Pki::new(), tempfile::tempdir().unwrap());
    let [local, named] = ["localhost", "side.example"].map(|name| pki.issue(&format!("{name}.pem"), &[name]));
    let tls = |name: Option<&str>| {
        let name = name.map(str::to_owned);
        Some(UpstreamTls { ca: Some(pki.ca()), name, certificate: None, insecure: false })
    };
    let shows = |certificate: &std::path::Path| Some(pki.server(certificate, &["h2"], false));
    for (server, asked, believed) in [
        (shows(&local), tls(None), true),
        (shows(&named), tls(Some("side.example")), true),
        (shows(&named), tls(None), false),
        (None, None, true),
    ] {
        let (a, b) = (Far::start("a", server).await, Far::start("b", None).await);
        let front = Front::open(&dir.path().join("app.sock"), a.address);
        let rig = before(&http2(asked.clone()), Sides { a: front.name(), b: b.address.to_string() }).await;
        rig.serve(Side::A, 1);
        if believed {
            for _ in 0..3 {
                assert_eq!(get(rig.at, "/").await.unwrap().status, 200, "{asked:?}");
            }
            assert_eq!((a.count(), a.connections()), (3, 1), "{asked:?}: they share one connection");
            rig.hold(2);
            eventually("nothing is open at the old side", || a.open() == 0).await;
        } else {
            let waits = tokio::spawn(get(rig.at, "/"));
            eventually("it waits", || rig.pair.totals().held_now == 1).await;
            eventually("it was tried", || rig.pair.take_traffic().a != TrafficCounts::default()).await;
            waits.abort();
            assert_eq!(a.count(), 0, "{asked:?}");
        }
        std::fs::remove_file(front.path).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i2_i6_a_planned_switch_leaves_no_stream_at_the_old_side() {
    let (rig, a, b) = far(&http2(None), Sides::default()).await;
    rig.serve(Side::A, 1);
    let (stop, good) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let mut clients = Vec::new();
    for _ in 0..16 {
        let (at, stop, good) = (rig.at, Arc::clone(&stop), Arc::clone(&good));
        clients.push(tokio::spawn(async move {
            let mut web = Web::over(tokio::net::TcpStream::connect(at).await.unwrap()).await;
            while !stop.load(SeqCst) {
                assert_eq!(web.get("/").await.unwrap().status, 200);
                good.fetch_add(1, SeqCst);
            }
        }));
    }
    let runs = || async {
        let from = good.load(SeqCst);
        eventually("clients are served", || good.load(SeqCst) > from + 160).await;
    };
    let mut from = Side::A;
    for epoch in 2..10 {
        runs().await;
        rig.hold(epoch);
        rig.pair.drained(from).await;
        let old = if from == Side::A { &a } else { &b };
        let before = old.count();
        eventually("an idle connection of the old side does not wait for the cut", || old.open() == 0).await;
        rig.pair.cut(from, Epoch(epoch));
        rig.serve(from.other(), epoch);
        runs().await;
        assert_eq!(old.count(), before, "requests reached the old side after it was drained");
        assert_eq!(old.open(), 0);
        from = from.other();
    }
    stop.store(true, SeqCst);
    for client in clients {
        client.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i2_a_cut_ends_all_streams_of_a_connection_and_what_is_safe_is_sent_again() {
    let (rig, a, b) = far(&http2(None), Sides::default()).await;
    rig.serve(Side::A, 1);
    let mut web = Web::over(tokio::net::TcpStream::connect(rig.at).await.unwrap()).await;
    let mut hanging = Vec::new();
    for _ in 0..8 {
        hanging.push(web.begin("GET", "/hang", None).await.unwrap());
    }
    let post = web.begin("POST", "/hang", Some(Bytes::from_static(b"once"))).await.unwrap();
    eventually("all have arrived", || a.count() == 9).await;
    rig.hold(2);
    assert_eq!(rig.pair.in_flight(Side::A), 9);
    assert!(rig.pair.cut(Side::A, Epoch(2)) >= 1);
    rig.serve(Side::B, 2);
    assert_eq!(page(post).await.unwrap().status, 502, "it may have been carried out");
    eventually("what is safe has come to the other side", || b.count() == 8).await;
    b.notes.let_go.notify_waiters();
    for answer in hanging {
        let answer = page(answer).await.unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (200, "b"));
    }
    eventually("nothing is open at the old side", || a.open() == 0).await;
    assert_eq!((a.count(), rig.pair.in_flight(Side::A)), (9, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_ends_its_stream_and_no_other() {
    let (rig, a, _) = far(&http2(None), Sides::default()).await;
    rig.serve(Side::A, 1);
    let mut web = Web::over(tokio::net::TcpStream::connect(rig.at).await.unwrap()).await;
    let left = web.begin("GET", "/hang", None).await.unwrap();
    // The next one finds a connection: two that begin at once may open one each.
    eventually("one has arrived", || a.count() == 1).await;
    let stays = web.begin("GET", "/hang", None).await.unwrap();
    eventually("both have arrived", || a.count() == 2).await;
    drop(left);
    eventually("one has left", || rig.pair.in_flight(Side::A) == 1).await;
    a.notes.let_go.notify_waiters();
    assert_eq!(page(stays).await.unwrap().status, 200);
    assert_eq!(a.connections(), 1);
    // Nobody uses it now: a hold closes it.
    rig.hold(2);
    eventually("it is closed", || a.open() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_come_through_from_end_to_end() {
    let pki = Pki::new();
    let (rig, a, _) = far(&http2(None), Sides::default()).await;
    rig.serve(Side::A, 1);
    let tls = Termination::open(&pki.listener(&[pki.issue("vip.pem", &["pair"])])).unwrap();
    let at = secured(&rig, &Arc::new(tls), ListenSettings::default());
    let mut web = Web::over(connect(&pki.client(&["h2"], None), "pair", at).await.unwrap()).await;
    let call = web.begin("POST", "/service/Call", Some(Bytes::from_static(b"!"))).await.unwrap();
    let answer = page(call).await.unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (200, "a!"));
    assert_eq!(answer.trailers.unwrap().get("grpc-status").unwrap(), "0");
    // A client of HTTP/1.1 gets the body of the same answer.
    let mut old = connect(&pki.client(&["http/1.1"], None), "pair", at).await.unwrap();
    let read = tokio::time::timeout(PATIENCE, ask(&mut old, "/")).await.unwrap().unwrap();
    assert!(read.starts_with("HTTP/1.1 200 "), "{read}");
    assert_eq!(a.connections(), 1);
}
