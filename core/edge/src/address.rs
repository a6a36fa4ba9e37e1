//! Where a server takes connections: an address of the internet, or a socket of the file system.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream as StdStream};
use std::os::fd::OwnedFd;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpStream, UnixStream};

/// What stands before a socket's path.
const UNIX: &str = "unix:";

/// The kernel's `sun_path` has 108 bytes, the last of which is zero.
const PATH_MAX: usize = 107;

/// A socket whose backlog is full says so at once. It is asked again after so long, until who connects has no more time.
const FULL: Duration = Duration::from_millis(5);

/// Where a server takes connections.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// `10.0.0.1:80`, `[::1]:80`.
    Inet(SocketAddr),
    /// `unix:/run/app.sock`: the path alone.
    Unix(Arc<str>),
}

impl Address {
    /// The address of the internet; `None`: it is a socket of the file system.
    #[must_use]
    pub fn inet(&self) -> Option<SocketAddr> {
        match self {
            Address::Inet(address) => Some(*address),
            Address::Unix(_) => None,
        }
    }

    /// Connects; who calls ends it when the time is over. `TcpStream` stands for a stream socket of either kind: whoever has
    /// one reads, writes, splices and shuts down, which both know, and what only TCP knows fails on the other without harm.
    pub(crate) async fn connect(&self) -> io::Result<TcpStream> {
        let path = match self {
            Address::Inet(address) => return TcpStream::connect(address).await,
            Address::Unix(path) => path,
        };
        loop {
            match UnixStream::connect(&**path).await {
                Ok(socket) => return TcpStream::from_std(StdStream::from(OwnedFd::from(socket.into_std()?))),
                Err(error) if error.kind() == ErrorKind::WouldBlock => tokio::time::sleep(FULL).await,
                Err(error) => return Err(absent(error)),
            }
        }
    }
}

/// What is not there refuses connections, as a port does on which nobody listens.
fn absent(error: io::Error) -> io::Error {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => {
            io::Error::new(ErrorKind::ConnectionRefused, "there is no such socket")
        }
        _ => error,
    }
}

/// A connection to a socket of the file system, by its own name.
pub(crate) fn as_unix(socket: TcpStream) -> io::Result<UnixStream> {
    UnixStream::from_std(OwnedFd::from(socket.into_std()?).into())
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Address {
        Address::Inet(address)
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Address, String> {
        let Some(path) = text.strip_prefix(UNIX) else {
            return text.parse().map(Address::Inet).map_err(|error: std::net::AddrParseError| error.to_string());
        };
        if !path.starts_with('/') || path.ends_with('/') {
            return Err("a socket is named by its whole path, which begins with /".to_owned());
        }
        if path.contains('\0') {
            return Err("no path contains a zero".to_owned());
        }
        if path.len() > PATH_MAX {
            return Err(format!("the path has {} bytes, and a socket's has {PATH_MAX} at most", path.len()));
        }
        Ok(Address::Unix(path.into()))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Inet(address) => address.fmt(f),
            Address::Unix(path) => write!(f, "{UNIX}{path}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener as StdListener;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixListener;

    #[test]
    fn what_is_read_is_written_alike_and_what_is_none_is_refused() {
        for text in ["10.0.0.1:80", "[::1]:80", "unix:/run/app.sock", &format!("unix:/{}", "p".repeat(106))] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for text in ["", "unix:", "unix:app.sock", "unix:/run/", "unix:/a\0b", "app:80", "/run/app.sock"] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
        let long = format!("unix:/{}", "p".repeat(107));
        assert_eq!(long.parse::<Address>().unwrap_err(), "the path has 108 bytes, and a socket's has 107 at most");
    }

    #[tokio::test]
    async fn a_socket_of_the_file_system_is_read_and_written_and_one_that_is_none_refuses() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.sock");
        let address: Address = format!("unix:{}", path.display()).parse().unwrap();
        let refused = |error: io::Error| assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{error}");
        refused(address.connect().await.unwrap_err());
        let listener = UnixListener::bind(&path).unwrap();
        let mut ours = address.connect().await.unwrap();
        let (mut theirs, _) = listener.accept().await.unwrap();
        ours.write_all(b"asked").await.unwrap();
        ours.shutdown().await.unwrap();
        let mut heard = String::new();
        theirs.read_to_string(&mut heard).await.unwrap();
        theirs.write_all(b"answered").await.unwrap();
        drop(theirs);
        let (mut ours, mut answer) = (as_unix(ours).unwrap(), String::new());
        ours.read_to_string(&mut answer).await.unwrap();
        assert_eq!((&*heard, &*answer), ("asked", "answered"));
        drop(listener);
        refused(address.connect().await.unwrap_err());
    }

    #[tokio::test]
    async fn a_backlog_that_is_full_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.sock");
        let address: Address = format!("unix:{}", path.display()).parse().unwrap();
        let listener =
            rustix::net::socket(rustix::net::AddressFamily::UNIX, rustix::net::SocketType::STREAM, None).unwrap();
        rustix::net::bind(&listener, &rustix::net::SocketAddrUnix::new(&path).unwrap()).unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let _first = address.connect().await.unwrap();
        let mut second = std::pin::pin!(address.connect());
        assert!(tokio::time::timeout(Duration::from_millis(50), &mut second).await.is_err(), "there is no place yet");
        let listener = StdListener::from(listener);
        let _accepted = listener.accept().unwrap();
        second.await.unwrap();
    }
}
