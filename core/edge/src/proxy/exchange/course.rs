//! One attempt's way: the request to the server, and its answer to the client.

use super::Exchange;
use super::answer::{self, Framing, Head};
use super::room::{Room, Text};
use super::taker::{Portion, Taker};
use crate::proxy::links::Linked;
use crate::proxy::outline::Lines;
use crate::proxy::passage::{Passage, sound};
use crate::proxy::request::{AnswerHead, Edit};
use crate::proxy::stream::Between;
use crate::unchunk::{Malformed, Unchunk};
use bytes::Bytes;
use pingora_core::{Error, ErrorType, Result};
use std::future::poll_fn;
use std::io::{self, Write as _};
use std::ops::Range;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::time::Instant;

/// What is read of an answer before its head must be whole. How long its fields may be says `sound`.
const HEAD_MAX: usize = 72 * 1024;

/// What is left of an answer's body from which on the kernel moves it from one socket to the other.
const SPLICE_MIN: u64 = 64 * 1024;

/// Heads of 1xx before one answer.
const INTERIM_MAX: u32 = 64;

/// Moves of one body before others of the same thread have their turn.
const TURN: usize = 16;

/// Fields that are between two neighbours (RFC 9110 section 7.6.1), and what is not for servers.
const HOP_BY_HOP: [&str; 10] = [
    "connection",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// An attempt that was answered.
pub(super) struct Done {
    /// Another request may follow on the client's connection.
    pub(super) lasts: bool,
    /// … and on the server's.
    pub(super) reusable: bool,
}

/// An answer's body, as far as it has come.
#[derive(Debug)]
enum Rest {
    Nothing,
    Length(u64),
    Chunks(Unchunk),
    Close { ended: bool },
}

/// What is held of a body.
struct Part {
    /// Where its data stands.
    data: Range<usize>,
    /// Bytes that are done with when it has gone.
    taken: usize,
    end: bool,
}

impl Rest {
    fn of(framing: Framing) -> Rest {
        match framing {
            Framing::Nothing => Rest::Nothing,
            Framing::Length(length) => Rest::Length(length),
            Framing::Chunks => Rest::Chunks(Unchunk::new()),
            Framing::Close => Rest::Close { ended: false },
        }
    }

    fn take(&mut self, held: &mut [u8]) -> Result<Part> {
        let all = held.len();
        Ok(match self {
            Rest::Nothing => Part { data: 0..0, taken: 0, end: true },
            Rest::Length(left) => {
                let here = usize::try_from(*left).unwrap_or(usize::MAX).min(all);
                *left -= here as u64;
                Part { data: 0..here, taken: here, end: *left == 0 }
            }
            Rest::Chunks(chunks) => {
                let part = chunks.take(held).map_err(malformed)?;
                Part { data: part.data, taken: part.taken, end: chunks.is_over() }
            }
            Rest::Close { ended } => Part { data: 0..all, taken: all, end: *ended },
        })
    }

    /// The server has ended its connection.
    fn ends(&mut self) -> Result<()> {
        match self {
            Rest::Close { ended } => {
                *ended = true;
                Ok(())
            }
            _ => Err(Error::explain(ErrorType::ConnectionClosed, "before the answer was whole").into_up()),
        }
    }
}

impl<T: Taker> Exchange<'_, T> {
    /// Has the request answered over a connection.
    pub(super) async fn attempt(&mut self, passage: &mut Passage, linked: &mut Linked) -> Result<Done> {
        self.ask(passage, linked).await?;
        let (mut room, mut interim) = (None, 0);
        loop {
            let start = self.hear_head(linked, &mut room).await?;
            let Some(held) = &mut room else { return Err(Error::new_in(ErrorType::InternalError)) };
            let (mut text, mut added) = (Text::take(), Text::take());
            let mut head = Head::new(start, &held.held()[..start.length], &self.heard, &mut added);
            sound(self, &head)?;
            let framing = head.framing(&self.method)?;
            if head.status() == 101 {
                return Err(Error::explain(ErrorType::InvalidHTTPHeader, "an upgrade that nobody asked for").into_up());
            }
            self.forward.answered(passage, self, &mut head)?;
            if head.status() < 200 {
                interim += 1;
                if interim > INTERIM_MAX {
                    return Err(Error::explain(ErrorType::InvalidHTTPHeader, "1xx without end").into_up());
                }
                head.write_interim(&mut text);
                held.done(start.length);
                // RFC 9110 section 15.2: HTTP/1.0 has none of these.
                if self.outline.version_1_1 {
                    self.give(linked, Portion::new([&text, b"", b""], false)).await?;
                }
                continue;
            }
            let out = self.framing_out(framing, passage.rewriting.is_some());
            let is_closing = || self.closing.has_changed().is_err() || *self.closing.borrow();
            let lasts = self.lasts && out != Framing::Close && !is_closing();
            let server_lasts = head.lasts();
            self.client.is_told(&mut head, out, lasts, &mut text)?;
            held.done(start.length);
            self.ends_with_connection = out == Framing::Close;
            let is_clean = self.pass_body(passage, linked, &mut room, text, framing, out).await?;
            let reusable = is_clean && server_lasts && framing != Framing::Close && !linked.kept.link.was_cut();
            return Ok(Done { lasts, reusable });
        }
    }

    /// How the client is shown where the body ends.
    fn framing_out(&self, framing: Framing, is_rewritten: bool) -> Framing {
        match framing {
            Framing::Nothing => Framing::Nothing,
            Framing::Length(length) if !is_rewritten => Framing::Length(length),
            _ if self.outline.version_1_1 => Framing::Chunks,
            _ => Framing::Close,
        }
    }

    /// Writes the request.
    async fn ask(&mut self, passage: &mut Passage, linked: &mut Linked) -> Result<()> {
        let (mut text, mut added) = (Text::take(), Text::take());
        let mut lines = Lines::new(&self.head, &self.outline.lines, &mut added);
        lines.take_out(|name| HOP_BY_HOP.iter().any(|known| known.eq_ignore_ascii_case(name)));
        self.forward.tell(passage, self, &mut lines)?;
        for part in
            [self.outline.method.within(&self.head), b" ", self.outline.target.within(&self.head), b" HTTP/1.1\r\n"]
        {
            text.extend_from_slice(part);
        }
        lines.write(&mut text, false);
        text.extend_from_slice(b"\r\n");
        self.forward.sends(passage)?;
        let body = self.body.clone();
        self.write(linked, Portion::new([&text, &body, b""], true)).await
    }

    /// Writes to the server.
    async fn write(&mut self, linked: &mut Linked, mut portion: Portion<'_>) -> Result<()> {
        let within = self.forward.pair.settings.write_timeout;
        let mut deadline = None;
        poll_fn(|cx| {
            while !portion.is_gone() {
                match Pin::new(&mut linked.socket).poll_write_vectored(cx, &portion.left()) {
                    Poll::Ready(Ok(some @ 1..)) => portion.goes(some),
                    Poll::Ready(Ok(_)) => return Poll::Ready(Err(Error::new_up(ErrorType::WriteError))),
                    Poll::Ready(Err(error)) => {
                        let error = Error::because(ErrorType::WriteError, "to a server", error);
                        return Poll::Ready(Err(error.into_up()));
                    }
                    Poll::Pending if self.is_late(cx, &mut deadline, within) => {
                        return Poll::Ready(Err(Error::new_up(ErrorType::WriteTimedout)));
                    }
                    Poll::Pending => return Poll::Pending,
                }
            }
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// Whether what is waited for since the deadline was made has not come in time.
    fn is_late(&mut self, cx: &mut Context<'_>, deadline: &mut Option<Instant>, within: Duration) -> bool {
        let deadline = *deadline.get_or_insert_with(|| Instant::now() + within);
        self.client.alarm().poll(cx, deadline).is_ready()
    }

    /// Reads until a whole head is held.
    async fn hear_head(&mut self, linked: &mut Linked, room: &mut Option<Room>) -> Result<answer::Start> {
        let mut read = 0;
        loop {
            if let Some(room) = room {
                let held = room.held();
                // Looked at when it begins, to refuse garbage at once, and then once a line, not once a byte.
                let news = held.get(read..).unwrap_or_default();
                if !news.is_empty() && (read == 0 || news.contains(&b'\n')) {
                    read = held.len();
                    if let Some(start) = answer::read(held, &mut self.heard)? {
                        return Ok(start);
                    }
                }
                if held.len() >= HEAD_MAX {
                    return Err(Error::explain(ErrorType::InvalidHTTPHeader, "a head that is too long").into_up());
                }
                room.make_way(HEAD_MAX);
            }
            if self.hear(linked, room).await? == 0 {
                return Err(Error::explain(ErrorType::ConnectionClosed, "before an answer came").into_up());
            }
        }
    }

    /// Reads what there is from the server; 0: it has sent all. A room is taken only for what is there.
    async fn hear(&mut self, linked: &mut Linked, room: &mut Option<Room>) -> Result<usize> {
        let within = self.forward.pair.settings.read_timeout;
        let mut deadline = None;
        poll_fn(|cx| {
            let mut taken = room.take().unwrap_or_else(Room::take);
            let mut free = ReadBuf::new(taken.free());
            let read = Pin::new(&mut linked.socket).poll_read(cx, &mut free);
            let bytes = free.filled().len();
            taken.came(bytes);
            if !taken.held().is_empty() {
                *room = Some(taken);
            }
            match read {
                Poll::Ready(Ok(())) => return Poll::Ready(Ok(bytes)),
                Poll::Ready(Err(error)) => {
                    return Poll::Ready(Err(Error::because(ErrorType::ReadError, "from a server", error).into_up()));
                }
                Poll::Pending => {}
            }
            if let Poll::Ready(gone) = self.client.poll_gone(cx) {
                return Poll::Ready(Err(gone));
            }
            if self.is_late(cx, &mut deadline, within) {
                return Poll::Ready(Err(Error::new_up(ErrorType::ReadTimedout)));
            }
            Poll::Pending
        })
        .await
    }

    /// Passes the body on, its head before it. True: the server has said nothing behind its end.
    async fn pass_body(
        &mut self,
        passage: &mut Passage,
        linked: &mut Linked,
        room: &mut Option<Room>,
        mut text: Text,
        framing: Framing,
        out: Framing,
    ) -> Result<bool> {
        let mut rest = Rest::of(framing);
        loop {
            let part = match room {
                Some(room) => rest.take(room.held_mut())?,
                None => rest.take(&mut [])?,
            };
            let held = room.as_ref().map_or(&b""[..], Room::held);
            let mut data = &held[part.data.clone()];
            let mut rewritten = None;
            if passage.rewriting.is_some() {
                rewritten = Some(Bytes::copy_from_slice(data));
                self.forward.passes(passage, &mut rewritten, part.end)?;
                data = rewritten.as_deref().unwrap_or_default();
            } else if part.end {
                self.forward.passes(passage, &mut rewritten, true)?;
            }
            // A head whose body has yet to come waits for it, unless nobody knows how long that takes.
            let is_open = matches!(out, Framing::Chunks | Framing::Close) && !self.begun;
            if !data.is_empty() || part.end || is_open {
                let tail = if out == Framing::Chunks { frame(&mut text, data.len(), part.end) } else { b"" };
                self.begun = true;
                self.give(linked, Portion::new([&text, data, tail], part.end)).await?;
                text.clear();
                self.sent += data.len() as u64;
            }
            let is_clean = held.len() == part.taken;
            if let Some(held) = room {
                held.done(part.taken);
                if held.held().is_empty() {
                    *room = None;
                }
            }
            if part.end {
                return Ok(is_clean);
            }
            if let Rest::Length(left) = &mut rest
                && *left >= SPLICE_MIN
                && self.begun
                && matches!(out, Framing::Length(_))
                && self.client.takes_bytes()
            {
                Box::pin(self.splice(linked, left)).await?;
                self.forward.passes(passage, &mut None, true)?;
                return Ok(true);
            }
            if self.hear(linked, room).await? == 0 {
                rest.ends()?;
            }
        }
    }

    /// Writes to the client, all of it.
    async fn give(&mut self, linked: &Linked, mut portion: Portion<'_>) -> Result<()> {
        let within = self.limits.write_timeout;
        let mut deadline = None;
        let mut cut = pin!(linked.kept.link.ended());
        poll_fn(|cx| {
            if let Poll::Ready(given) = self.client.poll_give(cx, &mut portion) {
                let to_client = |error| Error::because(ErrorType::WriteError, "to the client", error).into_down();
                return Poll::Ready(given.map_err(to_client));
            }
            if cut.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(Error::new_up(ErrorType::ConnectionClosed)));
            }
            if let Poll::Ready(gone) = self.client.poll_gone(cx) {
                return Poll::Ready(Err(gone));
            }
            if self.is_late(cx, &mut deadline, within) {
                return Poll::Ready(Err(Error::new_down(ErrorType::WriteTimedout)));
            }
            Poll::Pending
        })
        .await
    }

    /// Has the kernel pass on so many bytes.
    async fn splice(&mut self, linked: &mut Linked, left: &mut u64) -> Result<()> {
        let (write, read) = (self.limits.write_timeout, self.forward.pair.settings.read_timeout);
        let mut between = Between::default();
        let mut deadline = None;
        let mut cut = pin!(linked.kept.link.ended());
        let server = &linked.socket;
        let done = poll_fn(|cx| {
            for _ in 0..TURN {
                if *left == 0 && between.held() == 0 {
                    return Poll::Ready(Ok(()));
                }
                let moved = if between.held() > 0 {
                    let given = self.client.poll_move(cx, &mut between);
                    given.map(|given| {
                        given
                            .inspect(|given| self.sent += *given as u64)
                            .map_err(|error| Error::because(ErrorType::WriteError, "to the client", error).into_down())
                    })
                } else {
                    poll_fill(cx, server, &mut between, left)
                };
                match moved {
                    Poll::Ready(Ok(_)) => deadline = None,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => {
                        let is_by_client = between.held() > 0;
                        if cut.as_mut().poll(cx).is_ready() {
                            return Poll::Ready(Err(Error::new_up(ErrorType::ConnectionClosed)));
                        }
                        if let Poll::Ready(gone) = self.client.poll_gone(cx) {
                            return Poll::Ready(Err(gone));
                        }
                        return match (
                            self.is_late(cx, &mut deadline, if is_by_client { write } else { read }),
                            is_by_client,
                        ) {
                            (false, _) => Poll::Pending,
                            (true, true) => Poll::Ready(Err(Error::new_down(ErrorType::WriteTimedout))),
                            (true, false) => Poll::Ready(Err(Error::new_up(ErrorType::ReadTimedout))),
                        };
                    }
                }
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        between.rest();
        done
    }
}

/// Reads what there is of a body into what lies between the sockets.
fn poll_fill(
    cx: &mut Context<'_>,
    server: &tokio::net::TcpStream,
    between: &mut Between,
    left: &mut u64,
) -> Poll<Result<usize>> {
    let most = usize::try_from(*left).unwrap_or(usize::MAX);
    loop {
        match server.try_io(Interest::READABLE, || between.fill_at_most(server, most)) {
            Ok(0) => {
                let error = Error::explain(ErrorType::ConnectionClosed, "before the answer was whole");
                return Poll::Ready(Err(error.into_up()));
            }
            Ok(read) => {
                *left -= read as u64;
                return Poll::Ready(Ok(read));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => match server.poll_read_ready(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(from_server(error))),
                Poll::Pending => return Poll::Pending,
            },
            Err(error) => return Poll::Ready(Err(from_server(error))),
        }
    }
}

fn malformed(_: Malformed) -> Box<Error> {
    Error::explain(ErrorType::InvalidHTTPHeader, "an answer's chunks are malformed").into_up()
}

fn from_server(error: io::Error) -> Box<Error> {
    Error::because(ErrorType::ReadError, "from a server", error).into_up()
}

/// Writes what stands before a part of so many bytes, and returns what stands behind it.
fn frame(text: &mut Vec<u8>, length: usize, end: bool) -> &'static [u8] {
    match (length, end) {
        (0, false) => b"",
        (0, true) => b"0\r\n\r\n",
        (length, end) => {
            // Writing to memory does not fail.
            let _ = write!(text, "{length:x}\r\n");
            if end { b"\r\n0\r\n\r\n" } else { b"\r\n" }
        }
    }
}
