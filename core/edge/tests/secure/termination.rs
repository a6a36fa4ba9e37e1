//! TLS that ends at a listener: who is shown what, who is let in, and files that change.

use super::rig::{Client, PATIENCE, Rig, field};
use super::{Pki, ask, connect, secured};
use lockstep_edge::config::ListenerTls;
use lockstep_edge::proxy::{ListenSettings, Termination};
use lockstep_policy::Side;
use rustls::HandshakeKind;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const H1: &[&str] = &["http/1.1"];

fn open(files: &ListenerTls) -> Arc<Termination> {
    Arc::new(Termination::open(files).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_shown_the_certificate_of_the_name_that_it_asks_for() {
    let (pki, rig) = (Pki::new(), Rig::new().await);
    rig.serve(Side::A, 1);
    let files =
        [pki.issue("first.pem", &["first.example", "127.0.0.1"]), pki.issue("second.pem", &["*.second.example"])];
    let at = secured(&rig, &open(&pki.listener(&files)), ListenSettings::default());
    let client = pki.client(H1, None);
    for name in ["first.example", "a.second.example", "127.0.0.1"] {
        let mut stream = connect(&client, name, at).await.unwrap();
        let answer = ask(&mut stream, "/").await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{name}: {answer}");
    }
    let refused = connect(&client, "other.example", at).await.unwrap_err().to_string();
    assert!(refused.contains("first.example"), "the first is for who asks for another name: {refused}");
    let seen = rig.a.seen();
    let told = |head: &str| field(head, "x-forwarded-proto").unwrap_or_default();
    assert!(seen.iter().all(|seen| told(&seen.head) == "https"), "{:?}", seen[0].head);
    let plain = super::rig::get(rig.at, "/").await.unwrap();
    assert_eq!(plain.status, 200);
    assert_eq!(told(&rig.a.seen().last().unwrap().head), "http");
}

#[tokio::test(flavor = "multi_thread")]
async fn ciphers_are_chosen_by_the_edge_unless_a_client_would_rather_have_chacha() {
    use rustls::CipherSuite as C;
    use rustls::version::{TLS12, TLS13};
    let (pki, rig) = (Pki::new(), Rig::new().await);
    rig.serve(Side::A, 1);
    let at = secured(&rig, &open(&pki.listener(&[pki.issue("vip.pem", &["pair"])])), ListenSettings::default());
    let wants = |first: &'static str| {
        let mut provider = rustls::crypto::ring::default_provider();
        provider.cipher_suites.sort_by_key(|suite| !format!("{:?}", suite.suite()).contains(first));
        provider
    };
    for (version, first, agreed) in [
        (&TLS13, "AES_256", C::TLS13_AES_128_GCM_SHA256),
        (&TLS13, "CHACHA", C::TLS13_CHACHA20_POLY1305_SHA256),
        (&TLS12, "AES_256", C::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
        (&TLS12, "CHACHA", C::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
    ] {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(pki.root.clone()).unwrap();
        let builder = rustls::ClientConfig::builder_with_provider(Arc::new(wants(first)));
        let builder = builder.with_protocol_versions(&[version]).unwrap().with_root_certificates(roots);
        let client = Arc::new(builder.with_no_client_auth());
        let mut stream = connect(&client, "pair", at).await.unwrap();
        assert!(ask(&mut stream, "/").await.unwrap().starts_with("HTTP/1.1 200 "));
        let session = stream.get_ref().1;
        assert_eq!(session.negotiated_cipher_suite().unwrap().suite(), agreed, "{version:?}, {first} first");
        assert_eq!(session.tls13_tickets_received(), u32::from(version.version == TLS13.version), "one each");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_without_a_certificate_are_let_in_only_where_they_may() {
    let (pki, strangers, rig) = (Pki::new(), Pki::new(), Rig::new().await);
    rig.serve(Side::A, 1);
    let required = ListenerTls { client_ca: Some(pki.ca()), ..pki.listener(&[pki.issue("vip.pem", &["pair"])]) };
    let optional = ListenerTls { client_required: false, ..required.clone() };
    let (own, foreign) = (pki.issue("own.pem", &["client"]), strangers.issue("foreign.pem", &["client"]));
    for (files, own, let_in) in [
        (&required, Some(&own), true),
        (&required, None, false),
        (&required, Some(&foreign), false),
        (&optional, Some(&own), true),
        (&optional, None, true),
        (&optional, Some(&foreign), false),
    ] {
        let at = secured(&rig, &open(files), ListenSettings::default());
        // With TLS 1.3 a client learns that it was refused when it reads.
        let answer = match connect(&pki.client(H1, own.map(AsRef::as_ref)), "pair", at).await {
            Ok(mut stream) => ask(&mut stream, "/").await.unwrap_or_default(),
            Err(_) => String::new(),
        };
        assert_eq!(answer.starts_with("HTTP/1.1 200 "), let_in, "{files:?} {own:?}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_changed_are_for_new_clients_and_bad_ones_change_nothing() {
    let (pki, rig) = (Pki::new(), Rig::new().await);
    rig.serve(Side::A, 1);
    let file = pki.issue("vip.pem", &["pair"]);
    let tls = open(&pki.listener(std::slice::from_ref(&file)));
    let at = secured(&rig, &tls, ListenSettings::default());
    let client = pki.client(H1, None);
    let mut before = connect(&client, "pair", at).await.unwrap();
    let shown =
        |stream: &tokio_rustls::client::TlsStream<_>| stream.get_ref().1.peer_certificates().unwrap()[0].clone();
    ask(&mut before, "/").await.unwrap();
    assert!(!tls.take_over(&tls.read_again().unwrap()), "it is the same");

    pki.issue("vip.pem", &["pair"]);
    assert!(tls.take_over(&tls.read_again().unwrap()), "it is another one");
    // A client that knows no session: one that is resumed is shown nothing.
    let mut after = connect(&pki.client(H1, None), "pair", at).await.unwrap();
    assert_ne!(shown(&after), shown(&before));
    assert!(ask(&mut after, "/").await.unwrap().starts_with("HTTP/1.1 200 "));
    assert!(ask(&mut before, "/").await.unwrap().starts_with("HTTP/1.1 200 "), "who is connected goes on");

    pki.write("vip.pem", "nothing", 0o600);
    let error = tls.read_again().map(drop).unwrap_err().to_string();
    assert!(error.contains("vip.pem: contains no certificate"), "{error}");
    let still = connect(&pki.client(H1, None), "pair", at).await.unwrap();
    assert_eq!(shown(&still), shown(&after));
}

#[test]
fn a_file_that_cannot_be_used_is_named_with_what_to_do() {
    let pki = Pki::new();
    let day = time::Duration::days(1);
    let now = time::OffsetDateTime::now_utc();
    let good = std::fs::read_to_string(pki.issue("good.pem", &["pair"])).unwrap();
    let other = std::fs::read_to_string(pki.issue("other.pem", &["pair"])).unwrap();
    let (certificate, key) = good.split_at(good.find("-----BEGIN PRIVATE").unwrap());
    let (_, other_key) = other.split_at(other.find("-----BEGIN PRIVATE").unwrap());
    let ended = pki.issue_with("ended.pem", &["pair"], |params| params.not_after = now - day);
    let coming = pki.issue_with("coming.pem", &["pair"], |params| params.not_before = now + day);
    for (file, why) in [
        (pki.file("missing.pem"), "missing.pem: is not there: put it there, or change the configuration"),
        (pki.write("empty.pem", "", 0o600), "empty.pem: contains no certificate: a file in PEM is wanted"),
        (pki.write("keyless.pem", certificate, 0o600), "keyless.pem: contains no private key: the certificate, those"),
        (pki.write("bare.pem", key, 0o600), "bare.pem: contains no certificate"),
        (pki.write("mixed.pem", &format!("{certificate}{other_key}"), 0o600), "mixed.pem: its key does not fit"),
        (pki.write("open.pem", &good, 0o644), "(mode 0644): say chmod 0600"),
        (ended, "ended.pem: the certificate has expired on "),
        (coming, "on, and by this machine's clock it is "),
        (pki.write("torn.pem", &good[..good.len() / 3], 0o600), "torn.pem: contains "),
        (pki.write("long.pem", &"x".repeat((1 << 20) + 1), 0o600), "long.pem: is longer than 1048576 bytes"),
    ] {
        let error = Termination::open(&pki.listener(std::slice::from_ref(&file))).unwrap_err().to_string();
        assert!(error.contains(why) && error.starts_with(file.to_str().unwrap()), "{why:?}: {error}");
    }
    let files = ListenerTls { client_ca: Some(pki.file("empty.pem")), ..pki.listener(&[pki.file("good.pem")]) };
    assert!(Termination::open(&files).unwrap_err().to_string().contains("empty.pem: contains no certificate"));
}

#[test]
fn a_certificate_that_ends_within_two_weeks_is_spoken_of() {
    let pki = Pki::new();
    let now = time::OffsetDateTime::now_utc();
    let ending = |days: i64| {
        let file = pki.issue_with("vip.pem", &["pair"], |params| params.not_after = now + time::Duration::days(days));
        open(&pki.listener(&[file])).ending()
    };
    assert_eq!(ending(15), [""; 0]);
    let said = ending(13);
    assert!(
        said[0].contains("vip.pem: the certificate ends on ") && said[0].contains("send the edge SIGHUP"),
        "{said:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_resumed_but_not_those_of_clients_that_are_judged() {
    let (pki, rig) = (Pki::new(), Rig::new().await);
    rig.serve(Side::A, 1);
    let files = pki.listener(&[pki.issue("vip.pem", &["pair"])]);
    let judged = ListenerTls { client_ca: Some(pki.ca()), client_required: false, ..files.clone() };
    for (files, kind) in [(files, HandshakeKind::Resumed), (judged, HandshakeKind::Full)] {
        let at = secured(&rig, &open(&files), ListenSettings::default());
        let client = pki.client(H1, None);
        // Tickets come behind the handshake: with the answer at the latest they have been read.
        ask(&mut connect(&client, "pair", at).await.unwrap(), "/").await.unwrap();
        let mut again = connect(&client, "pair", at).await.unwrap();
        ask(&mut again, "/").await.unwrap();
        assert_eq!(again.get_ref().1.handshake_kind(), Some(kind), "{files:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_end_a_handshake_or_asks_for_nothing_is_closed() {
    let (pki, rig) = (Pki::new(), Rig::new().await);
    rig.serve(Side::A, 1);
    let mut settings = ListenSettings { head_timeout: Duration::from_millis(300), ..ListenSettings::default() };
    settings.idle_timeout = Duration::from_millis(300);
    let at = secured(&rig, &open(&pki.listener(&[pki.issue("vip.pem", &["pair"])])), settings);
    assert_eq!(Client::connect(at).await.rest().await, b"", "who says nothing");
    let mut plain = Client::connect(at).await;
    plain.send("GET / HTTP/1.1\r\nHost: pair\r\n\r\n").await;
    // An alert, and nothing of HTTP.
    assert!(!plain.rest().await.starts_with(b"HTTP"));
    let mut idle = connect(&pki.client(H1, None), "pair", at).await.unwrap();
    ask(&mut idle, "/").await.unwrap();
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, idle.read_to_end(&mut rest)).await.unwrap();
    assert!(ended.is_ok(), "the end is told, and not taken for one that was cut off: {ended:?}");
    let _ = idle.shutdown().await;
}
