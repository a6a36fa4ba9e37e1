//! HTTP probes: a GET, and what its answer says; bounded in time and in bytes.
//!
//! Where probes come often a connection carries several of them. What a kept connection shows counts when it is good. When it
//! is anything else, or late, a new connection is asked before the probe's time is over: no server is blamed for having
//! closed what was idle. So that a server is noticed that answers on old connections and takes no new ones, each probe in
//! `connect_every` connects, as does each that is sent beside the others, and each that follows one that was not good.

mod answer;
mod kept;

use super::connect::{self, of_server};
use super::exchange::AGENT;
use super::facts::Facts;
use super::judge::{self, BODY_MAX, Finding};
use super::limit::Limit;
use super::tls::{Trust, name_of};
use crate::address::Address;
use answer::{Body, Head};
use http::{HeaderValue, Uri};
use kept::{Connection, Kept};
use lockstep_policy::action::HttpProbe;
use lockstep_policy::event::Verdict;
use rustls::pki_types::ServerName;
use std::fmt::Write;
use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};

/// What is read at once.
const READ: usize = 4096;

/// A declared HTTP probe, checked.
pub(super) struct Http {
    probe: HttpProbe,
    /// What is asked for.
    path: String,
    /// Where to, when not to the side's server.
    address: Option<SocketAddr>,
    /// Whose certificate; none: the address's.
    name: Option<ServerName<'static>>,
    facts: Facts,
    kept: Kept,
}

/// One of the side's servers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Server<'s> {
    /// Which, counted from 0.
    pub turn: usize,
    pub address: &'s Address,
}

/// How often probes come, and make connections.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub interval: Duration,
    /// One probe in so many.
    pub connect_every: u32,
}

impl Http {
    pub fn new(probe: &HttpProbe, servers: usize, pace: Pace) -> Result<Http, String> {
        let shown = |text: &str| judge::bounded(text);
        if !probe.path.starts_with('/') {
            return Err(format!("the path \"{}\" does not begin with /", shown(&probe.path)));
        }
        let wrong = |error: String| format!("no request can be made of the path \"{}\": {error}", shown(&probe.path));
        let uri: Uri = probe.path.parse().map_err(|error: http::uri::InvalidUri| wrong(error.to_string()))?;
        let path = uri.path_and_query().ok_or_else(|| wrong("it has no path".to_owned()))?.to_string();
        let address = match probe.address.as_str() {
            "" => None,
            text => Some(text.parse().map_err(|_| format!("\"{}\" is no address IP:PORT", shown(text)))?),
        };
        let name = (!probe.host.is_empty()).then(|| name_of(&probe.host)).transpose()?;
        HeaderValue::from_str(&probe.host).map_err(|_| format!("\"{}\" is no host", shown(&probe.host)))?;
        let places = if address.is_some() { 1 } else { servers };
        let kept = Kept::new(places, pace.interval, pace.connect_every);
        Ok(Http { facts: Facts::new(&probe.facts)?, probe: probe.clone(), path, address, name, kept })
    }

    /// Where it goes when not to one of the side's servers.
    pub fn elsewhere(&self) -> Option<SocketAddr> {
        self.address
    }

    /// The port at which it asks the side's servers; 0: their own.
    pub fn port(&self) -> u16 {
        self.probe.port
    }

    /// Asks a server; `anew`: on a new connection.
    pub async fn probe(&self, trust: &Trust, server: Server<'_>, anew: bool, limit: Limit) -> Finding {
        let kept = if anew { None } else { self.kept.take(self.place(server)) };
        match kept {
            // Rare, and large.
            None => Box::pin(limit.of(self.connect_and_ask(trust, server))).await,
            Some(connection) => self.ask_again(connection, trust, server, limit).await,
        }
    }

    /// Asks on a kept connection, and on a new one when that has come to its end, or has no answer in half of the time.
    async fn ask_again(&self, connection: Connection, trust: &Trust, server: Server<'_>, limit: Limit) -> Finding {
        let on_kept = self.ask(connection, server);
        tokio::pin!(on_kept);
        let late = match limit.of_half(&mut on_kept).await {
            Some(Ok(found)) => return found,
            Some(Err(_)) => false,
            None => true,
        };
        let asked = async {
            let mut on_new = pin!(self.connect_and_ask(trust, server));
            if late {
                tokio::select! {
                    found = &mut on_new => return found,
                    found = &mut on_kept => if let Ok(found) = found { return found },
                }
            }
            on_new.await
        };
        Box::pin(limit.of(asked)).await
    }

    async fn connect_and_ask(&self, trust: &Trust, server: Server<'_>) -> Finding {
        match self.connect(trust, server).await {
            Ok(connection) => self.ask(connection, server).await.unwrap_or_else(|finding| finding),
            Err(finding) => finding,
        }
    }

    async fn connect(&self, trust: &Trust, server: Server<'_>) -> Result<Connection, Finding> {
        let address = self.address.map_or_else(|| of_server(server.address, self.probe.port), Address::from);
        let name = self.name.clone().unwrap_or_else(|| own_name(&address));
        let stream = connect::open(trust, address, self.probe.tls, &name).await?;
        Ok(Connection::new(stream, self.request(server, true)))
    }

    /// One request, and as much of its answer as tells what it is. A connection that was good is kept.
    async fn ask(&self, mut connection: Connection, server: Server<'_>) -> Result<Finding, Finding> {
        connection.probes += 1;
        let again = self.kept.wants(connection.probes);
        if !again {
            connection.request = self.request(server, false);
        }
        let Connection { stream, request, .. } = &mut connection;
        stream.write_all(request).await.map_err(|error| judge::broken(&error))?;
        stream.flush().await.map_err(|error| judge::broken(&error))?;
        let mut bytes = Vec::new();
        let (mut head, length) = loop {
            if read(&mut connection, &mut bytes).await? == 0 {
                return Err(ended("before its answer"));
            }
            if let Some(whole) = Head::read(&bytes, self.facts.need_fields()).map_err(no_http)? {
                break whole;
            }
        };
        let (good, mut text) = (judge::status_is_good(&self.probe, head.status), Vec::new());
        let wanted = match (self.facts.need_body(), good) {
            (true, _) => BODY_MAX,
            (false, true) => self.probe.body.len(),
            (false, false) => 0,
        };
        bytes.drain(..length);
        let whole = match wanted {
            // Nobody wants to know what it is.
            0 => head.body.take(&bytes, &mut text).is_ok_and(|taken| taken == bytes.len()),
            _ => body(&mut connection, &mut head.body, bytes, &mut text, wanted).await?,
        };
        let status = head.status;
        let finding = match good {
            false => Finding::new(Verdict::Wrong, status, format!("status {status}")),
            true if self.probe.body.is_empty() => Finding::good(status, ""),
            true => judge::body(&self.probe, status, &text),
        };
        let finding = Finding { facts: self.facts.find(&head.fields, &text), ..finding };
        if again && whole && head.persists && head.body.is_framed() && finding.verdict == Verdict::Good {
            self.kept.put(self.place(server), Connection { rest: head.body, ..connection });
        }
        Ok(finding)
    }

    fn place(&self, server: Server<'_>) -> usize {
        if self.address.is_some() { 0 } else { server.turn }
    }

    fn request(&self, server: Server<'_>, again: bool) -> Vec<u8> {
        let mut text = String::with_capacity(128 + self.path.len() + self.probe.host.len());
        let _ = write!(text, "GET {} HTTP/1.1\r\nhost: ", self.path);
        let _ = match self.probe.host.as_str() {
            "" => match self.address.or(server.address.inet()) {
                Some(address) => write!(text, "{address}"),
                None => write!(text, "localhost"),
            },
            host => write!(text, "{host}"),
        };
        let close = if again { "" } else { "\r\nconnection: close" };
        let _ = write!(text, "\r\nuser-agent: {AGENT}{close}\r\n\r\n");
        text.into_bytes()
    }
}

/// Reads as much of a body as tells whether it begins with a text of this length, and a little more for people to read; whether
/// nothing has come that is not of it.
async fn body(
    connection: &mut Connection,
    body: &mut Body,
    mut bytes: Vec<u8>,
    text: &mut Vec<u8>,
    wanted: usize,
) -> Result<bool, Finding> {
    loop {
        let taken = body.take(&bytes, text).map_err(no_http)?;
        let enough = text.trim_ascii_start().len() >= wanted || text.len() > BODY_MAX;
        if enough || body.is_over() {
            text.truncate(BODY_MAX);
            return Ok(taken == bytes.len());
        }
        bytes.clear();
        if read(connection, &mut bytes).await? == 0 {
            return if body.is_framed() { Err(ended("within its answer")) } else { Ok(false) };
        }
    }
}

/// The name that a server's certificate is to be for when the policy names none.
fn own_name(address: &Address) -> ServerName<'static> {
    match address.inet() {
        Some(address) => ServerName::from(address.ip()),
        None => ServerName::try_from("localhost").expect("it is a host's name"),
    }
}

/// Adds what has come; how many bytes. 0: the server has closed the connection.
async fn read(connection: &mut Connection, bytes: &mut Vec<u8>) -> Result<usize, Finding> {
    let read = poll_fn(|context| {
        // What comes is short: it is copied rather than given so much memory of its own while it is waited for.
        let mut room = [MaybeUninit::uninit(); READ];
        let mut buffer = ReadBuf::uninit(&mut room);
        ready!(Pin::new(&mut connection.stream).poll_read(context, &mut buffer))?;
        bytes.extend_from_slice(buffer.filled());
        Poll::Ready(Ok(buffer.filled().len()))
    });
    read.await.map_err(|error: io::Error| judge::broken(&error))
}

fn ended(when: &str) -> Finding {
    Finding::new(Verdict::Refused, 0, format!("the server has closed the connection {when}"))
}

fn no_http(why: String) -> Finding {
    Finding::new(Verdict::Wrong, 0, format!("not an HTTP answer: {why}"))
}

#[cfg(test)]
mod tests;
