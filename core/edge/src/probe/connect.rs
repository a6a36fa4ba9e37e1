//! A new connection to a server, encrypted or not.

use super::judge::{self, Finding};
use super::tls::Trust;
use crate::address::Address;
use lockstep_policy::action::Tls;
use lockstep_policy::event::Verdict;
use rustix::net::sockopt;
use rustls::pki_types::ServerName;
use std::io;
use std::net::SocketAddr;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// For so long, in milliseconds, a server may leave bytes or the end of a connection without an acknowledgement.
const UNTOLD_MS: u32 = 5_000;

/// A connection that can be read and written, whatever it consists of.
pub(super) trait Channel: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Channel for T {}

pub(super) type Stream = Box<dyn Channel>;

/// The same server at another port; 0: its own. A socket of the file system has none.
pub(super) fn of_server(server: &Address, port: u16) -> Address {
    server.inet().map_or_else(|| server.clone(), |address| at_port(address, port).into())
}

/// An address with another port; 0: its own.
pub(super) fn at_port(server: SocketAddr, port: u16) -> SocketAddr {
    let mut address = server;
    if port != 0 {
        address.set_port(port);
    }
    address
}

pub(super) async fn plain(address: &Address) -> Result<TcpStream, Finding> {
    let stream = address.connect().await.map_err(|error| judge::broken(&error))?;
    // A probe works without it, only later.
    let _ = stream.set_nodelay(true);
    // Of what was closed while its server was out of reach, the kernel would keep trying to tell it for minutes.
    let _ = sockopt::set_tcp_user_timeout(&stream, UNTOLD_MS);
    Ok(stream)
}

pub(super) async fn open(
    trust: &Trust,
    address: impl Into<Address>,
    tls: Tls,
    name: &ServerName<'static>,
) -> Result<Stream, Finding> {
    let connector = trust.connector(tls).await?;
    let stream = plain(&address.into()).await?;
    match connector {
        None => Ok(Box::new(stream)),
        Some(connector) => {
            Ok(Box::new(connector.connect(name.clone(), stream).await.map_err(|error| not_secured(&error))?))
        }
    }
}

/// Encrypts a connection that has begun without.
pub(super) async fn secure(
    trust: &Trust,
    stream: Stream,
    tls: Tls,
    name: &ServerName<'static>,
) -> Result<Stream, Finding> {
    match trust.connector(tls).await? {
        None => Ok(stream),
        Some(connector) => {
            Ok(Box::new(connector.connect(name.clone(), stream).await.map_err(|error| not_secured(&error))?))
        }
    }
}

/// A handshake that has failed: what the other end has sent is wrong, unless it has gone.
fn not_secured(error: &io::Error) -> Finding {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(why)) => {
            Finding::new(Verdict::Wrong, 0, format!("the certificate is not accepted: {why}"))
        }
        Some(error) => Finding::new(Verdict::Wrong, 0, format!("no TLS: {error}")),
        None => judge::broken(error),
    }
}
