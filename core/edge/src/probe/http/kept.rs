//! Connections that are kept from one probe to the next, one for each server.

use super::super::connect::Stream;
use super::super::judge::BODY_MAX;
use super::answer::Body;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, ReadBuf};

/// Probes that come more seldom connect each time: many servers would have closed the connection by then.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// The places of a declared probe's connections.
pub(super) struct Kept {
    places: Vec<Mutex<Option<Connection>>>,
    /// A connection carries no more probes than this; 1: none is kept.
    probes: u32,
}

/// A connection to a server.
pub(super) struct Connection {
    pub stream: Stream,
    /// Probes that it has carried.
    pub probes: u32,
    /// What the last answer had that nobody wanted to wait for.
    pub rest: Body,
    /// What is asked on it.
    pub request: Vec<u8>,
}

impl Kept {
    /// For probes at these intervals to so many servers, of which each one in `connect_every` is to make a connection.
    pub fn new(servers: usize, interval: Duration, connect_every: u32) -> Kept {
        let probes = if interval <= PAUSE_MAX { connect_every } else { 1 };
        let servers = if probes > 1 { servers } else { 0 };
        Kept { places: (0..servers).map(|_| Mutex::default()).collect(), probes }
    }

    /// The connection to a server, when there is one that nothing speaks against.
    pub fn take(&self, server: usize) -> Option<Connection> {
        self.place(server)?.take().and_then(Connection::sound)
    }

    /// Whether a connection that has carried so many probes is kept for another one.
    pub fn wants(&self, probes: u32) -> bool {
        probes < self.probes
    }

    /// Keeps a connection to a server, in place of another one.
    pub fn put(&self, server: usize, connection: Connection) {
        if self.wants(connection.probes)
            && let Some(mut place) = self.place(server)
        {
            *place = Some(connection);
        }
    }

    fn place(&self, server: usize) -> Option<MutexGuard<'_, Option<Connection>>> {
        // Whoever panicked with it left a connection or none.
        self.places.get(server).map(|place| place.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Connection {
    pub fn new(stream: Stream, request: Vec<u8>) -> Connection {
        Connection { stream, probes: 0, rest: Body::Length(0), request }
    }

    /// Itself, unless it has ended meanwhile, or the server has said more or less than it should. Does not wait.
    fn sound(mut self) -> Option<Connection> {
        let (mut bytes, mut rest, mut read) = ([MaybeUninit::uninit(); 4096], Vec::new(), 0);
        while read <= BODY_MAX {
            let mut buffer = ReadBuf::uninit(&mut bytes);
            match Pin::new(&mut self.stream).poll_read(&mut Context::from_waker(Waker::noop()), &mut buffer) {
                Poll::Pending => return self.rest.is_over().then_some(self),
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                Poll::Ready(_) => return None,
            }
            let new = buffer.filled();
            if self.rest.take(new, &mut rest).ok()? < new.len() {
                return None;
            }
            rest.clear();
            read += new.len();
        }
        None
    }
}

#[cfg(test)]
mod tests;
