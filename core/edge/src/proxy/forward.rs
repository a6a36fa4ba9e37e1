//! One request's way through pingora, which drives it by the hooks of [`ProxyHttp`].
//!
//! `upstream_peer` is asked again for each attempt, and so it is there that a request waits (`choose`). An attempt that failed is followed by another one when no byte of the request had left,
//! or when its method is idempotent (RFC 9110 section 9.2.2), its body is still at hand and no part of an answer was seen.

use super::again::Failed;
use super::answer::Answer;
use super::flight::Flight;
use super::forwarded::Came;
use super::hold::Ticket;
use super::links::{CUT, Link, OURS, Use};
use super::pair::Shared;
use super::rewrite::{Rewrite, Rewriting};
use super::seats::Seat;
use super::seen::Seen;
use super::servers::Server;
use super::sessions::Visit;
use super::table::Target;
use super::traffic::{ProxyEvent, trouble_of};
use async_trait::async_trait;
use bytes::Bytes;
use http::header;
use lockstep_policy::{At, Side};
use lockstep_wire::clock;
use pingora_core::modules::http::HttpModules;
use pingora_core::protocols::Digest;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorSource, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// The longest head of an answer, in bytes.
const ANSWER_HEAD_MAX: usize = 64 * 1024;

/// The pair's rules for pingora.
pub(super) struct Forward {
    pub(super) pair: Arc<Shared>,
    /// The pool whose servers it gives requests to.
    pub(super) pool: usize,
}

/// One request, from its head to its last byte.
pub(super) struct Passage {
    pub(super) begun: Instant,
    /// Set by the first wait, for all waits.
    pub(super) hold_deadline: Option<tokio::time::Instant>,
    /// Its place in the waiting room, which it keeps until a server has taken its connection.
    pub(super) ticket: Option<Ticket>,
    pub(super) waited: Duration,
    pub(super) attempts: u32,
    /// Times that it was sent again because a server, and not we, ended a connection.
    pub(super) resends: u32,
    /// The generation of the route under which such an end was seen last.
    pub(super) reset_in: Option<u64>,
    pub(super) attempt: Option<Attempt>,
    /// Its session, in a pair in which both sides may serve.
    pub(super) visit: Option<Visit>,
    /// The side of the last attempt.
    pub(super) side: Option<Side>,
    pub(super) answer: Option<Answer>,
    pub(super) status: Option<u16>,
    /// Names in its answer are replaced, by this rule.
    pub(super) rewrite: Option<Arc<Rewrite>>,
    pub(super) rewriting: Option<Rewriting>,
    pub(super) seen: Seen,
}

/// One try to have the request answered by a server.
pub(super) struct Attempt {
    pub(super) target: Arc<Target>,
    pub(super) generation: u64,
    pub(super) server: Arc<Server>,
    /// Its place at the server.
    pub(super) _seat: Option<Seat>,
    /// `None` once the connection is upgraded: a drain does not wait for those, a cut ends them.
    pub(super) flight: Option<Flight>,
    pub(super) link: Option<Use>,
    /// Bytes of the request may have left.
    pub(super) sent: bool,
    /// The answer's body ends where its connection ends.
    pub(super) until_close: bool,
}

impl Forward {
    pub(super) fn new(pair: Arc<Shared>, pool: usize) -> Forward {
        Forward { pair, pool }
    }

    /// Ends an attempt that failed: what it shows about the side is counted, unless we ended it ourselves.
    fn failed(&self, attempt: &Attempt, error: &Error) {
        let ours = attempt.link.as_ref().is_some_and(|link| link.was_cut()) || matches!(error.etype(), &CUT | &OURS);
        if ours || *error.esource() == ErrorSource::Downstream {
            return;
        }
        let Some(kind) = trouble_of(error) else {
            if *error.etype() == ErrorType::InvalidHTTPHeader {
                self.pair.traffic.answered(attempt.target.side, false);
            }
            return;
        };
        let (side, epoch, at) = (attempt.target.side, attempt.target.epoch, clock::now());
        tracing::debug!(pair = self.pair.name, %side, %epoch, ?kind, %error, "trouble at a side");
        if self.pair.traffic.trouble(side, kind, at, self.pair.settings.trouble_interval) {
            (self.pair.events)(ProxyEvent::Trouble { side, epoch, kind, at });
        }
    }

    fn first(&self, flag: &AtomicBool, event: impl FnOnce(At) -> ProxyEvent) {
        if !flag.load(Relaxed) && !flag.swap(true, Relaxed) {
            (self.pair.events)(event(clock::now()));
        }
    }

    /// The connection carries another protocol from now on. A session that was moved meanwhile does not keep it.
    fn upgraded(&self, attempt: &Attempt, visit: Option<&Visit>) {
        let Some(link) = &attempt.link else { return };
        // Said before it is asked, while a move is noted before connections are looked for: one of the two ends it.
        link.is_upgraded();
        if let (Some(sessions), Some(visit)) = (&self.pair.sessions, visit)
            && sessions.has_left(visit, attempt.target.side)
        {
            link.cut();
        }
    }

    /// The request needs its connection no more. One whose epoch is over does not stay in the pool.
    fn land(&self, passage: &mut Passage) {
        if let Some(attempt) = passage.attempt.take() {
            self.leave(attempt, passage);
        }
    }

    fn leave(&self, attempt: Attempt, passage: &Passage) {
        let Attempt { target, link, .. } = attempt;
        let Some(link) = link.and_then(Use::end) else { return };
        if !self.pair.table.fenced().leads_to(target.side, target.epoch) || self.has_moved(passage, &target) {
            link.cut();
        }
    }

    /// Whether the request's session was moved away from its side meanwhile: it leaves no connection there.
    fn has_moved(&self, passage: &Passage, target: &Target) -> bool {
        let (Some(sessions), Some(visit)) = (&self.pair.sessions, &passage.visit) else { return false };
        sessions.has_left(visit, target.side)
    }
}

impl Attempt {
    pub(super) fn new(target: Arc<Target>, generation: u64, server: Arc<Server>, flight: Flight) -> Attempt {
        Attempt {
            target,
            generation,
            server,
            _seat: None,
            flight: Some(flight),
            link: None,
            sent: false,
            until_close: false,
        }
    }
}

/// Whether a part of an answer has gone to the client that cannot be taken back.
fn answer_begun(session: &Session) -> bool {
    session.response_written().is_some_and(|header| !header.status.is_informational() || header.status == 101)
}

/// RFC 9112 section 6.3: an answer without length and without transfer coding ends with its connection.
fn ends_with_connection(method: &http::Method, answer: &ResponseHeader) -> bool {
    let without_body = method == http::Method::HEAD || matches!(answer.status.as_u16(), 204 | 304);
    let framed =
        [header::CONTENT_LENGTH, header::TRANSFER_ENCODING].iter().any(|name| answer.headers.contains_key(name));
    !without_body && !framed
}

/// What a server's answer must be to be passed on (RFC 9112 sections 6.1 and 6.3). Pingora takes more, and clients would read it
/// otherwise.
fn sound(session: &Session, answer: &ResponseHeader) -> Result<()> {
    let codings = answer.headers.get_all(header::TRANSFER_ENCODING);
    let chunked = |coding: &http::HeaderValue| coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
    let coded = codings.iter().count();
    let what = if coded > 1 || !codings.iter().all(chunked) {
        "a transfer coding that nobody asked for"
    } else if coded > 0 && answer.version == http::Version::HTTP_10 {
        "a transfer coding in HTTP/1.0"
    } else if answer.status == 101 && !session.req_header().headers.contains_key(header::UPGRADE) {
        "an upgrade that nobody asked for"
    } else if length(answer) > ANSWER_HEAD_MAX {
        "a head that is too long"
    } else {
        return Ok(());
    };
    Err(Error::explain(ErrorType::InvalidHTTPHeader, what).into_up())
}

fn length(answer: &ResponseHeader) -> usize {
    // `: ` and the line's end.
    answer.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum()
}

#[async_trait]
impl ProxyHttp for Forward {
    type CTX = Passage;

    fn new_ctx(&self) -> Passage {
        self.pair.done.requests.fetch_add(1, Relaxed);
        Passage {
            begun: Instant::now(),
            hold_deadline: None,
            ticket: None,
            waited: Duration::ZERO,
            attempts: 0,
            resends: 0,
            reset_in: None,
            attempt: None,
            visit: None,
            side: None,
            answer: None,
            status: None,
            rewrite: None,
            rewriting: None,
            seen: Seen::default(),
        }
    }

    /// None: what a server answers is passed on as it is.
    fn init_downstream_modules(&self, _: &mut HttpModules) {}

    async fn upstream_peer(&self, session: &mut Session, passage: &mut Passage) -> Result<Box<HttpPeer>> {
        self.pause(passage).await;
        self.choose(session, passage).await
    }

    /// No byte has left: whatever the method is, it may be tried again, which `choose` bounds by the hold deadline.
    fn fail_to_connect(
        &self,
        _: &mut Session,
        _: &HttpPeer,
        passage: &mut Passage,
        mut error: Box<Error>,
    ) -> Box<Error> {
        let Some(attempt) = passage.attempt.take() else { return error };
        // A server that shows a wrong certificate goes on doing so: only people can help.
        if *error.etype() == ErrorType::TLSHandshakeFailure && attempt.server.is_to_be_told_of(clock::now()) {
            let side = attempt.target.side;
            tracing::warn!(pair = self.pair.name, %side, server = attempt.server.host(), %error, "no TLS with a server");
        }
        if *error.etype() != CUT {
            attempt.server.is_down(clock::now() + self.pair.settings.retry_interval);
        }
        self.failed(&attempt, &error);
        error.set_retry(true);
        error
    }

    async fn connected_to_upstream(
        &self,
        _: &mut Session,
        reused: bool,
        _: &HttpPeer,
        _: RawFd,
        digest: Option<&Digest>,
        passage: &mut Passage,
    ) -> Result<()> {
        let Some(attempt) = &mut passage.attempt else { return Err(Error::new_in(ErrorType::InternalError)) };
        attempt.link = digest.and_then(Link::of).map(|link| Use::begin(link, reused));
        if let (Some(link), Some(visit)) = (&attempt.link, &passage.visit) {
            link.belongs_to(visit.number);
        }
        if !reused && attempt.server.is_up() {
            self.pair.table.wake();
        }
        // The last look before the first byte. In between lie no waits.
        if !self.pair.table.still(&attempt.target, attempt.generation, clock::now()) {
            return Err(Error::new_in(CUT));
        }
        if let Some(ticket) = passage.ticket.take() {
            passage.waited += ticket.released();
        }
        Ok(())
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        passage: &mut Passage,
    ) -> Result<()> {
        let client = session.client_addr().and_then(|address| address.as_inet());
        let came = Came {
            from: client.map(|client| client.ip().to_canonical()),
            by_tls: session.digest().is_some_and(|digest| digest.ssl_digest.is_some()),
        };
        let manner = self.pair.manner.load();
        manner.forwarded.apply(request, came)?;
        passage.rewrite = manner.rewrite(request.uri.path()).cloned();
        if let Some(rule) = &passage.rewrite {
            rule.ask_plainly(request)?;
        }
        drop(manner);
        self.mark(request, &mut passage.seen)?;
        let Some(attempt) = &mut passage.attempt else { return Err(Error::new_in(ErrorType::InternalError)) };
        attempt.sent = true;
        let epoch = attempt.target.epoch;
        self.first(&attempt.target.first_sent, |at| ProxyEvent::FirstSent { epoch, at });
        Ok(())
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        answer: &mut ResponseHeader,
        passage: &mut Passage,
    ) -> Result<()> {
        let Some(attempt) = &mut passage.attempt else { return Ok(()) };
        sound(session, answer)?;
        if let (Some(sessions), Some(_)) = (&self.pair.sessions, &passage.visit) {
            sessions.learn(clock::now(), session, answer, attempt.target.side);
        }
        if answer.status == 101 {
            attempt.flight = None;
            self.upgraded(attempt, passage.visit.as_ref());
        } else if answer.status.is_informational() {
            return Ok(());
        } else {
            attempt.until_close = ends_with_connection(&session.req_header().method, answer);
        }
        if let Some(link) = &attempt.link {
            link.answered();
        }
        // Else one connect that was lost would keep a server down that answers on all its other connections.
        if attempt.server.is_up() {
            self.pair.table.wake();
        }
        let good = answer.status.as_u16() < 500;
        self.pair.traffic.answered(attempt.target.side, good);
        passage.status = Some(answer.status.as_u16());
        passage.rewriting = match passage.rewrite.as_ref().and_then(|rule| rule.begin(answer)) {
            Some(Ok(rewriting)) => Some(rewriting),
            Some(Err(())) => {
                self.pair.done.unwritten.fetch_add(1, Relaxed);
                None
            }
            None => None,
        };
        passage.seen.answered(passage.begun);
        if good {
            let epoch = attempt.target.epoch;
            self.first(&attempt.target.first_answer, |at| ProxyEvent::FirstAnswer { epoch, at });
        }
        Ok(())
    }

    /// Pingora sends chunks to every client; one of HTTP/1.0 does not know them (RFC 9112 section 6.1).
    async fn response_filter(&self, session: &mut Session, answer: &mut ResponseHeader, _: &mut Passage) -> Result<()> {
        if session.req_header().version == http::Version::HTTP_10 {
            answer.remove_header(&header::TRANSFER_ENCODING);
        }
        Ok(())
    }

    /// An answer that ends with its connection must not look whole when it was we who ended that.
    fn upstream_response_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        passage: &mut Passage,
    ) -> Result<Option<Duration>> {
        let cut = passage.attempt.as_ref().is_some_and(|attempt| {
            end && attempt.until_close && attempt.link.as_ref().is_some_and(|link| link.was_cut())
        });
        if cut {
            return Err(Error::new_up(ErrorType::ConnectionClosed));
        }
        if let Some(rewriting) = &mut passage.rewriting
            && rewriting.take(body, end)
        {
            self.pair.done.unwritten.fetch_add(1, Relaxed);
        }
        Ok(None)
    }

    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        passage: &mut Passage,
        _: bool,
    ) -> Box<Error> {
        let Some(attempt) = passage.attempt.take() else { return error };
        self.failed(&attempt, &error);
        let cut = attempt.link.as_ref().is_some_and(|link| link.was_cut());
        let failed = Failed {
            sent: attempt.sent,
            answer_begun: answer_begun(session),
            safe: session.req_header().method.is_idempotent() && !session.as_ref().retry_buffer_truncated(),
            cut,
            before_sending: *error.etype() == CUT,
            by_server: *error.esource() == ErrorSource::Upstream,
            resends: passage.resends,
        };
        let again = failed.is_followed(self.pair.settings.resends);
        if again && attempt.sent && !cut {
            passage.resends += 1;
            passage.reset_in = Some(attempt.generation);
        }
        self.leave(attempt, passage);
        error.set_retry(again);
        error
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, passage: &mut Passage) -> FailToProxy {
        passage.attempt = None;
        let method = &session.req_header().method;
        let answer = passage.answer.take().or_else(|| Answer::to(error, method, passage.side));
        let status = answer.as_ref().map_or(0, |answer| answer.status);
        if let Some(answer) = answer
            && !answer_begun(session)
        {
            match status {
                503 => self.pair.done.refused.fetch_add(1, Relaxed),
                502 | 504 => self.pair.done.failed.fetch_add(1, Relaxed),
                _ => 0,
            };
            passage.status = Some(status);
            passage.seen.refused(&answer);
            let retry_after = self.pair.settings.hold.retry_after;
            let notice = if status == 503 { self.pair.notice(retry_after) } else { None };
            if let Err(error) = answer.give(session, notice.as_ref()).await {
                tracing::debug!(pair = self.pair.name, %error, "an answer of our own could not be written");
            }
        }
        FailToProxy { error_code: status, can_reuse_downstream: false }
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, passage: &mut Passage) {
        self.land(passage);
        let retried = passage.attempts.saturating_sub(1);
        self.pair.done.retried.fetch_add(u64::from(retried), Relaxed);
        self.see(session, error, passage);
    }

    // Pingora's own log lines would be one for each attempt; ours are made by `see`.
    fn suppress_error_log(&self, _: &Session, _: &Passage, _: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(&self, _: &Session, _: &Passage, _: &Error, _: ProxyWarnLogContext) -> bool {
        true
    }
}
