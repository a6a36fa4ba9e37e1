//! Against a server whose every byte is written here; a strict one, as a program, is `lockstep simulate ged188`.

use super::*;
use lockstep_policy::action::Tls;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

const PATIENT: Duration = Duration::from_secs(20);

fn declared() -> CtiProbe {
    CtiProbe {
        port: 0,
        tls: Tls::Off,
        version: 14,
        peripheral: u32::MAX,
        services: 4,
        idle_timeout: Duration::from_secs(20),
        client: "edge".into(),
        secret: String::new(),
    }
}

fn message(kind: u32, numbers: &[u32]) -> Vec<u8> {
    let length = u32::try_from(numbers.len() * 4).unwrap();
    let all = [&[length, kind], numbers].concat();
    all.into_iter().flat_map(u32::to_be_bytes).collect()
}

async fn read(stream: &mut TcpStream) -> Option<(u32, Vec<u8>)> {
    let length = stream.read_u32().await.ok()?;
    let kind = stream.read_u32().await.ok()?;
    let mut body = vec![0; length as usize];
    stream.read_exact(&mut body).await.ok()?;
    Some((kind, body))
}

/// A server that answers each message by a function of its type and number; what it has read is told.
async fn server(
    answer: impl Fn(u32, u32) -> Vec<u8> + Send + Sync + 'static,
) -> (SocketAddr, mpsc::UnboundedReceiver<u32>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (told, heard) = mpsc::unbounded_channel();
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (told, answer) = (told.clone(), Arc::clone(&answer));
            tokio::spawn(async move {
                while let Some((kind, body)) = read(&mut stream).await {
                    let _ = told.send(kind);
                    let invoke = u32::from_be_bytes(body[..4].try_into().unwrap());
                    let text = answer(kind, invoke);
                    if text.is_empty() || stream.write_all(&text).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, heard)
}

/// Opens sessions, and confirms heartbeats after an event.
fn well(kind: u32, invoke: u32) -> Vec<u8> {
    match kind {
        3 => message(4, &[invoke, 4, 0, 0, 0, 0, 0]),
        5 => [message(31, &[0; 7]), message(6, &[invoke])].concat(),
        7 => message(8, &[invoke]),
        _ => panic!("message {kind}"),
    }
}

async fn found(cti: &Cti, means: &Means, address: SocketAddr) -> Finding {
    tokio::time::timeout(PATIENT, cti.probe(means, 0, address)).await.unwrap()
}

#[tokio::test]
async fn a_session_is_opened_once_and_each_probe_is_a_heartbeat() {
    let (address, mut heard) = server(well).await;
    let means = Means::default();
    let cti = Cti::new(&declared(), 1, &means).unwrap();
    for _ in 0..4 {
        assert_eq!(found(&cti, &means, address).await.verdict, Verdict::Good);
    }
    cti.close().await;
    let mut kinds = Vec::new();
    while kinds.len() < 5 {
        kinds.push(heard.recv().await.unwrap());
    }
    assert_eq!(kinds, [3, 5, 5, 5, 7]);
}

#[tokio::test]
async fn a_standby_is_wrong_and_says_its_status() {
    let (address, _heard) = server(|_, invoke| message(1, &[invoke, 92])).await;
    let means = Means::default();
    let finding = found(&Cti::new(&declared(), 1, &means).unwrap(), &means, address).await;
    assert_eq!(finding.verdict, Verdict::Wrong);
    assert_eq!(finding.facts, [Fact { name: "status".into(), value: "92".into() }]);
    assert!(finding.detail.ends_with("status 92: it is the standby"), "{}", finding.detail);
}

#[tokio::test]
async fn a_session_that_fails_is_told_and_opened_anew() {
    let beats = AtomicU32::new(0);
    let (address, mut heard) = server(move |kind, invoke| match kind {
        5 if beats.fetch_add(1, Ordering::Relaxed) == 0 => message(2, &[92]),
        kind => well(kind, invoke),
    })
    .await;
    let means = Means::default();
    let cti = Cti::new(&declared(), 1, &means).unwrap();
    let mut verdicts = Vec::new();
    for _ in 0..4 {
        verdicts.push(found(&cti, &means, address).await.verdict);
    }
    assert_eq!(verdicts, [Verdict::Good, Verdict::Wrong, Verdict::Good, Verdict::Good]);
    let kinds = [heard.recv().await, heard.recv().await, heard.recv().await, heard.recv().await].map(Option::unwrap);
    assert_eq!(kinds, [3, 5, 3, 5]);
}

#[tokio::test]
async fn a_kept_session_that_was_cut_is_no_fault_of_the_server() {
    let beats = AtomicU32::new(0);
    let (address, mut heard) = server(move |kind, invoke| match kind {
        5 if beats.fetch_add(1, Ordering::Relaxed) == 0 => Vec::new(),
        kind => well(kind, invoke),
    })
    .await;
    let means = Means::default();
    let cti = Cti::new(&declared(), 1, &means).unwrap();
    assert_eq!(found(&cti, &means, address).await.verdict, Verdict::Good);
    assert_eq!(found(&cti, &means, address).await.verdict, Verdict::Good, "by a new session");
    let kinds = [heard.recv().await, heard.recv().await, heard.recv().await].map(Option::unwrap);
    assert_eq!(kinds, [3, 5, 3]);
}

#[tokio::test]
async fn another_protocol_and_lying_lengths_are_wrong() {
    for answer in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], &[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 4]] {
        let (address, _heard) = server(move |_, _| answer.to_vec()).await;
        let means = Means::default();
        let finding = found(&Cti::new(&declared(), 1, &means).unwrap(), &means, address).await;
        assert_eq!(finding.verdict, Verdict::Wrong);
        assert!(finding.detail.starts_with("not GED-188: a message of "), "{}", finding.detail);
    }
}

#[tokio::test]
async fn a_flood_of_events_is_no_answer() {
    let (address, _heard) = server(|_, _| message(31, &[0; 7]).repeat(SKIPPED + 1)).await;
    let means = Means::default();
    let finding = found(&Cti::new(&declared(), 1, &means).unwrap(), &means, address).await;
    assert_eq!((finding.verdict, finding.detail.contains("none of them the answer")), (Verdict::Wrong, true));
}

#[tokio::test]
async fn answers_to_other_requests_are_skipped_and_nobody_there_is_refused() {
    let (address, _heard) = server(|kind, invoke| {
        [message(1, &[invoke + 7, 92]), message(6, &[invoke + 7]), message(4, &[0; 7]), well(kind, invoke)].concat()
    })
    .await;
    let means = Means::default();
    let cti = Cti::new(&declared(), 1, &means).unwrap();
    assert_eq!(found(&cti, &means, address).await.verdict, Verdict::Good);
    assert_eq!(found(&cti, &means, address).await.verdict, Verdict::Good);
    let nobody = SocketAddr::from(([127, 63, 0, 1], 1));
    let finding = found(&Cti::new(&declared(), 1, &means).unwrap(), &means, nobody).await;
    assert_eq!(finding.verdict, Verdict::Refused);
}

#[tokio::test]
async fn an_unknown_secret_is_refused_at_once() {
    let probe = CtiProbe { secret: "cti".into(), ..declared() };
    let why = Cti::new(&probe, 1, &Means::default()).map(|_| ()).unwrap_err();
    assert!(why.contains("no secret has the name \"cti\""), "{why}");
}
