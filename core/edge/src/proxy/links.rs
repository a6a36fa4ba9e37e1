//! Every connection to the servers, known by side and epoch, so that an epoch's connections can be cut at once:
//! in use, idle in the pool, upgraded, or still being made.
//!
//! Pingora's pool cannot be told to let go of a connection. So we make the connections ourselves, keep a second handle
//! to each socket, and end it through that: whoever reads from it, request or pool, sees its end.

use crate::address::{self, Address};
use async_trait::async_trait;
use lockstep_policy::{Epoch, Side, Sides};
use pingora_core::connectors::L4Connect;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::protocols::l4::stream::Stream;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::{Digest, GetProxyDigest};
use pingora_core::upstreams::peer::{Tracer, Tracing};
use pingora_core::{Error, ErrorType, OrErr, Result};
use pingora_http::ResponseHeader;
use rustix::net::{Shutdown, connect_unspec, shutdown};
use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::ops::Deref;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::error::Elapsed;

/// The error of a connect or a connection that we ended ourselves: nobody's fault but the route's.
pub(super) const CUT: ErrorType = ErrorType::Custom("cut");

/// The error of a connect that failed for want of something on this machine: no descriptor, no port.
pub(super) const OURS: ErrorType = ErrorType::Custom("no local resource");

/// Connections to one side that may be new at once. What a hold lets go would otherwise all connect in the same instant, and where
/// a server's backlog is full (128 is common), a SYN is lost for a second.
const NEW: usize = 64;

/// For how long a connection without an answer is new: a server must have accepted it by then.
const ACCEPT: Duration = Duration::from_millis(20);

/// One connection to a server.
#[derive(Debug)]
pub(super) struct Link {
    id: u64,
    side: Side,
    epoch: Epoch,
    socket: OwnedFd,
    /// Requests that use it: those that share it by HTTP/2, and one that the pool has given it to before the former was done with
    /// its bookkeeping.
    users: AtomicUsize,
    /// The session that used it last; 0: none.
    session: AtomicU64,
    /// It carries another protocol now, for as long as it lives.
    upgraded: AtomicBool,
    /// Somebody listens who can end it more gently than a cut does.
    asked_first: AtomicBool,
    asked: Notify,
    cut: AtomicBool,
    answered: Notify,
    /// It is told once that the link was cut, to one who listens.
    ended: Notify,
}

impl Link {
    /// The link of the connection that pingora hands to a request.
    pub(super) fn of(digest: &Digest) -> Option<Arc<Link>> {
        let carried = digest.proxy_digest.as_ref()?.user_data.as_ref()?;
        carried.downcast_ref::<Arc<Link>>().map(Arc::clone)
    }

    pub(super) fn belongs_to(&self, session: u64) {
        self.session.store(session, SeqCst);
    }

    pub(super) fn is_upgraded(&self) {
        self.upgraded.store(true, SeqCst);
    }

    /// It is asked to leave before it is cut. To be said before `is_upgraded`.
    pub(super) fn is_asked_first(&self) {
        self.asked_first.store(true, SeqCst);
    }

    /// Ends it, gently where somebody listens.
    pub(super) fn leave(&self) {
        if self.asked_first.load(SeqCst) { self.asked.notify_one() } else { self.cut() }
    }

    /// Resolves when the link is to leave. For one listener.
    pub(super) async fn asked_to_leave(&self) {
        self.asked.notified().await;
    }

    /// Whether what is written waits in the kernel for more, for a fifth of a second at most.
    pub(super) fn holds_back(&self, holds: bool) {
        // A socket that cannot sends at once, as all others do.
        let _ = rustix::net::sockopt::set_tcp_cork(&self.socket, holds);
    }

    /// The server has answered on it: it has left the backlog.
    pub(super) fn answered(&self) {
        self.answered.notify_one();
    }

    fn is_idle(&self) -> bool {
        self.users.load(SeqCst) == 0
    }

    /// Whether we ended it ourselves.
    pub(super) fn was_cut(&self) -> bool {
        self.cut.load(SeqCst)
    }

    pub(super) fn cut(&self) {
        self.cut.store(true, SeqCst);
        self.close();
        self.ended.notify_one();
    }

    /// Resolves when the link has been cut. For one listener.
    pub(super) async fn ended(&self) {
        while !self.was_cut() {
            self.ended.notified().await;
        }
    }

    fn close(&self) {
        // It fails only when the connection is gone already, which is what we want.
        let _ = shutdown(&self.socket, Shutdown::Both);
    }

    /// Ends it with a reset, and nothing of what was written and not yet acknowledged is sent any more: a node that was
    /// out of reach must not be given, when it is back, a request that the other side has answered meanwhile.
    pub(super) fn abort(&self) {
        self.cut.store(true, SeqCst);
        // Connecting to nowhere is how TCP is told to abort. Where that is refused, an orderly end must do.
        if connect_unspec(&self.socket).is_err() {
            self.close();
        }
        self.ended.notify_one();
    }
}

/// A request's use of a connection, until this is dropped.
#[derive(Debug)]
pub(super) struct Use {
    link: Option<Arc<Link>>,
}

impl Use {
    /// The request has been given the connection. One that had it made uses it already.
    pub(super) fn begin(link: Arc<Link>, reused: bool) -> Use {
        if reused {
            link.users.fetch_add(1, SeqCst);
        }
        Use { link: Some(link) }
    }

    pub(super) fn link(&self) -> &Arc<Link> {
        self.link.as_ref().expect("it is taken out where the use ends")
    }

    /// Ends it; returns the connection when it is idle now.
    pub(super) fn end(mut self) -> Option<Arc<Link>> {
        self.link.take().filter(|link| link.users.fetch_sub(1, SeqCst) == 1)
    }
}

impl Deref for Use {
    type Target = Link;

    fn deref(&self) -> &Link {
        self.link()
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        if let Some(link) = &self.link {
            link.users.fetch_sub(1, SeqCst);
        }
    }
}

/// All connections of one pair.
#[derive(Debug, Default)]
pub(super) struct Links {
    open: Mutex<HashMap<u64, Arc<Link>>>,
    floors: Sides<AtomicU64>,
    floor_raised: Notify,
    last_id: AtomicU64,
}

impl Links {
    fn open(&self) -> MutexGuard<'_, HashMap<u64, Arc<Link>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lowest epoch that may still have connections to the side.
    pub(super) fn floor(&self, side: Side) -> Epoch {
        Epoch(self.floors[side].load(SeqCst))
    }

    /// Ends every connection of a lower epoch to the side, and every attempt to make one, now and later.
    pub(super) fn cut(&self, side: Side, before: Epoch) -> usize {
        self.floors[side].fetch_max(before.0, SeqCst);
        self.floor_raised.notify_waiters();
        self.each(|link| link.side == side && link.epoch < before, Link::abort)
    }

    /// Ends the connections that no request uses, but for those whose side and epoch may stay.
    pub(super) fn cut_idle_unless(&self, stays: impl Fn(Side, Epoch) -> bool) -> usize {
        self.each(|link| !stays(link.side, link.epoch) && link.is_idle(), Link::cut)
    }

    /// Ends the connections to the side before of sessions that were moved, but for those on which a request waits for
    /// its answer.
    pub(super) fn cut_moved(&self, moved: &HashMap<u64, Side>) -> usize {
        let left = |link: &Link| moved.get(&link.session.load(SeqCst)) == Some(&link.side);
        self.each(|link| left(link) && (link.is_idle() || link.upgraded.load(SeqCst)), Link::leave)
    }

    pub(super) fn cut_all(&self) -> usize {
        self.each(|_| true, Link::cut)
    }

    fn each(&self, chosen: impl Fn(&Link) -> bool, end: impl Fn(&Link)) -> usize {
        let open = self.open();
        let chosen = open.values().filter(|link| chosen(link));
        chosen.inspect(|link| end(link)).count()
    }

    pub(super) fn count(&self) -> usize {
        self.open().len()
    }

    /// Connections to a side.
    pub(super) fn count_of(&self, side: Side) -> usize {
        self.open().values().filter(|link| link.side == side).count()
    }

    /// Takes a new connection in; `None` when its epoch has been cut meanwhile.
    fn admit(&self, side: Side, epoch: Epoch, socket: OwnedFd) -> Option<Arc<Link>> {
        let mut open = self.open();
        // Under the lock that `cut` takes after it raised the floor: one of the two sees the other.
        if epoch < self.floor(side) {
            return None;
        }
        let id = self.last_id.fetch_add(1, SeqCst) + 1;
        // In use from the start: the request that had it made has not said so yet.
        let users = AtomicUsize::new(1);
        let link = Arc::new(Link {
            id,
            side,
            epoch,
            socket,
            users,
            session: AtomicU64::new(0),
            upgraded: AtomicBool::new(false),
            asked_first: AtomicBool::new(false),
            asked: Notify::new(),
            cut: AtomicBool::new(false),
            answered: Notify::new(),
            ended: Notify::new(),
        });
        open.insert(id, Arc::clone(&link));
        Some(link)
    }
}

/// Takes the link out of the registry when pingora drops the connection.
#[derive(Clone, Debug)]
struct Farewell {
    links: Arc<Links>,
    link: Arc<Link>,
}

impl Tracing for Farewell {
    fn on_connected(&self) {}

    fn on_disconnected(&self) {
        self.links.open().remove(&self.link.id);
        // Our second handle would keep the connection open for as long as somebody holds the link.
        self.link.close();
    }

    fn boxed_clone(&self) -> Box<dyn Tracing> {
        Box::new(self.clone())
    }
}

type Turn = Option<OwnedSemaphorePermit>;

/// Makes the connections to one side in one epoch.
#[derive(Debug)]
pub(super) struct Dial {
    pub(super) links: Arc<Links>,
    pub(super) side: Side,
    pub(super) epoch: Epoch,
    pub(super) timeout: Duration,
    turns: Arc<Semaphore>,
}

/// A connection to a server that is not pingora's.
#[derive(Debug)]
pub(super) struct Linked {
    pub(super) socket: TcpStream,
    pub(super) kept: Kept,
}

/// A connection's place among the others, as long as it is needed.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) link: Arc<Link>,
    links: Arc<Links>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.links.open().remove(&self.link.id);
        // Our second handle would keep the connection open for as long as somebody holds the link.
        self.link.close();
    }
}

#[async_trait]
impl L4Connect for Dial {
    async fn connect(&self, address: &SocketAddr) -> Result<Stream> {
        self.stream(address).await
    }
}

/// Makes one connection, which begins with these words.
#[derive(Debug)]
pub(super) struct Announced {
    pub(super) dial: Arc<Dial>,
    pub(super) words: Vec<u8>,
}

#[async_trait]
impl L4Connect for Announced {
    async fn connect(&self, address: &SocketAddr) -> Result<Stream> {
        let mut stream = self.dial.stream(address).await?;
        let said = async {
            stream.write_all(&self.words).await?;
            stream.flush().await
        };
        match tokio::time::timeout(self.dial.timeout, said).await {
            Ok(said) => said.or_err(ErrorType::WriteError, "saying whose a connection is")?,
            Err(_) => return Error::e_explain(ErrorType::ConnectTimedout, "saying whose a connection is"),
        }
        Ok(stream)
    }
}

impl Dial {
    /// Makes a connection for pingora.
    async fn stream(&self, address: &SocketAddr) -> Result<Stream> {
        let Some(address) = ours(address) else { return Error::e_explain(OURS, "a server without an address") };
        let (socket, link) = self.make(&address).await?;
        let mut stream = match address {
            Address::Inet(_) => Stream::from(socket),
            // Pingora tells sockets of TCP to do what others cannot.
            Address::Unix(_) => Stream::from(address::as_unix(socket).or_err(OURS, "a connection's other name")?),
        };
        stream.tracer = Some(Tracer(Box::new(Farewell { links: Arc::clone(&self.links), link: Arc::clone(&link) })));
        // The digest is the one thing that travels from here to the request: it carries the link.
        stream.set_proxy_digest(ProxyDigest::new(Box::new(ResponseHeader::build(200, Some(0))?), Some(Box::new(link))));
        Ok(stream)
    }

    pub(super) fn new(links: Arc<Links>, side: Side, epoch: Epoch, timeout: Duration) -> Dial {
        Dial { links, side, epoch, timeout, turns: Arc::new(Semaphore::new(NEW)) }
    }

    /// Makes a connection for who needs no more than the socket.
    pub(super) async fn open(&self, address: &Address) -> Result<Linked> {
        let (socket, link) = self.make(address).await?;
        Ok(Linked { socket, kept: Kept { link, links: Arc::clone(&self.links) } })
    }

    async fn make(&self, address: &Address) -> Result<(TcpStream, Arc<Link>)> {
        let (turn, socket) = tokio::select! {
            (turn, connected) = self.connect_in_turn(address) => match connected {
                Ok(Ok(socket)) => (turn, socket),
                Ok(Err(error)) => return Error::e_because(kind(&error), format!("connecting to {address}"), error),
                Err(_) => return Error::e_explain(ErrorType::ConnectTimedout, format!("connecting to {address}")),
            },
            () = self.cut() => return Error::e_explain(CUT, "while connecting"),
        };
        let second = socket.as_fd().try_clone_to_owned().or_err(OURS, "a second handle to a connection")?;
        let Some(link) = self.links.admit(self.side, self.epoch, second) else {
            return Error::e_explain(CUT, "while connecting");
        };
        let new = Arc::clone(&link);
        tokio::spawn(async move {
            let _ = tokio::time::timeout(ACCEPT, new.answered.notified()).await;
            drop(turn);
        });
        Ok((socket, link))
    }

    async fn connect_in_turn(&self, address: &Address) -> (Turn, Result<io::Result<TcpStream>, Elapsed>) {
        // Nobody closes the semaphore.
        let turn = Arc::clone(&self.turns).acquire_owned().await.ok();
        (turn, tokio::time::timeout(self.timeout, address.connect()).await)
    }

    /// Resolves when this epoch's connections have been cut.
    async fn cut(&self) {
        loop {
            let raised = self.links.floor_raised.notified();
            tokio::pin!(raised);
            raised.as_mut().enable();
            if self.epoch < self.links.floor(self.side) {
                return;
            }
            raised.await;
        }
    }
}

/// A server's address, as pingora writes it.
fn ours(address: &SocketAddr) -> Option<Address> {
    match address {
        SocketAddr::Inet(address) => Some(Address::Inet(*address)),
        SocketAddr::Unix(address) => Some(Address::Unix(address.as_pathname()?.to_str()?.into())),
    }
}

fn kind(error: &std::io::Error) -> ErrorType {
    match error.kind() {
        ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset => ErrorType::ConnectRefused,
        ErrorKind::TimedOut => ErrorType::ConnectTimedout,
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => ErrorType::ConnectNoRoute,
        _ => OURS,
    }
}
