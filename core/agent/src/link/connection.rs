//! Connections, bounded: so many at once, and none that says nothing from the start.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};
use tokio_stream::Stream;
use tonic::transport::server::{Connected, TcpConnectInfo};

/// An edge needs two, and two more while it connects anew. More than that wait in the kernel's queue.
const CONNECTIONS: usize = 32;
/// One that has sent nothing by then is closed; what is sent later is HTTP/2's own business.
const FIRST_BYTE: Duration = Duration::from_secs(5);
/// After an accept that has failed (no descriptors left): others need time to close some.
const AFTER_FAILURE: Duration = Duration::from_millis(50);

/// The connections that a listener accepts, for as long as it is polled.
pub(super) fn accept(listener: TcpListener) -> impl Stream<Item = Result<Connection, io::Error>> {
    let (accepted, connections) = tokio::sync::mpsc::channel(1);
    tokio::spawn(async move {
        let seats = Arc::new(Semaphore::new(CONNECTIONS));
        while let Ok(seat) = Arc::clone(&seats).acquire_owned().await {
            let connection = tokio::select! {
                accepted = listener.accept() => accepted.map(|(stream, _)| Connection::new(stream, seat)),
                () = accepted.closed() => return,
            };
            match connection {
                Ok(connection) => {
                    if accepted.send(Ok(connection)).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    sleep(AFTER_FAILURE).await;
                }
            }
        }
    });
    tokio_stream::wrappers::ReceiverStream::new(connections)
}

/// One connection, and its seat.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    /// Until its first byte.
    patience: Option<Pin<Box<Sleep>>>,
    _seat: OwnedSemaphorePermit,
}

impl Connection {
    fn new(stream: TcpStream, seat: OwnedSemaphorePermit) -> Connection {
        // A lease does not wait for a segment to be full. A socket that refuses is as good as closed.
        let _ = stream.set_nodelay(true);
        Connection { stream, patience: Some(Box::pin(sleep(FIRST_BYTE))), _seat: seat }
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if read.is_ready() {
            self.patience = None;
        } else if let Some(patience) = &mut self.patience
            && patience.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
