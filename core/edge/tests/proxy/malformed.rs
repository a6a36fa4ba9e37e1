//! Requests and answers that are malformed, or that others would read otherwise than we do: the tables are in `malformed/`.

use super::rig::{Client, PATIENCE, Rig, Server, get};
use lockstep_edge::proxy::{ListenSettings, ProxySettings};
use lockstep_policy::{Side, Sides};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

struct Case {
    name: String,
    expected: String,
    bytes: Vec<u8>,
}

/// The cases of a table.
fn cases(table: &str) -> Vec<Case> {
    let lines: Vec<&str> = table.lines().filter(|line| !line.starts_with("# ")).collect();
    let blocks = lines.split(|line| line.trim().is_empty()).filter(|block| !block.is_empty());
    let case = |block: &[&str]| Case {
        name: block[0].to_owned(),
        expected: block[1].strip_prefix("= ").expect("what is expected").to_owned(),
        bytes: unescape(&block[2..].concat()),
    };
    blocks.map(case).collect()
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let taken = match first {
            '\\' => {
                let (byte, taken) = match rest.as_bytes()[1] {
                    b'r' => (b'\r', 2),
                    b'n' => (b'\n', 2),
                    b't' => (b'\t', 2),
                    b'0' => (0, 2),
                    b'x' => (u8::from_str_radix(&rest[2..4], 16).unwrap(), 4),
                    other => (other, 2),
                };
                bytes.push(byte);
                taken
            }
            '{' => {
                let end = rest.find('}').expect("an end of what is repeated");
                let (times, what) = rest[1..end].split_once('*').expect("{N*TEXT}");
                bytes.extend(unescape(what).repeat(times.parse().unwrap()));
                end + 1
            }
            other => {
                bytes.extend(other.to_string().bytes());
                other.len_utf8()
            }
        };
        rest = &rest[taken..];
    }
    bytes
}

/// A server that counts requests that are whole, answers each, and answers `/case` with what it was told to.
#[derive(Clone, Default)]
struct Strict {
    whole: Arc<Mutex<Vec<String>>>,
    answer: Arc<Mutex<Vec<u8>>>,
    /// Connections that have ended, of those on which `/case` was answered.
    ended: Arc<Mutex<usize>>,
}

impl Strict {
    async fn start() -> (Strict, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let strict = Strict::default();
        let of = strict.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(of.clone().converse(socket));
            }
        });
        (strict, address)
    }

    async fn converse(self, mut socket: TcpStream) {
        let mut buffer = Vec::new();
        let mut was_told = false;
        loop {
            while let Some(length) = whole(&buffer) {
                let head = String::from_utf8_lossy(&buffer[..length]).into_owned();
                buffer.drain(..length);
                let answer = if head.starts_with("GET /case ") {
                    was_told = true;
                    self.answer.lock().unwrap().clone()
                } else {
                    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec()
                };
                self.whole.lock().unwrap().push(head);
                // Who has enough of a long answer closes.
                let _ = socket.write_all(&answer).await;
            }
            if !matches!(socket.read_buf(&mut buffer).await, Ok(1..)) {
                *self.ended.lock().unwrap() += usize::from(was_told);
                return;
            }
        }
    }

    /// Requests that were whole, but for those of the neighbour.
    fn count(&self) -> usize {
        self.whole.lock().unwrap().iter().filter(|head| !head.starts_with("GET /beside ")).count()
    }
}

/// The length of the request that the bytes begin with, when it is whole, as the most lenient server would see it.
fn whole(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned());
    if field("transfer-encoding:").is_some() {
        let body = &bytes[head..];
        let end = if body.starts_with(b"0\r\n") { Some(0) } else { find(body, b"\r\n0\r\n").map(|at| at + 2) }?;
        return find(&body[end..], b"\r\n\r\n").map(|last| head + end + last + 4);
    }
    let length = field("content-length:").and_then(|length| length.parse().ok()).unwrap_or(0usize);
    (bytes.len() - head >= length).then(|| head + length)
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// A rig whose side A is a strict server, and which waits for nobody for long.
async fn rig() -> (Rig, Strict) {
    let (strict, address) = Strict::start().await;
    let listen = ListenSettings {
        head_timeout: Duration::from_millis(400),
        idle_timeout: Duration::from_secs(2),
        read_timeout: Duration::from_millis(400),
        ..ListenSettings::default()
    };
    let (a, b) = (Server::start("a").await, Server::start("b").await);
    let servers = Sides { a: vec![address.to_string()], b: vec![b.address.to_string()] };
    let settings = ProxySettings { read_timeout: Duration::from_secs(1), ..ProxySettings::default() };
    let rig = Rig::of(a, b, servers, settings, listen);
    rig.serve(Side::A, 1);
    (rig, strict)
}

/// The statuses in what a client has read.
fn statuses(read: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(read);
    let lines = text.split("HTTP/1.1 ").skip(1);
    let statuses = lines.map(|line| line.chars().take(3).collect::<String>());
    // The word also stands in what we say.
    statuses.filter(|status| status.parse::<u16>().is_ok()).collect()
}

fn fits(expected: &str, got: &[String]) -> bool {
    match expected {
        "close" => got.is_empty(),
        "refused" => got.is_empty() || (got.len() == 1 && (got[0].starts_with('4') || got[0] == "501")),
        statuses => statuses.split(' ').eq(got.iter().map(String::as_str)),
    }
}

/// Asks for another path on one connection all the time; returns how often.
async fn stay_beside(at: SocketAddr, stop: Arc<AtomicBool>) -> usize {
    let mut neighbour = Client::connect(at).await;
    let mut asked = 0;
    while !stop.load(SeqCst) {
        assert_eq!(neighbour.get("/beside").await.expect("the neighbour's connection stays").status, 200);
        asked += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    asked
}

/// Sends a case and reads until the end of the connection.
async fn read_all(at: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut socket = TcpStream::connect(at).await.unwrap();
    // The answer may come, and the connection end, before all is sent.
    let _ = socket.write_all(bytes).await;
    let mut read = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, async {
        let mut part = [0; 4096];
        while let Ok(some @ 1..) = socket.read(&mut part).await {
            read.extend_from_slice(&part[..some]);
        }
    });
    assert!(ended.await.is_ok(), "the connection never ended: {:?}", String::from_utf8_lossy(bytes));
    read
}

#[tokio::test]
async fn no_malformed_request_reaches_a_server_or_hurts_a_neighbour() {
    let (rig, strict) = rig().await;
    let mut wrong = Vec::new();
    let table = cases(include_str!("malformed/requests.txt"));
    assert!(table.len() > 100, "the table has been read");
    let stop = Arc::new(AtomicBool::new(false));
    let neighbour = tokio::spawn(stay_beside(rig.at, Arc::clone(&stop)));
    for case in table {
        let before = strict.count();
        let got = statuses(&read_all(rig.at, &case.bytes).await);
        let reached = strict.count() - before;
        let may_reach = case.expected.split(' ').filter(|status| *status == "200").count();
        if !fits(&case.expected, &got) || reached != may_reach {
            wrong.push(format!(
                "{}: answered {got:?}, expected {}; reached the server: {reached}",
                case.name, case.expected
            ));
        }
        assert_eq!(get(rig.at, "/").await.expect("a neighbour is served").status, 200, "after: {}", case.name);
    }
    stop.store(true, SeqCst);
    assert!(neighbour.await.unwrap() > 0, "the neighbour asked meanwhile");
    assert!(wrong.is_empty(), "{}\n{} cases", wrong.join("\n"), wrong.len());
}

#[tokio::test]
async fn a_malformed_answer_is_no_answer_and_ends_its_connection() {
    let (rig, strict) = rig().await;
    let mut wrong = Vec::new();
    for (number, case) in cases(include_str!("malformed/answers.txt")).into_iter().enumerate() {
        strict.answer.lock().unwrap().clone_from(&case.bytes);
        let before = *strict.ended.lock().unwrap();
        let read = read_all(rig.at, b"GET /case HTTP/1.1\r\nHost: pair\r\nConnection: close\r\n\r\n").await;
        let got = statuses(&read);
        let good = match case.expected.as_str() {
            "cut" => !read.ends_with(b"0\r\n\r\n"),
            expected => fits(expected, &got),
        };
        // A 502 after a try that was repeated has ended several connections.
        let ends = async {
            while *strict.ended.lock().unwrap() == before {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let ended = tokio::time::timeout(Duration::from_secs(3), ends).await.is_ok();
        if !good || !ended {
            wrong.push(format!("{number} {}: answered {got:?}, expected {}; ended: {ended}", case.name, case.expected));
        }
        assert_eq!(get(rig.at, "/").await.expect("a neighbour is served").status, 200, "after: {}", case.name);
    }
    assert!(wrong.is_empty(), "{}\n{} cases", wrong.join("\n"), wrong.len());
}

#[tokio::test]
async fn an_answer_with_both_lengths_has_one_to_its_client() {
    let (rig, strict) = rig().await;
    let both = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nwhole\r\n0\r\n\r\n";
    strict.answer.lock().unwrap().clone_from(&both.to_vec());
    let read = read_all(rig.at, b"GET /case HTTP/1.1\r\nHost: pair\r\nConnection: close\r\n\r\n").await;
    let answer = String::from_utf8(read).unwrap().to_ascii_lowercase();
    let refused = answer.starts_with("http/1.1 502 ");
    let clear = answer.contains("5\r\nwhole\r\n0\r\n") && !answer.contains("content-length");
    assert!(refused || clear, "{answer}");
    assert_eq!(get(rig.at, "/").await.expect("a neighbour is served").status, 200);
}
