mod sockets;

use super::judge::Finding;
use super::*;
use lockstep_policy::Side;
use lockstep_policy::action::{AgentProbe, HttpProbe};
use lockstep_policy::event::{Connection, Verdict};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// Long enough for any answer that comes at all on a busy machine.
const PATIENT: Duration = Duration::from_secs(20);

fn http(body: &str) -> ProbeKind {
    ProbeKind::Http(HttpProbe { path: "/monitor?mod=FT".into(), body: body.into(), ..HttpProbe::default() })
}

/// One probe, by an edge without secrets and agents.
async fn probe(kind: &ProbeKind, server: SocketAddr, timeout: Duration) -> Finding {
    let (means, agents): (_, Arc<dyn AgentPing>) = (Means::default(), Arc::new(NoAgents));
    let watch = Watch { kind: kind.clone(), ..watch(1, 60_000, 0) };
    let kind = Kind::new(&watch, &[server.into()], &means, &*agents).unwrap();
    kind.probe(&means, &agents, (0, &server.into()), (timeout, false)).await
}

/// An address of loopback at which nothing ever listens.
fn nobody() -> SocketAddr {
    SocketAddr::from(([127, 63, 0, 1], 1))
}

/// A server that gives each connection to a function.
async fn server<F, Fut>(serve: F) -> SocketAddr
where
    F: Fn(TcpStream) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            serve(stream).await;
        }
    });
    address
}

/// A server that reads a request's head and then says this.
async fn saying(answer: &'static [u8]) -> SocketAddr {
    server(move |mut stream| async move {
        let mut head = [0; 1024];
        let _ = stream.read(&mut head).await;
        let _ = stream.write_all(answer).await;
        let _ = stream.shutdown().await;
    })
    .await
}

async fn found(kind: &ProbeKind, answer: &'static [u8]) -> Finding {
    probe(kind, saying(answer).await, PATIENT).await
}

#[tokio::test]
async fn an_answer_as_declared_is_good() {
    let finding = found(&http("ACTIVE"), b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n \nACTIVE\r\n").await;
    assert_eq!((finding.verdict, finding.status, finding.detail.as_str()), (Verdict::Good, 200, "ACTIVE"));
    assert!(!finding.latency.is_zero());
}

#[tokio::test]
async fn a_body_of_unknown_length_is_read_to_its_end() {
    let finding = found(&http("ACTIVE"), b"HTTP/1.0 200 OK\r\n\r\nACT").await;
    assert_eq!((finding.verdict, finding.detail.as_str()), (Verdict::Wrong, "ACT"));
    let finding = found(&http("ACTIVE"), b"HTTP/1.0 200 OK\r\n\r\nACTIVE").await;
    assert_eq!(finding.verdict, Verdict::Good);
}

#[tokio::test]
async fn another_status_or_body_is_wrong() {
    let standby = found(&http("ACTIVE"), b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\nSTANDBY").await;
    assert_eq!((standby.verdict, standby.status, standby.detail.as_str()), (Verdict::Wrong, 200, "STANDBY"));
    let broken = found(&http(""), b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!((broken.verdict, broken.status, broken.detail.as_str()), (Verdict::Wrong, 503, "status 503"));
}

#[tokio::test]
async fn a_status_alone_is_enough_where_no_body_is_declared() {
    let endless = server(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 99999\r\n\r\n").await;
        std::future::pending::<()>().await;
    })
    .await;
    assert_eq!(probe(&http(""), endless, PATIENT).await.verdict, Verdict::Good);
}

#[tokio::test]
async fn garbage_is_wrong() {
    let finding = found(&http("ACTIVE"), b"\x00\x01\x02 hello, I am no HTTP server\r\n\r\n").await;
    assert_eq!(finding.verdict, Verdict::Wrong, "{}", finding.detail);
    assert!(finding.detail.starts_with("not an HTTP answer"), "{}", finding.detail);
}

#[tokio::test]
async fn an_endless_body_ends_the_probe_within_its_bounds() {
    let endless = server(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        while stream.write_all(&[b' '; 4096]).await.is_ok() {}
    })
    .await;
    let finding = probe(&http("ACTIVE"), endless, PATIENT).await;
    assert_eq!((finding.verdict, finding.status), (Verdict::Wrong, 200));
}

#[tokio::test]
async fn an_endless_head_ends_the_probe_within_its_bounds() {
    let endless = server(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nx: ").await;
        while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
    })
    .await;
    assert_eq!(probe(&http("ACTIVE"), endless, PATIENT).await.verdict, Verdict::Wrong);
}

#[tokio::test]
async fn no_answer_is_silence() {
    let mute = server(|stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let finding = probe(&http("ACTIVE"), mute, Duration::from_millis(50)).await;
    assert_eq!((finding.verdict, finding.detail.as_str()), (Verdict::Silent, "no answer within 50ms"));
}

#[tokio::test]
async fn a_refused_or_broken_connection_is_refused() {
    let nobody = nobody();
    assert_eq!(probe(&http(""), nobody, PATIENT).await.verdict, Verdict::Refused);
    assert_eq!(probe(&ProbeKind::Tcp { port: 0 }, nobody, PATIENT).await.verdict, Verdict::Refused);
    let closing = server(|stream| async move { drop(stream) }).await;
    assert_eq!(probe(&http(""), closing, PATIENT).await.verdict, Verdict::Refused);
    assert_eq!(
        found(&http("ACTIVE"), b"HTTP/1.1 200 OK\r\ncontent-length: 60\r\n\r\nAC").await.verdict,
        Verdict::Refused
    );
}

#[tokio::test]
async fn a_connection_that_is_accepted_is_good() {
    let address = saying(b"").await;
    assert_eq!(probe(&ProbeKind::Tcp { port: 0 }, address, PATIENT).await.verdict, Verdict::Good);
    let elsewhere = SocketAddr::new(address.ip(), 1);
    assert_eq!(probe(&ProbeKind::Tcp { port: address.port() }, elsewhere, PATIENT).await.verdict, Verdict::Good);
}

fn watch(probe: u32, interval: u64, timeout: u64) -> Watch {
    Watch {
        probe: ProbeId(probe),
        side: Side::A,
        server: 0,
        kind: ProbeKind::Tcp { port: 0 },
        interval: Duration::from_millis(interval),
        timeout: Duration::from_millis(timeout),
    }
}

fn collecting() -> (Probes, mpsc::UnboundedReceiver<(u64, ProbeResult)>) {
    let (results, collected) = mpsc::unbounded_channel();
    (Probes::new(Arc::new(move |declaration, result| drop(results.send((declaration, result))))), collected)
}

#[tokio::test]
async fn probes_overlap_when_the_timeout_is_longer_than_the_interval() {
    let asked: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let seen = Arc::clone(&asked);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            seen.lock().unwrap().push(Instant::now());
            kept.push(stream);
        }
    });
    let (mut probes, mut results) = collecting();
    let mut overlapping = watch(1, 20, 60_000);
    overlapping.kind = http("ACTIVE");
    probes.watch(overlapping, &[address]).unwrap();
    while asked.lock().unwrap().len() < 3 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(results.try_recv().is_err(), "none has an answer, and none was waited for");
}

#[tokio::test]
async fn each_server_has_its_turn_and_a_replaced_probe_is_told_from_its_successor() {
    let (one, two) = (saying(b"").await, nobody());
    let (mut probes, mut results) = collecting();
    probes.watch(watch(1, 10, 10_000), &[one, two]).unwrap();
    let mut verdicts = Vec::new();
    while verdicts.len() < 2 {
        let verdict = results.recv().await.unwrap().1.verdict;
        if !verdicts.contains(&verdict) {
            verdicts.push(verdict);
        }
    }
    let (former, _) = results.recv().await.unwrap();
    probes.watch(watch(1, 10, 10_000), &[one]).unwrap();
    assert!(!probes.is_current(former, ProbeId(1)));
    assert_eq!(probes.watches().count(), 1);
    probes.unwatch(ProbeId(1));
    assert!(probes.now(ProbeId(1)).is_err());
}

#[tokio::test]
async fn a_probe_of_a_day_is_sent_once_for_each_time_it_is_asked_for() {
    let server = [saying(b"").await];
    let (mut probes, mut results) = collecting();
    let day = Duration::from_secs(24 * 60 * 60);
    probes.watch(Watch { interval: day, ..watch(1, 0, 10_000) }, &server).unwrap();
    probes.watch(Watch { interval: Duration::MAX, ..watch(2, 0, 10_000) }, &server).unwrap();
    probes.all_now(Side::A);
    for _ in 0..3 {
        probes.now(ProbeId(1)).unwrap();
        assert_eq!(results.recv().await.unwrap().1.probe, ProbeId(1));
    }
    probes.watch(watch(3, 60_000, 10_000), &server).unwrap();
    assert_eq!(results.recv().await.unwrap().1.probe, ProbeId(3), "nothing else was under way");
}

#[tokio::test]
async fn a_result_names_its_server() {
    let servers = [saying(b"").await, saying(b"").await, saying(b"").await];
    let (mut probes, mut results) = collecting();
    probes.watch(watch(1, 5, 10_000), &servers).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < 3 {
        seen.insert(results.recv().await.unwrap().1.server);
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [1, 2, 3]);
    probes.watch(Watch { server: 2, ..watch(1, 5, 10_000) }, &servers).unwrap();
    let current = probes.declared;
    let mut named = Vec::new();
    while named.len() < 5 {
        let (declaration, result) = results.recv().await.unwrap();
        named.extend((declaration == current).then_some(result.server));
    }
    assert_eq!(named, [2; 5]);
}

#[tokio::test]
async fn what_cannot_be_probed_is_refused_with_a_sentence_and_changes_nothing() {
    let server = [saying(b"").await];
    let (mut probes, _results) = collecting();
    probes.watch(watch(1, 60_000, 100), &server).unwrap();
    let declared = probes.declared;
    let mut refused = |change: &dyn Fn(&mut Watch)| {
        let mut watch = watch(1, 60_000, 100);
        change(&mut watch);
        probes.watch(watch, &server).unwrap_err()
    };
    let with = |http: HttpProbe| move |watch: &mut Watch| watch.kind = ProbeKind::Http(http.clone());
    let path = || HttpProbe { path: "/".into(), ..HttpProbe::default() };
    assert_eq!(refused(&|watch| watch.server = 2), "side a has 1 servers, and none with the number 2");
    assert!(refused(&with(HttpProbe::default())).contains("does not begin with /"));
    assert!(refused(&with(HttpProbe { path: "/a b".into(), ..path() })).contains("no request can be made"));
    assert!(refused(&with(HttpProbe { address: "host:80".into(), ..path() })).contains("is no address IP:PORT"));
    assert!(refused(&with(HttpProbe { host: "a b".into(), ..path() })).contains("neither a host's name nor"));
    let agent = AgentProbe { connection: Connection::Auxiliary, service: String::new(), dscp: 64 };
    assert!(refused(&|watch| watch.kind = ProbeKind::Agent(agent.clone())).contains("is no code point"));
    assert!(probes.is_current(declared, ProbeId(1)), "what was declared before goes on");
}

#[tokio::test]
async fn without_agents_an_agent_cannot_be_asked() {
    let agent = AgentProbe { connection: Connection::Main, service: "cti".into(), dscp: 0 };
    let finding = probe(&ProbeKind::Agent(agent), nobody(), PATIENT).await;
    assert_eq!((finding.verdict, finding.detail.as_str()), (Verdict::Refused, "the connection to the agent is not up"));
}

#[tokio::test]
async fn a_policy_cannot_declare_probes_without_end() {
    let (mut probes, _results) = collecting();
    let server = [saying(b"").await];
    for probe in 0..u32::try_from(PROBES).unwrap() {
        probes.watch(watch(probe, 60_000, 100), &server).unwrap();
    }
    assert!(probes.watch(watch(9999, 60_000, 100), &server).is_err());
    assert!(probes.watch(watch(0, 60_000, 100), &server).is_ok(), "a declared one may be replaced");
}
