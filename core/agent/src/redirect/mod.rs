//! Listeners for requests that come to the node directly, past the pair's address.
//!
//! ```text
//!  client ──> connection ──┬─ the node serves ───> pass ──> application ──> answer
//!                          ├─ a probe's path ────> pass
//!                          └─ it does not ───────> 307 to the pair's address, or to the other side while that serves
//!
//!  keeper ──> standing: until when the node serves (the end of its lease, or never)
//! ```
//!
//! - [`standing`] is what keeper and requests share: one word, so that a request is judged by the clock at its own moment.
//! - `connection` decides about each request, `answer` has what is said to those that are not passed on.
//! - `pass` takes a request to the application and back; `application`, `body`, `fields` and `tunnel` are its parts.
//! - `peer` asks the other side whether it serves, for listeners that send clients to its own name.
//!
//! They run on a thread of their own: however many requests there are, the keeper's leases do not wait for them.

mod answer;
mod application;
mod body;
mod connection;
mod fields;
mod pass;
mod patient;
mod peer;
mod standing;
#[cfg(test)]
mod tests;
mod tls;
mod tunnel;

pub(crate) use standing::Standing;

use crate::config::{Identity, Redirect};
use crate::platform;
use peer::Peer;
use rustls::ServerConfig;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

/// A client that has not agreed on TLS by then is given up.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// After an accept that has failed (no descriptors left): others need time to close some.
const AFTER_FAILURE: Duration = Duration::from_millis(50);

/// Why there is no listener.
#[derive(Debug, thiserror::Error)]
pub enum RedirectError {
    /// Its address is not free, or not this machine's.
    #[error("cannot listen on {address}: {error}; set `listen` under [[redirect]] to a free address of this machine")]
    Listen {
        /// As configured.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// It cannot speak TLS.
    #[error("the listener on {address} cannot use its `certificate` and `key`: {why}")]
    Certificate {
        /// As configured.
        address: SocketAddr,
        /// Which file, and what is wrong with it.
        why: String,
    },
    /// The system refuses what no listener can do without.
    #[error("the listeners of [[redirect]] cannot run: {0}")]
    System(io::Error),
}

impl RedirectError {
    /// Whether another attempt may do better: what was killed a moment ago may still hold the address.
    pub(crate) fn passes(&self) -> bool {
        matches!(self, RedirectError::Listen { error, .. } if error.kind() == io::ErrorKind::AddrInUse)
    }
}

/// Listeners that nobody is served by yet.
#[derive(Debug)]
pub(crate) struct Bound {
    listeners: Vec<(std::net::TcpListener, Redirect, Option<Arc<ServerConfig>>)>,
}

/// Listeners at work, until this is dropped.
#[derive(Debug)]
pub(crate) struct Serving {
    _open: oneshot::Sender<()>,
}

/// One listener, as its connections see it.
#[derive(Debug)]
struct Listener {
    config: Redirect,
    standing: Arc<Standing>,
    peer: Peer,
}

impl Listener {
    fn is_tls(&self) -> bool {
        self.config.tls.is_some()
    }
}

/// Takes the addresses.
pub(crate) fn bind(redirects: &[Redirect]) -> Result<Bound, RedirectError> {
    let bind = |config: &Redirect| {
        let address = config.listen;
        let listen = |error| RedirectError::Listen { address, error };
        let certificate = |why| RedirectError::Certificate { address, why };
        let tls = config.tls.as_ref().map(tls::load).transpose().map_err(certificate)?;
        let listener = std::net::TcpListener::bind(address).map_err(listen)?;
        listener.set_nonblocking(true).map_err(listen)?;
        Ok((listener, config.clone(), tls))
    };
    Ok(Bound { listeners: redirects.iter().map(bind).collect::<Result<_, _>>()? })
}

impl Bound {
    /// Serves on all of them, on a thread of their own.
    pub(crate) fn serve(self, pair: &str, standing: &Arc<Standing>) -> Result<Serving, RedirectError> {
        let (open, closed) = oneshot::channel();
        if !self.listeners.is_empty() {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(RedirectError::System)?;
            let guard = runtime.enter();
            for (listener, config, tls) in self.listeners {
                let socket = TcpListener::from_std(listener).map_err(RedirectError::System)?;
                let identity = config.tls.clone().zip(tls);
                let listener = Listener { config, standing: Arc::clone(standing), peer: Peer::new(pair) };
                runtime.spawn(accept(socket, Arc::new(listener), identity));
            }
            drop(guard);
            thread::Builder::new()
                .name("redirect".to_owned())
                .spawn(move || {
                    // An error is the agent's end: nobody is there to say so.
                    let _ = runtime.block_on(closed);
                })
                .map_err(RedirectError::System)?;
        }
        Ok(Serving { _open: open })
    }
}

async fn accept(socket: TcpListener, listener: Arc<Listener>, identity: Option<(Identity, Arc<ServerConfig>)>) {
    let tls = identity.map(|(identity, config)| {
        let (tell, told) = watch::channel(config);
        tokio::spawn(tls::follow(identity, tell));
        told
    });
    let seats = Arc::new(Semaphore::new(listener.config.connections));
    while let Ok(seat) = Arc::clone(&seats).acquire_owned().await {
        match platform::socket::accept(&socket).await {
            Ok((stream, client)) => {
                // An answer does not wait for a segment to be full. A socket that refuses is as good as closed.
                let _ = stream.set_nodelay(true);
                let config = tls.as_ref().map(|tls| Arc::clone(&tls.borrow()));
                tokio::spawn(greet(Arc::clone(&listener), stream, client, seat, config));
            }
            Err(error) => {
                tracing::warn!(listen = %listener.config.listen, %error, "a connection was not accepted");
                sleep(AFTER_FAILURE).await;
            }
        }
    }
}

async fn greet(
    listener: Arc<Listener>,
    stream: TcpStream,
    client: SocketAddr,
    seat: OwnedSemaphorePermit,
    tls: Option<Arc<ServerConfig>>,
) {
    let Some(tls) = tls else { return connection::serve(listener, stream, client.ip(), seat).await };
    match timeout(HANDSHAKE, TlsAcceptor::from(tls).accept(stream)).await {
        Ok(Ok(stream)) => connection::serve(listener, stream, client.ip(), seat).await,
        Ok(Err(error)) => tracing::debug!(%client, %error, "a client does not agree on TLS"),
        Err(_) => tracing::debug!(%client, "a client takes too long to agree on TLS"),
    }
}
