//! The connection under a link, with a handle on its socket and on who is at its other end.

use crate::braid::{Braid, Told};
use crate::mark;
use crate::trust::{HandshakeError, Peer, Refusal, Stream, Trust, Wanted};
use hyper_util::rt::TokioIo;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};
use tokio::net::TcpStream;
use tonic::codegen::Service;
use tonic::codegen::http::Uri;

/// The sockets of a link. Held as long as the link is: the connection ends when both are dropped.
#[derive(Clone, Debug, Default)]
pub(crate) struct Socket(Arc<Mutex<Sockets>>);

#[derive(Debug, Default)]
struct Sockets {
    made: Vec<(mark::Handle, SocketAddr)>,
    dscp: Option<u8>,
}

impl Socket {
    /// Marks the packets that are sent from now on with a code point (RFC 2474), 0 to 63.
    pub(crate) fn set_dscp(&self, dscp: u8) -> io::Result<()> {
        if dscp > 63 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{dscp} is no code point: 0 to 63 are")));
        }
        let mut sockets = self.lock();
        if sockets.made.is_empty() {
            return Err(io::ErrorKind::NotConnected.into());
        }
        sockets.dscp = Some(dscp);
        sockets.made.iter().try_for_each(|(socket, peer)| mark::set(socket, *peer, dscp << 2))
    }

    /// The code point that packets are marked with now.
    pub(crate) fn dscp(&self) -> io::Result<u8> {
        let sockets = self.lock();
        let (socket, peer) = sockets.made.first().ok_or(io::ErrorKind::NotConnected)?;
        let class = mark::get(socket, *peer)?;
        Ok(u8::try_from((class >> 2) & 63).unwrap_or(0))
    }

    /// One more connection, which is marked as the others are.
    fn add(&self, stream: &TcpStream) -> io::Result<()> {
        let (socket, peer) = (mark::handle(stream)?, stream.peer_addr()?);
        let mut sockets = self.lock();
        if let Some(dscp) = sockets.dscp {
            mark::set(&socket, peer, dscp << 2)?;
        }
        sockets.made.push((socket, peer));
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Sockets> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is known of the other end.
#[derive(Clone, Debug, Default)]
pub(crate) struct End {
    peer: Arc<OnceLock<Arc<Peer>>>,
    refused: Arc<OnceLock<Box<Refusal>>>,
    ended: Arc<OnceLock<Arc<OnceLock<Box<Refusal>>>>>,
}

impl End {
    /// Who is there; none on a plain connection.
    pub(crate) fn peer(&self) -> Option<Arc<Peer>> {
        self.peer.get().cloned()
    }

    /// Why one end does not trust the other.
    pub(crate) fn refusal(&self) -> Option<&Refusal> {
        let told = self.refused.get().or_else(|| self.ended.get().and_then(|ended| ended.get()));
        told.map(|refusal| &**refusal)
    }

    async fn secure(&self, stream: Braid, trust: &Trust, wanted: Wanted) -> io::Result<Stream> {
        let address = stream.peer_addr()?;
        match trust.connect(stream, address, wanted).await {
            Ok(stream) => {
                // As for the socket: a client makes one connection.
                let _ = self.ended.set(stream.ended());
                if let Some(peer) = stream.peer() {
                    let _ = self.peer.set(Arc::clone(peer));
                }
                Ok(stream)
            }
            Err(HandshakeError::Refused(refusal)) => {
                let _ = self.refused.set(refusal.clone());
                Err(io::Error::new(io::ErrorKind::PermissionDenied, *refusal))
            }
            Err(HandshakeError::Broken(error)) => Err(error),
        }
    }
}

/// Makes the connection, and keeps the handles.
#[derive(Clone, Debug, Default)]
pub(crate) struct Dial {
    pub(crate) socket: Socket,
    pub(crate) end: End,
    /// Whom to trust; none: whoever is there.
    pub(crate) trust: Option<(Trust, Wanted)>,
    /// Whether somebody has accepted a connection.
    pub(crate) reached: Arc<AtomicBool>,
}

impl Service<Uri> for Dial {
    type Response = TokioIo<Stream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<Stream>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let Dial { socket, end, trust, reached } = self.clone();
        Box::pin(async move {
            let address = uri.authority().map(|authority| authority.as_str().to_owned()).unwrap_or_default();
            let told = move |told: Told<'_>| match told {
                Told::Reached => reached.store(true, Ordering::Relaxed),
                // Without its handle a strand cannot be marked, and all else works.
                Told::Made(strand) => drop(socket.add(strand)),
            };
            let stream = Braid::dial(address, told).await?;
            Ok(TokioIo::new(match trust {
                Some((trust, wanted)) => end.secure(stream, &trust, wanted).await?,
                None => Stream::plain(stream),
            }))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn packets_are_marked_by_the_family_of_the_connection() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = tokio::net::TcpListener::bind(address).await.unwrap();
            let mut dial = Dial::default();
            assert_eq!(dial.socket.set_dscp(34).unwrap_err().kind(), io::ErrorKind::NotConnected);
            let uri = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
            let accepting = tokio::spawn(async move {
                let (braids, mut taken) = (crate::braid::Braids::default(), Vec::new());
                while let Ok((stream, _)) = listener.accept().await {
                    taken.push(braids.take(stream).await);
                }
            });
            let _stream = dial.call(uri).await.unwrap();
            for dscp in [34, 0, 63] {
                dial.socket.set_dscp(dscp).unwrap();
                assert_eq!(dial.socket.dscp().unwrap(), dscp, "{address}");
            }
            assert_eq!(dial.socket.set_dscp(64).unwrap_err().kind(), io::ErrorKind::InvalidInput);
            accepting.abort();
        }
    }
}
