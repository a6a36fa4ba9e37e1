//! Connections that come.

use socket2::SockRef;
use std::io;
use std::net::SocketAddr;
use tokio::net::{TcpListener, TcpStream};

/// The next connection, which nothing that the agent starts inherits: a guard would hold it open when the agent has died, and the edge
/// would hear of the death with that of the service, instead of before it. Whoever stops waiting loses none.
///
/// Windows has no way to accept one so: a program that is started in the moment between the two calls has it still.
pub(crate) async fn accept(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let (stream, from) = listener.accept().await?;
    SockRef::from(&stream).set_no_inherit(true)?;
    Ok((stream, from))
}
