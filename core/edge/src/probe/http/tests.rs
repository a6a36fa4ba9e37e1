//! TLS, other addresses, and facts, against servers of the test's own.

use super::*;
use crate::probe::judge::Finding;
use lockstep_policy::action::{Extract, Source, Tls};
use lockstep_policy::event::Fact;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

const PATIENT: Duration = Duration::from_secs(20);

const EACH_ANEW: Pace = Pace { interval: Duration::from_secs(1), connect_every: 1 };

/// What Finesse says of itself while it is out of service, cut down.
const UNWELL: &str = "HTTP/1.1 503 Service Unavailable\r\nx-node: pub\r\ncontent-length: 73\r\n\r\n\
                      <SystemInfo><status>OUT_OF_SERVICE</status><node>n1</node> </SystemInfo>\n";

/// A certificate for `finesse.example` by an authority of its own, whose own certificate is in `ca.pem`.
pub(super) fn tls() -> (TempDir, TlsAcceptor) {
    let dir = tempfile::tempdir().unwrap();
    let (ca_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = ca.self_signed(&ca_key).unwrap();
    std::fs::write(dir.path().join("ca.pem"), root.pem()).unwrap();
    let leaf = CertificateParams::new(vec!["finesse.example".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &Issuer::from_params(&ca, &ca_key)).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let config = config.with_no_client_auth().with_single_cert(vec![leaf.der().clone()], key).unwrap();
    (dir, TlsAcceptor::from(Arc::new(config)))
}

/// Answers every request with a text; encrypted where there is an acceptor.
async fn server(tls: Option<TlsAcceptor>, answer: String) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (tls, answer) = (tls.clone(), answer.clone());
            tokio::spawn(async move {
                let mut head = [0; 2048];
                match tls {
                    None => {
                        let mut stream = stream;
                        let _ = stream.read(&mut head).await;
                        let _ = stream.write_all(answer.as_bytes()).await;
                        let _ = stream.shutdown().await;
                    }
                    Some(tls) => {
                        let Ok(mut stream) = tls.accept(stream).await else { return };
                        let _ = stream.read(&mut head).await;
                        let _ = stream.write_all(answer.as_bytes()).await;
                        let _ = stream.shutdown().await;
                    }
                }
            });
        }
    });
    address
}

async fn found(probe: HttpProbe, trust: &Trust, server: SocketAddr) -> Finding {
    let http = Http::new(&probe, 1, EACH_ANEW).unwrap();
    let server = Server { turn: 0, address: &server.into() };
    tokio::time::timeout(PATIENT, http.probe(trust, server, false, Limit::new(PATIENT))).await.unwrap()
}

fn page() -> HttpProbe {
    HttpProbe { path: "/".into(), ..HttpProbe::default() }
}

fn extract(name: &str, source: Source, expression: &str) -> Extract {
    Extract { name: name.into(), source, expression: expression.into() }
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn a_certificate_is_verified_where_that_is_asked_for() {
    let (dir, acceptor) = tls();
    let server = server(Some(acceptor), OK.into()).await;
    let (known, unknown) = (Trust::new(Some(dir.path().join("ca.pem"))), Trust::new(None));
    let named = |tls, host: &str| HttpProbe { tls, host: host.into(), body: "ok".into(), ..page() };
    for (tls, host, trust, good) in [
        (Tls::Verified, "finesse.example", &known, true),
        (Tls::Verified, "finesse.example:8445", &known, true),
        (Tls::Verified, "other.example", &known, false),
        (Tls::Verified, "", &known, false),
        (Tls::Verified, "finesse.example", &unknown, false),
        (Tls::Unverified, "other.example", &unknown, true),
        (Tls::Unverified, "", &unknown, true),
    ] {
        let finding = found(named(tls, host), trust, server).await;
        let expected = if good { Verdict::Good } else { Verdict::Wrong };
        assert_eq!(finding.verdict, expected, "{tls:?} {host}: {}", finding.detail);
        assert!(good || finding.detail.contains("certificate"), "{}", finding.detail);
    }
}

#[tokio::test]
async fn tls_to_a_server_without_and_the_other_way_round_is_wrong() {
    let (_dir, acceptor) = tls();
    let trust = Trust::new(None);
    let (plain, secure) = (server(None, OK.into()).await, server(Some(acceptor), OK.into()).await);
    let finding = found(HttpProbe { tls: Tls::Unverified, ..page() }, &trust, plain).await;
    assert_eq!((finding.verdict, finding.detail.starts_with("no TLS: ")), (Verdict::Wrong, true), "{}", finding.detail);
    assert_ne!(found(page(), &trust, secure).await.verdict, Verdict::Good);
}

#[tokio::test]
async fn facts_are_found_in_an_answer_with_a_bad_status() {
    let server = server(None, UNWELL.into()).await;
    let facts = vec![
        extract("status", Source::Xml, "SystemInfo/status"),
        extract("nothing", Source::Json, "/a"),
        extract("node", Source::Body, "<node>(.)"),
        extract("header", Source::Header, "X-Node"),
    ];
    let finding = found(HttpProbe { facts, ..page() }, &Trust::new(None), server).await;
    assert_eq!((finding.verdict, finding.status, finding.detail.as_str()), (Verdict::Wrong, 503, "status 503"));
    let fact = |name: &str, value: &str| Fact { name: name.into(), value: value.into() };
    assert_eq!(finding.facts, [fact("status", "OUT_OF_SERVICE"), fact("node", "n"), fact("header", "pub")]);
}

#[tokio::test]
async fn an_address_leads_elsewhere() {
    let (there, nobody) = (server(None, OK.into()).await, SocketAddr::from(([127, 63, 0, 1], 1)));
    let probe = HttpProbe { address: there.to_string(), ..page() };
    assert_eq!(found(probe.clone(), &Trust::new(None), nobody).await.verdict, Verdict::Good);
    assert_eq!(Http::new(&probe, 1, EACH_ANEW).unwrap().elsewhere(), Some(there));
}

#[tokio::test]
async fn no_more_of_a_body_is_read_than_its_bound() {
    let body = format!("{}<end>", "x".repeat(200_000));
    let server = server(None, format!("HTTP/1.1 200 OK\r\n\r\n{body}")).await;
    let facts = vec![extract("start", Source::Body, "^x"), extract("end", Source::Body, "<end>")];
    let finding = found(HttpProbe { facts, ..page() }, &Trust::new(None), server).await;
    assert_eq!(finding.facts, [Fact { name: "start".into(), value: "x".into() }]);
}
