//! A steady stream of requests, and what became of each.
//!
//! Open loop: each request has its time, and goes out then whatever became of those before it, on a connection of its
//! own if none is idle. Nothing is ever sent twice: what a real client's library would hide by a retry is counted as a
//! failure here.

use crate::app::{CTI_HEADER, ID_HEADER, SERVER_HEADER, SIDE_HEADER};
use crate::tally::{self, Exchange};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use std::cell::{Cell, RefCell};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep_until, timeout};

/// The most of an answer that is read.
const ANSWER_MAX: usize = 1 << 20;

/// What `simulate client` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Where requests go, such as http://127.0.0.1:8080/work
    #[arg(long)]
    pub url: Uri,
    /// Requests in a second
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    pub rate: u32,
    /// For how many seconds; until told to stop when left out
    #[arg(long)]
    pub seconds: Option<u64>,
    /// The address that its connections come from; the system's choice when left out
    #[arg(long)]
    pub from: Option<IpAddr>,
    /// Every Nth request is a POST; none when 0
    #[arg(long, default_value_t = 0)]
    pub post_every: u64,
    /// How long an answer is waited for
    #[arg(long, default_value = "15s", value_parser = humantime::parse_duration)]
    pub timeout: Duration,
    /// How many requests may be under way at once; one more counts as failed
    #[arg(long, default_value_t = 10_000)]
    pub most: usize,
    /// Where each exchange is written down, one JSON object a line
    #[arg(long)]
    pub log: Option<PathBuf>,
}

/// Sends until its time is over or it is told to stop, waits for what is under way, and prints the summary as one line
/// of JSON.
///
/// # Errors
/// The address is none that can be asked, or the log cannot be written.
pub fn run(options: Options) -> anyhow::Result<()> {
    crate::descriptors::as_many_as_allowed();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let exchanges = tokio::task::LocalSet::new().block_on(&runtime, stream(options))?;
    println!("{}", serde_json::to_string(&tally::summarise_all(&exchanges))?);
    Ok(())
}

async fn stream(options: Options) -> anyhow::Result<Vec<Exchange>> {
    let client = Rc::new(Client::new(options)?);
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (begin, begin_ns) = (Instant::now(), crate::now());
    let last = client.options.seconds.map_or(u64::MAX, |seconds| seconds * u64::from(client.options.rate));
    for n in 0..last {
        let after = Duration::from_nanos(n * 1_000_000_000 / u64::from(client.options.rate));
        tokio::select! {
            biased;
            _ = term.recv() => break,
            _ = int.recv() => break,
            () = sleep_until(begin + after) => {}
        }
        client.under_way.set(client.under_way.get() + 1);
        tokio::task::spawn_local(client.clone().exchange(n, begin_ns + crate::clock::nanos(after)));
    }
    while client.under_way.get() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(client.seen.take())
}

struct Client {
    options: Options,
    authority: String,
    log: Option<File>,
    /// Connections on which nothing is under way; the last one used is used first.
    idle: RefCell<Vec<SendRequest<Full<Bytes>>>>,
    under_way: Cell<usize>,
    seen: RefCell<Vec<Exchange>>,
}

/// What of an answer is told on.
struct Answer {
    status: u16,
    side: Option<lockstep_policy::Side>,
    server: Option<String>,
    active: Option<bool>,
    retry_after: Option<u64>,
}

impl Client {
    fn new(options: Options) -> anyhow::Result<Client> {
        let host = options
            .url
            .host()
            .ok_or_else(|| anyhow::anyhow!("`{}` names no host: say http://HOST:PORT/PATH", options.url))?;
        let authority = format!("{host}:{}", options.url.port_u16().unwrap_or(80));
        let log = match &options.log {
            Some(path) => Some(OpenOptions::new().append(true).create(true).open(path)?),
            None => None,
        };
        Ok(Client {
            options,
            authority,
            log,
            idle: RefCell::default(),
            under_way: Cell::new(0),
            seen: RefCell::default(),
        })
    }

    async fn exchange(self: Rc<Client>, n: u64, due: u64) {
        let method =
            if self.options.post_every > 0 && n.is_multiple_of(self.options.post_every) { "POST" } else { "GET" };
        let sent = crate::now();
        let result = if self.under_way.get() > self.options.most {
            Err("too many under way".to_owned())
        } else {
            timeout(self.options.timeout, self.ask(n, method)).await.unwrap_or_else(|_| Err("timeout".to_owned()))
        };
        self.under_way.set(self.under_way.get() - 1);
        let (answer, error) = match result {
            Ok(answer) => (Some(answer), None),
            Err(error) => (None, Some(error)),
        };
        self.note(Exchange {
            n,
            method: method.to_owned(),
            due,
            sent,
            ended: crate::now(),
            status: answer.as_ref().map(|answer| answer.status),
            side: answer.as_ref().and_then(|answer| answer.side),
            server: answer.as_ref().and_then(|answer| answer.server.clone()),
            active: answer.as_ref().and_then(|answer| answer.active),
            retry_after: answer.as_ref().and_then(|answer| answer.retry_after),
            error,
        });
    }

    async fn ask(&self, n: u64, method: &str) -> Result<Answer, String> {
        let body = if method == "POST" { format!("request {n}") } else { String::new() };
        let request = Request::builder()
            .method(method)
            .uri(self.options.url.path_and_query().map_or("/", |path| path.as_str()))
            .header("host", &self.authority)
            .header(ID_HEADER, n.to_string())
            .body(Full::new(Bytes::from(body.clone())))
            .map_err(|error| error.to_string())?;
        let mut connection = self.connection().await?;
        let response = connection.send_request(request).await.map_err(|error| cause(&error))?;
        let (head, answer) = response.into_parts();
        let answer =
            Limited::new(answer, ANSWER_MAX).collect().await.map_err(|_| "answer cut off".to_owned())?.to_bytes();
        if method == "POST" && head.status.is_success() && answer != body.as_bytes() {
            return Err("another request's answer".to_owned());
        }
        self.idle.borrow_mut().push(connection);
        Ok(read_head(&Response::from_parts(head, ())))
    }

    async fn connection(&self) -> Result<SendRequest<Full<Bytes>>, String> {
        loop {
            let Some(mut idle) = self.idle.borrow_mut().pop() else { break };
            if idle.ready().await.is_ok() {
                return Ok(idle);
            }
        }
        let stream = self.connect().await.map_err(|error| format!("connect: {}", error.kind()))?;
        let _ = stream.set_nodelay(true);
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|error| cause(&error))?;
        tokio::task::spawn_local(connection);
        Ok(sender)
    }

    async fn connect(&self) -> std::io::Result<TcpStream> {
        let Some(from) = self.options.from else { return TcpStream::connect(&self.authority).await };
        let to = tokio::net::lookup_host(&self.authority).await?.find(|to| to.is_ipv4() == from.is_ipv4());
        let socket = if from.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.bind(SocketAddr::new(from, 0))?;
        socket.connect(to.ok_or(std::io::ErrorKind::AddrNotAvailable)?).await
    }

    fn note(&self, exchange: Exchange) {
        if let Some(mut log) = self.log.as_ref() {
            // An exchange is plain numbers and texts: it has a JSON form.
            let mut line = serde_json::to_string(&exchange).unwrap_or_default();
            line.push('\n');
            if let Err(error) = log.write_all(line.as_bytes()) {
                eprintln!("simulated client: cannot write its log: {error}");
                std::process::exit(1);
            }
        }
        self.seen.borrow_mut().push(exchange);
    }
}

fn read_head(response: &Response<()>) -> Answer {
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    Answer {
        status: response.status().as_u16(),
        side: header(SIDE_HEADER).and_then(|side| side.parse().ok()),
        server: header(SERVER_HEADER).map(str::to_owned),
        active: header(CTI_HEADER).map(|state| state == "active"),
        retry_after: header("retry-after").and_then(|seconds| seconds.parse().ok()),
    }
}

/// A few words for each way to fail, so that equal ones are counted together.
fn cause(error: &hyper::Error) -> String {
    if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        return "closed before the answer".to_owned();
    }
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<std::io::Error>());
    source.map_or_else(|| error.to_string(), |io| io.kind().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// Answers each connection's requests with `answer` and then closes it, as often as `connections` says; then nobody
    /// listens.
    async fn peer(listener: tokio::net::TcpListener, connections: usize, answer: &'static str) {
        for _ in 0..connections {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0u8; 4096];
            assert!(stream.read(&mut request).await.unwrap() > 0);
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    }

    fn told(answer: &'static str, connections: usize) -> tally::Summary {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}/work", listener.local_addr().unwrap()).parse().unwrap();
            tokio::task::spawn_local(peer(listener, connections, answer));
            let options = Options {
                url,
                rate: 10,
                seconds: Some(1),
                post_every: 0,
                from: None,
                timeout: Duration::from_secs(10),
                most: 100,
                log: None,
            };
            tally::summarise_all(&stream(options).await.unwrap())
        })
    }

    #[test]
    fn reads_side_and_state_from_the_answer() {
        let summary = told(
            "HTTP/1.1 200 OK\r\nx-side: b\r\nx-cti: standby\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            10,
        );
        assert_eq!((summary.requests, summary.failed, summary.from_b, summary.by_standby), (10, 0, 10, 10));
    }

    #[test]
    fn counts_each_failure_once_with_its_cause() {
        let summary = told("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort", 4);
        assert_eq!((summary.requests, summary.failed), (10, 10));
        assert_eq!(summary.failures["answer cut off"], 4, "{:?}", summary.failures);
        assert_eq!(summary.failures["connect: connection refused"], 6, "{:?}", summary.failures);
        let refused = told("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", 10);
        assert_eq!(refused.failures["status 503 to GET"], 10);
    }
}
