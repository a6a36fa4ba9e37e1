//! What is noticed of requests: a trace goes on, and each request has its line and its counts.

use super::rig::{Client, Rig, eventually, field, get, send};
use lockstep_edge::access::{AccessLog, Format, Settings, To};
use lockstep_edge::proxy::Seeing;
use lockstep_policy::{Epoch, Side};
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// An access log that is read at the end.
struct Log {
    log: AccessLog,
    file: PathBuf,
    _directory: TempDir,
}

impl Log {
    fn new() -> Log {
        let directory = TempDir::new().unwrap();
        let file = directory.path().join("access.log");
        let log = AccessLog::open(&Settings { to: To::File(file.clone()), format: Format::Json }).unwrap();
        Log { log, file, _directory: directory }
    }

    /// Waits for so many lines, and reads them.
    async fn lines(self, count: u64) -> Vec<Value> {
        let what = format!("there are {count} lines");
        eventually(&what, || self.log.counts().written >= count).await;
        self.log.close().await;
        let text = std::fs::read_to_string(&self.file).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len() as u64, count, "{text}");
        lines
    }
}

async fn asked(rig: &Rig, fields: &str) -> String {
    let mut client = Client::connect(rig.at).await;
    client.send(format!("GET / HTTP/1.1\r\nHost: pair\r\n{fields}\r\n")).await;
    assert_eq!(client.reply().await.unwrap().status, 200);
    rig.a.seen().pop().unwrap().head
}

#[tokio::test]
async fn a_trace_context_is_passed_on_as_it_is() {
    let rig = Rig::new().await;
    rig.serve(Side::A, 1);
    for seeing in [Seeing::default(), Seeing { trace: true, request_id: true, ..Seeing::default() }] {
        rig.pair.be_seen(seeing);
        let head = asked(&rig, &format!("traceparent: {PARENT}\r\ntracestate: a=b\r\nX-Request-Id: mine\r\n")).await;
        assert_eq!(field(&head, "traceparent").as_deref(), Some(PARENT));
        assert_eq!(field(&head, "tracestate").as_deref(), Some("a=b"));
        assert_eq!(field(&head, "x-request-id").as_deref(), Some("mine"));
    }
}

#[tokio::test]
async fn nothing_is_made_unless_it_is_wanted() {
    let rig = Rig::new().await;
    rig.serve(Side::A, 1);
    let head = asked(&rig, "traceparent: nonsense\r\n").await;
    assert_eq!(field(&head, "traceparent").as_deref(), Some("nonsense"));
    assert_eq!(field(&head, "x-request-id"), None);
}

#[tokio::test]
async fn where_there_is_none_one_is_made_and_stands_in_the_log() {
    let (rig, log) = (Rig::new().await, Log::new());
    rig.pair.be_seen(Seeing { log: Some(log.log.clone()), trace: true, request_id: true });
    rig.serve(Side::A, 1);
    let made = asked(&rig, "tracestate: a=b\r\n").await;
    let instead = asked(&rig, "traceparent: nonsense\r\n").await;
    let given = asked(&rig, &format!("traceparent: {PARENT}\r\nX-Request-Id: mine\r\n")).await;
    let parts: Vec<String> = field(&made, "traceparent").unwrap().split('-').map(str::to_owned).collect();
    assert_eq!(parts.iter().map(String::len).collect::<Vec<_>>(), [2, 32, 16, 2], "{made}");
    assert_eq!((parts[0].as_str(), parts[3].as_str(), field(&made, "tracestate")), ("00", "01", None), "{made}");
    assert!(field(&instead, "traceparent").unwrap().starts_with("00-"), "{instead}");
    let lines = log.lines(3).await;
    assert_eq!(lines[0]["trace_id"], *parts[1]);
    assert_eq!(lines[0]["request_id"], *field(&made, "x-request-id").unwrap());
    assert_ne!(lines[1]["trace_id"], lines[0]["trace_id"]);
    assert_eq!((&lines[2]["trace_id"], &lines[2]["request_id"]), (&TRACE.into(), &"mine".into()));
    assert_eq!(field(&given, "traceparent").as_deref(), Some(PARENT));
}

/// One that is sent again keeps its trace: it is one request.
#[tokio::test]
async fn each_attempt_has_the_same_trace() {
    let (rig, log) = (Rig::new().await, Log::new());
    rig.pair.be_seen(Seeing { log: Some(log.log.clone()), trace: true, request_id: true });
    rig.serve(Side::A, 1);
    assert_eq!(get(rig.at, "/drop").await.unwrap().status, 502);
    let traces: Vec<_> =
        rig.a.seen().iter().map(|seen| field(&seen.head, "traceparent").unwrap()[..35].to_owned()).collect();
    assert_eq!(traces.len(), 4);
    assert!(traces.iter().all(|trace| *trace == traces[0]), "{traces:?}");
    let line = log.lines(1).await.remove(0);
    assert_eq!(traces[0], format!("00-{}", line["trace_id"].as_str().unwrap()));
    assert_eq!((&line["status"], &line["by"], &line["attempts"]), (&502.into(), &"edge".into(), &4.into()));
    assert_eq!((&line["side"], &line["epoch"]), (&"a".into(), &1.into()));
    assert!(line["why"].as_str().unwrap().starts_with("the connection to side a ended"), "{line}");
}

#[tokio::test]
async fn a_line_says_what_became_of_a_request() {
    let (rig, log) = (Rig::holding(10, Duration::from_millis(300)).await, Log::new());
    rig.pair.be_seen(Seeing { log: Some(log.log.clone()), ..Seeing::default() });
    rig.serve(Side::A, 1);
    let mut client = Client::connect(rig.at).await;
    client.send("GET /status/404 HTTP/1.1\r\nHost: pair\r\nReferer: http://r/\r\nUser-Agent: mine\r\n\r\n").await;
    assert_eq!(client.reply().await.unwrap().status, 404);
    assert_eq!(send(rig.at, "POST", "/long/80", "0123456789").await.unwrap().body.len(), 80);
    // Held, and given to the other side.
    rig.hold(2);
    let held = rig.spawn_get("/held?a=b%22");
    eventually("it waits", || rig.pair.totals().held_now == 1).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    rig.serve(Side::B, 2);
    assert_eq!(held.await.unwrap().unwrap().body, "b");
    // Held for too long.
    rig.hold(3);
    assert_eq!(get(rig.at, "/refused").await.unwrap().status, 503);
    // Its client leaves.
    let mut leaves = Client::connect(rig.at).await;
    leaves.send("GET /left HTTP/1.1\r\nHost: pair\r\n\r\n").await;
    eventually("it waits", || rig.pair.totals().held_now == 1).await;
    drop(leaves);
    eventually("it is noticed", || rig.pair.seen().unanswered == 1).await;
    // No request at all.
    let mut nonsense = Client::connect(rig.at).await;
    nonsense.send("nonsense\r\n\r\n").await;
    assert!(String::from_utf8_lossy(&nonsense.rest().await).starts_with("HTTP/1.1 400 "));

    let lines = log.lines(6).await;
    let own = client.socket.local_addr().unwrap().to_string();
    let first = &lines[0];
    assert_eq!((&first["client"], &first["listener"]), (&own.into(), &rig.at.to_string().into()));
    assert_eq!(
        (&first["method"], &first["path"], &first["protocol"]),
        (&"GET".into(), &"/status/404".into(), &"HTTP/1.1".into())
    );
    assert_eq!((&first["referer"], &first["user_agent"]), (&"http://r/".into(), &"mine".into()));
    assert_eq!((&first["status"], &first["by"], &first["attempts"]), (&404.into(), &"side".into(), &1.into()));
    assert_eq!((&first["side"], &first["epoch"], &first["hold_ms"]), (&"a".into(), &1.into(), &0.0.into()));
    assert_eq!((&lines[1]["bytes_in"], &lines[1]["bytes_out"]), (&10.into(), &80.into()));
    let held = &lines[2];
    assert_eq!((&held["path"], &held["side"], &held["epoch"]), (&"/held?a=b%22".into(), &"b".into(), &2.into()));
    assert!(held["hold_ms"].as_f64().unwrap() >= 20.0 && held["ms"].as_f64() >= held["hold_ms"].as_f64(), "{held}");
    let refused = &lines[3];
    assert_eq!(
        (&refused["status"], &refused["by"], refused.get("side")),
        (&503.into(), &"edge".into(), None),
        "{refused}"
    );
    assert!(refused["hold_ms"].as_f64().unwrap() >= 300.0, "{refused}");
    assert_eq!(refused["why"], "no side of the pair became ready in time");
    let left = &lines[4];
    assert_eq!((&left["path"], left.get("status"), left.get("by")), (&"/left".into(), None, None), "{left}");
    assert!(
        left["why"].as_str().unwrap().starts_with("the client: ") && left["hold_ms"].as_f64().unwrap() > 0.0,
        "{left}"
    );
    assert_eq!((&lines[5]["status"], lines[5].get("path")), (&400.into(), None), "{}", lines[5]);

    let seen = rig.pair.seen();
    assert_eq!(
        (seen.sides.a.answers, seen.sides.b.answers, seen.own),
        ([0, 1, 0, 1, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0, 1])
    );
    assert_eq!((seen.unanswered, seen.malformed, seen.holds_refused, seen.holds_abandoned), (1, 1, 1, 1));
    assert_eq!((seen.sides.a.bytes_in, seen.sides.a.first_byte.counts.iter().sum::<u64>()), (10, 2));
    let total: u64 = seen.sides.b.whole.counts.iter().sum();
    assert_eq!((total, rig.pair.totals().requests), (1, 5));
}

#[tokio::test]
async fn troubles_and_connections_are_counted_by_side() {
    let rig = Rig::new().await;
    rig.serve(Side::A, 1);
    get(rig.at, "/").await.unwrap();
    assert_eq!(get(rig.at, "/drop").await.unwrap().status, 502);
    let seen = rig.pair.seen();
    assert_eq!((seen.sides.a.resets, seen.sides.b.resets, seen.retried), (4, 0, 3));
    // What the driver takes every moment is not taken from here.
    let _ = rig.pair.take_traffic();
    assert_eq!(rig.pair.seen().sides.a.resets, 4);
    let hang = rig.spawn_get("/hang");
    eventually("it is at a", || rig.a.open() >= 1 && rig.a.seen().iter().any(|seen| seen.head.contains("/hang"))).await;
    assert!(rig.pair.seen().sides.a.connections >= 1 && rig.pair.seen().sides.b.connections == 0);
    rig.serve(Side::B, 2);
    rig.pair.cut(Side::A, Epoch(2));
    eventually("it is at b", || rig.b.count() == 1).await;
    rig.b.let_go();
    assert_eq!(hang.await.unwrap().unwrap().body, "b");
    eventually("a has none", || rig.pair.seen().sides.a.connections == 0).await;
}
