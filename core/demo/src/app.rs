//! The simulated web application of a telisca server.
//!
//! It answers the vendor's monitor (`/IPSCFG/admin/monitor.aspx`) as the vendor says, and any other path with the name
//! of its side and the state of its CTI. What lasts is asked for by `?bytes=1048576`, `?wait=10s`, and by WebSockets at [`SOCKET`]. It always serves, like the real one: whether a request should have come here
//! is for the edge to know. So it writes down each request that it served while its own CTI was not active
//! ([`Misplaced`]), and that log is the judge.

mod lasting;

pub use lasting::{PAGE, SOCKET, text};

use crate::lines;
use crate::lock::ActiveLock;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use lasting::Wish;
use lockstep_policy::Side;
use rustix::net::{RecvFlags, recv};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::str::FromStr;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

/// The vendor's monitor.
pub const MONITOR: &str = "/IPSCFG/admin/monitor.aspx";
/// The answer's header that names the side.
pub const SIDE_HEADER: &str = "x-side";
/// The answer's header that says whether the side's CTI was active: `active` or `standby`.
pub const CTI_HEADER: &str = "x-cti";
/// The answer's header that names the server, where it has a name.
pub const SERVER_HEADER: &str = "x-server";
/// The request's header that the log repeats.
pub const ID_HEADER: &str = "x-request-id";
/// The largest body that is echoed.
const BODY_MAX: usize = 1 << 20;

/// What `simulate app` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// The side that this server is
    #[arg(long)]
    pub side: Side,
    /// The name that it answers with, where a side has several servers
    #[arg(long)]
    pub name: Option<String>,
    /// Where it listens
    #[arg(long)]
    pub listen: SocketAddr,
    /// The file that this side's CTI holds locked while it is active
    #[arg(long)]
    pub lock: PathBuf,
    /// Where each request served while the CTI was not active is written down
    #[arg(long)]
    pub log: PathBuf,
    /// Where each request that was done is written down, if anywhere, its own CTI active or not
    #[arg(long)]
    pub done: Option<PathBuf>,
    /// How long a request takes
    #[arg(long, default_value = "0ms", value_parser = humantime::parse_duration)]
    pub service_time: Duration,
    /// How long the framework takes to start
    #[arg(long, default_value = "0ms", value_parser = humantime::parse_duration)]
    pub start_time: Duration,
    /// While this file exists, its text is the answer to mod=IPSWS
    #[arg(long)]
    pub control: Option<PathBuf>,
}

/// A request that was served: one of the log of those for which the side's own CTI was not active, or of the log of all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misplaced {
    /// When, on `CLOCK_BOOTTIME`, in nanoseconds.
    pub at: u64,
    /// The side that served it.
    pub side: Side,
    /// The request's method.
    pub method: String,
    /// Its path.
    pub path: String,
    /// Its id, `-` when it has none.
    pub id: String,
    /// Whether somebody was still there to get the answer. When not, the request had been withdrawn by cutting its
    /// connection, and the application found it in its socket's queue (after a hang, for example).
    pub awaited: bool,
}

impl fmt::Display for Misplaced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let peer = if self.awaited { "awaited" } else { "withdrawn" };
        write!(f, "{} {} {} {} {} {peer}", self.at, self.side, self.method, self.path, self.id)
    }
}

impl FromStr for Misplaced {
    type Err = String;

    fn from_str(line: &str) -> Result<Misplaced, String> {
        let wrong = || format!("`{line}` is not `NANOSECONDS SIDE METHOD PATH ID awaited|withdrawn`");
        let [at, side, method, path, id, peer] = line.split(' ').collect::<Vec<_>>()[..] else { return Err(wrong()) };
        let awaited = match peer {
            "awaited" => true,
            "withdrawn" => false,
            _ => return Err(wrong()),
        };
        let (at, side) = (at.parse().map_err(|_| wrong())?, side.parse().map_err(|_| wrong())?);
        Ok(Misplaced { at, side, method: method.into(), path: path.into(), id: id.into(), awaited })
    }
}

/// Reads an application's log; a missing file is an empty log.
///
/// # Errors
/// The file cannot be read, or a whole line is not one of ours.
pub fn misplaced(path: &Path) -> io::Result<Vec<Misplaced>> {
    lines::read(path, str::parse)
}

/// The name of a side's log in a folder.
#[must_use]
pub fn file_name(side: Side) -> String {
    format!("app-{side}.misplaced")
}

/// Serves until the process is told to stop.
///
/// # Errors
/// It cannot listen, or its files cannot be opened.
pub fn run(options: Options) -> anyhow::Result<()> {
    crate::descriptors::as_many_as_allowed();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, serve(options))
}

async fn serve(options: Options) -> anyhow::Result<()> {
    tokio::time::sleep(options.start_time).await;
    let listener = TcpListener::bind(options.listen)
        .await
        .map_err(|error| anyhow::anyhow!("simulated application: cannot listen on {}: {error}", options.listen))?;
    serve_on(&listener, options).await
}

async fn serve_on(listener: &TcpListener, options: Options) -> anyhow::Result<()> {
    let server = Rc::new(Server {
        lock: ActiveLock::open(&options.lock)?,
        log: append(&options.log)?,
        done: options.done.as_deref().map(append).transpose()?,
        options,
    });
    let mut stop = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    loop {
        tokio::select! {
            _ = stop.recv() => return Ok(()),
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else {
                    // Out of descriptors, or the peer has gone again: the next one may do better, a moment later.
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    continue;
                };
                tokio::task::spawn_local(connection(server.clone(), stream));
            }
        }
    }
}

fn append(log: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(log)
}

async fn connection(server: Rc<Server>, stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let Ok(peer) = stream.as_fd().try_clone_to_owned().map(Rc::new) else { return };
    let service = service_fn(move |request| {
        let (server, peer) = (server.clone(), peer.clone());
        async move { server.answer(request, &peer).await }
    });
    // A client that says nothing, or garbage, ends its own connection only.
    let _ = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(60))
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
}

struct Server {
    options: Options,
    lock: ActiveLock,
    log: File,
    done: Option<File>,
}

impl Server {
    async fn answer(&self, request: Request<Incoming>, peer: &OwnedFd) -> io::Result<Response<Full<Bytes>>> {
        if request.uri().path().eq_ignore_ascii_case(MONITOR) {
            return self.monitor(request.uri().query().unwrap_or(""));
        }
        self.work(request, peer).await
    }

    fn monitor(&self, query: &str) -> io::Result<Response<Full<Bytes>>> {
        let wanted = query.split('&').find_map(|part| part.strip_prefix("mod=")).unwrap_or("NONE");
        let (status, text) = match wanted {
            "NONE" => (StatusCode::OK, "OK".to_owned()),
            "IPSWS" => {
                let error = self.options.control.as_ref().and_then(|file| std::fs::read_to_string(file).ok());
                (StatusCode::OK, error.unwrap_or_else(|| "IPSWS=OK".to_owned()))
            }
            "FT" => (StatusCode::OK, if self.lock.held_by_another()? { "ACTIVE" } else { "STANDBY" }.to_owned()),
            other => (StatusCode::BAD_REQUEST, format!("mod={other} is not NONE, IPSWS or FT")),
        };
        self.reply(status, text.into())
    }

    /// Active means active all the time: a request that began before the CTI was told to stop and ended after it counts
    /// too.
    async fn work(&self, mut request: Request<Incoming>, peer: &OwnedFd) -> io::Result<Response<Full<Bytes>>> {
        let active_before = self.lock.held_by_another()?;
        if request.uri().path() == SOCKET {
            let state = if active_before { "active" } else { "standby" };
            if let Some(agreed) = lasting::socket(&mut request, &self.options.side.to_string(), state) {
                return Ok(agreed);
            }
        }
        let wish = Wish::of(request.uri().query().unwrap_or_default());
        let (head, body) = request.into_parts();
        let Ok(body) = Limited::new(body, BODY_MAX).collect().await else {
            return self.reply(StatusCode::PAYLOAD_TOO_LARGE, format!("a body is at most {BODY_MAX} bytes").into());
        };
        let service_time = wish.wait.unwrap_or(self.options.service_time);
        if !service_time.is_zero() {
            tokio::time::sleep(service_time).await;
        }
        let active = active_before && self.lock.held_by_another()?;
        let logs = self.done.iter().chain((!active).then_some(&self.log));
        for log in logs {
            self.write_down(log, &head, is_open(peer))?;
        }
        let state = if active { "active" } else { "standby" };
        let answer = match head.method {
            Method::POST => body.to_bytes(),
            _ if head.uri.path() == PAGE => lasting::PAGE_TEXT.into(),
            _ if wish.bytes.is_some() => text(wish.bytes.unwrap_or_default()).into(),
            _ => format!("side {}, CTI {state}\n", self.options.side).into(),
        };
        let is_page = head.uri.path() == PAGE;
        let mut reply = self.reply_as(StatusCode::OK, answer, state)?;
        if is_page {
            reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        }
        Ok(reply)
    }

    fn write_down(&self, mut log: &File, head: &http::request::Parts, awaited: bool) -> io::Result<()> {
        let id = head.headers.get(ID_HEADER).and_then(|id| id.to_str().ok()).filter(|id| !id.contains(' '));
        let entry = Misplaced {
            at: crate::now(),
            side: self.options.side,
            method: head.method.to_string(),
            path: head.uri.path().to_owned(),
            id: id.unwrap_or("-").to_owned(),
            awaited,
        };
        log.write_all(format!("{entry}\n").as_bytes())
    }

    fn reply(&self, status: StatusCode, body: Bytes) -> io::Result<Response<Full<Bytes>>> {
        let state = if self.lock.held_by_another()? { "active" } else { "standby" };
        self.reply_as(status, body, state)
    }

    fn reply_as(&self, status: StatusCode, body: Bytes, state: &str) -> io::Result<Response<Full<Bytes>>> {
        let head = Response::builder()
            .status(status)
            .header("content-type", "text/plain; charset=utf-8")
            .header(SIDE_HEADER, self.options.side.to_string())
            .header(CTI_HEADER, state);
        let head = self.options.name.iter().fold(head, |head, name| head.header(SERVER_HEADER, name));
        head.body(Full::new(body)).map_err(io::Error::other)
    }
}

/// Whether the peer has not closed or reset its connection. A client here sends nothing behind a request, so that
/// nothing hides the end.
fn is_open(peer: &OwnedFd) -> bool {
    match recv(peer, &mut [0u8; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
        Ok((received, _)) => received > 0,
        Err(error) => error == rustix::io::Errno::AGAIN,
    }
}

#[cfg(test)]
mod tests;
