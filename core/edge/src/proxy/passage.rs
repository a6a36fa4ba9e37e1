//! What any request goes through, whoever carries its bytes: pingora (`forward`), or we ourselves (`exchange`).
//!
//! A carrier tells what happens to a request, in this order: it begins, and for each attempt, which `choose` begins, it reaches a
//! server or does not, is told on, and is answered or broken off. At last it is over. Here is what follows from each of these.

use super::again::Failed;
use super::answer::Answer;
use super::flight::Flight;
use super::forwarded::Came;
use super::hold::Ticket;
use super::links::{CUT, Link, OURS, Use};
use super::notice::Notice;
use super::pair::Shared;
use super::request::{AnswerHead, Edit, Request};
use super::rewrite::{Rewrite, Rewriting};
use super::seats::Seat;
use super::seen::{Carried, Seen};
use super::servers::Server;
use super::sessions::Visit;
use super::table::Target;
use super::traffic::{ProxyEvent, trouble_of};
use super::turns::Turn;
use super::websocket::Watch;
use bytes::Bytes;
use http::{Method, Version};
use lockstep_policy::{At, Side};
use lockstep_wire::clock;
use pingora_core::{Error, ErrorSource, ErrorType, Result};
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
    /// Its turn among those that have waited, until it is answered.
    pub(super) turn: Option<Turn>,
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
    /// It has become a WebSocket.
    pub(super) watch: Option<Watch>,
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
    /// Since when, where somebody wants to know how long answers take.
    pub(super) sent_at: Option<Instant>,
    /// The answer's body ends where its connection ends.
    pub(super) until_close: bool,
}

/// What is known of an attempt that was broken off.
pub(super) struct Broken {
    /// A part of an answer has gone to the client that cannot be taken back.
    pub(super) answer_begun: bool,
    /// The method is idempotent, and the body is still at hand.
    pub(super) safe: bool,
}

impl Forward {
    pub(super) fn new(pair: Arc<Shared>, pool: usize) -> Forward {
        Forward { pair, pool }
    }

    /// A request has come.
    pub(super) fn begin(&self) -> Passage {
        self.pair.done.requests.fetch_add(1, Relaxed);
        Passage {
            begun: Instant::now(),
            hold_deadline: None,
            ticket: None,
            turn: None,
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
            watch: None,
            seen: Seen::default(),
        }
    }

    /// There is no connection to the server. No byte has left: whatever the method is, it may be tried again, which `choose`
    /// bounds by the hold deadline.
    pub(super) fn unreached(&self, passage: &mut Passage, error: &Error) {
        let Some(attempt) = passage.attempt.take() else { return };
        // A server that shows a wrong certificate goes on doing so: only people can help.
        if *error.etype() == ErrorType::TLSHandshakeFailure && attempt.server.is_to_be_told_of(clock::now()) {
            let side = attempt.target.side;
            tracing::warn!(pair = self.pair.name, %side, server = attempt.server.host(), %error, "no TLS with a server");
        }
        if *error.etype() != CUT {
            attempt.server.is_down(clock::now() + self.pair.settings.retry_interval);
        }
        self.failed(&attempt, error);
    }

    /// The request has a connection. An error: it must not be used.
    pub(super) fn reached(&self, passage: &mut Passage, link: Option<Arc<Link>>, reused: bool) -> Result<()> {
        let Some(attempt) = &mut passage.attempt else { return Err(Error::new_in(ErrorType::InternalError)) };
        attempt.link = link.map(|link| Use::begin(link, reused));
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

    /// The request is about to be written: what its server is told beside what the client said.
    pub(super) fn tell(&self, passage: &mut Passage, request: &impl Request, head: &mut impl Edit) -> Result<()> {
        let came = Came { from: request.client().map(|client| client.ip().to_canonical()), by_tls: request.by_tls() };
        let manner = self.pair.manner.load();
        manner.forwarded.apply(head, came)?;
        passage.rewrite = manner.rewrite(request.path()).cloned();
        if let Some(rule) = &passage.rewrite {
            rule.ask_plainly(head)?;
        }
        self.mark(head, &mut passage.seen)
    }

    /// From now on bytes of it may have left.
    pub(super) fn sends(&self, passage: &mut Passage) -> Result<()> {
        let Some(attempt) = &mut passage.attempt else { return Err(Error::new_in(ErrorType::InternalError)) };
        attempt.sent = true;
        attempt.sent_at = self.pair.traffic.is_timed().then(Instant::now);
        let epoch = attempt.target.epoch;
        self.first(&attempt.target.first_sent, |at| ProxyEvent::FirstSent { epoch, at });
        Ok(())
    }

    /// The head of an answer has come; one of 1xx, too.
    pub(super) fn answered(
        &self,
        passage: &mut Passage,
        request: &impl Request,
        answer: &mut impl AnswerHead,
    ) -> Result<()> {
        let Some(attempt) = &mut passage.attempt else { return Ok(()) };
        if answer.status() == 101 {
            attempt.flight = None;
            self.upgraded(attempt, passage.visit.as_ref());
        } else if (100..200).contains(&answer.status()) {
            return Ok(());
        } else {
            attempt.until_close = ends_with_connection(request.method(), answer);
        }
        passage.turn = None;
        if let Some(link) = &attempt.link {
            link.answered();
        }
        // Else one connect that was lost would keep a server down that answers on all its other connections.
        if attempt.server.is_up() {
            self.pair.table.wake();
        }
        let good = answer.status() < 500;
        // Whoever sends a body may be what is slow.
        let after = attempt.sent_at.filter(|_| request.method().is_safe()).map(|sent| sent.elapsed());
        self.pair.traffic.answered(&attempt.target, good, after);
        passage.status = Some(answer.status());
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

    /// A part of the answer's body has come, or its end.
    ///
    /// An answer that ends with its connection must not look whole when it was we who ended that.
    pub(super) fn passes(&self, passage: &mut Passage, body: &mut Option<Bytes>, end: bool) -> Result<()> {
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
        Ok(())
    }

    /// An attempt was broken off that had a connection. True: another one follows.
    pub(super) fn broken(&self, passage: &mut Passage, error: &Error, broken: &Broken) -> bool {
        let Some(attempt) = passage.attempt.take() else { return false };
        self.failed(&attempt, error);
        let cut = attempt.link.as_ref().is_some_and(|link| link.was_cut());
        let failed = Failed {
            sent: attempt.sent,
            answer_begun: broken.answer_begun,
            safe: broken.safe,
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
        again
    }

    /// The request has failed for good: what the client is told, if it can be told anything. `answer_begun`: it has a part of an
    /// answer already.
    pub(super) fn failure(
        &self,
        passage: &mut Passage,
        error: &Error,
        method: &Method,
        answer_begun: bool,
    ) -> Option<(Answer, Option<Notice>)> {
        passage.attempt = None;
        let answer = passage.answer.take().or_else(|| Answer::to(error, method, passage.side))?;
        if answer_begun {
            return None;
        }
        match answer.status {
            503 => self.pair.done.refused.fetch_add(1, Relaxed),
            502 | 504 => self.pair.done.failed.fetch_add(1, Relaxed),
            _ => 0,
        };
        passage.status = Some(answer.status);
        passage.seen.refused(&answer);
        let notice = if answer.status == 503 { self.pair.notice(self.pair.settings.hold.retry_after) } else { None };
        Some((answer, notice))
    }

    /// The request is over.
    pub(super) fn over(&self, passage: &mut Passage, request: &impl Request, carried: Carried, error: Option<&Error>) {
        self.land(passage);
        if let Some(why) = passage.watch.take().and_then(|watch| watch.why()) {
            passage.seen.ended(why);
        }
        let retried = passage.attempts.saturating_sub(1);
        self.pair.done.retried.fetch_add(u64::from(retried), Relaxed);
        self.see(request, carried, error, passage);
    }

    /// Ends an attempt that failed: what it shows about the side is counted, unless we ended it ourselves.
    fn failed(&self, attempt: &Attempt, error: &Error) {
        let ours = attempt.link.as_ref().is_some_and(|link| link.was_cut()) || matches!(error.etype(), &CUT | &OURS);
        if ours || *error.esource() == ErrorSource::Downstream {
            return;
        }
        let Some(kind) = trouble_of(error) else {
            if *error.etype() == ErrorType::InvalidHTTPHeader {
                self.pair.traffic.answered(&attempt.target, false, None);
            }
            return;
        };
        let (side, epoch) = (attempt.target.side, attempt.target.epoch);
        tracing::debug!(pair = self.pair.name, %side, %epoch, ?kind, %error, "trouble at a side");
        self.pair.traffic.trouble(&attempt.target, kind);
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
            link.leave();
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
        // What has become a WebSocket is in no pool; how it ends is its watch's to say.
        let Some(link) = link.and_then(Use::end).filter(|_| passage.watch.is_none()) else { return };
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
            sent_at: None,
            until_close: false,
        }
    }
}

/// RFC 9112 section 6.3: an answer without length and without transfer coding ends with its connection.
fn ends_with_connection(method: &Method, answer: &impl AnswerHead) -> bool {
    let without_body = *method == Method::HEAD || matches!(answer.status(), 204 | 304);
    !without_body && !answer.has("content-length") && !answer.has("transfer-encoding")
}

/// What a server's answer must be to be passed on (RFC 9112 sections 6.1 and 6.3). Pingora takes more, and clients would read it
/// otherwise.
pub(super) fn sound(request: &impl Request, answer: &impl AnswerHead) -> Result<()> {
    let mut codings = answer.all("transfer-encoding");
    let (coding, another) = (codings.next(), codings.next());
    let what =
        if another.is_some() || coding.is_some_and(|coding| !coding.trim_ascii().eq_ignore_ascii_case(b"chunked")) {
            "a transfer coding that nobody asked for"
        } else if coding.is_some() && answer.version() == Version::HTTP_10 {
            "a transfer coding in HTTP/1.0"
        } else if answer.status() == 101 && !request.has("upgrade") {
            "an upgrade that nobody asked for"
        } else if answer.length() > ANSWER_HEAD_MAX {
            "a head that is too long"
        } else {
            return Ok(());
        };
    Err(Error::explain(ErrorType::InvalidHTTPHeader, what).into_up())
}
