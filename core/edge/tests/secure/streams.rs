//! TLS with the clients, and with the servers, of streams.

use super::rig::{Front, PATIENCE, eventually};
use super::{Pki, connect};
use lockstep_edge::config::{ListenerTls, OnSwitch, Protocol, ProxyVersion, UpstreamConfig, UpstreamTls};
use lockstep_edge::proxy::{
    ListenSettings, Listener, PairProxy, ProxyEvent, ProxySettings, StreamSettings, Termination, Trouble, Upstream,
};
use lockstep_pair::{Route, RouteKind};
use lockstep_policy::{At, Epoch, Side, Sides};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

/// More than all sockets and buffers on the way hold.
const LONG: usize = 4 << 20;

/// A server. It reads `skip` bytes before TLS, if it speaks that; then it repeats what it hears, until it has heard all, and ends.
async fn server(tls: Option<TlsAcceptor>, skip: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let tls = tls.clone();
            tokio::spawn(async move {
                let mut before = vec![0; skip];
                socket.read_exact(&mut before).await?;
                match tls {
                    None => repeat(socket, before).await,
                    Some(tls) => repeat(tls.accept(socket).await?, before).await,
                }
            });
        }
    });
    address
}

async fn repeat(stream: impl AsyncRead + AsyncWrite, first: Vec<u8>) -> io::Result<()> {
    let (mut read, mut write) = tokio::io::split(stream);
    write.write_all(&first).await?;
    write.flush().await?;
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let some = read.read(&mut bytes).await?;
        if some == 0 {
            return write.shutdown().await;
        }
        write.write_all(&bytes[..some]).await?;
        write.flush().await?;
    }
}

struct Rig {
    pair: Arc<PairProxy>,
    at: SocketAddr,
    events: Arc<Mutex<Vec<ProxyEvent>>>,
    _closing: watch::Sender<bool>,
}

impl Rig {
    fn new(
        server: impl ToString,
        streams: StreamSettings,
        upstream: Option<UpstreamConfig>,
        tls: Option<Termination>,
    ) -> Rig {
        let servers = Sides { a: vec![server.to_string()], b: vec![server.to_string()] };
        let events = Arc::<Mutex<Vec<ProxyEvent>>>::default();
        let told = Arc::clone(&events);
        let settings = ProxySettings {
            hold: lockstep_edge::proxy::HoldSettings { max_wait: Duration::from_secs(1), ..Default::default() },
            ..ProxySettings::default()
        };
        let pair = PairProxy::new("pair", servers, settings, move |event| told.lock().unwrap().push(event));
        if let Some(upstream) = upstream {
            pair.set_upstream(Upstream::open(&upstream).unwrap());
        }
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), ListenSettings::default()).unwrap();
        let listener = tls.into_iter().fold(listener, |listener, tls| listener.secured(Arc::new(tls)));
        let (at, (closing, closed)) = (listener.address(), watch::channel(false));
        tokio::spawn(listener.pass_streams(Arc::clone(&pair), pair.pool("").unwrap(), streams, closed));
        pair.serve_until(At(u64::MAX));
        let rig = Rig { pair, at, events, _closing: closing };
        rig.serve(Side::A, 1);
        rig
    }

    fn serve(&self, side: Side, epoch: u64) {
        self.pair.set_route(Route { epoch: Epoch(epoch), kind: RouteKind::Serve(side) });
    }
}

fn ends_here(pki: &Pki) -> Termination {
    let files = ListenerTls { protocol: Protocol::Tcp, ..pki.listener(&[pki.issue("vip.pem", &["pair"])]) };
    Termination::open(&files).unwrap()
}

fn to_servers(ca: PathBuf) -> UpstreamConfig {
    let tls = UpstreamTls { ca: Some(ca), name: Some("server".to_owned()), certificate: None, insecure: false };
    UpstreamConfig { tls: Some(tls), ..UpstreamConfig::default() }
}

fn secured() -> StreamSettings {
    StreamSettings { secured: true, ..StreamSettings::default() }
}

/// Sends much, says that this is all, and hears all of it again.
async fn hears_what_it_says(stream: impl AsyncRead + AsyncWrite + Send + 'static, begins: &str) {
    let (mut read, mut write) = tokio::io::split(stream);
    let mut random = fastrand::Rng::with_seed(7);
    let text: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(LONG).collect();
    let said = text.clone();
    let saying = tokio::spawn(async move {
        write.write_all(&said).await.unwrap();
        write.shutdown().await.unwrap();
    });
    let mut heard = Vec::new();
    let read = tokio::time::timeout(PATIENCE, read.read_to_end(&mut heard)).await.expect("all of it, in time");
    read.expect("it ends in order");
    saying.await.unwrap();
    assert!(heard == [begins.as_bytes(), &text].concat(), "{} bytes of {}", heard.len(), LONG);
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_of_a_streams_client_ends_at_the_edge() {
    let pki = Pki::new();
    let rig = Rig::new(server(None, 0).await, StreamSettings::default(), None, Some(ends_here(&pki)));
    // What it offers to speak beneath TLS is between it and its server.
    for offers in [&[][..], &["xmpp-client"]] {
        let stream = connect(&pki.client(offers, None), "pair", rig.at).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), None);
        hears_what_it_says(stream, "").await;
    }
    eventually("none is open", || rig.pair.totals().streams_open == 0).await;
    // Who speaks no TLS gets none.
    let mut plain = TcpStream::connect(rig.at).await.unwrap();
    plain.write_all(b"hello, is this the server?").await.unwrap();
    let mut heard = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, plain.read_to_end(&mut heard)).await.expect("it is closed");
    assert!(!heard.starts_with(b"hello"), "it has reached nobody");
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_encrypted_again_for_servers_that_are_believed() {
    let (pki, strangers) = (Pki::new(), Pki::new());
    let tls = pki.server(&pki.issue("server.pem", &["server"]), &[], false);
    let there = server(Some(tls), 0).await;
    let rig = Rig::new(there, secured(), Some(to_servers(pki.ca())), None);
    hears_what_it_says(TcpStream::connect(rig.at).await.unwrap(), "").await;
    let both = Rig::new(there, secured(), Some(to_servers(pki.ca())), Some(ends_here(&pki)));
    hears_what_it_says(connect(&pki.client(&[], None), "pair", both.at).await.unwrap(), "").await;
    // One on this machine, behind a socket of the file system.
    let dir = tempfile::tempdir().unwrap();
    let front = Front::open(&dir.path().join("cti.sock"), there);
    let local = Rig::new(front.name(), secured(), Some(to_servers(pki.ca())), None);
    hears_what_it_says(TcpStream::connect(local.at).await.unwrap(), "").await;
    // One whose certificate nobody vouches for is down.
    let rig = Rig::new(there, secured(), Some(to_servers(strangers.ca())), None);
    let mut client = TcpStream::connect(rig.at).await.unwrap();
    let _ = client.write_all(b"secret").await;
    let mut heard = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, client.read_to_end(&mut heard)).await.expect("it is closed");
    assert!(heard.is_empty());
    let told = rig.events.lock().unwrap().clone();
    assert!(told.iter().any(|event| matches!(event, ProxyEvent::Trouble { kind: Trouble::Reset, .. })), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_secured_streams_is_told_whose_they_are_before_tls() {
    let pki = Pki::new();
    let client = TcpListener::bind("127.0.0.1:0").await.unwrap();
    drop(client);
    let tls = pki.server(&pki.issue("server.pem", &["server"]), &[], false);
    let header = 28;
    let streams = StreamSettings { proxy_protocol: Some(ProxyVersion::V2), ..secured() };
    let rig = Rig::new(server(Some(tls), header).await, streams, Some(to_servers(pki.ca())), None);
    let mut client = TcpStream::connect(rig.at).await.unwrap();
    let mut told = vec![0; header];
    tokio::time::timeout(PATIENCE, client.read_exact(&mut told)).await.expect("it is told in time").unwrap();
    let (from, to) = (client.local_addr().unwrap().port(), rig.at.port());
    let ports = [from.to_be_bytes(), to.to_be_bytes()].concat();
    assert!(
        told.starts_with(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\x7f\0\0\x01\x7f\0\0\x01") && told.ends_with(&ports)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_ends_an_encrypted_stream_in_order_and_a_cut_ends_it_at_once() {
    let pki = Pki::new();
    let there = server(None, 0).await;
    for (on_switch, in_order) in [(OnSwitch::Close, true), (OnSwitch::Reset, false)] {
        let streams = StreamSettings { on_switch, ..StreamSettings::default() };
        let rig = Rig::new(there, streams, None, Some(ends_here(&pki)));
        let mut stream = connect(&pki.client(&[], None), "pair", rig.at).await.unwrap();
        stream.write_all(b"x").await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'x');
        rig.serve(Side::B, 2);
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("it ends in time");
        // Without a word of TLS that this is all, it is an error.
        assert_eq!(ended.is_ok(), in_order, "{on_switch:?}: {ended:?}");
        eventually("none is left", || rig.pair.streams_at(Side::A) == 0).await;
    }
    let rig = Rig::new(there, StreamSettings::default(), None, Some(ends_here(&pki)));
    let mut stream = connect(&pki.client(&[], None), "pair", rig.at).await.unwrap();
    stream.write_all(b"x").await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'x');
    assert_eq!(rig.pair.cut(Side::A, Epoch(2)), 1);
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("it ends in time");
    eventually("none is left", || rig.pair.streams_at(Side::A) == 0).await;
}
