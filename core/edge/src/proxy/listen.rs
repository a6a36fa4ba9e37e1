//! The VIP's listeners: bound with an error that says what to do, and closed without losing a request.

use super::answer::Answer;
use super::client::{Client, Over};
use super::pair::{PairProxy, PoolId};
use super::respond::respond;
use super::sessions::Presence;
use super::settings::ListenSettings;
use pingora_core::apps::HttpServerApp;
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::raw_connect::ProxyDigest;
use rustix::net::{SendFlags, sockopt};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, watch};

const BUSY: Answer = Answer::unavailable("too many clients are connected", Duration::from_secs(5));
/// How long we wait after an accept that failed, for lack of descriptors as a rule.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// An address on which clients are met.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    settings: ListenSettings,
}

/// Why an address cannot be listened on, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {what}")]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    what: &'static str,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

impl BindError {
    fn new(address: SocketAddr, source: io::Error) -> BindError {
        let what = match source.kind() {
            ErrorKind::AddrInUse => "another process listens there; stop it or change `listen`",
            ErrorKind::PermissionDenied => {
                "a port below 1024 needs the capability CAP_NET_BIND_SERVICE (or root); grant it or use a higher port"
            }
            ErrorKind::AddrNotAvailable => "this machine does not have that address; add it, or leave `freebind` on",
            _ => "the system refused it",
        };
        BindError { address, what, source }
    }
}

impl Listener {
    /// Binds the address. It needs a tokio runtime around the call.
    ///
    /// # Errors
    /// The system's refusal, with what to do about it.
    pub fn bind(address: SocketAddr, settings: ListenSettings) -> Result<Listener, BindError> {
        let socket = open(address, &settings).map_err(|error| BindError::new(address, error))?;
        let address = socket.local_addr().map_err(|error| BindError::new(address, error))?;
        Ok(Listener { socket, address, settings })
    }

    /// The address, with the port that the system chose if it was asked to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves the pair's clients, with the servers of the pool that comes first, until `closing` is true or its sender is
    /// gone; then lets requests under way end, for [`ListenSettings::grace`] at most.
    pub async fn serve(self, pair: Arc<PairProxy>, closing: watch::Receiver<bool>) {
        self.serve_pool(pair, PoolId::default(), closing).await;
    }

    /// Serves the pair's clients with the servers of a pool, as [`serve`](Listener::serve) does.
    pub async fn serve_pool(self, pair: Arc<PairProxy>, pool: PoolId, closing: watch::Receiver<bool>) {
        let settings = self.settings;
        let presence = pair.sessions().cloned();
        let presence = move || presence.as_ref().and_then(Presence::digest);
        let closed = closing.clone();
        let converse = move |client| converse(client, Arc::clone(&pair), pool, settings, closed.clone());
        self.meet(presence, converse, closing).await;
    }

    /// Gives the pair's answers of the edge's own to balancers and monitors, as long as [`serve`](Listener::serve) does.
    pub async fn answer(self, pair: Arc<PairProxy>, closing: watch::Receiver<bool>) {
        let settings = self.settings;
        let closed = closing.clone();
        let respond = move |client| respond(client, Arc::clone(&pair), settings, closed.clone());
        self.meet(|| None, respond, closing).await;
    }

    /// Meets clients, each on a task of its own.
    async fn meet<F: Future<Output = ()> + Send + 'static>(
        self,
        presence: impl Fn() -> Option<Arc<ProxyDigest>>,
        converse: impl Fn(Client) -> F,
        mut closing: watch::Receiver<bool>,
    ) {
        let settings = self.settings;
        let places = Arc::new(Semaphore::new(settings.connections));
        let mut clients = tokio::task::JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                _ = closing.wait_for(|closing| *closing) => break,
                Some(_) = clients.join_next() => continue,
            };
            match accepted {
                Ok((socket, address)) => match Arc::clone(&places).try_acquire_owned() {
                    Ok(place) => {
                        // A small answer must not wait for the acknowledgement of the one before.
                        let _ = socket.set_nodelay(true);
                        clients.spawn(converse(Client::new(socket, address, presence(), place)));
                    }
                    Err(_) => turn_away(&socket),
                },
                Err(error) => {
                    tracing::warn!(listener = %self.address, %error, "a client could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(self.socket);
        let all_gone = async { while clients.join_next().await.is_some() {} };
        if tokio::time::timeout(settings.grace, all_gone).await.is_err() {
            tracing::warn!(listener = %self.address, left = clients.len(), "closed with requests under way");
        }
    }
}

fn open(address: SocketAddr, settings: &ListenSettings) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // After a restart, connections of the former process that still linger must not keep the address.
    socket.set_reuseaddr(true)?;
    if settings.freebind {
        if address.is_ipv4() {
            sockopt::set_ip_freebind(&socket, true)?;
        } else {
            sockopt::set_ipv6_freebind(&socket, true)?;
        }
    }
    socket.bind(address)?;
    socket.listen(settings.backlog)
}

/// There is no place: no task and no waiting for it either. A client that misses the answer sees the close.
fn turn_away(socket: &TcpStream) {
    let _ = rustix::net::send(socket, &BUSY.to_wire(), SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
}

/// One client's connection, request after request.
async fn converse(
    mut client: Client,
    pair: Arc<PairProxy>,
    pool: PoolId,
    settings: ListenSettings,
    mut closing: watch::Receiver<bool>,
) {
    let mut first = true;
    loop {
        match client.next_request(first, &settings, &mut closing).await {
            Ok(()) => {}
            Err(Over::Quietly) => return,
            Err(Over::With(answer)) => return client.refuse(&answer, &settings).await,
        }
        first = false;
        let mut session = ServerSession::new_http1(Box::new(client));
        session.set_keepalive(Some(settings.idle_timeout.as_secs()));
        session.set_read_timeout(Some(settings.read_timeout));
        session.set_write_timeout(Some(settings.write_timeout));
        session.set_total_drain_timeout(Some(settings.head_timeout));
        let Some(reused) = pair.http(pool).process_new_http(session, &closing).await else { return };
        let (stream, _) = reused.consume();
        // What went in as a client comes out as one.
        let Ok(same) = stream.into_any().downcast::<Client>() else { return };
        client = *same;
    }
}
