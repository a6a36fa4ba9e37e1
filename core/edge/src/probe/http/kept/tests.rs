//! Probes that share connections, against servers that do with them what servers do.

use super::super::tests::tls;
use super::super::{Http, Pace, Server};
use crate::probe::judge::Finding;
use crate::probe::limit::Limit;
use crate::probe::tls::Trust;
use lockstep_policy::action::{HttpProbe, Tls};
use lockstep_policy::event::Verdict;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// Long enough for any answer that comes at all on a busy machine.
const PATIENT: Duration = Duration::from_secs(20);

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const ILL: &str = "HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n";

/// What a server does with a request.
#[derive(Clone, Copy)]
enum Does {
    Say(&'static str),
    /// And end the connection.
    SayLast(&'static str),
    End,
    Nothing,
}

/// What it does with a request of a connection, by the numbers of both.
type Script = fn(usize, usize) -> Does;

/// A server, and what it has seen.
struct Origin {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<String>>>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Origin {
    fn seen(&self) -> (usize, usize) {
        (self.connections.load(Ordering::SeqCst), self.requests.lock().unwrap().len())
    }
}

/// Does with the requests of each connection, counted from 1, what the script says of both numbers.
async fn origin(tls: Option<TlsAcceptor>, script: Script) -> Origin {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (connections, requests) = (Arc::<AtomicUsize>::default(), Arc::<Mutex<Vec<String>>>::default());
    let (counted, noted) = (Arc::clone(&connections), Arc::clone(&requests));
    let accepting = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let number = counted.fetch_add(1, Ordering::SeqCst) + 1;
            let (tls, noted) = (tls.clone(), Arc::clone(&noted));
            tokio::spawn(async move {
                match tls {
                    None => serve(stream, number, script, &noted).await,
                    Some(tls) => {
                        let Ok(stream) = tls.accept(stream).await else { return };
                        serve(stream, number, script, &noted).await;
                    }
                }
            });
        }
    });
    Origin { address, connections, requests, accepting }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    connection: usize,
    script: Script,
    noted: &Mutex<Vec<String>>,
) {
    let mut head = [0; 2048];
    for request in 1.. {
        // A probe is written at once, and small.
        let Ok(read @ 1..) = stream.read(&mut head).await else { return };
        noted.lock().unwrap().push(String::from_utf8_lossy(&head[..read]).into_owned());
        match script(connection, request) {
            Does::Say(text) => drop(stream.write_all(text.as_bytes()).await),
            Does::SayLast(text) => {
                let _ = stream.write_all(text.as_bytes()).await;
                return drop(stream.shutdown().await);
            }
            Does::End => return,
            Does::Nothing => {}
        }
    }
}

fn probe(pace: Pace) -> Http {
    Http::new(&HttpProbe { path: "/".into(), body: "ok".into(), ..HttpProbe::default() }, 1, pace).unwrap()
}

const ONE_IN_TEN: Pace = Pace { interval: Duration::from_secs(1), connect_every: 10 };

async fn ask(http: &Http, origin: &Origin, beside: bool) -> Finding {
    let server = Server { turn: 0, address: &origin.address.into() };
    tokio::time::timeout(PATIENT, http.probe(&Trust::new(None), server, beside, Limit::new(PATIENT))).await.unwrap()
}

async fn verdict(http: &Http, origin: &Origin) -> Verdict {
    ask(http, origin, false).await.verdict
}

#[tokio::test]
async fn a_connection_carries_so_many_probes_and_the_last_one_says_so() {
    let (origin, http) = (origin(None, |_, _| Does::Say(OK)).await, probe(ONE_IN_TEN));
    for _ in 0..20 {
        assert_eq!(verdict(&http, &origin).await, Verdict::Good);
    }
    assert_eq!(origin.seen(), (2, 20));
    let closing = |request: &String| request.contains("connection: close");
    let last: Vec<usize> =
        (1..).zip(&*origin.requests.lock().unwrap()).filter(|(_, r)| closing(r)).map(|(n, _)| n).collect();
    assert_eq!(last, [10, 20]);
}

#[tokio::test]
async fn over_tls_too() {
    let (_dir, acceptor) = tls();
    let origin = origin(Some(acceptor), |_, _| Does::Say(OK)).await;
    let watched = HttpProbe { path: "/".into(), tls: Tls::Unverified, body: "ok".into(), ..HttpProbe::default() };
    let http = Http::new(&watched, 1, ONE_IN_TEN).unwrap();
    for _ in 0..10 {
        assert_eq!(verdict(&http, &origin).await, Verdict::Good);
    }
    assert_eq!(origin.seen(), (1, 10));
}

#[tokio::test]
async fn probes_that_come_seldom_or_beside_the_others_connect_each_time() {
    let seldom = Pace { interval: Duration::from_secs(6), connect_every: 10 };
    for (pace, beside) in [(seldom, false), (ONE_IN_TEN, true), (Pace { connect_every: 1, ..ONE_IN_TEN }, false)] {
        let (origin, http) = (origin(None, |_, _| Does::Say(OK)).await, probe(pace));
        for _ in 0..3 {
            assert_eq!(ask(&http, &origin, beside).await.verdict, Verdict::Good);
        }
        assert_eq!(origin.seen(), (3, 3), "{pace:?} {beside}");
    }
}

/// Whatever a server does to a connection that was good before, it is not blamed for while it answers on a new one.
#[tokio::test]
async fn what_a_kept_connection_has_come_to_is_no_failure_of_the_server() {
    let scripts: [(&str, Script); 5] = [
        ("it closes after each answer", |_, _| Does::SayLast(OK)),
        ("it closes when it is asked again", |_, request| if request == 1 { Does::Say(OK) } else { Does::End }),
        ("it says that it will close", |_, _| {
            Does::Say("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok")
        }),
        ("it has said more than it should", |_, request| match request {
            1 => Does::Say("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 408 Late\r\n\r\n"),
            _ => Does::Say("garbage"),
        }),
        ("it breaks off", |_, request| match request {
            1 => Does::Say(OK),
            _ => Does::SayLast("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\no"),
        }),
    ];
    for (what, script) in scripts {
        let (origin, http) = (origin(None, script).await, probe(ONE_IN_TEN));
        for probe in 0..4 {
            let finding = ask(&http, &origin, false).await;
            assert_eq!(finding.verdict, Verdict::Good, "{what}, probe {probe}: {}", finding.detail);
        }
        assert_eq!(origin.seen().0, 4, "{what}");
    }
}

#[tokio::test]
async fn who_is_silent_on_a_kept_connection_is_asked_on_a_new_one_in_time() {
    let silent = |_, request| if request == 1 { Does::Say(OK) } else { Does::Nothing };
    let (origin, http) = (origin(None, silent).await, probe(ONE_IN_TEN));
    assert_eq!(verdict(&http, &origin).await, Verdict::Good);
    let server = Server { turn: 0, address: &origin.address.into() };
    // Half of it for the kept connection, and as much for the new one on a busy machine.
    let (trust, limit) = (Trust::new(None), Limit::new(Duration::from_secs(4)));
    let asked = http.probe(&trust, server, false, limit);
    assert_eq!(tokio::time::timeout(PATIENT, asked).await.unwrap().verdict, Verdict::Good);
    assert_eq!(origin.seen(), (2, 3));
}

#[tokio::test]
async fn a_server_that_is_ill_is_asked_once_and_its_connection_is_not_kept() {
    let then = |connection, request| if (connection, request) == (1, 1) { Does::Say(OK) } else { Does::Say(ILL) };
    let (origin, http) = (origin(None, then).await, probe(ONE_IN_TEN));
    assert_eq!(verdict(&http, &origin).await, Verdict::Good);
    let finding = ask(&http, &origin, false).await;
    assert_eq!((finding.verdict, finding.status), (Verdict::Wrong, 503));
    assert_eq!(origin.seen(), (1, 2), "an answer counts, whatever it is");
    assert_eq!(verdict(&http, &origin).await, Verdict::Wrong);
    assert_eq!(origin.seen(), (2, 3), "what was not good is not kept");
}

#[tokio::test]
async fn a_server_that_takes_no_new_connections_is_noticed_within_ten_probes() {
    let (origin, http) = (origin(None, |_, _| Does::Say(OK)).await, probe(ONE_IN_TEN));
    assert_eq!(verdict(&http, &origin).await, Verdict::Good);
    origin.accepting.abort();
    // The listener is gone when the task has ended.
    while !origin.accepting.is_finished() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut good = 0;
    while verdict(&http, &origin).await == Verdict::Good {
        good += 1;
        assert!(good < 10);
    }
    assert_eq!((good, verdict(&http, &origin).await), (9, Verdict::Refused));
}

#[tokio::test]
async fn what_nobody_waited_for_is_read_before_the_next_probe() {
    let (origin, http) =
        (origin(None, |_, _| Does::Say("HTTP/1.1 200 OK\r\ncontent-length: 20000\r\n\r\nok")).await, probe(ONE_IN_TEN));
    for _ in 0..3 {
        assert_eq!(verdict(&http, &origin).await, Verdict::Good);
    }
    assert_eq!(origin.seen(), (3, 3), "the rest has not come, and is not waited for");
    let whole =
        Box::leak(format!("HTTP/1.1 200 OK\r\ncontent-length: 20000\r\n\r\nok{}", "x".repeat(19_998)).into_boxed_str());
    static WHOLE: std::sync::OnceLock<&str> = std::sync::OnceLock::new();
    WHOLE.set(whole).unwrap();
    let origin = self::origin(None, |_, _| Does::Say(WHOLE.get().unwrap())).await;
    let http = probe(ONE_IN_TEN);
    for probes in 1.. {
        assert_eq!(verdict(&http, &origin).await, Verdict::Good);
        // It comes soon after, if not with the head.
        tokio::time::sleep(Duration::from_millis(20)).await;
        if origin.seen().0 < probes {
            break;
        }
        assert!(probes < 100, "no connection was ever used again");
    }
}
