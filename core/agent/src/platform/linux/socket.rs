//! Connections that come.

use std::io;
use std::net::SocketAddr;
use tokio::net::{TcpListener, TcpStream};

/// The next connection, which nothing that the agent starts inherits: the kernel makes it so. Whoever stops waiting loses none.
pub(crate) async fn accept(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    listener.accept().await
}
