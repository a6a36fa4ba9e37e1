//! One end of a stream: a socket, or TLS over it. What is encrypted cannot go through pipes: it passes a buffer.

use super::pipe::Between;
use rustix::net::{Shutdown, shutdown};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

/// One end.
#[derive(Debug)]
pub(super) enum End {
    /// Bytes are as they are.
    Plain(TcpStream),
    /// They are encrypted here; ten times as large, and so in a box.
    Secured(Box<TlsStream<TcpStream>>),
}

impl End {
    pub(super) fn socket(&self) -> &TcpStream {
        match self {
            End::Plain(socket) => socket,
            End::Secured(stream) => stream.get_ref().0,
        }
    }

    pub(super) fn is_plain(&self) -> bool {
        matches!(self, End::Plain(_))
    }

    /// Reads what there is, as much as there is room for. 0: the other end has sent all. Who ends TLS without saying so has sent
    /// all, too: many clients do.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>, between: &mut Between) -> Poll<io::Result<usize>> {
        match self {
            End::Plain(socket) => loop {
                match socket.try_io(Interest::READABLE, || between.fill(&*socket)) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(socket.poll_read_ready(cx))?,
                    read => return Poll::Ready(read),
                }
            },
            End::Secured(stream) => {
                let mut part = ReadBuf::new(between.room());
                let read = match ready!(Pin::new(stream).poll_read(cx, &mut part)) {
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => 0,
                    read => read.map(|()| part.filled().len())?,
                };
                between.holds(read);
                Poll::Ready(Ok(read))
            }
        }
    }

    /// Writes what is held, as much as is taken.
    pub(super) fn poll_empty(&mut self, cx: &mut Context<'_>, between: &mut Between) -> Poll<io::Result<usize>> {
        match self {
            End::Plain(socket) => loop {
                match socket.try_io(Interest::WRITABLE, || between.empty(&*socket)) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(socket.poll_write_ready(cx))?,
                    written => return Poll::Ready(written),
                }
            },
            End::Secured(stream) => {
                let written = ready!(Pin::new(stream).poll_write(cx, between.bytes()))?;
                between.gave(written);
                Poll::Ready(Ok(written))
            }
        }
    }

    /// Tells the other end that nothing more comes.
    pub(super) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            End::Plain(socket) => Poll::Ready(shutdown(&*socket, Shutdown::Write).map_err(io::Error::from)),
            End::Secured(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

impl AsyncRead for End {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            End::Plain(socket) => Pin::new(socket).poll_read(cx, into),
            End::Secured(stream) => Pin::new(stream).poll_read(cx, into),
        }
    }
}

impl AsyncWrite for End {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            End::Plain(socket) => Pin::new(socket).poll_write(cx, bytes),
            End::Secured(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            End::Plain(socket) => Pin::new(socket).poll_flush(cx),
            End::Secured(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            End::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            End::Secured(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
