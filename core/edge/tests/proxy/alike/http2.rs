//! The same by HTTP/2. A path that everybody reads alike is ours, one with a brace in its query is pingora's: that is how a request
//! chooses its way here.

use super::super::rig::{PATIENCE, Rig, eventually};
use super::told::{How, Then, Told};
use super::{HEAD, OLD, Outcome, cases, compare, rig};
use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use http::{HeaderMap, Request};
use lockstep_edge::access::{AccessLog, Format, Settings, To};
use lockstep_edge::proxy::Seeing;
use lockstep_policy::Side;
use tokio::net::TcpStream;

const OURS: &str = "?way=(ours)";
const PINGORAS: &str = "?way={ours}";

/// What has the brace in it says what it would say without.
fn way_taken_out(text: &str) -> String {
    text.replace(['{', '}'], "").replace(['(', ')'], "")
}

/// Which request a line of the log is of, and what it says without that.
fn numbered(line: &str) -> (usize, String) {
    let (before, behind) = line.split_once("&n=").unwrap();
    let (number, behind) = behind.split_once(';').unwrap();
    (number.parse().unwrap(), format!("{{{before}{behind}}}"))
}

async fn connect(rig: &Rig) -> SendRequest<Bytes> {
    let socket = TcpStream::connect(rig.at).await.unwrap();
    let (send, connection) = h2::client::handshake(socket).await.unwrap();
    tokio::spawn(connection);
    send
}

async fn begin(
    send: &SendRequest<Bytes>,
    method: &str,
    target: &str,
    fields: &[(&str, &str)],
) -> Result<ResponseFuture, h2::Error> {
    let mut request = Request::builder().method(method).uri(format!("http://pair{target}"));
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    Ok(send.clone().ready().await?.send_request(request.body(()).unwrap(), true)?.0)
}

/// An answer's status, fields, body, and whether that is whole. None: there is no answer.
async fn take(answer: ResponseFuture) -> Option<(u16, HeaderMap, Vec<u8>, bool)> {
    let taken = async {
        let (head, mut from) = answer.await.ok()?.into_parts();
        let mut body = Vec::new();
        let whole = loop {
            match from.data().await {
                Some(Ok(part)) => {
                    from.flow_control().release_capacity(part.len()).unwrap();
                    body.extend_from_slice(&part);
                }
                Some(Err(_)) => break false,
                None => break from.trailers().await.is_ok_and(|trailers| trailers.is_none()),
            }
        };
        Some((head.status.as_u16(), head.headers, body, whole))
    };
    tokio::time::timeout(PATIENCE, taken).await.expect("an answer, or an end, in time")
}

/// Asks for what the server is told to answer, and then for something else on the same connection.
async fn ask(rig: &Rig, told: &Told, request: &str, way: &str, number: usize) -> Outcome {
    let (method, rest) = request.split_once(' ').unwrap();
    let target = format!("{}{way}&n={number};", rest.split(' ').next().unwrap());
    let length = request.contains("Content-Length: 0").then_some(("content-length", "0"));
    let before = told.seen.lock().unwrap().len();
    let send = connect(rig).await;
    let answer = take(begin(&send, method, &target, length.as_slice()).await.unwrap()).await;
    let mut outcome = Outcome { status: "none".to_owned(), ..Outcome::default() };
    if let Some((status, fields, body, whole)) = answer {
        let fields = fields.iter().filter(|(name, _)| *name != "date");
        let mut fields: Vec<String> =
            fields.map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()))).collect();
        fields.sort();
        outcome = Outcome { status: status.to_string(), fields, body, whole, ..Outcome::default() };
    }
    // Whatever became of the first one: that is its stream's, and not its connection's.
    let again = take(begin(&send, "GET", &format!("/again{way}&n={};", number + 1), &[]).await.unwrap()).await;
    outcome.lasted = again.is_some_and(|(status, ..)| status == 200);
    let seen = told.seen.lock().unwrap()[before..].to_vec();
    outcome.server_lasted = outcome.whole && seen.len() == 2 && seen[0].0 == seen[1].0;
    outcome
}

#[tokio::test]
async fn an_answer_in_any_form_comes_to_the_same_by_both_ways_of_http2() {
    let (rig, told) = rig().await;
    let directory = tempfile::TempDir::new().unwrap();
    let file = directory.path().join("access.log");
    let log = AccessLog::open(&Settings { to: To::File(file.clone()), format: Format::Json }).unwrap();
    rig.pair.be_seen(Seeing { log: Some(log.clone()), ..Seeing::default() });
    let (mut all, mut epoch) = (0_usize, 1);
    let mut outcomes = Vec::new();
    for case in cases().into_iter().filter(|case| case.request != OLD) {
        let hows: &[How] =
            if case.answer.len() > 5000 { &[How::AtOnce] } else { &[How::AtOnce, How::Dripping, How::HeadFirst] };
        for how in hows {
            *told.script.lock().unwrap() = (case.answer.clone(), *how, case.then);
            let mut both = Vec::new();
            for way in [OURS, PINGORAS] {
                // A connection that another case has left must not be this one's.
                epoch += 1;
                rig.serve(Side::A, epoch);
                let mut outcome = ask(&rig, &told, case.request, way, all).await;
                assert!(outcome.lasted, "{}: the connection goes on", case.name);
                assert!(case.request != HEAD || outcome.body.is_empty(), "{}", case.name);
                outcome.line = all;
                all += 2;
                both.push(outcome);
            }
            outcomes.push((format!("{} ({how:?}, {})", case.name, &case.request[..14]), both));
        }
    }
    assert!(outcomes.len() > 80, "the table is there: {}", outcomes.len());
    eventually("all requests are logged", || log.counts().written >= all as u64).await;
    log.close().await;
    let text = way_taken_out(&std::fs::read_to_string(&file).unwrap());
    let mut lines: Vec<(usize, String)> = text.lines().map(numbered).collect();
    lines.sort();
    assert!(lines.iter().map(|line| line.0).eq(0..all), "a line for each request");
    compare(outcomes, &lines.iter().map(|line| line.1.as_str()).collect::<Vec<_>>());
}

/// What servers see of a request is the same, too.
#[tokio::test]
async fn a_request_in_any_form_of_http2_reaches_servers_alike() {
    let (rig, told) = rig().await;
    *told.script.lock().unwrap() =
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec(), How::AtOnce, Then::Stay);
    let long = "y".repeat(8000);
    let fields: [&[(&str, &str)]; 7] = [
        &[],
        &[("accept", "*/*"), ("accept", "text/html"), ("user-agent", "a b"), ("x-empty", "")],
        &[("te", "trailers"), ("trailer", "X"), ("proxy-authorization", "y")],
        &[("x-forwarded-for", "10.9.8.7"), ("forwarded", "for=x"), ("x_real_ip", "1"), ("x-forwarded-proto", "https")],
        &[("cookie", "a=b"), ("cookie", "c=d"), ("content-length", "0"), ("cache-control", "no-cache")],
        &[("host", "pair"), ("x-byte", "\u{e4}"), ("http2-settings", "AAA")],
        &[("x-long", &long)],
    ];
    let lines =
        ["GET /told", "HEAD /told/a%20b", "OPTIONS /told/../x;y=z", "PURGE /told", "DELETE /told//a", "POST /told"];
    for line in lines {
        for fields in fields {
            let mut both = Vec::new();
            for way in [OURS, PINGORAS] {
                let before = told.seen.lock().unwrap().len();
                let (method, path) = line.split_once(' ').unwrap();
                let answer = begin(&connect(&rig).await, method, &format!("{path}{way}"), fields).await.unwrap();
                assert_eq!(take(answer).await.map(|answer| answer.0), Some(200), "{line} {fields:?}");
                let seen = told.seen.lock().unwrap()[before..].to_vec();
                assert_eq!(seen.len(), 1, "{line} {fields:?}");
                let text = way_taken_out(&seen[0].1);
                let (first, rest) = text.split_once("\r\n").unwrap();
                let mut rest: Vec<String> = rest
                    .lines()
                    .map(|line| {
                        line.split_once(':').map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
                    })
                    .map(|field| field.map_or_else(String::new, |(name, value)| format!("{name}: {value}")))
                    .collect();
                rest.sort();
                both.push((first.to_owned(), rest));
            }
            assert_eq!(both[0], both[1], "{line} {fields:?}");
        }
    }
}
