//! What an exchange of our own (`exchange`) reads and writes past pingora.

use super::open::Open;
use super::{Client, READ_STEP};
use crate::proxy::answer::Said;
use crate::proxy::exchange::{Alarm, AnswerHead, Asked, Framing, Portion, Taker, gone};
use crate::proxy::outline::Outline;
use crate::proxy::settings::ListenSettings;
use crate::proxy::stream::Between;
use bytes::{Bytes, BytesMut};
use http::Version;
use pingora_core::{Error, Result};
use rustix::net::sockopt;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncWrite, Interest};

impl Client {
    /// The head that is next, and where its parts stand.
    pub(in crate::proxy) fn outlined(&self, length: usize) -> (&[u8], &Outline) {
        (&self.ahead[..length], &self.outline)
    }

    /// Takes a request that has come: a head, and a body of these lengths.
    pub(in crate::proxy) fn begin_exchange(&mut self, head: usize, body: usize) -> Asked {
        self.open = Open::Bytes(0);
        let head = self.take(head);
        let body = if body == 0 { Bytes::new() } else { self.take(body).freeze() };
        if body.len() > READ_STEP && self.ahead.is_empty() {
            // The next request hardly needs as much room.
            self.ahead = BytesMut::new();
        }
        Asked { head, outline: std::mem::take(&mut self.outline), body, heard: std::mem::take(&mut self.heard) }
    }

    /// Gives back what was taken to be used again.
    pub(in crate::proxy) fn end_exchange(&mut self, asked: Asked) {
        (self.outline, self.heard) = (asked.outline, asked.heard);
    }

    /// Writes what is taken of these parts.
    fn poll_write_parts(&mut self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let socket = self.socket();
        if !socket.buffer().is_empty() {
            ready!(Pin::new(&mut *socket).poll_flush(cx))?;
        }
        let Poll::Ready(written) = Pin::new(socket.get_mut()).poll_write_vectored(cx, parts) else {
            return self.poll_untaken(cx).map(Err);
        };
        let written = written?;
        self.taking.came(written, usize::MAX);
        Poll::Ready(Ok(written))
    }
}

impl Taker for Client {
    fn version(&self, asked: &Outline) -> Version {
        if asked.version_1_1 { Version::HTTP_11 } else { Version::HTTP_10 }
    }

    fn address(&self) -> Option<SocketAddr> {
        Client::address(self)
    }

    fn listener(&self) -> Option<SocketAddr> {
        self.digest.local_addr()?.as_inet().copied()
    }

    fn is_encrypted(&self) -> bool {
        self.encryption.is_some()
    }

    fn alarm(&mut self) -> &mut Alarm {
        &mut self.alarm
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Box<Error>> {
        self.poll_left(cx).map(gone)
    }

    fn is_told(&mut self, head: &mut AnswerHead<'_>, out: Framing, lasts: bool, text: &mut Vec<u8>) -> Result<()> {
        head.write_final(text, out, lasts);
        Ok(())
    }

    /// What TLS has of it must have left as well.
    fn poll_give(&mut self, cx: &mut Context<'_>, portion: &mut Portion<'_>) -> Poll<io::Result<()>> {
        while !portion.is_gone() {
            match ready!(self.poll_write_parts(cx, &portion.left()))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                some => portion.goes(some),
            }
        }
        if self.encryption.is_none() { Poll::Ready(Ok(())) } else { Pin::new(self).poll_flush(cx) }
    }

    fn takes_bytes(&self) -> bool {
        self.encryption.is_none()
    }

    fn poll_move(&mut self, cx: &mut Context<'_>, between: &mut Between) -> Poll<io::Result<usize>> {
        let socket = self.socket().get_ref().tcp();
        let moved = loop {
            match socket.try_io(Interest::WRITABLE, || between.empty(socket)) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(moved) => break moved,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => match socket.poll_write_ready(cx) {
                    Poll::Ready(ready) => ready?,
                    Poll::Pending => return self.poll_untaken(cx).map(Err),
                },
                Err(error) => return Poll::Ready(Err(error)),
            }
        };
        self.taking.came(moved, usize::MAX);
        Poll::Ready(Ok(moved))
    }

    async fn is_refused(&mut self, said: Said, is_head: bool, limits: &ListenSettings) -> Option<u64> {
        let (wire, body) = said.into_wire(is_head);
        self.give(&wire, limits).await.then_some(body)
    }

    fn break_off(&mut self, with_connection: bool) {
        if with_connection {
            // Closed with this, it is reset.
            let _ = sockopt::set_socket_linger(self.socket().get_ref().tcp(), Some(Duration::ZERO));
            self.ended = true;
        }
    }
}
