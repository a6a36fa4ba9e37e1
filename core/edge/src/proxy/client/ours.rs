//! What an exchange of our own (`exchange`) reads and writes past pingora.

use super::Client;
use super::open::Open;
use crate::proxy::exchange::Alarm;
use crate::proxy::outline::{Line, Outline};
use crate::proxy::stream::Between;
use bytes::BytesMut;
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

    /// Takes the head of a request without a body, with what is used again by one request after the other.
    pub(in crate::proxy) fn begin_exchange(&mut self, length: usize) -> (BytesMut, Outline, Vec<Line>) {
        self.open = Open::Bytes(0);
        (self.take(length), std::mem::take(&mut self.outline), std::mem::take(&mut self.heard))
    }

    /// Gives back what was taken to be used again.
    pub(in crate::proxy) fn end_exchange(&mut self, outline: Outline, heard: Vec<Line>) {
        (self.outline, self.heard) = (outline, heard);
    }

    pub(in crate::proxy) fn is_encrypted(&self) -> bool {
        self.encryption.is_some()
    }

    /// Where it has connected to.
    pub(in crate::proxy) fn listener(&self) -> Option<SocketAddr> {
        self.digest.local_addr()?.as_inet().copied()
    }

    /// The alarm of whoever waits for something on its behalf.
    pub(in crate::proxy) fn alarm(&mut self) -> &mut Alarm {
        &mut self.alarm
    }

    /// Writes what is taken of these parts.
    pub(in crate::proxy) fn poll_give(
        &mut self,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
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

    /// Ready when all that was written has left.
    pub(in crate::proxy) fn poll_given(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.encryption.is_none() { Poll::Ready(Ok(())) } else { Pin::new(self).poll_flush(cx) }
    }

    /// Writes what is taken of what lies between a server and this client, who speaks no TLS.
    pub(in crate::proxy) fn poll_move(
        &mut self,
        cx: &mut Context<'_>,
        between: &mut Between,
    ) -> Poll<io::Result<usize>> {
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

    /// Ends the connection so that nobody takes what was sent for a whole answer.
    pub(in crate::proxy) fn break_off(&mut self) {
        // Closed with this, it is reset.
        let _ = sockopt::set_socket_linger(self.socket().get_ref().tcp(), Some(Duration::ZERO));
        self.ended = true;
    }
}
