//! A request and its answer, carried by ourselves: what most requests need, at the price of reading and writing each byte once.
//!
//! That is HTTP/1.1 and HTTP/2 with clients, with or without TLS, and HTTP/1.1 in the clear with servers. What is rare, and what is
//! large in code, pingora carries, on the same connection of the client's (`listen`, `h2`): a body that does not come with its head, say.
//! Both follow the same rules (`passage`).
//!
//! - `taker`: whoever is given an answer, a connection of HTTP/1 or a stream of HTTP/2.
//! - `course`: one attempt's way from the request's first byte to the answer's last.
//! - `answer`: what servers say, and where it ends (with [`crate::unchunk`]).
//! - `shelf`: their connections, while nobody uses them.
//! - `room`, `alarm`: what is used again by one request after the other.

mod alarm;
mod answer;
mod course;
mod room;
mod shelf;
mod taker;

pub(super) use alarm::Alarm;
pub(super) use answer::{Framing, Head as AnswerHead};
pub(super) use shelf::Shelf;
pub(super) use taker::{Portion, Taker, gone};

use super::client::Client;
use super::head::Head;
use super::links::Linked;
use super::outline::{Line, Outline, values};
use super::pair::Shared;
use super::passage::{Broken, Forward, Passage};
use super::request::{Fields, Request, Waiter};
use super::seen::Carried;
use super::sessions::{SessionRoom, Visit};
use super::settings::ListenSettings;
use crate::address::Address;
use bytes::{Bytes, BytesMut};
use http::{Method, Version};
use lockstep_policy::At;
use pingora_core::{Error, ErrorType, Result};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use tokio::sync::watch;

/// A body up to here is carried here, where it comes with its head: no server waits for it, and it is at hand to be sent again.
const BODY_MAX: usize = 16 * 1024;

/// A request, with what is used again by one request after the other.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) head: BytesMut,
    pub(super) outline: Outline,
    /// All of it.
    pub(super) body: Bytes,
    /// Room for the lines of an answer's head.
    pub(super) heard: Vec<Line>,
}

/// A request that is being carried.
struct Exchange<'c, T> {
    client: &'c mut T,
    forward: &'c Forward,
    limits: &'c ListenSettings,
    closing: &'c watch::Receiver<bool>,
    head: BytesMut,
    outline: Outline,
    body: Bytes,
    method: Method,
    /// The client wants its connection to last.
    lasts: bool,
    /// The fields of an answer's head.
    heard: Vec<Line>,
    /// A part of the answer has gone.
    begun: bool,
    /// What has gone can be told from a whole answer by nothing but the connection's end.
    ends_with_connection: bool,
    /// Bytes of the answer's body that have gone.
    sent: u64,
}

/// Takes a request that is carried here; one whose body takes its time is not.
pub(super) async fn take(client: &mut Client, head: &Head, pair: &Shared) -> Option<Asked> {
    let body = head.body_length().filter(|body| *body <= BODY_MAX)?;
    let (bytes, outline) = client.outlined(head.length);
    let is_plain = is_for_pair(pair)
        && is_plain_target(outline.target.within(bytes))
        && is_plain_connection(&outline.lines, bytes)
        && values(&outline.lines, bytes, "expect").next().is_none();
    (is_plain && client.has_come(head.length + body).await).then(|| client.begin_exchange(head.length, body))
}

/// Whether requests of a pair are carried here.
pub(super) fn is_for_pair(pair: &Shared) -> bool {
    pair.sessions.is_none() && pair.upstream.load().is_plain()
}

/// A path that anybody reads alike.
pub(super) fn is_plain_target(target: &[u8]) -> bool {
    let is_plain = |byte: &u8| {
        byte.is_ascii_graphic() && !matches!(byte, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}')
    };
    target.first() == Some(&b'/') && target.iter().all(is_plain)
}

/// Nothing but whether it lasts.
fn is_plain_connection(lines: &[Line], bytes: &[u8]) -> bool {
    let mut said = values(lines, bytes, "connection");
    let is_plain = |said: &[u8]| said.eq_ignore_ascii_case(b"keep-alive") || said.eq_ignore_ascii_case(b"close");
    said.next().is_none_or(is_plain) && said.next().is_none()
}

/// Carries a request. True: another one may follow on the client's connection.
pub(super) async fn carry<T: Taker>(
    client: &mut T,
    asked: Asked,
    forward: &Forward,
    limits: &ListenSettings,
    closing: &watch::Receiver<bool>,
) -> (bool, Asked) {
    let mut exchange = Exchange::begin(client, asked, forward, limits, closing);
    let mut passage = forward.begin();
    let done = exchange.run(&mut passage).await;
    if let Err(error) = &done {
        exchange.fail(&mut passage, error).await;
    }
    let received = exchange.body.len() as u64;
    let carried = Carried { status: passage.status, received, sent: exchange.sent };
    forward.over(&mut passage, &exchange, carried, done.as_ref().err().map(|error| &**error));
    let Exchange { head, outline, heard, .. } = exchange;
    (done.unwrap_or(false), Asked { head, outline, heard, body: Bytes::new() })
}

impl<'c, T: Taker> Exchange<'c, T> {
    fn begin(
        client: &'c mut T,
        asked: Asked,
        forward: &'c Forward,
        limits: &'c ListenSettings,
        closing: &'c watch::Receiver<bool>,
    ) -> Exchange<'c, T> {
        let Asked { head, outline, body, heard } = asked;
        let method = Method::from_bytes(outline.method.within(&head)).unwrap_or_default();
        let lasts = match values(&outline.lines, &head, "connection").next() {
            Some(said) => said.eq_ignore_ascii_case(b"keep-alive"),
            None => outline.version_1_1,
        };
        Exchange {
            client,
            forward,
            limits,
            closing,
            head,
            outline,
            body,
            method,
            lasts,
            heard,
            begun: false,
            ends_with_connection: false,
            sent: 0,
        }
    }

    /// Tries until an attempt has an answer, or none may follow. True: another request may follow on the client's connection.
    async fn run(&mut self, passage: &mut Passage) -> Result<bool> {
        let forward = self.forward;
        loop {
            forward.pause(passage).await;
            let to = forward.choose(self, passage).await?;
            let Some(target) = passage.attempt.as_ref().map(|attempt| Arc::clone(&attempt.target)) else {
                return Err(Error::new_in(ErrorType::InternalError));
            };
            let (mut linked, reused) = match self.reach(&target, &to).await {
                Ok(reached) => reached,
                Err(error) => {
                    forward.unreached(passage, &error);
                    continue;
                }
            };
            let reached = forward.reached(passage, Some(Arc::clone(&linked.kept.link)), reused);
            let done = match reached {
                Ok(()) => self.attempt(passage, &mut linked).await,
                Err(error) => Err(error),
            };
            match done {
                Ok(done) => {
                    if done.reusable {
                        shelf::put(&target, linked, to);
                    }
                    return Ok(done.lasts);
                }
                Err(error) => {
                    let broken = Broken { answer_begun: self.begun, safe: self.method.is_idempotent() };
                    if !forward.broken(passage, &error, &broken) {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// A connection to the server; true: others have used it.
    async fn reach(&self, target: &Arc<super::table::Target>, to: &Address) -> Result<(Linked, bool)> {
        while let Some(linked) = target.shelf.take(to) {
            if self.method.is_idempotent() || shelf::is_surely_quiet(&linked) {
                return Ok((linked, true));
            }
        }
        // In a box: most requests find a connection, and need no room for this.
        let linked = Box::pin(target.dial.open(to)).await?;
        // A small request must not wait for the acknowledgement of the one before.
        let _ = linked.socket.set_nodelay(true);
        Ok((linked, false))
    }

    /// Tells the client that no answer comes, if it can be told.
    async fn fail(&mut self, passage: &mut Passage, error: &Error) {
        let Some((answer, notice)) = self.forward.failure(passage, error, &self.method, self.begun) else {
            if self.begun {
                self.client.break_off(self.ends_with_connection);
            }
            return;
        };
        let said = answer.said(self, notice.as_ref());
        let is_head = self.method == Method::HEAD;
        self.sent = self.client.is_refused(said, is_head, self.limits).await.unwrap_or(self.sent);
    }
}

impl<T: Taker> Fields for Exchange<'_, T> {
    fn all<'f>(&'f self, name: &'f str) -> impl Iterator<Item = &'f [u8]> {
        values(&self.outline.lines, &self.head, name)
    }
}

impl<T: Taker> Exchange<'_, T> {
    fn text(&self, range: Range<usize>) -> &str {
        self.target().get(range).and_then(|part| std::str::from_utf8(part).ok()).unwrap_or_default()
    }
}

impl<T: Taker> Request for Exchange<'_, T> {
    fn method(&self) -> &Method {
        &self.method
    }

    fn version(&self) -> Version {
        self.client.version(&self.outline)
    }

    fn target(&self) -> &[u8] {
        self.outline.target.within(&self.head)
    }

    fn path(&self) -> &str {
        let target = self.target();
        self.text(0..target.iter().position(|byte| *byte == b'?').unwrap_or(target.len()))
    }

    fn path_and_query(&self) -> &str {
        self.text(0..self.target().len())
    }

    fn client(&self) -> Option<SocketAddr> {
        self.client.address()
    }

    fn listener(&self) -> Option<SocketAddr> {
        self.client.listener()
    }

    fn by_tls(&self) -> bool {
        self.client.is_encrypted()
    }

    /// Such pairs are pingora's.
    fn visit(&self, _: &SessionRoom, _: At, _: Option<&Visit>) -> Option<Visit> {
        None
    }
}

impl<T: Taker> Waiter for Exchange<'_, T> {
    async fn left(&mut self) -> Box<Error> {
        poll_fn(|cx| self.client.poll_gone(cx)).await
    }
}
