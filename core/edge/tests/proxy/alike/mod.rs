//! What pingora carries and what we carry ourselves comes to the same: requests, and servers' answers, in every form, both ways.
//!
//! `Connection: close` said in one word is ours, said twice it is pingora's: that is how a request chooses its way here.

mod http2;
mod told;

use super::rig::{PATIENCE, Rig, Server, eventually, field};
use lockstep_edge::access::{AccessLog, Format, Settings, To};
use lockstep_edge::proxy::{ListenSettings, ProxySettings, Seeing};
use lockstep_policy::{Side, Sides};
use serde_json::Value;
use std::fmt::Write as _;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use told::{How, Then, Told};

/// What a client has come to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    /// Heads of 1xx that came before.
    interim: Vec<String>,
    status: String,
    /// Sorted, in lower case, without the date and without what says where the body ends.
    fields: Vec<String>,
    body: Vec<u8>,
    /// The body's own framing says that it is whole.
    whole: bool,
    /// Another request was answered on the same connection.
    lasted: bool,
    /// … and by the server on its same connection.
    server_lasted: bool,
    /// Of the access log: status, bytes, who answered, attempts.
    logged: String,
    /// Which line of it that is.
    line: usize,
}

impl Outcome {
    /// How much of it came does not matter, as long as it does not look whole.
    fn is_broken_off(&mut self) {
        assert!(self.status == "none" || !self.whole, "{self:?}");
        *self = Outcome { logged: std::mem::take(&mut self.logged), ..Outcome::default() };
    }
}

/// One way of asking for the same.
struct Way {
    /// Said in `Connection`.
    stay: &'static str,
    close: &'static str,
}

const OURS: Way = Way { stay: "keep-alive", close: "close" };
const PINGORAS: Way = Way { stay: "keep-alive, keep-alive", close: "close, close" };

/// Asks for what the server is told to answer.
async fn ask(rig: &Rig, told: &Told, request: &str, way: &Way, closes: bool) -> Outcome {
    let connection = if closes { way.close } else { way.stay };
    let before = told.seen.lock().unwrap().len();
    let mut client = TcpStream::connect(rig.at).await.unwrap();
    let text = request.replace("CONNECTION", connection);
    client.write_all(text.as_bytes()).await.unwrap();
    let is_head = request.starts_with("HEAD");
    let mut buffer = Vec::new();
    let mut interim = Vec::new();
    let head = loop {
        let head = read_head(&mut client, &mut buffer).await.unwrap_or_default();
        match head.split(' ').nth(1) {
            Some(status) if status.starts_with('1') => interim.push(status.to_owned()),
            _ => break head,
        }
    };
    let status = head.split(' ').nth(1).unwrap_or("none").to_owned();
    let (body, whole) = read_body(&mut client, &mut buffer, &head, is_head, &status).await;
    let mut fields: Vec<String> = head.lines().skip(1).map(str::to_lowercase).filter(|line| !line.is_empty()).collect();
    fields.retain(|line| {
        !["date:", "content-length:", "transfer-encoding:"].iter().any(|name| line.starts_with(name))
            || (is_head && !line.starts_with("date:"))
    });
    fields.sort();
    let lasted = whole && !head.is_empty() && {
        let again = format!("GET /again HTTP/1.1\r\nHost: pair\r\nConnection: {}\r\n\r\n", way.stay);
        client.write_all(again.as_bytes()).await.is_ok()
            && read_head(&mut client, &mut buffer).await.is_some_and(|head| head.contains(" 200 "))
    };
    let seen = told.seen.lock().unwrap()[before..].to_vec();
    let server_lasted = lasted && seen.len() == 2 && seen[0].0 == seen[1].0;
    Outcome { interim, status, fields, body, whole, lasted, server_lasted, logged: String::new(), line: 0 }
}

async fn read_head(socket: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(at) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..at + 4]).into_owned();
            buffer.drain(..at + 4);
            return Some(head);
        }
        if !more(socket, buffer).await {
            return None;
        }
    }
}

async fn more(socket: &mut TcpStream, buffer: &mut Vec<u8>) -> bool {
    let read = tokio::time::timeout(PATIENCE, socket.read_buf(buffer)).await;
    matches!(read.expect("an answer, or an end, in time"), Ok(1..))
}

async fn read_body(
    socket: &mut TcpStream,
    buffer: &mut Vec<u8>,
    head: &str,
    is_head: bool,
    status: &str,
) -> (Vec<u8>, bool) {
    if is_head || ["204", "304", "none"].contains(&status) {
        return (Vec::new(), true);
    }
    if field(head, "transfer-encoding").is_some() {
        return read_chunks(socket, buffer).await;
    }
    if let Some(length) = field(head, "content-length").map(|length| length.parse::<usize>().unwrap()) {
        while buffer.len() < length {
            if !more(socket, buffer).await {
                return (std::mem::take(buffer), false);
            }
        }
        return (buffer.drain(..length).collect(), true);
    }
    while more(socket, buffer).await {}
    (std::mem::take(buffer), true)
}

async fn read_chunks(socket: &mut TcpStream, buffer: &mut Vec<u8>) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        let end = loop {
            match buffer.windows(2).position(|two| two == b"\r\n") {
                Some(at) => break at,
                None if more(socket, buffer).await => {}
                None => return (body, false),
            }
        };
        let size = usize::from_str_radix(std::str::from_utf8(&buffer[..end]).unwrap(), 16).unwrap();
        while buffer.len() < end + size + 4 {
            if !more(socket, buffer).await {
                body.extend_from_slice(buffer.get(end + 2..).unwrap_or_default());
                return (body, false);
            }
        }
        body.extend_from_slice(&buffer[end + 2..end + 2 + size]);
        buffer.drain(..end + size + 4);
        if size == 0 {
            return (body, true);
        }
    }
}

struct Case {
    name: &'static str,
    request: &'static str,
    answer: Vec<u8>,
    then: Then,
}

const GET: &str = "GET /told HTTP/1.1\r\nHost: pair\r\nConnection: CONNECTION\r\n\r\n";
const HEAD: &str = "HEAD /told HTTP/1.1\r\nHost: pair\r\nConnection: CONNECTION\r\n\r\n";
const OLD: &str = "GET /told HTTP/1.0\r\nHost: pair\r\nConnection: CONNECTION\r\n\r\n";
const DELETE: &str = "DELETE /told HTTP/1.1\r\nHost: pair\r\nConnection: CONNECTION\r\n\r\n";
const POST: &str = "POST /told HTTP/1.1\r\nHost: pair\r\nContent-Length: 0\r\nConnection: CONNECTION\r\n\r\n";
const POSTED: &str =
    "POST /told HTTP/1.1\r\nHost: pair\r\nContent-Length: 9\r\nConnection: CONNECTION\r\n\r\none order";
const PUT: &str = "PUT /told HTTP/1.1\r\nHost: pair\r\nContent-Length: 9\r\nConnection: CONNECTION\r\n\r\none order";
const OLD_POSTED: &str =
    "POST /told HTTP/1.0\r\nHost: pair\r\nContent-Length: 9\r\nConnection: CONNECTION\r\n\r\none order";

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut case = |name, request, answer: &str, then| {
        let date = "Date: Sat, 21 Nov 2026 21:00:00 GMT\r\n";
        let answer = answer.replacen("\r\n", &format!("\r\n{date}"), 1).into_bytes();
        cases.push(Case { name, request, answer, then });
    };
    let five = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Y: z\r\nX-Y: w\r\n\r\norder";
    let chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\norder\r\n6;x=y\r\n books\r\n0\r\n\r\n";
    for (name, request) in [
        ("a length", GET),
        ("a length, HTTP/1.0", OLD),
        ("a length, DELETE", DELETE),
        ("a length, POST without a body", POST),
        ("a length, POST with a body", POSTED),
        ("a length, POST with a body, HTTP/1.0", OLD_POSTED),
        ("a length, PUT with a body", PUT),
    ] {
        case(name, request, five, Then::Stay);
    }
    case("chunks, POST with a body", POSTED, chunks, Then::Stay);
    case("413, and an end", POSTED, "HTTP/1.1 413 No\r\nContent-Length: 2\r\n\r\nno", Then::Close);
    case("a length, and an end", GET, five, Then::Close);
    case("nothing", GET, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Then::Stay);
    case("chunks", GET, chunks, Then::Stay);
    case("chunks, HTTP/1.0", OLD, chunks, Then::Stay);
    let trailers = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\norder\r\n0\r\nX-Sum: 1\r\n\r\n";
    case("chunks with a trailer", GET, trailers, Then::Stay);
    case("no chunk", GET, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Then::Stay);
    let both = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\norder\r\n0\r\n\r\n";
    case("chunks and a length", GET, both, Then::Stay);
    case("until it closes", GET, "HTTP/1.1 200 OK\r\n\r\norder", Then::Close);
    case("until it closes, HTTP/1.0", OLD, "HTTP/1.1 200 OK\r\n\r\norder", Then::Close);
    case("until it closes, empty", GET, "HTTP/1.1 200 OK\r\n\r\n", Then::Close);
    case("an old server", GET, "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\norder", Then::Close);
    case(
        "an old server that stays",
        GET,
        "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\norder",
        Then::Stay,
    );
    case("HEAD with a length", HEAD, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Then::Stay);
    case("HEAD with chunks", HEAD, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Then::Stay);
    case("HEAD without either", HEAD, "HTTP/1.1 200 OK\r\n\r\n", Then::Stay);
    case("204", GET, "HTTP/1.1 204 No Content\r\n\r\n", Then::Stay);
    case("304 with a length", GET, "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", Then::Stay);
    case(
        "one length said twice",
        GET,
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\norder",
        Then::Stay,
    );
    case(
        "the server closes",
        GET,
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\norder",
        Then::Close,
    );
    case("404 without a reason", GET, "HTTP/1.1 404\r\nContent-Length: 2\r\n\r\nno", Then::Stay);
    case("500", GET, "HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\nno", Then::Stay);
    for status in ["100 Continue", "103 Early Hints"] {
        let answer = format!("HTTP/1.1 {status}\r\nLink: </x>\r\n\r\n{five}");
        cases.push(Case { name: "1xx before it", request: GET, answer: answer.into_bytes(), then: Then::Stay });
    }
    let mut case = |name, request, answer: &str, then| {
        cases.push(Case { name, request, answer: answer.as_bytes().to_vec(), then });
    };
    case("more than it said", GET, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\norder and more", Then::Stay);
    case("a body behind 204", GET, "HTTP/1.1 204 No Content\r\n\r\nmore", Then::Stay);
    case("more behind its chunks", GET, &format!("{chunks}HTTP/1.1 200 OK\r\n\r\n"), Then::Stay);
    case("a body that is cut short", GET, "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\norder", Then::Close);
    case("a body that is reset", GET, "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\norder", Then::Reset);
    case(
        "chunks that are cut short",
        GET,
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nord",
        Then::Close,
    );
    case(
        "chunks without the last",
        GET,
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\norder\r\n",
        Then::Close,
    );
    case("until it is reset", GET, "HTTP/1.1 200 OK\r\n\r\norder", Then::Reset);
    case("half a head", GET, "HTTP/1.1 200 OK\r\nContent-Le", Then::Close);
    case("half a head, POST", POST, "HTTP/1.1 200 OK\r\nContent-Le", Then::Close);
    case("no answer", GET, "", Then::Close);
    case("no answer, POST", POST, "", Then::Close);
    case("no answer, but a reset", POST, "", Then::Reset);
    for (name, request) in [("POST with a body", POSTED), ("PUT with a body", PUT)] {
        case(name, request, "HTTP/1.1 200 OK\r\nContent-Le", Then::Close);
        case(name, request, "", Then::Close);
        case(name, request, "", Then::Reset);
        case(name, request, "hello\r\n\r\n", Then::Stay);
    }
    case("no HTTP", GET, "hello\r\n\r\n", Then::Stay);
    case("lengths that differ", GET, "HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\norder", Then::Stay);
    case("an upgrade", GET, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", Then::Stay);
    for (name, length) in [("a long body", 700_000), ("a body of a room", 32 * 1024), ("one byte more", 32 * 1024 + 1)]
    {
        let text = "0123456789abcde\n".repeat(length / 16 + 1);
        case(name, GET, &format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{}", &text[..length]), Then::Stay);
        case(name, OLD, &format!("HTTP/1.1 200 OK\r\n\r\n{}", &text[..length]), Then::Close);
        let mut chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned();
        for part in text.as_bytes()[..length].chunks(10_000) {
            write!(chunked, "{:X}\r\n{}\r\n", part.len(), std::str::from_utf8(part).unwrap()).unwrap();
        }
        chunked.push_str("0\r\n\r\n");
        case(name, GET, &chunked, Then::Stay);
    }
    let long = format!("HTTP/1.1 200 OK\r\nX: {}\r\nContent-Length: 5\r\n\r\norder", "x".repeat(50_000));
    case("a long head", GET, &long, Then::Stay);
    cases
}

async fn rig() -> (Rig, Told) {
    let (told, address) = Told::start().await;
    let (a, b) = (Server::start("a").await, Server::start("b").await);
    let servers = Sides { a: vec![address.to_string()], b: vec![b.address.to_string()] };
    let settings = ProxySettings { retry_interval: Duration::from_millis(1), ..ProxySettings::default() };
    let listen = ListenSettings { prior_knowledge: true, ..ListenSettings::default() };
    let rig = Rig::of(a, b, servers, settings, listen);
    rig.serve(Side::A, 1);
    (rig, told)
}

#[tokio::test]
async fn an_answer_in_any_form_comes_to_the_same_by_both_ways() {
    let (rig, told) = rig().await;
    let directory = tempfile::TempDir::new().unwrap();
    let file = directory.path().join("access.log");
    let log = AccessLog::open(&Settings { to: To::File(file.clone()), format: Format::Json }).unwrap();
    rig.pair.be_seen(Seeing { log: Some(log.clone()), ..Seeing::default() });
    let (mut all, mut epoch) = (0_usize, 1);
    let mut outcomes = Vec::new();
    for case in cases() {
        let is_long = case.answer.len() > 5000;
        let hows: &[How] = if is_long { &[How::AtOnce] } else { &[How::AtOnce, How::Dripping, How::HeadFirst] };
        for how in hows {
            *told.script.lock().unwrap() = (case.answer.clone(), *how, case.then);
            // Said twice, it does not keep an old client's connection.
            let is_old = case.request.contains(" HTTP/1.0\r\n");
            for closes in [false, true].into_iter().filter(|closes| *closes || !is_old) {
                if closes && *how != How::AtOnce {
                    continue;
                }
                let mut both = Vec::new();
                for way in [OURS, PINGORAS] {
                    // A connection that another case has left must not be this one's.
                    epoch += 1;
                    rig.serve(Side::A, epoch);
                    let mut outcome = ask(&rig, &told, case.request, &way, closes).await;
                    outcome.line = all;
                    all += if outcome.lasted { 2 } else { 1 };
                    both.push(outcome);
                }
                let name = format!("{} ({how:?}, {}, closes: {closes})", case.name, &case.request[..14]);
                outcomes.push((name, both));
            }
        }
    }
    assert!(outcomes.len() > 150, "the table is there: {}", outcomes.len());
    eventually("all requests are logged", || log.counts().written >= all as u64).await;
    log.close().await;
    let text = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), all, "a line for each request");
    compare(outcomes, &lines);
}

/// Outcomes of both ways, by what was asked for, and the log in which each has its line.
fn compare(outcomes: Vec<(String, Vec<Outcome>)>, lines: &[&str]) {
    let mut wrong = Vec::new();
    for (name, mut both) in outcomes {
        for outcome in &mut both {
            outcome.logged = said(lines[outcome.line]);
            outcome.line = 0;
            if outcome.logged.contains("why=\"the server:") {
                // It was broken off. Pingora may have kept the little that came to itself.
                outcome.is_broken_off();
            }
        }
        let [ours, pingoras] = &both[..] else { panic!("both ways") };
        if ours != pingoras {
            let short = |outcome: &Outcome| {
                let body = outcome.body.len();
                format!("{:.600}", format!("{:?}", Outcome { body: Vec::new(), ..copy(outcome) }))
                    + &format!(" body: {body}")
            };
            wrong.push(format!("{name}:\n  ours:     {}\n  pingora's: {}", short(ours), short(pingoras)));
        }
    }
    assert!(wrong.is_empty(), "{}\n{} differ", wrong.join("\n"), wrong.len());
}

fn copy(outcome: &Outcome) -> Outcome {
    Outcome {
        interim: outcome.interim.clone(),
        status: outcome.status.clone(),
        fields: outcome.fields.clone(),
        body: Vec::new(),
        logged: outcome.logged.clone(),
        ..*outcome
    }
}

/// What a line of the log says.
fn said(line: &str) -> String {
    let line: Value = serde_json::from_str(line).unwrap();
    ["status", "bytes_in", "bytes_out", "by", "attempts", "why", "side", "protocol", "path"]
        .map(|name| format!("{name}={}", line[name]))
        .join(" ")
}

/// What servers see of a request is the same, too.
#[tokio::test]
async fn a_request_in_any_form_reaches_servers_alike() {
    let (rig, told) = rig().await;
    *told.script.lock().unwrap() =
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec(), How::AtOnce, Then::Stay);
    let long = format!("X-Long: {}\r\n", "y".repeat(8000));
    let fields = [
        "",
        "Accept: */*\r\nAccept: text/html\r\nUser-Agent:  a b \r\nX-Empty:\r\n",
        "TE: trailers\r\nTrailer: X\r\nKeep-Alive: timeout=5\r\nProxy-Connection: x\r\nProxy-Authorization: y\r\nUpgrade: h2c\r\n",
        "X-Forwarded-For: 10.9.8.7\r\nForwarded: for=x\r\nX_Real_IP: 1\r\nX-Real-IP: 2\r\nX-Forwarded-Proto: https\r\n",
        "Cookie: a=b\r\ncookie: c=d\r\nContent-Length: 0\r\nCache-Control: no-cache\r\n",
        "X-Byte: \u{e4}\r\nHTTP2-Settings: AAA\r\n",
        &long,
    ];
    let lines = [
        "GET /told",
        "HEAD /told?a=b&c=%20",
        "OPTIONS /told/../x;y=z",
        "PURGE /told",
        "DELETE /told//a",
        "POST /told",
        "PUT /told",
    ];
    for line in lines {
        for (fields, body) in fields.into_iter().flat_map(|fields| [(fields, ""), (fields, "an order")]) {
            let is_said = body.is_empty() || fields.contains("Content-Length");
            let length = if is_said { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
            let body = if is_said { "" } else { body };
            for version in ["1.0", "1.1"] {
                let mut both = Vec::new();
                for way in [OURS, PINGORAS] {
                    let before = told.seen.lock().unwrap().len();
                    let head = format!(
                        "{line} HTTP/{version}\r\nHost: pair\r\n{fields}{length}Connection: {}\r\n\r\n{body}",
                        way.close
                    );
                    let mut client = TcpStream::connect(rig.at).await.unwrap();
                    client.write_all(head.as_bytes()).await.unwrap();
                    let mut read = Vec::new();
                    tokio::time::timeout(PATIENCE, client.read_to_end(&mut read)).await.unwrap().unwrap();
                    let seen = told.seen.lock().unwrap()[before..].to_vec();
                    assert_eq!(seen.len(), 1, "{head}");
                    let (first, rest) = seen[0].1.split_once("\r\n").unwrap();
                    let mut rest: Vec<String> = rest
                        .lines()
                        .map(|line| {
                            line.split_once(':')
                                .map_or(line.to_owned(), |(name, value)| format!("{}:{value}", name.to_lowercase()))
                        })
                        .collect();
                    rest.sort();
                    both.push((first.to_owned(), rest, read.len()));
                }
                assert_eq!(both[0].0, both[1].0, "{line} {fields}");
                assert_eq!(both[0].1, both[1].1, "{line} {fields}");
            }
        }
    }
}

/// What comes on a connection while nobody uses it is no answer to whoever uses it next.
#[tokio::test]
async fn what_a_server_mutters_is_nobodys_answer() {
    let (rig, told) = rig().await;
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\norder".to_vec();
    *told.script.lock().unwrap() = (answer, How::AtOnce, Then::Mutter);
    for (method, epoch) in [("GET", 2), ("POST", 3)] {
        rig.serve(Side::A, epoch);
        let (muttered, connections) = (told.muttered.load(SeqCst), told.connections.load(SeqCst));
        let mut client = super::rig::Client::connect(rig.at).await;
        assert_eq!(client.get("/told").await.unwrap().body, "order");
        eventually("it has muttered", || told.muttered.load(SeqCst) > muttered).await;
        // POST asks the kernel; GET knows what the kernel has told us, which it has after a turn.
        tokio::time::sleep(Duration::from_millis(5)).await;
        client.send(format!("{method} /again HTTP/1.1\r\nHost: pair\r\n\r\n")).await;
        assert_eq!(client.reply().await.unwrap().body, "ok", "{method}");
        assert_eq!(told.connections.load(SeqCst) - connections, 2, "{method}: on another connection");
    }
}

/// An answer that only its connection's end ends must not look whole when it is not.
#[tokio::test]
async fn an_old_client_can_tell_what_was_broken_off() {
    let (rig, told) = rig().await;
    for (then, is_whole) in [(Then::Close, true), (Then::Reset, false)] {
        *told.script.lock().unwrap() = (b"HTTP/1.1 200 OK\r\n\r\norder".to_vec(), How::AtOnce, then);
        let mut client = TcpStream::connect(rig.at).await.unwrap();
        client.write_all(b"GET /told HTTP/1.0\r\nHost: pair\r\n\r\n").await.unwrap();
        let mut read = Vec::new();
        let end = tokio::time::timeout(PATIENCE, client.read_to_end(&mut read)).await.unwrap();
        assert_eq!(end.is_ok(), is_whole, "{then:?}: {}", String::from_utf8_lossy(&read));
    }
}
