//! The VIP's listeners: bound with an error that says what to do, and closed without losing a request.

use super::answer::Answer;
use super::client::{Client, Over};
use super::exchange;
use super::h2;
use super::head;
use super::pair::{PairProxy, PoolId};
use super::proxy_protocol::{self, Said};
use super::respond::respond;
use super::seen::turned_down;
use super::sessions::Presence;
use super::settings::{ListenSettings, StreamSettings};
use super::shelter::{Networks, Place, Shelter, Turned};
use super::stream;
use super::tls::{Mark, Termination, Wire};
use ipnet::IpNet;
use lockstep_wire::clock;
use pingora_core::apps::HttpServerApp;
use pingora_core::protocols::http::ServerSession;
use rustix::net::{SendFlags, sockopt};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, watch};

static CROWD: Answer = Answer::new(429, "too many connections come from your address");
const BUSY: Answer = Answer::unavailable("too many clients are connected", Duration::from_secs(5));
/// Between two hints of the same kind in the log.
const HINT_EVERY: Duration = Duration::from_secs(60);
/// How long we wait after an accept that failed, for lack of descriptors as a rule.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// An address on which clients are met.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    settings: ListenSettings,
    shelter: Arc<Shelter>,
    balancers: Arc<[IpNet]>,
    tls: Option<Arc<Termination>>,
    patience: Option<Patience>,
}

/// While it is true, a listener that is closed only takes no more clients: those it has may ask once more, and what goes on goes
/// on.
pub type Patience = watch::Receiver<bool>;

/// A client that was met.
pub(super) struct Met {
    pub(super) socket: TcpStream,
    /// Who it is: whom its balancer names, or who has connected.
    pub(super) client: SocketAddr,
    /// What it has connected to: what its balancer says, or an address of ours.
    pub(super) asked: SocketAddr,
    pub(super) place: Place,
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
    pub(crate) fn new(address: SocketAddr, source: io::Error) -> BindError {
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
        Listener::with(socket, address, settings)
    }

    /// Listens on a socket that is bound and listens already. It needs a tokio runtime around the call.
    ///
    /// # Errors
    /// The system's refusal, with what to do about it.
    pub fn over(socket: std::net::TcpListener, settings: ListenSettings) -> Result<Listener, BindError> {
        let address = socket.local_addr().unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0)));
        let taken = socket.set_nonblocking(true).and_then(|()| TcpListener::from_std(socket));
        Listener::with(taken.map_err(|error| BindError::new(address, error))?, address, settings)
    }

    fn with(socket: TcpListener, address: SocketAddr, settings: ListenSettings) -> Result<Listener, BindError> {
        let address = socket.local_addr().map_err(|error| BindError::new(address, error))?;
        let shelter = Arc::new(Shelter::new(Networks::default(), &settings));
        Ok(Listener { socket, address, settings, shelter, balancers: Arc::default(), tls: None, patience: None })
    }

    /// A second handle to its socket: as long as there is one, clients may come.
    ///
    /// # Errors
    /// The system gives none.
    pub fn socket(&self) -> Result<std::net::TcpListener, BindError> {
        let second = self.socket.as_fd().try_clone_to_owned();
        second.map(Into::into).map_err(|error| BindError::new(self.address, error))
    }

    /// Clients come from these networks only.
    #[must_use]
    pub fn sheltered(self, networks: Networks) -> Listener {
        Listener { shelter: Arc::new(Shelter::new(networks, &self.settings)), ..self }
    }

    /// Clients of these networks are balancers: each of their connections begins with a PROXY header, and whom it names is the
    /// client. From others no header is looked for.
    #[must_use]
    pub fn behind(self, balancers: &[IpNet]) -> Listener {
        Listener { balancers: balancers.into(), ..self }
    }

    /// Clients speak TLS, which ends here.
    #[must_use]
    pub fn secured(self, tls: Arc<Termination>) -> Listener {
        Listener { tls: Some(tls), ..self }
    }

    /// See [`Patience`]; without it, clients without a request are left as soon as it is closed.
    #[must_use]
    pub fn patient(self, patience: Patience) -> Listener {
        Listener { patience: Some(patience), ..self }
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
        pair.shared().is_behind(&self.shelter);
        let settings = self.settings;
        let sessions = pair.sessions().cloned();
        let closed = closing.clone();
        let tls = self.tls.clone();
        // Who speaks TLS could not read it.
        let busy = tls.is_none().then_some(BUSY);
        let converse = move |met: Met| {
            let sessions = sessions.clone();
            let (tls, pair, closed) = (tls.clone(), Arc::clone(&pair), closed.clone());
            async move {
                let Met { socket, client, asked, place } = met;
                let marked = sessions.as_ref().is_some_and(|sessions| sessions.is_by_tls());
                if let Some((wire, mark)) = greeted(socket, client, tls, settings.head_timeout, marked).await {
                    let presence = sessions.as_ref().and_then(|sessions| Presence::digest(sessions, mark));
                    let client = Client::new(wire, client, presence, place).that_asked_for(asked);
                    converse(client, pair, pool, settings, closed).await;
                }
            }
        };
        self.meet(busy.as_ref(), converse, closing).await;
    }

    /// Passes the pair's streams to the servers of a pool, until `closing` is true or its sender is gone; then lets them end by
    /// themselves, for [`ListenSettings::grace`] at most.
    pub async fn pass_streams(
        self,
        pair: Arc<PairProxy>,
        pool: PoolId,
        settings: StreamSettings,
        closing: watch::Receiver<bool>,
    ) {
        pair.shared().is_behind(&self.shelter);
        let (limits, settings) = (self.settings, Arc::new(stream::Rules::new(settings, self.tls.clone())));
        let pass = move |met| stream::pass(met, Arc::clone(&pair), pool, Arc::clone(&settings), limits);
        self.meet(None, pass, closing).await;
    }

    /// Gives the pair's answers of the edge's own to balancers and monitors, as long as [`serve`](Listener::serve) does.
    pub async fn answer(self, pair: Arc<PairProxy>, closing: watch::Receiver<bool>) {
        let settings = self.settings;
        let closed = closing.clone();
        let respond = move |met: Met| {
            let client = Client::new(Wire::Plain(met.socket), met.client, None, met.place);
            respond(client, Arc::clone(&pair), settings, closed.clone())
        };
        self.meet(Some(&BUSY), respond, closing).await;
    }

    /// Meets clients, each on a task of its own. Who finds no place is told so, where there are words for it.
    async fn meet<F: Future<Output = ()> + Send + 'static>(
        self,
        busy: Option<&Answer>,
        converse: impl Fn(Met) -> F + Clone + Send + 'static,
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
                Ok((socket, client)) => match Arc::clone(&places).try_acquire_owned() {
                    Ok(place) => {
                        // A small answer must not wait for the acknowledgement of the one before.
                        let _ = socket.set_nodelay(true);
                        let asked = socket.local_addr().unwrap_or(self.address);
                        let place = Place::new(place, self.patience.clone());
                        let met = Met { socket, client, asked, place };
                        if proxy_protocol::is_due(&self.balancers, client) {
                            let (converse, shelter) = (converse.clone(), Arc::clone(&self.shelter));
                            clients.spawn(async move {
                                let Some(met) = announced(met, settings.head_timeout).await else { return };
                                if let Some(met) = admitted(met, &shelter, None) {
                                    converse(met).await;
                                }
                            });
                        } else if let Some(met) = admitted(met, &self.shelter, busy) {
                            clients.spawn(converse(met));
                        }
                    }
                    Err(_) => turn_away(&socket, busy),
                },
                Err(error) => {
                    tracing::warn!(listener = %self.address, %error, "a client could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(self.socket);
        let mut all_gone = pin!(async {
            while clients.join_next().await.is_some() {}
            // What is said last to a client, or still read from it, has its place.
            let all = u32::try_from(settings.connections).unwrap_or(u32::MAX);
            let _ = places.acquire_many(all).await;
        });
        if let Some(mut patience) = self.patience {
            tokio::select! {
                () = &mut all_gone => return,
                _ = patience.wait_for(|patient| !*patient) => {}
            }
        }
        if tokio::time::timeout(settings.grace, all_gone).await.is_err() {
            tracing::warn!(listener = %self.address, "closed with requests under way");
        }
    }
}

/// Reads a balancer's PROXY header; `None`: there is no sound one, and nothing is said to who does not speak as agreed.
async fn announced(mut met: Met, within: Duration) -> Option<Met> {
    match proxy_protocol::read(&mut met.socket, within).await {
        Ok(Said::Proxied { client, asked }) => Some(Met { client, asked, ..met }),
        Ok(Said::Local) => Some(met),
        Err(error) => {
            tracing::debug!(balancer = %met.client, %error, "a connection without a sound PROXY header is closed");
            None
        }
    }
}

/// Does the handshake, where there is to be one; `None`: the client has failed in it.
async fn greeted(
    socket: TcpStream,
    client: SocketAddr,
    tls: Option<Arc<Termination>>,
    within: Duration,
    marked: bool,
) -> Option<(Wire, Option<Mark>)> {
    let Some(tls) = tls else { return Some((Wire::Plain(socket), None)) };
    match tls.accept(socket, within, marked).await {
        Ok((stream, mark)) => Some((Wire::Tls(Box::new(stream)), mark)),
        Err(error) => {
            tracing::debug!(%client, %error, "a client's TLS handshake has failed");
            None
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
fn turn_away(socket: &TcpStream, answer: Option<&Answer>) {
    if let Some(answer) = answer {
        let _ = rustix::net::send(socket, &answer.to_wire(), SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
    }
}

/// A client that its source and its network let in; who cannot be told anything is told nothing.
fn admitted(mut met: Met, shelter: &Arc<Shelter>, busy: Option<&Answer>) -> Option<Met> {
    match shelter.admit(met.client.ip(), clock::now()) {
        Ok(guest) => {
            met.place.is_of(guest);
            return Some(met);
        }
        Err(Turned::Network) => {}
        Err(Turned::Crowd) => turn_away(&met.socket, busy.map(|_| &CROWD)),
    }
    None
}

/// Says once a minute that somebody speaks TLS where none is spoken: as a rule a listener that lacks its `tls`.
fn hint(client: &Client) {
    static QUIET_UNTIL: AtomicU64 = AtomicU64::new(0);
    let (now, quiet_until) = (clock::now(), QUIET_UNTIL.load(Relaxed));
    let next = (now + HINT_EVERY).0;
    if now.0 >= quiet_until && QUIET_UNTIL.compare_exchange(quiet_until, next, Relaxed, Relaxed).is_ok() {
        let client = client.address().map(tracing::field::display);
        tracing::warn!(
            client,
            "TLS was spoken to a listener of plain HTTP; give it `tls`, or clients an http:// address"
        );
    }
}

/// One client's connection, request after request.
async fn converse(
    mut client: Client,
    pair: Arc<PairProxy>,
    pool: PoolId,
    settings: ListenSettings,
    mut closing: watch::Receiver<bool>,
) {
    // In a box: connections that do not speak it have no room for it.
    if client.agreed_on_http2() {
        return Box::pin(h2::converse(client, pair, pool, settings, closing)).await;
    }
    let mut first = true;
    loop {
        let head = match client.next_request(first, &settings, &mut closing).await {
            Ok(head) => head,
            Err(Over::Quietly) => return client.leave().await,
            Err(Over::With(answer)) => {
                if answer == head::TLS {
                    hint(&client);
                }
                turned_down(pair.shared(), &client, &answer);
                client.refuse(&answer, &settings).await;
                return client.leave().await;
            }
            Err(Over::Http2) => return Box::pin(h2::converse(client, pair, pool, settings, closing)).await,
        };
        if let Err(retry_after) = client.asks() {
            let answer = Answer::too_often(retry_after);
            turned_down(pair.shared(), &client, &answer);
            client.refuse(&answer, &settings).await;
            return client.leave().await;
        }
        first = false;
        if let Some(asked) = exchange::take(&mut client, &head, pair.shared()).await {
            let (lasts, asked) = exchange::carry(&mut client, asked, pair.forward(pool), &settings, &closing).await;
            client.end_exchange(asked);
            if lasts {
                continue;
            }
            return client.leave().await;
        }
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
