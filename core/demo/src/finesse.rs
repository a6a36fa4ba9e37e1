//! A simulated Cisco Finesse server: publisher or subscriber.
//!
//! It answers `SystemInfo` over HTTPS with the vendor's fields, keeps a session with one of its CTI servers and tries
//! the next when it has lost it (`cti`), and is present at its Notification Service as the user `finesse`
//! (`presence`). Desktops ask it over HTTP, as an edge does for them. While it is not in service it answers as the vendor
//! does, 503 with an `ApiErrors` document, and sends no events on connections that are open.
//!
//! It judges nobody, but writes down each request, who asked, and whether it was in service then ([`Seen`]).

mod cti;
mod presence;
mod secure;
mod seen;
mod texts;

pub use seen::{Kind, Seen, file_name, read};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use lockstep_policy::Side;
use seen::Pen;
use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

use crate::app::{ID_HEADER, SIDE_HEADER};

/// The vendor's own path of the state of a server.
pub const SYSTEM_INFO: &str = "/finesse/api/SystemInfo";
/// Here a desktop is sent events for as long as its connection lasts: a line each [`EVENT`].
pub const EVENTS: &str = "/desktop/events";
/// From one event to the next.
pub const EVENT: Duration = Duration::from_millis(100);

/// What `simulate finesse` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// The side that this server is: a is the publisher
    #[arg(long)]
    pub side: Side,
    /// Where SystemInfo is answered, over HTTPS; the vendor's port is 8445
    #[arg(long)]
    pub api: SocketAddr,
    /// The certificate of it, a PEM file
    #[arg(long)]
    pub certificate: PathBuf,
    /// The key of the certificate, a PEM file
    #[arg(long)]
    pub key: PathBuf,
    /// Where desktops are answered, over HTTP
    #[arg(long)]
    pub desktop: SocketAddr,
    /// The CTI servers that it tries in turn; without one it needs none
    #[arg(long)]
    pub cti: Vec<SocketAddr>,
    /// From one CTI heartbeat to the next; after three without an answer the CTI server is lost
    #[arg(long, default_value = "5s", value_parser = humantime::parse_duration)]
    pub cti_heartbeat: Duration,
    /// Where its Notification Service takes XMPP clients; without it nobody is present there
    #[arg(long, requires = "password")]
    pub notification: Option<SocketAddr>,
    /// The domain of its Notification Service
    #[arg(long, default_value = "localhost")]
    pub domain: String,
    /// The password of the user `finesse` there
    #[arg(long)]
    pub password: Option<String>,
    /// A file with a word, looked at all the time: `in-service`, or `out-of-service` (SystemInfo says so), `unavailable`
    /// (SystemInfo is answered 503, as everything else), `falter` (the next SystemInfo is answered 503, and no other),
    /// `absent` (in service, but its user `finesse` is not)
    #[arg(long)]
    pub control: Option<PathBuf>,
    /// Where each request is written down
    #[arg(long)]
    pub log: PathBuf,
}

/// What it was told to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    InService,
    OutOfService,
    Unavailable,
    Falter,
    Absent,
}

/// Runs until the process is told to stop.
///
/// # Errors
/// It cannot listen, its certificate is none, or its log cannot be written.
pub fn run(options: Options) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, live(options))
}

async fn live(options: Options) -> anyhow::Result<()> {
    let mut stop = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let secure = secure::acceptor(&options.certificate, &options.key)?;
    let api = TcpListener::bind(options.api).await?;
    let desktop = TcpListener::bind(options.desktop).await?;
    let server = Rc::new(Server::new(options)?);
    tokio::task::spawn_local(cti::keep(server.clone()));
    tokio::task::spawn_local(presence::keep(server.clone()));
    loop {
        tokio::select! {
            _ = stop.recv() => return Ok(()),
            stream = accepted(&api) => {
                let (server, secure) = (server.clone(), secure.clone());
                tokio::task::spawn_local(async move {
                    // Who does not speak TLS ends his own connection only.
                    if let Ok(stream) = secure.accept(stream).await {
                        connection(server, stream).await;
                    }
                });
            }
            stream = accepted(&desktop) => {
                tokio::task::spawn_local(connection(server.clone(), stream));
            }
        }
    }
}

async fn accepted(listener: &TcpListener) -> TcpStream {
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            return stream;
        }
        // Out of descriptors, or the peer has gone again: the next one may do better, a moment later.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn connection(server: Rc<Server>, stream: impl AsyncRead + AsyncWrite + Unpin) {
    let service = service_fn(move |request| {
        let server = server.clone();
        async move { server.answer(&request) }
    });
    // A client that says nothing, or garbage, ends its own connection only.
    let _ = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(60))
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

struct Server {
    options: Options,
    pen: Pen,
    /// The number of the CTI host that it has a session with, and since when.
    connected: Cell<Option<(usize, u64)>>,
    /// Whether the last CTI heartbeat was a success.
    heartbeat: Cell<bool>,
    /// The latest word that was whole: the file may be read while it is written.
    said: Cell<Word>,
    /// Its text, so that the same order to falter is not followed twice.
    faltered: RefCell<String>,
}

impl Server {
    fn new(options: Options) -> io::Result<Server> {
        let pen = Pen::open(&options.log)?;
        let needs_none = options.cti.is_empty();
        Ok(Server {
            options,
            pen,
            connected: Cell::new(None),
            heartbeat: Cell::new(needs_none),
            said: Cell::new(Word::InService),
            faltered: RefCell::default(),
        })
    }

    /// What it was told last. A word to falter is followed once: a number behind it makes it another one.
    fn word(&self) -> Word {
        let text =
            self.options.control.as_ref().and_then(|file| std::fs::read_to_string(file).ok()).unwrap_or_default();
        let word = match text.split_whitespace().next() {
            Some("in-service") => Word::InService,
            Some("out-of-service") => Word::OutOfService,
            Some("unavailable") => Word::Unavailable,
            Some("falter") if *self.faltered.borrow() == text => Word::InService,
            Some("falter") => Word::Falter,
            Some("absent") => Word::Absent,
            _ => self.said.get(),
        };
        self.said.set(word);
        word
    }

    fn has_cti(&self) -> bool {
        self.options.cti.is_empty() || self.connected.get().is_some()
    }

    fn in_service(&self) -> bool {
        self.has_cti() && matches!(self.word(), Word::InService | Word::Falter | Word::Absent)
    }

    fn answer(self: &Rc<Server>, request: &Request<Incoming>) -> io::Result<Response<Answer>> {
        let path = request.uri().path();
        if path == SYSTEM_INFO {
            return self.system_info();
        }
        let in_service = self.in_service();
        let kind = if path == EVENTS { Kind::Events } else { Kind::Desktop };
        let field = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
        let client = field("x-forwarded-for").and_then(|client| client.parse().ok());
        let id = field(ID_HEADER).and_then(|id| id.parse().ok());
        self.pen.write(&Seen { at: crate::now(), kind, client, id, in_service })?;
        match (in_service, kind) {
            (false, _) => self.reply(StatusCode::SERVICE_UNAVAILABLE, XML, texts::api_errors().into()),
            (true, Kind::Events) => Ok(self.head(StatusCode::OK, TEXT)?.map(|()| Answer::Events(Events::new(self)))),
            (true, _) => self.reply(StatusCode::OK, TEXT, format!("side {}\n", self.options.side).into()),
        }
    }

    fn system_info(&self) -> io::Result<Response<Answer>> {
        let word = self.word();
        if word == Word::Falter {
            let text = self.options.control.as_ref().and_then(|file| std::fs::read_to_string(file).ok());
            self.faltered.replace(text.unwrap_or_default());
        }
        let unavailable = matches!(word, Word::Unavailable | Word::Falter);
        let in_service = self.in_service() && !unavailable;
        self.pen.write(&Seen { at: crate::now(), kind: Kind::Poll, client: None, id: None, in_service })?;
        if unavailable {
            return self.reply(StatusCode::SERVICE_UNAVAILABLE, XML, texts::api_errors().into());
        }
        self.reply(StatusCode::OK, XML, texts::system_info(self).into())
    }

    fn reply(&self, status: StatusCode, kind: &str, body: Bytes) -> io::Result<Response<Answer>> {
        Ok(self.head(status, kind)?.map(|()| Answer::Whole(Full::new(body))))
    }

    fn head(&self, status: StatusCode, kind: &str) -> io::Result<Response<()>> {
        Response::builder()
            .status(status)
            .header("content-type", kind)
            .header(SIDE_HEADER, self.options.side.to_string())
            .body(())
            .map_err(io::Error::other)
    }
}

const XML: &str = "application/xml; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// An answer's body.
enum Answer {
    Whole(Full<Bytes>),
    Events(Events),
}

/// Events without end; none while the server is not in service.
struct Events {
    server: Rc<Server>,
    next: tokio::time::Interval,
    sent: u64,
}

impl Events {
    fn new(server: &Rc<Server>) -> Events {
        Events { server: server.clone(), next: tokio::time::interval(EVENT), sent: 0 }
    }

    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Bytes> {
        loop {
            ready!(self.next.poll_tick(context));
            if self.server.in_service() {
                self.sent += 1;
                return Poll::Ready(format!("event {} of {}\n", self.sent, self.server.options.side).into());
            }
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Answer::Whole(body) => Pin::new(body).poll_frame(context),
            Answer::Events(events) => events.poll_event(context).map(|event| Some(Ok(Frame::data(event)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Answer::Whole(body) => body.is_end_stream(),
            Answer::Events(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Answer::Whole(body) => body.size_hint(),
            Answer::Events(_) => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests;
