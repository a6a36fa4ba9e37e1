//! A connection between edge and agent: TLS and who is at its other end, or plain where that was said explicitly.

use super::refusal::{self, Reason, Refusal};
use super::verify::{Judge, Peer, Wanted};
use super::{Identity, Trust};
use crate::braid::Braid;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::server::NoServerSessionStorage;
use rustls::version::TLS13;
use rustls::{ClientConfig, ServerConfig};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

const HTTP2: &[u8] = b"h2";
/// How long, and how often, who was refused is listened to before the connection is closed.
const FAREWELL: Duration = Duration::from_millis(500);
const FAREWELL_READS: u32 = 16;

/// Why there is no connection.
#[derive(Debug)]
pub enum HandshakeError {
    /// One end does not trust the other. Said in the log already, when it is this one.
    Refused(Box<Refusal>),
    /// The connection has broken.
    Broken(io::Error),
}

/// A connection.
pub struct Stream {
    way: Way,
    peer: Option<Arc<Peer>>,
    /// Comes when the peer is not to be trusted any more.
    fall: Option<Pin<Box<dyn Future<Output = Box<Refusal>> + Send>>>,
    ended: Arc<OnceLock<Box<Refusal>>>,
}

enum Way {
    Plain(Braid),
    Tls(Box<TlsStream<Braid>>),
}

impl Stream {
    /// Whoever is at the other end.
    #[must_use]
    pub fn plain(stream: impl Into<Braid>) -> Stream {
        Stream { way: Way::Plain(stream.into()), peer: None, fall: None, ended: Arc::default() }
    }

    /// Who is at the other end; none when nobody has proven it.
    #[must_use]
    pub fn peer(&self) -> Option<&Arc<Peer>> {
        self.peer.as_ref()
    }

    /// Is told why one end does not trust the other any more.
    pub(crate) fn ended(&self) -> Arc<OnceLock<Box<Refusal>>> {
        Arc::clone(&self.ended)
    }

    fn trusted(trust: &Trust, stream: TlsStream<Braid>, peer: Peer) -> Stream {
        let peer = Arc::new(peer);
        let (trust, watched) = (trust.clone(), Arc::clone(&peer));
        let fall = async move {
            let refusal = trust.falls(&watched).await;
            trust.note(&refusal);
            refusal
        };
        Stream { way: Way::Tls(Box::new(stream)), peer: Some(peer), fall: Some(Box::pin(fall)), ended: Arc::default() }
    }

    /// An alert that comes after the handshake: in TLS 1.3 a server judges when the client is done already.
    fn hear_alert(&self, error: &io::Error) {
        let alert = error.get_ref().and_then(|inner| inner.downcast_ref()).and_then(|error| match error {
            rustls::Error::AlertReceived(alert) => refusal::meaning(*alert),
            _ => None,
        });
        if let (Some(meaning), Some(peer)) = (alert, &self.peer) {
            let _ = self.ended.set(not_trusted_by(peer.address, meaning));
        }
    }
}

impl Trust {
    /// The edge's half of a handshake.
    ///
    /// # Errors
    /// The agent is not the one that is wanted, does not trust us, or the connection has broken.
    pub async fn connect(
        &self,
        stream: impl Into<Braid>,
        address: SocketAddr,
        wanted: Wanted,
    ) -> Result<Stream, HandshakeError> {
        let (material, found) = (self.material(), Arc::new(OnceLock::new()));
        let judge = Judge { material: Arc::clone(&material), wanted, address, found: Arc::clone(&found) };
        let config = ClientConfig::builder_with_provider(Arc::clone(&material.provider))
            .with_protocol_versions(&[&TLS13])
            .map_err(impossible)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(judge));
        let mut config = config.with_client_cert_resolver(material.presented.clone());
        config.alpn_protocols = vec![HTTP2.to_vec()];
        config.resumption = Resumption::disabled();
        config.enable_sni = false;
        let name = ServerName::IpAddress(address.ip().into());
        let made = TlsConnector::from(Arc::new(config)).connect(name, stream.into()).await;
        self.end_handshake(address, made.map(TlsStream::from), &found)
    }

    /// The agent's half: an edge, whose name is one of `names` unless there are none.
    ///
    /// # Errors
    /// Who connects is no such edge, does not trust us, or the connection has broken.
    pub async fn accept(
        &self,
        stream: impl Into<Braid>,
        address: SocketAddr,
        names: &[String],
    ) -> Result<Stream, HandshakeError> {
        let (material, found) = (self.material(), Arc::new(OnceLock::new()));
        let wanted = Wanted::Edge { names: names.to_vec() };
        let judge = Judge { material: Arc::clone(&material), wanted, address, found: Arc::clone(&found) };
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&material.provider))
            .with_protocol_versions(&[&TLS13])
            .map_err(impossible)?
            .with_client_cert_verifier(Arc::new(judge))
            .with_cert_resolver(material.presented.clone());
        config.alpn_protocols = vec![HTTP2.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        let made = TlsAcceptor::from(Arc::new(config)).accept(stream.into()).into_fallible().await;
        let (made, refused) = match made {
            Ok(stream) => (Ok(TlsStream::from(stream)), None),
            Err((error, stream)) => (Err(error), Some(stream)),
        };
        let ended = self.end_handshake(address, made, &found);
        if let Some(stream) = refused {
            say_farewell(stream).await;
        }
        ended
    }

    fn end_handshake(
        &self,
        address: SocketAddr,
        made: io::Result<TlsStream<Braid>>,
        found: &OnceLock<Result<Peer, Box<Refusal>>>,
    ) -> Result<Stream, HandshakeError> {
        let refused = |refusal: Box<Refusal>| {
            self.note(&refusal);
            Err(HandshakeError::Refused(refusal))
        };
        match (made, found.get()) {
            (_, Some(Err(refusal))) => refused(refusal.clone()),
            (Ok(stream), Some(Ok(peer))) => Ok(Stream::trusted(self, stream, peer.clone())),
            // Not judged, and not refused: that would be a handshake without certificates.
            (Ok(_), None) => refused(Refusal::without_certificate(address, Reason::NoCertificate)),
            (Err(error), _) => match self.fault(address, &error) {
                Some(refusal) => refused(refusal),
                None => Err(HandshakeError::Broken(error)),
            },
        }
    }

    /// Whose fault a failed handshake is; none when the connection broke under it.
    fn fault(&self, address: SocketAddr, error: &io::Error) -> Option<Box<Refusal>> {
        let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
        let reason = match error {
            rustls::Error::AlertReceived(alert) => return Some(not_trusted_by(address, refusal::meaning(*alert)?)),
            rustls::Error::NoCertificatesPresented => Reason::NoCertificate,
            other => {
                let table = match &self.0.own {
                    Identity::Edge { .. } => "agent.tls",
                    Identity::Agent { .. } => "edge.tls",
                };
                Reason::NoTls(format!(
                    "it does not speak TLS 1.3 ({other}): is `insecure = true` said in its [{table}]?"
                ))
            }
        };
        Some(Refusal::without_certificate(address, reason))
    }
}

/// What the edge has sent meanwhile is read before the connection is closed: its kernel would otherwise throw away, unread, the
/// alert that says why.
async fn say_farewell(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let drained = async {
        let mut unread = [0; 4096];
        let _ = stream.shutdown().await;
        for _ in 0..FAREWELL_READS {
            if !matches!(stream.read(&mut unread).await, Ok(1..)) {
                return;
            }
        }
    };
    let _ = timeout(FAREWELL, drained).await;
}

fn not_trusted_by(address: SocketAddr, meaning: &str) -> Box<Refusal> {
    let why = format!("it refuses our certificate: {meaning}; its log names the reason");
    Refusal::without_certificate(address, Reason::RefusesUs(why))
}

/// TLS 1.3 is in every provider that is built here.
fn impossible(error: rustls::Error) -> HandshakeError {
    HandshakeError::Broken(io::Error::other(error))
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(fall) = &mut self.fall
            && let Poll::Ready(refusal) = fall.as_mut().poll(context)
        {
            self.fall = None;
            let _ = self.ended.set(refusal.clone());
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::PermissionDenied, refusal)));
        }
        let read = match &mut self.way {
            Way::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Way::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        };
        if let Poll::Ready(Err(error)) = &read {
            self.hear_alert(error);
        }
        read
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.way {
            Way::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Way::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.way {
            Way::Plain(stream) => Pin::new(stream).poll_write_vectored(context, bytes),
            Way::Tls(stream) => Pin::new(stream).poll_write_vectored(context, bytes),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.way {
            Way::Plain(stream) => stream.is_write_vectored(),
            Way::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.way {
            Way::Plain(stream) => Pin::new(stream).poll_flush(context),
            Way::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.way {
            Way::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Way::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
