//! A client's connection, one request after the other.
//!
//! Between requests we read the next head ourselves, under our limits. Then whoever carries the request is let at the bytes of that
//! request and no more: what a client sends ahead stays here until its turn comes. While an answer is being made, the connection is
//! read on only to notice that the client has left.
//!
//! - `heads`: the wait for the next request, until its head is whole.
//! - `open`: what pingora may read.
//! - `ours`: what an exchange of our own reads and writes past pingora.
//! - `told`: what is written for pingora, and what pingora asks about a connection.

mod heads;
mod open;
mod ours;
mod told;

pub(super) use heads::Over;

use super::answer::Answer;
use super::exchange::Alarm;
use super::h2::{Found, Frames};
use super::outline::{Line, Outline};
use super::pace::Pace;
use super::settings::ListenSettings;
use super::shelter::{Guest, Place};
use super::tls::Wire;
use super::websocket::{ClientEnd, Ending};
use bytes::BytesMut;
use lockstep_wire::clock;
use open::Open;
use pingora_core::protocols::SocketDigest;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::tls::SslDigest;
use rustix::net::sockopt;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufWriter};
use tokio::time::timeout;

/// Holds an answer's head until its body follows: one packet instead of two.
const WRITE_BUFFER: usize = 2 * 1024;
const READ_STEP: usize = 4 * 1024;
/// How long, and how much, is read from a client that we answered before it had said all.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 4 * 1024 * 1024;

/// A client's connection.
#[derive(Debug)]
pub(super) struct Client {
    /// `None` only while it is dropped.
    socket: Option<BufWriter<Wire>>,
    ahead: BytesMut,
    /// Of the head that is next in there.
    outline: Outline,
    /// Room for the lines of an answer's head.
    heard: Vec<Line>,
    alarm: Alarm,
    open: Open,
    /// How fast a body must come.
    pace: Pace,
    /// How fast an answer must be taken.
    taking: Pace,
    /// What is wrong with the present body.
    fault: Option<Answer>,
    /// The client has sent all that it will ever send.
    ended: bool,
    digest: Arc<SocketDigest>,
    /// How it is encrypted, if it is.
    encryption: Option<Arc<SslDigest>>,
    /// Its frames are looked at; with HTTP/2 only.
    frames: Option<Frames>,
    /// Which session it carries, in a pair in which both sides may serve.
    presence: Option<Arc<ProxyDigest>>,
    /// It has asked for a WebSocket.
    upgrade: Option<Box<ClientEnd>>,
    /// Its place among the listener's connections.
    place: Option<Place>,
}

impl Client {
    pub(super) fn new(socket: Wire, address: SocketAddr, presence: Option<Arc<ProxyDigest>>, place: Place) -> Client {
        let digest = SocketDigest::from_raw_fd(socket.tcp().as_raw_fd());
        let _ = digest.peer_addr.set(Some(address.into()));
        Client {
            encryption: socket.encryption().map(Arc::new),
            frames: None,
            socket: Some(BufWriter::with_capacity(WRITE_BUFFER, socket)),
            ahead: BytesMut::new(),
            outline: Outline::default(),
            heard: Vec::new(),
            alarm: Alarm::default(),
            open: Open::Bytes(0),
            pace: Pace::default(),
            taking: Pace::default(),
            fault: None,
            ended: false,
            digest: Arc::new(digest),
            presence,
            upgrade: None,
            place: Some(place),
        }
    }

    /// It has connected to that address, as its balancer says.
    pub(super) fn that_asked_for(self, asked: SocketAddr) -> Client {
        let _ = self.digest.local_addr.set(Some(asked.into()));
        self
    }

    /// Who it is.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.digest.peer_addr.get()?.as_ref()?.as_inet().copied()
    }

    /// It asks for something. An error: its source asks too often, and may again after so long.
    pub(super) fn asks(&self) -> Result<(), Duration> {
        self.place.as_ref().map_or(Ok(()), |place| place.asks(clock::now()))
    }

    fn socket(&mut self) -> &mut BufWriter<Wire> {
        self.socket.as_mut().expect("the socket is taken out in drop only")
    }

    /// Whether both ends agreed on HTTP/2 in their handshake.
    pub(super) fn agreed_on_http2(&self) -> bool {
        self.socket.as_ref().is_some_and(|socket| socket.get_ref().agreed_on_http2())
    }

    /// Lets everything be read, as HTTP/2. In the returned stands what is found in it.
    pub(super) fn becomes_http2(&mut self) -> Arc<Found> {
        self.open = Open::All;
        let found = Arc::<Found>::default();
        self.frames = Some(Frames::new(&found));
        found
    }

    /// Whose it is, where somebody counts what sources ask for.
    pub(super) fn guest(&self) -> Option<Arc<Guest>> {
        self.place.as_ref().and_then(Place::guest)
    }

    /// Ends a connection on which no answer is under way. With TLS the client is told that nothing was cut off.
    pub(super) async fn leave(mut self) {
        if self.encryption.is_some() {
            let _ = timeout(LINGER, self.socket().shutdown()).await;
        }
    }

    /// Answers a request that is not passed on. The connection is at its end.
    pub(super) async fn refuse(&mut self, answer: &Answer, limits: &ListenSettings) {
        // A client that does not take its refusal loses nothing more.
        self.give(&answer.to_wire(), limits).await;
    }

    /// Writes an answer. False: the client did not take it.
    pub(super) async fn give(&mut self, wire: &[u8], limits: &ListenSettings) -> bool {
        let socket = self.socket();
        let written = timeout(limits.write_timeout, async {
            socket.write_all(wire).await?;
            socket.flush().await
        });
        matches!(written.await, Ok(Ok(())))
    }

    /// Whether the client has sent, or may be about to send, what nobody will read.
    fn has_unread(&self) -> bool {
        let upgraded = self.upgrade.as_ref().is_some_and(|end| end.is_open());
        !self.ended && (upgraded || !self.ahead.is_empty() || !matches!(self.open, Open::Bytes(0)))
    }
}

/// Closing a socket with unread bytes resets the connection, and the reset may overtake our answer. So what still comes
/// is read for a moment.
impl Drop for Client {
    fn drop(&mut self) {
        let unread = self.has_unread();
        let (Some(socket), Ok(runtime)) = (self.socket.take(), tokio::runtime::Handle::try_current()) else { return };
        match self.upgrade.take().map(|end| end.ending()) {
            // A close that lingers for no time is a reset.
            Some(Ending::Reset) => {
                let _ = sockopt::set_socket_linger(socket.get_ref().tcp(), Some(Duration::ZERO));
            }
            Some(Ending::Saying(words @ [_, ..])) => {
                let place = self.place.take();
                runtime.spawn(async move {
                    let mut socket = socket;
                    let _ = timeout(LINGER, socket.write_all(words)).await;
                    linger(socket, place).await;
                });
            }
            _ if unread => drop(runtime.spawn(linger(socket.into_inner(), self.place.take()))),
            _ => {}
        }
    }
}

/// Ends a connection in order: what still comes is read for a moment.
pub(super) async fn linger(mut socket: impl AsyncRead + AsyncWrite + Unpin, _place: Option<Place>) {
    let rest = async {
        let _ = socket.shutdown().await;
        let mut sink = vec![0; READ_STEP];
        let mut read = 0;
        while read < LINGER_BYTES {
            match socket.read(&mut sink).await {
                Ok(some @ 1..) => read += some,
                Ok(0) | Err(_) => return,
            }
        }
    };
    let _ = timeout(LINGER, rest).await;
}
