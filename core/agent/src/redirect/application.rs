//! Connections to the application. Each client's connection has one of its own: an application may keep who somebody is
//! with the connection (NTLM does), and what is shared would be shared with strangers.

use super::body::Body;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A connection on the same machine, or next to it.
const CONNECT: Duration = Duration::from_secs(2);
/// Half of what an answer's head may have, and what is kept of a body.
const BUFFER_MAX: usize = 32 * 1024;
const FIELDS_MAX: usize = 200;

/// The connection that the next request of the same client and the same turn finds.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// Held for a moment at a time, and by nobody else: a connection has one request at a time.
    connection: Mutex<Option<Application>>,
}

/// A connection to the application.
#[derive(Debug)]
pub(super) struct Application {
    pub(super) requests: SendRequest<Body>,
    /// The turn in which it was made.
    turn: u64,
}

impl Kept {
    /// The connection, if it is of this turn and good for another request.
    pub(super) async fn take(&self, turn: u64) -> Option<Application> {
        let kept = self.connection.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut kept = kept.filter(|kept| kept.turn == turn)?;
        kept.requests.ready().await.is_ok().then_some(kept)
    }

    pub(super) fn put(&self, application: Application) {
        *self.connection.lock().unwrap_or_else(PoisonError::into_inner) = Some(application);
    }
}

/// A new connection.
pub(super) async fn connect(address: SocketAddr, turn: u64) -> io::Result<Application> {
    let stream = timeout(CONNECT, TcpStream::connect(address)).await??;
    stream.set_nodelay(true)?;
    let handshake = Builder::new().max_buf_size(BUFFER_MAX).max_headers(FIELDS_MAX).handshake(TokioIo::new(stream));
    let (requests, connection) = handshake.await.map_err(io::Error::other)?;
    // It ends when nobody has a request or an answer on it any more. Whoever waits for an answer is told of its faults.
    tokio::spawn(connection.with_upgrades());
    Ok(Application { requests, turn })
}
