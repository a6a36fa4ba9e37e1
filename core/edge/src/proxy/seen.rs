//! What is noticed of each request: for the access log, for metrics, for those who follow a trace.

use super::answer::Answer;
use super::client::Client;
use super::pair::Shared;
use super::passage::{Forward, Passage};
use super::request::{Edit, Fields, Request};
use crate::access::{self, AccessLog, Entry, Id};
use crate::metrics::Answered;
use http::Version;
use lockstep_policy::Epoch;
use pingora_core::{Error, ErrorSource, Result};
use std::borrow::Cow;
use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime};

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";
const REQUEST_ID: &str = "x-request-id";

/// What is made of requests beside serving them.
#[derive(Clone, Debug, Default)]
pub struct Seeing {
    /// Where each has its line.
    pub log: Option<AccessLog>,
    /// A request without a trace context is given one.
    pub trace: bool,
    /// A request without an `X-Request-Id` is given one.
    pub request_id: bool,
}

/// What is remembered of a request until it is over.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The epoch of the last attempt.
    pub epoch: Option<Epoch>,
    /// From the beginning to the head of the side's answer.
    first_byte: Option<Duration>,
    /// The trace that was begun here.
    trace: Option<u128>,
    request_id: Option<u128>,
    /// What the edge itself has answered.
    own: Option<Cow<'static, str>>,
}

impl Seen {
    /// The head of a side's answer has come.
    pub(super) fn answered(&mut self, begun: Instant) {
        self.first_byte = Some(begun.elapsed());
    }

    /// The edge has ended what had become of it.
    pub(super) fn ended(&mut self, why: &'static str) {
        self.own = Some(Cow::Borrowed(why));
    }

    /// The edge itself answers.
    pub(super) fn refused(&mut self, answer: &Answer) {
        self.first_byte = None;
        self.own = Some(answer.text.clone());
    }
}

impl Forward {
    /// Gives a request a trace context and an identifier where it has none and that is wanted; the same in each attempt.
    /// What a client sent is passed on as it is.
    pub(super) fn mark(&self, request: &mut impl Edit, seen: &mut Seen) -> Result<()> {
        let seeing = self.pair.seeing.load();
        if seeing.trace && trace_of(request).is_none() {
            let trace = *seen.trace.get_or_insert_with(|| fastrand::u128(1..));
            // The last part asks for the trace to be kept: whoever wants all requests to have one wants to see them.
            request.put(TRACEPARENT, format!("00-{trace:032x}-{:016x}-01", fastrand::u64(1..)))?;
            // W3C Trace Context, section 3.3: without a valid parent it means nothing.
            request.take_out(|name| name.eq_ignore_ascii_case(TRACESTATE));
        }
        if seeing.request_id && request.value(REQUEST_ID).is_empty() {
            let id = *seen.request_id.get_or_insert_with(|| fastrand::u128(1..));
            request.put("X-Request-Id", format!("{id:032x}"))?;
        }
        Ok(())
    }

    /// The request is over.
    pub(super) fn see(&self, request: &impl Request, carried: Carried, error: Option<&Error>, passage: &Passage) {
        let pair = &*self.pair;
        let Carried { status, received, sent } = carried;
        let over = Over { status, total: passage.begun.elapsed(), received, sent };
        over.count(pair, passage);
        if let Some(log) = &pair.seeing.load().log {
            over.log(log, pair, request, error, passage);
        }
        tracing::debug!(
            target: "lockstep::access",
            pair = pair.name,
            side = passage.side.map(tracing::field::display),
            epoch = passage.seen.epoch.map(tracing::field::display),
            method = %request.method(),
            path = request.path(),
            status,
            ms = over.total.as_millis(),
            hold_ms = passage.waited.as_millis(),
            retries = passage.attempts.saturating_sub(1),
            error = error.map(tracing::field::display),
        );
    }
}

/// What has gone by of a request that is over.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Carried {
    /// What the client was told.
    pub(super) status: Option<u16>,
    /// Bytes of the request's body.
    pub(super) received: u64,
    /// Bytes of the answer's body.
    pub(super) sent: u64,
}

/// What a request came to.
struct Over {
    status: Option<u16>,
    total: Duration,
    received: u64,
    sent: u64,
}

impl Over {
    fn count(&self, pair: &Shared, passage: &Passage) {
        let Over { status, total, received, sent } = *self;
        match (status, passage.seen.first_byte, passage.side) {
            (Some(status), Some(first_byte), Some(side)) => {
                pair.meters.answered(side, &Answered { status, first_byte, total, received, sent });
            }
            (Some(status), ..) => pair.meters.own.count(status),
            (None, ..) => {
                pair.meters.unanswered.fetch_add(1, Relaxed);
            }
        }
    }

    fn log(&self, log: &AccessLog, pair: &Shared, request: &impl Request, error: Option<&Error>, passage: &Passage) {
        let seen = &passage.seen;
        let broken = error.map(why);
        let why: Option<&dyn Display> = match (&seen.own, &broken) {
            (Some(own), _) => Some(own),
            (None, Some(broken)) => Some(broken),
            (None, None) => None,
        };
        let request_id = Some(request.value(REQUEST_ID)).filter(|given| !given.is_empty());
        log.put(&Entry {
            ended: SystemTime::now(),
            total: self.total,
            client: request.client(),
            listener: request.listener(),
            protocol: protocol(request.version()),
            request: Some(access::Request {
                method: request.method().as_str(),
                path: request.target(),
                referer: request.value("referer"),
                user_agent: request.value("user-agent"),
            }),
            status: self.status,
            received: self.received,
            sent: self.sent,
            pair: &pair.name,
            side: passage.side,
            epoch: seen.epoch,
            by_edge: seen.first_byte.is_none(),
            hold: passage.waited,
            first_byte: seen.first_byte,
            attempts: passage.attempts,
            trace: seen.trace.map(Id::Made).or_else(|| trace_of(request).map(Id::Given)),
            request_id: seen.request_id.map(Id::Made).or_else(|| request_id.map(Id::Given)),
            why,
        });
    }
}

/// What came to a listener was no request, and was answered so.
pub(super) fn turned_down(pair: &Shared, client: &Client, answer: &Answer) {
    refused(pair, client.address(), "-", Some(answer.status), &answer.text);
}

/// What came by HTTP/2 was refused before it was a request to anybody, or given up; with that status, if it was answered.
pub(super) fn refused_over_http2(pair: &Shared, client: Option<SocketAddr>, status: Option<u16>, why: &str) {
    refused(pair, client, "HTTP/2.0", status, why);
}

fn refused(pair: &Shared, client: Option<SocketAddr>, protocol: &'static str, status: Option<u16>, why: &str) {
    pair.meters.malformed.fetch_add(1, Relaxed);
    let seeing = pair.seeing.load();
    let Some(log) = &seeing.log else { return };
    log.put(&Entry {
        ended: SystemTime::now(),
        total: Duration::ZERO,
        client,
        listener: None,
        protocol,
        request: None,
        status,
        received: 0,
        sent: 0,
        pair: &pair.name,
        side: None,
        epoch: None,
        by_edge: true,
        hold: Duration::ZERO,
        first_byte: None,
        attempts: 0,
        trace: None,
        request_id: None,
        why: Some(&why),
    });
}

/// Why a request failed that the edge has not answered itself.
fn why(error: &Error) -> String {
    match error.esource() {
        ErrorSource::Downstream => format!("the client: {}", error.etype().as_str()),
        ErrorSource::Upstream => format!("the server: {}", error.etype().as_str()),
        ErrorSource::Internal | ErrorSource::Unset => error.etype().as_str().to_owned(),
    }
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        _ => "HTTP/1.1",
    }
}

/// The trace id of a request's one and valid `traceparent` (W3C Trace Context, section 3.2).
fn trace_of(head: &impl Fields) -> Option<&[u8]> {
    let mut given = head.all(TRACEPARENT);
    let (only, second) = (given.next()?, given.next());
    if second.is_none() { trace_id(only) } else { None }
}

/// `VERSION-TRACE-PARENT-FLAGS`; later versions may have more behind another dash.
fn trace_id(parent: &[u8]) -> Option<&[u8]> {
    let dashes = [2, 35, 52].iter().all(|&at| parent.get(at) == Some(&b'-'));
    let (version, flags) = (parent.get(..2)?, parent.get(53..55)?);
    let (trace, span) = (parent.get(3..35)?, parent.get(36..52)?);
    let hex = |part: &[u8]| part.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let some = |part: &[u8]| hex(part) && part.iter().any(|&byte| byte != b'0');
    let ends = match version {
        b"00" => parent.len() == 55,
        _ => parent.get(55).is_none_or(|&byte| byte == b'-'),
    };
    (dashes && hex(version) && version != b"ff" && some(trace) && some(span) && hex(flags) && ends).then_some(trace)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderMap;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

    #[test]
    fn a_trace_id_is_taken_from_a_valid_parent_only() {
        let good = [
            format!("00-{TRACE}-b7ad6b7169203331-01"),
            format!("00-{TRACE}-b7ad6b7169203331-00"),
            format!("cc-{TRACE}-b7ad6b7169203331-01"),
            format!("cc-{TRACE}-b7ad6b7169203331-01-what-the-future-brings"),
        ];
        for parent in good {
            assert_eq!(trace_id(parent.as_bytes()), Some(TRACE.as_bytes()), "{parent}");
        }
        let bad = [
            String::new(),
            "00".to_owned(),
            format!("ff-{TRACE}-b7ad6b7169203331-01"),
            format!("00-{TRACE}-b7ad6b7169203331-01-more"),
            format!("cc-{TRACE}-b7ad6b7169203331-01.more"),
            format!("00-{TRACE}-b7ad6b7169203331"),
            format!("00-{}-b7ad6b7169203331-01", TRACE.to_uppercase()),
            format!("00-{}-b7ad6b7169203331-01", "0".repeat(32)),
            format!("00-{TRACE}-0000000000000000-01"),
            format!("00-{TRACE}-b7ad6b716920333g-01"),
            format!("00_{TRACE}-b7ad6b7169203331-01"),
            format!("0x-{TRACE}-b7ad6b7169203331-01"),
        ];
        for parent in bad {
            assert_eq!(trace_id(parent.as_bytes()), None, "{parent}");
        }
    }

    #[test]
    fn two_parents_are_none() {
        let mut headers = HeaderMap::new();
        let parent = format!("00-{TRACE}-b7ad6b7169203331-01").parse::<http::HeaderValue>().unwrap();
        headers.append(TRACEPARENT, parent.clone());
        assert_eq!(trace_of(&headers), Some(TRACE.as_bytes()));
        headers.append(TRACEPARENT, parent);
        assert_eq!(trace_of(&headers), None);
    }
}
