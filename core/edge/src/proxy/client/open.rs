//! What pingora may read of a client's connection, and how fast that must come.

use super::Client;
use crate::proxy::answer::Refused;
use crate::proxy::chunks::Chunks;
use crate::proxy::head;
use bytes::BytesMut;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, ReadBuf};

/// What a client may send ahead of its turn; more stays in the kernel.
const AHEAD_MAX: usize = 16 * 1024;

/// What pingora may read.
#[derive(Debug)]
pub(super) enum Open {
    Bytes(u64),
    /// So many bytes of a head, and then chunks.
    Chunks(u64, Box<Chunks>),
    All,
}

impl AsyncRead for Client {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(fault) = &this.fault {
            return Poll::Ready(Err(Refused::error(fault.clone())));
        }
        match &mut this.upgrade {
            Some(end) if end.is_open() => {
                let socket = this.socket.as_mut().expect("the socket is taken out in drop only");
                return end.poll_read(cx, socket, &mut this.ahead, into);
            }
            Some(end) => end.lets_go(cx),
            None => {}
        }
        let allowed = match this.open {
            Open::Bytes(0) => return this.poll_left(cx),
            Open::Bytes(left) | Open::Chunks(left @ 1.., _) => {
                usize::try_from(left).unwrap_or(usize::MAX).min(into.remaining())
            }
            Open::Chunks(0, _) | Open::All => into.remaining(),
        };
        let before = into.filled().len();
        let read = if this.ahead.is_empty() {
            let mut part = ReadBuf::new(into.initialize_unfilled_to(allowed));
            let socket = this.socket.as_mut().expect("the socket is taken out in drop only");
            let Poll::Ready(done) = Pin::new(socket).poll_read(cx, &mut part) else { return this.poll_late(cx) };
            done?;
            let read = part.filled().len();
            into.advance(read);
            this.ended |= read == 0 && allowed > 0;
            this.pace.came(read, allowed);
            read
        } else {
            let read = allowed.min(this.ahead.len());
            into.put_slice(&this.ahead.split_to(read));
            read
        };
        if let Some(frames) = &mut this.frames {
            frames.came(&into.filled()[before..]);
        }
        Poll::Ready(this.account(read, before, into))
    }
}

impl Client {
    /// Takes note of what pingora is about to be given: bytes behind the end of the body are put aside again.
    fn account(&mut self, read: usize, before: usize, into: &mut ReadBuf<'_>) -> io::Result<()> {
        let chunks = match &mut self.open {
            Open::All => return Ok(()),
            Open::Bytes(left) | Open::Chunks(left @ 1.., _) => {
                *left -= read as u64;
                return Ok(());
            }
            Open::Chunks(0, chunks) => chunks,
        };
        let new = &into.filled()[before..];
        match chunks.follow(new) {
            Ok(of_body) if of_body < new.len() => {
                let mut ahead = BytesMut::from(&new[of_body..]);
                ahead.extend_from_slice(&self.ahead);
                self.ahead = ahead;
                into.set_filled(before + of_body);
            }
            Ok(_) => {}
            Err(answer) => {
                into.set_filled(before);
                self.fault = Some(answer.clone());
                return Err(Refused::error(answer));
            }
        }
        if chunks.is_over() {
            self.open = Open::Bytes(0);
        }
        Ok(())
    }

    /// Nothing has come of what is due. A client that is too slow is told so.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if matches!(self.open, Open::All) {
            return Poll::Pending;
        }
        ready!(self.pace.poll_late(cx));
        self.fault = Some(head::TOO_SLOW_BODY);
        Poll::Ready(Err(Refused::error(head::TOO_SLOW_BODY)))
    }
}

impl Client {
    /// Ready, with nothing read, when the client has left; what it sends ahead is put aside.
    pub(in crate::proxy) fn poll_left(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.ahead.len() < AHEAD_MAX {
            let mut bytes = [0; 512];
            let mut part = ReadBuf::new(&mut bytes);
            let socket = self.socket.as_mut().expect("the socket is taken out in drop only");
            ready!(Pin::new(socket).poll_read(cx, &mut part))?;
            if part.filled().is_empty() {
                self.ended = true;
                return Poll::Ready(Ok(()));
            }
            self.ahead.extend_from_slice(part.filled());
        }
        // Enough: the answer that is being made ends this wait, nothing else needs to.
        Poll::Pending
    }
}
