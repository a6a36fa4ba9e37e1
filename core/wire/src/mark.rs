//! Marks a connection's packets with a code point (RFC 2474).

pub(crate) use system::{Handle, get, handle, set};

#[cfg(not(windows))]
mod system {
    use rustix::net::sockopt::{ip_tos, ipv6_tclass, set_ip_tos, set_ipv6_tclass};
    use std::io;
    use std::net::SocketAddr;
    use std::os::fd::{AsFd as _, OwnedFd};
    use tokio::net::TcpStream;

    /// A handle on a connection's socket: the connection ends when both are dropped.
    pub(crate) type Handle = OwnedFd;

    pub(crate) fn handle(stream: &TcpStream) -> io::Result<Handle> {
        stream.as_fd().try_clone_to_owned()
    }

    /// The upper six bits of `class` are the code point; the lower two are the kernel's own, for congestion notification.
    pub(crate) fn set(socket: &Handle, peer: SocketAddr, class: u8) -> io::Result<()> {
        if peer.ip().to_canonical().is_ipv4() {
            set_ip_tos(socket, class)?;
        }
        if peer.is_ipv6() {
            set_ipv6_tclass(socket, class.into())?;
        }
        Ok(())
    }

    pub(crate) fn get(socket: &Handle, peer: SocketAddr) -> io::Result<u32> {
        Ok(if peer.ip().to_canonical().is_ipv4() { ip_tos(socket)?.into() } else { ipv6_tclass(socket)? })
    }
}

/// Edges mark packets, and no edge runs on Windows, which leaves marking to its policies of quality of service.
#[cfg(windows)]
mod system {
    use std::io;
    use std::net::SocketAddr;
    use tokio::net::TcpStream;

    /// Nothing is needed of the socket.
    #[derive(Debug)]
    pub(crate) struct Handle;

    pub(crate) fn handle(_: &TcpStream) -> io::Result<Handle> {
        Ok(Handle)
    }

    pub(crate) fn set(_: &Handle, _: SocketAddr, _: u8) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn get(_: &Handle, _: SocketAddr) -> io::Result<u32> {
        Ok(0)
    }
}
