//! Who a connection is for: PROXY headers in and out, and the names that TLS clients ask for.

use super::*;
use crate::rig;
use lockstep_edge::config::ProxyVersion;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use tokio_rustls::{TlsAcceptor, TlsConnector};

const FROM_HERE: &str = "::1/128";
const V2_FOR_10_0_0_7: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\x0a\x00\x00\x07\x0a\x00\x00\x64\xc3\x50\x07\xdb";

async fn behind(networks: &str, out: Option<ProxyVersion>) -> Rig {
    let network = networks.parse().unwrap();
    let settings = StreamSettings { proxy_protocol: out, ..StreamSettings::default() };
    let rig = Rig::with(settings, ProxySettings::default(), |listener| listener.behind(&[network])).await;
    rig.serve(Side::A, 1);
    rig
}

#[tokio::test]
async fn whom_a_balancer_names_is_whom_the_server_is_told_of() {
    let v1 = "PROXY TCP4 10.0.0.7 10.0.0.100 50000 2011\r\n";
    let v2 = String::from_utf8_lossy(V2_FOR_10_0_0_7);
    for out in [ProxyVersion::V1, ProxyVersion::V2] {
        let rig = behind(FROM_HERE, Some(out)).await;
        for announced in [v1.as_bytes(), V2_FOR_10_0_0_7] {
            let mut client = rig.connect().await;
            client.says(announced).await;
            client.says("words").await;
            let told = if out == ProxyVersion::V1 { v1 } else { &v2 };
            client.hears("a").await;
            client.0.shutdown().await.unwrap();
            client.ends_with(&format!("{told}words."), End::Fin).await;
        }
    }
}

#[tokio::test]
async fn without_a_balancer_the_server_is_told_of_the_client() {
    let rig = behind("10.0.0.0/8", Some(ProxyVersion::V1)).await;
    let mut client = rig.connect().await;
    let (from, to) = (client.0.local_addr().unwrap(), rig.at);
    client.says("PROXY TCP4 10.0.0.7 10.0.0.100 50000 2011\r\n").await;
    client.hears(&format!("aPROXY TCP6 ::1 ::1 {} {}\r\nPROXY TCP4 10.0.0.7", from.port(), to.port())).await;
}

#[tokio::test]
async fn a_balancer_that_does_not_say_whose_it_is_is_closed() {
    let rig = behind(FROM_HERE, None).await;
    for words in ["GET / HTTP/1.1\r\nHost: pair\r\n\r\n", "PROXY TCP4 1.1.1.1 2.2.2.2 1 1\n", "PROX\r\n"] {
        let mut client = rig.connect().await;
        client.says(words).await;
        // With what it had said unread, its end may be a reset.
        assert_eq!(client.rest().await.0, "", "{words}");
    }
    let mut cut_short = rig.connect().await;
    cut_short.says(&V2_FOR_10_0_0_7[..20]).await;
    cut_short.0.shutdown().await.unwrap();
    assert_eq!(cut_short.rest().await.0, "");
    assert_eq!(rig.a.seen().len(), 0, "none of them reached a server");
    let mut local = rig.connect().await;
    local.says(b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00").await;
    local.hears("a").await;
}

#[tokio::test]
async fn requests_of_a_balancers_client_are_that_clients() {
    let (a, b) = (rig::Server::start("a").await, rig::Server::start("b").await);
    let servers = Sides { a: vec![a.address.to_string()], b: vec![b.address.to_string()] };
    let pair = PairProxy::new("pair", servers, ProxySettings::default(), |_| ());
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), ListenSettings::default()).unwrap();
    let listener = listener.behind(&["127.0.1.0/24".parse().unwrap()]);
    let (at, (_closing, closed)) = (listener.address(), watch::channel(false));
    tokio::spawn(listener.serve(Arc::clone(&pair), closed));
    pair.serve_until(At(u64::MAX));
    pair.set_route(Route { epoch: Epoch(1), kind: RouteKind::Serve(Side::A) });
    let mut balancer = rig::Client::connect_from(9, at).await;
    // In two pieces, the second of which brings the first request along.
    balancer.send("PROXY TCP6 2001:db8::7 ::1 5").await;
    balancer.send("0000 443\r\nGET /1 HTTP/1.1\r\nHost: pair\r\n\r\n").await;
    assert_eq!(balancer.reply().await.unwrap().body, "a");
    assert_eq!(balancer.get("/2").await.unwrap().body, "a");
    assert_eq!(rig::get(at, "/3").await.unwrap().body, "a");
    let clients: Vec<_> = a.seen().iter().filter_map(|seen| rig::field(&seen.head, "x-forwarded-for")).collect();
    assert_eq!(clients, ["2001:db8::7", "2001:db8::7", "127.0.0.1"]);
    let mut client = rig::Client::connect(at).await;
    client.send("PROXY TCP4 10.0.0.7 10.0.0.100 50000 80\r\nGET / HTTP/1.1\r\nHost: pair\r\n\r\n").await;
    assert_eq!(client.reply().await.unwrap().status, 400, "from others no header is looked for");
    let mut silent = rig::Client::connect_from(9, at).await;
    silent.send("GET / HTTP/1.1\r\nHost: pair\r\n\r\n").await;
    assert!(silent.rest().await.is_empty());
    assert_eq!(a.count(), 3);
}

/// A TLS server of this name, behind a listener that takes the names.
async fn tls(name: &str, names: &[&str]) -> (SocketAddr, Arc<PairProxy>, watch::Sender<bool>, rustls::RootCertStore) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().self_signed(&key).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let config = config.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).unwrap();
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let servers = Sides { a: vec![server.local_addr().unwrap().to_string()], b: vec![] };
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        loop {
            let (socket, _) = server.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut stream = acceptor.accept(socket).await.unwrap();
                let mut words = [0; 5];
                stream.read_exact(&mut words).await.unwrap();
                stream.write_all(&words).await.unwrap();
                stream.shutdown().await.unwrap();
            });
        }
    });
    let pair = PairProxy::new("pair", servers, ProxySettings::default(), |_| ());
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), ListenSettings::default()).unwrap();
    let (at, (closing, closed)) = (listener.address(), watch::channel(false));
    let names = names.iter().map(|&name| name.to_owned()).collect();
    let settings = StreamSettings { sni: names, ..StreamSettings::default() };
    tokio::spawn(listener.pass_streams(Arc::clone(&pair), pair.pool("").unwrap(), settings, closed));
    pair.serve_until(At(u64::MAX));
    pair.set_route(Route { epoch: Epoch(1), kind: RouteKind::Serve(Side::A) });
    (at, pair, closing, roots)
}

async fn ask(at: SocketAddr, roots: &rustls::RootCertStore, name: &str) -> std::io::Result<String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots.clone()).with_no_client_auth();
    let socket = TcpStream::connect(at).await?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, socket).await?;
    stream.write_all(b"words").await?;
    let mut heard = String::new();
    stream.read_to_string(&mut heard).await?;
    Ok(heard)
}

#[tokio::test]
async fn a_tls_client_is_passed_on_by_the_name_it_asks_for() {
    let (at, pair, _closing, roots) = tls("agents.pair.example", &["other.example", "*.pair.example"]).await;
    assert_eq!(ask(at, &roots, "agents.pair.example").await.unwrap(), "words");
    assert_eq!(ask(at, &roots, "AGENTS.Pair.example").await.unwrap(), "words");
    let error = ask(at, &roots, "pair.example").await.unwrap_err().to_string();
    assert!(error.contains("UnrecognisedName"), "{error}");
    assert_eq!((pair.totals().streams, pair.totals().streams_refused), (3, 1));
}

#[tokio::test]
async fn what_is_no_tls_is_told_so_and_reaches_no_server() {
    let (at, pair, _closing, _) = tls("agents.example", &["agents.example"]).await;
    let mut client = rig::Client::connect(at).await;
    client.send("GET / HTTP/1.1\r\nHost: agents.example\r\n\r\n").await;
    assert_eq!(client.rest().await, [21, 3, 3, 0, 2, 2, 50]);
    assert_eq!((pair.totals().links, pair.take_traffic().a.good), (0, 0));
}
