//! Calls and what they take for an answer, against servers on loopback.

use super::call::{Answer, Caller, read_login, text};
use crate::config::{Call, Expected, HttpService};
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// A server that answers each connection so, keeps it open, and says what it was asked.
async fn server(answer: Vec<u8>) -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (say, asked) = mpsc::channel(16);
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = vec![0; 4096];
            let count = stream.read(&mut head).await.unwrap_or(0);
            let _ = say.send(String::from_utf8_lossy(&head[..count]).into_owned()).await;
            let _ = stream.write_all(&answer).await;
            open.push(stream);
        }
    });
    (address, asked)
}

fn call(uri: &str, statuses: &[std::ops::RangeInclusive<u16>], contains: &str) -> Call {
    Call {
        method: http::Method::POST,
        uri: uri.parse().unwrap(),
        headers: vec![("x-side".parse().unwrap(), "a".parse().unwrap())],
        body: "{\"active\":true}".to_owned(),
        expected: Expected { statuses: statuses.to_vec(), contains: contains.to_owned() },
        timeout: Duration::from_millis(500),
    }
}

fn caller(ca: Option<PathBuf>, login: Option<PathBuf>) -> Caller {
    let call = call("http://h/", &[200..=200], "");
    Caller::new(&HttpService { start: call.clone(), stop: call, status: None, ca, login, kill: None })
}

#[tokio::test]
async fn an_answer_is_the_expected_one_by_its_status_and_its_text() {
    let ok = b"HTTP/1.1 200 OK\r\ncontent-length: 15\r\n\r\nstate: running\n".to_vec();
    let late = b"HTTP/1.1 503 Later\r\ncontent-length: 4\r\n\r\nbusy".to_vec();
    type Case<'a> = (&'a [u8], &'a [std::ops::RangeInclusive<u16>], &'a str, Option<&'a str>);
    let cases: [Case<'_>; 7] = [
        (&ok, &[200..=299], "", None),
        (&ok, &[100..=100, 200..=200], "running", None),
        (&ok, &[200..=299], "stopped", Some("status 200: state: running")),
        (&ok, &[201..=299], "", Some("status 200")),
        (&late, &[200..=299], "", Some("status 503: busy")),
        (b"garbage\r\n\r\n", &[200..=299], "", Some("had no answer")),
        // Its end does not come: what is there does not count.
        (b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nrunning", &[200..=299], "", Some("none within 500ms")),
    ];
    for (answer, statuses, contains, fault) in cases {
        let (address, mut asked) = server(answer.to_vec()).await;
        let made = caller(None, None).make(&call(&format!("http://{address}/cti?x=1"), statuses, contains)).await;
        match (fault, made) {
            (None, made) => assert_eq!(made, Ok(())),
            (Some(word), Ok(())) => panic!("{word} was expected"),
            (Some(word), Err(why)) => {
                assert!(why.contains(word) && why.contains("POST http://"), "{why} has no {word}")
            }
        }
        let head = asked.recv().await.unwrap();
        assert!(
            head.starts_with("POST /cti?x=1 HTTP/1.1\r\n") && head.ends_with("\r\n\r\n{\"active\":true}"),
            "{head}"
        );
        assert!(head.contains(&format!("host: {address}\r\n")) && head.contains("x-side: a\r\n"), "{head}");
    }
}

#[tokio::test]
async fn an_endless_body_is_looked_at_as_far_as_it_may_be() {
    let mut answer = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    answer.extend(vec![b'x'; 1 << 20]);
    let (address, _asked) = server(answer).await;
    let asked: Answer = caller(None, None).ask(&call(&format!("http://{address}/"), &[200..=200], "")).await.unwrap();
    assert!(asked.text().len() < 200);
}

#[tokio::test]
async fn nobody_there_is_no_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let call = call(&format!("http://{address}/"), &[200..=200], "");
    let why = caller(None, None).make(&call).await.unwrap_err();
    assert!(why.contains(&text(&call)) && why.contains("refused"), "{why}");
}

#[tokio::test]
async fn a_log_in_goes_along_and_its_file_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("login");
    let mode = |mode: u32| std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
    std::fs::write(&file, "eva:secret word\n").unwrap();
    mode(0o640);
    assert!(read_login(&file).unwrap_err().contains("chmod 600"));
    mode(0o600);
    assert_eq!(read_login(&file).unwrap(), "eva:secret word");

    let (address, mut asked) = server(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec()).await;
    let call = call(&format!("http://{address}/"), &[200..=200], "");
    caller(None, Some(file.clone())).make(&call).await.unwrap();
    let head = asked.recv().await.unwrap();
    assert!(head.contains("authorization: Basic ZXZhOnNlY3JldCB3b3Jk\r\n"), "{head}");
    // A new password is in force with the next call, and a file that is no log-in makes none.
    std::fs::write(&file, "nothing\n").unwrap();
    let why = caller(None, Some(file)).make(&call).await.unwrap_err();
    assert!(why.contains("USER:PASSWORD") && !why.contains("nothing"), "{why}");
}

#[tokio::test]
async fn https_believes_whom_the_given_certificate_vouches_for() {
    let directory = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let file = |name: &str, text: String| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let ca = file("ca.pem", certificate.pem());
    let stranger = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let stranger = file("stranger.pem", stranger.cert.pem());
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
            let _ = stream.shutdown().await;
        }
    });
    let to = |host: &str| Call {
        timeout: Duration::from_secs(10),
        ..call(&format!("https://{host}:{port}/"), &[200..=200], "")
    };
    assert_eq!(caller(Some(ca.clone()), None).make(&to("localhost")).await, Ok(()));
    for (ca, host) in [(ca, "127.0.0.1"), (stranger, "localhost")] {
        let why = caller(Some(ca), None).make(&to(host)).await.unwrap_err();
        assert!(why.contains("certificate"), "{why}");
    }
    let nothing = file("nothing.pem", String::new());
    let why = caller(Some(nothing), None).make(&to("localhost")).await.unwrap_err();
    assert!(why.contains("contains no certificate"), "{why}");
}
