//! Connections, bounded: so many at once, none that says nothing from the start, and with TLS none of a stranger.

use super::gate::Gate;
use crate::platform::socket;
use lockstep_wire::braid::{Braid, Braids};
use lockstep_wire::trust::{HandshakeError, Peer, Stream as Wire};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::{Sleep, sleep, timeout};
use tokio_stream::Stream;
use tonic::transport::server::Connected;

/// An edge needs two, and two more while it connects anew. Without TLS, more than that wait in the kernel's queue; with it, more
/// than that of trusted edges are closed.
const CONNECTIONS: usize = 32;
/// Handshakes at once. One more takes the place of the oldest: who is slow may be a stranger, and must not keep an edge out.
const HANDSHAKES: usize = 32;
/// A handshake takes no longer.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// One that has sent nothing by then is closed; what is sent later is HTTP/2's own business.
const FIRST_BYTE: Duration = Duration::from_secs(5);
/// After an accept that has failed (no descriptors left): others need time to close some.
const AFTER_FAILURE: Duration = Duration::from_millis(50);

/// The connections that a listener accepts, for as long as it is polled.
pub(super) fn accept(listener: TcpListener, gate: Option<Gate>) -> impl Stream<Item = Result<Connection, io::Error>> {
    let (accepted, connections) = mpsc::channel(1);
    match gate {
        Some(gate) => tokio::spawn(let_in(listener, gate, accepted)),
        None => tokio::spawn(let_everybody_in(listener, accepted)),
    };
    tokio_stream::wrappers::ReceiverStream::new(connections)
}

type Accepted = mpsc::Sender<Result<Connection, io::Error>>;

/// Those that prove who they are, each in a task of its own.
async fn let_in(listener: TcpListener, gate: Gate, accepted: Accepted) {
    let (seats, braids) = (Arc::new(Semaphore::new(CONNECTIONS)), Braids::default());
    let mut under_way: VecDeque<JoinHandle<()>> = VecDeque::new();
    loop {
        let connection = tokio::select! {
            connection = socket::accept(&listener) => connection,
            () = accepted.closed() => return,
        };
        match connection {
            Ok((stream, from)) => {
                under_way.retain(|handshake| !handshake.is_finished());
                if under_way.len() >= HANDSHAKES {
                    under_way.pop_front().inspect(JoinHandle::abort);
                }
                let (gate, braids, seats) = (gate.clone(), braids.clone(), Arc::clone(&seats));
                let accepted = accepted.clone();
                under_way.push_back(tokio::spawn(async move {
                    // One that says nothing, or is a further strand of another, is none.
                    if let Ok(Some(braid)) = braids.take(stream).await {
                        shake_hands(gate, braid, from, seats, accepted).await;
                    }
                }));
            }
            Err(error) => not_accepted(&error).await,
        }
    }
}

async fn shake_hands(gate: Gate, stream: Braid, from: SocketAddr, seats: Arc<Semaphore>, accepted: Accepted) {
    let wire = match timeout(HANDSHAKE, gate.trust.accept(stream, from, &gate.edges)).await {
        Ok(Ok(wire)) => wire,
        // Said already.
        Ok(Err(HandshakeError::Refused(_))) => return,
        Ok(Err(HandshakeError::Broken(error))) => return tracing::debug!(%from, %error, "a connection has broken"),
        Err(_) => return tracing::debug!(%from, "a handshake did not come to its end"),
    };
    match seats.try_acquire_owned() {
        Ok(seat) => drop(accepted.send(Ok(Connection::new(wire, seat))).await),
        Err(_) => tracing::warn!(%from, "{CONNECTIONS} connections of edges are there already: one more is closed"),
    }
}

/// Whoever comes.
async fn let_everybody_in(listener: TcpListener, accepted: Accepted) {
    let (seats, braids) = (Arc::new(Semaphore::new(CONNECTIONS)), Braids::default());
    while let Ok(seat) = Arc::clone(&seats).acquire_owned().await {
        let connection = tokio::select! {
            connection = socket::accept(&listener) => connection,
            () = accepted.closed() => return,
        };
        match connection {
            Ok((stream, _)) => {
                let (braids, accepted) = (braids.clone(), accepted.clone());
                tokio::spawn(async move {
                    if let Ok(Some(braid)) = braids.take(stream).await {
                        let _ = accepted.send(Ok(Connection::new(Wire::plain(braid), seat))).await;
                    }
                });
            }
            Err(error) => not_accepted(&error).await,
        }
    }
}

async fn not_accepted(error: &io::Error) {
    tracing::warn!(%error, "a connection was not accepted");
    sleep(AFTER_FAILURE).await;
}

/// One connection, and its seat.
#[derive(Debug)]
pub(super) struct Connection {
    wire: Wire,
    /// Until its first byte.
    patience: Option<Pin<Box<Sleep>>>,
    _seat: OwnedSemaphorePermit,
}

impl Connection {
    fn new(wire: Wire, seat: OwnedSemaphorePermit) -> Connection {
        Connection { wire, patience: Some(Box::pin(sleep(FIRST_BYTE))), _seat: seat }
    }
}

/// Who is at the other end of a call's connection; nobody has proven it without TLS.
#[derive(Clone, Debug)]
pub(super) struct Caller(pub(super) Option<Arc<Peer>>);

impl Connected for Connection {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        Caller(self.wire.peer().cloned())
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.wire).poll_read(context, buffer);
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
        Pin::new(&mut self.wire).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.wire).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.wire.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_shutdown(context)
    }
}
