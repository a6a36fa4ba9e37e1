//! One stream of bytes over several TCP connections: each carries all of it, and what comes first counts.
//!
//! TCP sends a lost segment again after 200 ms at the earliest, then after twice that, and so on, while everything behind it waits: at
//! one packet lost in ten, a connection stands still for longer than a lease several times a minute. Two connections with the same
//! bytes hardly ever do so at once, and newer kernels can be told to wait for less ([`haste`]). Nothing above notices: order, flow and end are those of one connection, and TLS is spoken over it
//! once.
//!
//! A strand begins with a preamble, which is answered; the stream's bytes follow, from the first one on, without any frame. Whoever
//! begins otherwise is a connection of one strand, and so is one to a peer that does not answer: see [`Braid::dial`].
//! When one strand ends, the stream does: a process that has died is noticed by the first of them.

mod haste;

use bytes::{Buf as _, BytesMut};
use haste::hasten;
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpStream, ToSocketAddrs};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

/// How many there are. With two, nothing was lost in 40 minutes at one packet in ten; see `docs/measured.md`.
const STRANDS: usize = 2;
/// How a strand begins: neither TLS nor HTTP/2 does.
const MAGIC: [u8; 16] = *b"lockstep braid 1";
/// Magic, and which stream it is of.
const PREAMBLE: usize = 32;
/// What a strand may be behind: so much is kept to be sent. Minutes of reports.
const BEHIND: usize = 256 * 1024;
/// What may wait for the quickest strand before the writer does.
const AHEAD: usize = 64 * 1024;
/// Streams whose other strands may still come; one more gets none.
const EXPECTED: usize = 64;
/// A strand's beginning takes no longer.
const BEGINNING: Duration = Duration::from_secs(5);
/// After a strand that did not come about.
const AGAIN: Duration = Duration::from_millis(200);

type Name = [u8; 16];

/// The stream.
pub struct Braid {
    strands: Vec<Strand>,
    /// Further ones, as they come.
    newcomers: Option<mpsc::Receiver<TcpStream>>,
    /// What the slowest strand has still to send, from this position of the stream on.
    kept: BytesMut,
    kept_from: u64,
    /// The reader has had so much.
    read: u64,
    _seat: Option<Seat>,
}

/// One connection.
struct Strand {
    stream: TcpStream,
    sent: u64,
    got: u64,
}

/// How dialling goes.
#[derive(Debug)]
pub enum Told<'a> {
    /// Somebody has accepted a connection, and has said nothing yet.
    Reached,
    /// A strand is there.
    Made(&'a TcpStream),
}

impl From<TcpStream> for Braid {
    /// A connection of one strand.
    fn from(stream: TcpStream) -> Braid {
        Braid::begin(stream, None, None)
    }
}

impl Braid {
    fn begin(stream: TcpStream, newcomers: Option<mpsc::Receiver<TcpStream>>, seat: Option<Seat>) -> Braid {
        let strands = vec![Strand { stream, sent: 0, got: 0 }];
        Braid { strands, newcomers, kept: BytesMut::new(), kept_from: 0, read: 0, _seat: seat }
    }

    /// Connects; ready with the first strand. To a peer that knows nothing of strands it is a plain connection. `told` hears how it goes.
    ///
    /// # Errors
    ///
    /// Nobody is there. It waits for as long as TCP does: the caller's time is the bound.
    pub async fn dial(
        address: impl ToSocketAddrs,
        told: impl Fn(Told<'_>) + Send + Sync + 'static,
    ) -> io::Result<Braid> {
        let told: Listener = Arc::new(told);
        let address = tokio::net::lookup_host(address).await?.next().ok_or(io::ErrorKind::AddrNotAvailable)?;
        let mut name = Name::default();
        getrandom::fill(&mut name).map_err(io::Error::other)?;
        let (made, mut strands) = mpsc::channel(STRANDS);
        let (failed, mut failures) = mpsc::channel(STRANDS);
        for _ in 0..STRANDS {
            tokio::spawn(spin(address, name, Arc::clone(&told), made.clone(), failed.clone()));
        }
        drop((made, failed));
        let mut failure = None;
        loop {
            tokio::select! {
                biased;
                Some(stream) = strands.recv() => return Ok(Braid::begin(stream, Some(strands), None)),
                failed = failures.recv() => match failed {
                    Some(error) if error.kind() == io::ErrorKind::Unsupported => return Braid::plain(address, &*told).await,
                    Some(error) => failure = Some(error),
                    None => return Err(failure.unwrap_or_else(|| io::ErrorKind::NotConnected.into())),
                },
            }
        }
    }

    async fn plain(address: SocketAddr, told: &(dyn Fn(Told<'_>) + Send + Sync)) -> io::Result<Braid> {
        let stream = TcpStream::connect(address).await?;
        hasten(&stream)?;
        told(Told::Made(&stream));
        Ok(stream.into())
    }

    /// Who is at the other end.
    ///
    /// # Errors
    ///
    /// The connection is gone.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.strands.first().ok_or(io::ErrorKind::NotConnected)?.stream.peer_addr()
    }

    fn end(&self) -> u64 {
        self.kept_from + self.kept.len() as u64
    }

    fn admit(&mut self, context: &mut Context<'_>) {
        while let Some(newcomers) = &mut self.newcomers {
            match newcomers.poll_recv(context) {
                // One more than there should be, or one that would miss the beginning.
                Poll::Ready(Some(_)) if self.strands.len() >= STRANDS || self.kept_from > 0 => self.newcomers = None,
                Poll::Ready(Some(stream)) => self.strands.push(Strand { stream, sent: 0, got: 0 }),
                Poll::Ready(None) => self.newcomers = None,
                Poll::Pending => return,
            }
        }
    }

    /// Sends to each strand what it takes; how much the quickest has still to send.
    fn push(&mut self, context: &mut Context<'_>) -> io::Result<usize> {
        self.admit(context);
        let end = self.end();
        for strand in &mut self.strands {
            while strand.sent < end {
                let from = usize::try_from(strand.sent - self.kept_from).unwrap_or(usize::MAX);
                match Pin::new(&mut strand.stream).poll_write(context, &self.kept[from..]) {
                    Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                    Poll::Ready(Ok(written)) => strand.sent += written as u64,
                    Poll::Ready(Err(error)) => return Err(error),
                    Poll::Pending => break,
                }
            }
        }
        let behind = |sent: u64| usize::try_from(end - sent).unwrap_or(usize::MAX);
        let slowest = self.strands.iter().map(|strand| strand.sent).min().unwrap_or(end);
        let quickest = self.strands.iter().map(|strand| strand.sent).max().unwrap_or(end);
        if self.strands.len() > 1 && behind(slowest) > BEHIND {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "one of its TCP connections stands still"));
        }
        // What a strand that is still to come will need is kept, within bounds.
        let awaited = self.newcomers.is_some() && self.strands.len() < STRANDS;
        if awaited && self.kept.len() > BEHIND {
            self.newcomers = None;
        }
        if !awaited || self.newcomers.is_none() {
            self.kept.advance(usize::try_from(slowest - self.kept_from).unwrap_or(0));
            self.kept_from = slowest;
        }
        Ok(behind(quickest))
    }
}

type Listener = Arc<dyn Fn(Told<'_>) + Send + Sync>;

/// Makes one strand, for as long as somebody waits for it.
async fn spin(
    address: SocketAddr,
    name: Name,
    told: Listener,
    made: mpsc::Sender<TcpStream>,
    failed: mpsc::Sender<io::Error>,
) {
    loop {
        let begun = tokio::select! {
            begun = timeout(BEGINNING, begin(address, name, &*told)) => begun.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())),
            () = made.closed() => return,
        };
        match begun {
            Ok(stream) => {
                told(Told::Made(&stream));
                return drop(made.send(stream).await);
            }
            // While the first one is waited for, the caller hears of it.
            Err(error) if !failed.is_closed() => return drop(failed.send(error).await),
            // It wants no further one.
            Err(error) if error.kind() == io::ErrorKind::Unsupported => return,
            Err(_) => sleep(AGAIN).await,
        }
    }
}

async fn begin(address: SocketAddr, name: Name, told: &(dyn Fn(Told<'_>) + Send + Sync)) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    told(Told::Reached);
    hasten(&stream)?;
    let mut preamble = [0; PREAMBLE];
    preamble[..MAGIC.len()].copy_from_slice(&MAGIC);
    preamble[MAGIC.len()..].copy_from_slice(&name);
    stream.write_all(&preamble).await?;
    let mut answer = [0; MAGIC.len()];
    match stream.read_exact(&mut answer).await {
        Ok(_) if answer == MAGIC => Ok(stream),
        // An agent of before closes what begins like this, or says something else.
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// The streams that have come in, for their further strands. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Braids(Arc<Mutex<BTreeMap<Name, mpsc::Sender<TcpStream>>>>);

/// A stream's place among them, for as long as it lives.
struct Seat {
    braids: Braids,
    name: Name,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.braids.lock().remove(&self.name);
    }
}

impl Braids {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Name, mpsc::Sender<TcpStream>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What an accepted connection is: a stream, or a further strand of one, which has it now: then there is none.
    ///
    /// # Errors
    ///
    /// The connection has broken, or said nothing in time.
    pub async fn take(&self, stream: TcpStream) -> io::Result<Option<Braid>> {
        let _ = hasten(&stream);
        timeout(BEGINNING, self.welcome(stream)).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    async fn welcome(&self, mut stream: TcpStream) -> io::Result<Option<Braid>> {
        let mut first = [0; 1];
        if stream.peek(&mut first).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if first[0] != MAGIC[0] {
            return Ok(Some(stream.into()));
        }
        let mut preamble = [0; PREAMBLE];
        stream.read_exact(&mut preamble).await?;
        let (magic, name) = preamble.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it begins like a strand and is none"));
        }
        let name = Name::try_from(name).unwrap_or_default();
        if self.lock().get(&name).is_some_and(mpsc::Sender::is_closed) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a strand that comes too late"));
        }
        stream.write_all(&MAGIC).await?;
        Ok(self.join(name, stream))
    }

    fn join(&self, name: Name, stream: TcpStream) -> Option<Braid> {
        let mut streams = self.lock();
        if let Some(newcomers) = streams.get(&name) {
            // One that finds no room is one too many.
            let _ = newcomers.try_send(stream);
            return None;
        }
        if streams.len() >= EXPECTED {
            return Some(stream.into());
        }
        let (newcomers, strands) = mpsc::channel(STRANDS);
        streams.insert(name, newcomers);
        drop(streams);
        Some(Braid::begin(stream, Some(strands), Some(Seat { braids: self.clone(), name })))
    }
}

impl AsyncRead for Braid {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let braid = self.get_mut();
        // Who reads need not write any more; a strand that is behind still has to be served.
        braid.push(context)?;
        for strand in &mut braid.strands {
            // What another strand has brought already.
            while strand.got < braid.read {
                let mut known = [0; 4096];
                let most = usize::try_from(braid.read - strand.got).unwrap_or(usize::MAX).min(known.len());
                let mut known = ReadBuf::new(&mut known[..most]);
                match Pin::new(&mut strand.stream).poll_read(context, &mut known) {
                    Poll::Ready(Ok(())) if known.filled().is_empty() => return Poll::Ready(Ok(())),
                    Poll::Ready(Ok(())) => strand.got += known.filled().len() as u64,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => break,
                }
            }
            if strand.got < braid.read {
                continue;
            }
            let before = buffer.filled().len();
            match Pin::new(&mut strand.stream).poll_read(context, buffer) {
                Poll::Ready(Ok(())) => {
                    let read = (buffer.filled().len() - before) as u64;
                    strand.got += read;
                    braid.read += read;
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {}
            }
        }
        Poll::Pending
    }
}

impl AsyncWrite for Braid {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    /// All at once: a TLS that has failed writes its last words in one go, in several pieces.
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let braid = self.get_mut();
        let waiting = braid.push(context)?;
        if waiting >= AHEAD {
            return Poll::Pending;
        }
        let mut room = AHEAD;
        for piece in pieces {
            let taken = piece.len().min(room);
            braid.kept.extend_from_slice(&piece[..taken]);
            room -= taken;
        }
        braid.push(context)?;
        Poll::Ready(Ok(AHEAD - room))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut().push(context)? {
            0 => Poll::Ready(Ok(())),
            _ => Poll::Pending,
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(context))?;
        for strand in &mut self.get_mut().strands {
            ready!(Pin::new(&mut strand.stream).poll_shutdown(context))?;
        }
        Poll::Ready(Ok(()))
    }
}

impl fmt::Debug for Braid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Braid").field("strands", &self.strands.len()).field("read", &self.read).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
