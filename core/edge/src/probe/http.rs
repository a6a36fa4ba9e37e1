//! One HTTP request on one new connection: bounded in time and in bytes.

use super::connect::{self, Stream, at_port};
use super::facts::Facts;
use super::judge::{self, BODY_MAX, Finding};
use super::tls::{Trust, name_of};
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use lockstep_policy::action::HttpProbe;
use lockstep_policy::event::Verdict;
use rustls::pki_types::ServerName;
use std::net::SocketAddr;

/// A declared HTTP probe, checked.
pub(super) struct Http {
    probe: HttpProbe,
    /// Where to, when not to the side's server.
    address: Option<SocketAddr>,
    /// Whose certificate; none: the address's.
    name: Option<ServerName<'static>>,
    facts: Facts,
}

impl Http {
    pub fn new(probe: &HttpProbe) -> Result<Http, String> {
        if !probe.path.starts_with('/') {
            return Err(format!("the path \"{}\" does not begin with /", judge::bounded(&probe.path)));
        }
        let wrong = |error| format!("no request can be made of the path \"{}\": {error}", judge::bounded(&probe.path));
        Request::get(&probe.path).body(()).map_err(wrong)?;
        let address = match probe.address.as_str() {
            "" => None,
            text => Some(text.parse().map_err(|_| format!("\"{}\" is no address IP:PORT", judge::bounded(text)))?),
        };
        let name = (!probe.host.is_empty()).then(|| name_of(&probe.host)).transpose()?;
        Ok(Http { facts: Facts::new(&probe.facts)?, probe: probe.clone(), address, name })
    }

    /// Where it goes when not to one of the side's servers.
    pub fn elsewhere(&self) -> Option<SocketAddr> {
        self.address
    }

    pub async fn probe(&self, trust: &Trust, server: SocketAddr) -> Finding {
        self.ask(trust, self.address.unwrap_or_else(|| at_port(server, self.probe.port)), server)
            .await
            .unwrap_or_else(|finding| finding)
    }

    async fn ask(&self, trust: &Trust, address: SocketAddr, server: SocketAddr) -> Result<Finding, Finding> {
        let probe = &self.probe;
        let name = self.name.clone().unwrap_or_else(|| ServerName::from(address.ip()));
        let stream = connect::open(trust, address, probe.tls, &name).await?;
        let unnamed = || self.address.unwrap_or(server).to_string();
        let host = if probe.host.is_empty() { unnamed() } else { probe.host.clone() };
        let request = head(Request::get(&probe.path), &host).body(Full::default()).map_err(|e| unmade(&e))?;
        let wanted = if self.facts.need_body() { BODY_MAX } else { probe.body.len() };
        exchange(stream, request, async |answer: Response<Incoming>| {
            let (answer, body) = answer.into_parts();
            let status = answer.status.as_u16();
            let good = judge::status_is_good(probe, status);
            let wanted = if good || self.facts.need_body() { wanted } else { 0 };
            let text = if wanted == 0 { Vec::new() } else { read(body, wanted).await? };
            let finding = match good {
                false => Finding::new(Verdict::Wrong, status, format!("status {status}")),
                true if probe.body.is_empty() => Finding::good(status, ""),
                true => judge::body(probe, status, &text),
            };
            Ok(Finding { facts: self.facts.find(&answer.headers, &text), ..finding })
        })
        .await
    }
}

/// Sends a text and takes the whole answer: its status, its head and its body.
pub(super) async fn post(
    stream: Stream,
    host: &str,
    path: &str,
    text: String,
) -> Result<(u16, HeaderMap, Vec<u8>), Finding> {
    let request = head(Request::post(path), host).header("content-type", "text/xml; charset=utf-8");
    let request = request.body(Full::from(text)).map_err(|error| unmade(&error))?;
    exchange(stream, request, async |answer: Response<Incoming>| {
        let (answer, body) = answer.into_parts();
        Ok((answer.status.as_u16(), answer.headers, read(body, BODY_MAX).await?))
    })
    .await
}

pub(super) fn head(request: http::request::Builder, host: &str) -> http::request::Builder {
    request
        .header("host", host)
        .header("user-agent", concat!("lockstep/", env!("CARGO_PKG_VERSION")))
        .header("connection", "close")
}

pub(super) fn unmade(error: &http::Error) -> Finding {
    Finding::new(Verdict::Wrong, 0, format!("no request can be made of it: {error}"))
}

pub(super) async fn exchange<T>(
    stream: Stream,
    request: Request<Full<Bytes>>,
    judge: impl AsyncFnOnce(Response<Incoming>) -> Result<T, Finding>,
) -> Result<T, Finding> {
    let handshake = hyper::client::conn::http1::Builder::new()
        .max_buf_size(BODY_MAX)
        .max_headers(100)
        .handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(|error| judge::not_http(&error))?;
    // The connection is driven beside the request, and dropped with it: a late or endless answer binds nothing.
    let answered = async {
        let answer = sender.send_request(request).await.map_err(|error| judge::not_http(&error))?;
        judge(answer).await
    };
    tokio::pin!(answered, connection);
    tokio::select! {
        biased;
        finding = &mut answered => finding,
        // The connection is over; what it still held for us is in the answer's own channel.
        _ = &mut connection => answered.await,
    }
}

/// As much of a body as tells whether it begins with a text of this length, and a little more for people to read.
pub(super) async fn read(mut body: Incoming, wanted: usize) -> Result<Vec<u8>, Finding> {
    let mut text = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| judge::not_http(&error))?;
        if let Ok(data) = frame.into_data() {
            text.extend_from_slice(&data);
        }
        if text.trim_ascii_start().len() >= wanted || text.len() > BODY_MAX {
            break;
        }
    }
    text.truncate(BODY_MAX);
    Ok(text)
}

#[cfg(test)]
mod tests;
