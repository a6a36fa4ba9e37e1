//! An edge's life: everything is read, opened and bound first, then it starts; nothing starts by halves.
//!
//! It ends when it is told to, or when another process goes on in its place (`succession`).

use crate::access::{self, AccessLog, To};
use crate::admin::api::Reloaded;
use crate::admin::server::{Edge, Errand, router};
use crate::admin::token::Token;
use crate::config::{Config, Security, SeenConfig};
use crate::doors::Sockets;
use crate::encryption::{self, Live};
use crate::failure::EdgeError;
use crate::journal::Journal;
use crate::pairs::{self, AtWork, Ground, Ready, Tasks};
use crate::probe::Means;
use crate::proxy::{Generation, Seeing};
use crate::store::{Found, Store};
use crate::succession::{Predecessor, Upgrade};
use crate::threads::RequestThreads;
use crate::{descriptors, metrics, reload, signals, trust, wall};
use arc_swap::{ArcSwap, ArcSwapOption};
use lockstep_wire::trust::Trust;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinHandle, JoinSet};

/// Drivers end at once; the admin API is not waited for longer.
const END: Duration = Duration::from_secs(5);

/// Reloads and upgrades that wait for the one that is under way.
const ERRANDS: usize = 8;

/// Runs an edge until `shutdown` is there, until a part of it breaks, or until another process has taken over and all clients have
/// left. SIGHUP has the configuration read again, SIGUSR1 the access log opened again, SIGUSR2 another process go on.
pub async fn run(config: &Path, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<(), EdgeError> {
    descriptors::as_many_as_allowed();
    let config = read(config).await?;
    let state = config.edge.state.clone();
    let store = off_the_loop(move || Store::open(&state)).await??;
    let bound = match Opened::new(config, &Sockets::new()).await {
        Ok(opened) => opened.with(store.clone()).await,
        Err(error) => Err(error),
    };
    match bound {
        Ok(bound) => bound.start(None).live(shutdown).await,
        Err(error) => {
            store.close().await;
            Err(error)
        }
    }
}

/// The same, in the place of the edge that has started this process, as soon as that is ready to leave.
pub async fn succeed(config: &Path, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<(), EdgeError> {
    descriptors::as_many_as_allowed();
    let not_taken = |why: String| EdgeError::NotTakenOver { why };
    let (mut predecessor, sockets) = off_the_loop(Predecessor::meet).await?.map_err(not_taken)?;
    match take_over(config, &mut predecessor, sockets).await {
        Ok(bound) => {
            let former: Arc<dyn Generation> = predecessor.took_over();
            bound.start(Some(former)).live(shutdown).await
        }
        Err(error) => {
            predecessor.refuse(&error.to_string()).await;
            Err(error)
        }
    }
}

/// What can fail and disturbs nobody comes before the word of the one before, what takes from him after it.
async fn take_over(config: &Path, predecessor: &mut Predecessor, sockets: Sockets) -> Result<Bound, EdgeError> {
    let not_taken = |why: String| EdgeError::NotTakenOver { why };
    let config = read(config).await?;
    predecessor.suits(&config).map_err(not_taken)?;
    let opened = Opened::new(config, &sockets).await?;
    drop(sockets);
    predecessor.ready().await.map_err(not_taken)?;
    crate::crash::point("succession");
    let state = opened.config.edge.state.clone();
    let store = off_the_loop(move || Store::open(&state)).await??;
    match opened.with(store.clone()).await {
        Ok(bound) => Ok(bound),
        Err(error) => {
            store.close().await;
            Err(error)
        }
    }
}

async fn read(config: &Path) -> Result<Config, EdgeError> {
    let path = config.to_owned();
    Ok(off_the_loop(move || crate::config::load(&path)).await??)
}

/// All that needs neither store nor journal, which only one edge at a time can have.
struct Opened {
    config: Config,
    trust: Option<Trust>,
    admin: Own,
    metrics: Option<Own>,
    seeing: Seeing,
    pairs: Vec<Ready>,
    threads: RequestThreads,
}

/// Everything that can fail, done; nothing serves yet.
struct Bound {
    opened: Opened,
    store: Store,
    journal: Journal,
    token: Token,
    found: Vec<Found>,
}

/// An address of the edge's own.
pub(crate) struct Own {
    pub address: SocketAddr,
    socket: Arc<std::net::TcpListener>,
    closing: watch::Sender<bool>,
}

impl Own {
    /// Binds it, unless there is a socket for it already.
    pub async fn bind(address: SocketAddr, sockets: &Sockets) -> io::Result<Own> {
        let socket = match sockets.get(&address) {
            Some(socket) => socket.try_clone()?,
            None => TcpListener::bind(address).await?.into_std()?,
        };
        Ok(Own { address, socket: Arc::new(socket), closing: watch::Sender::new(false) })
    }

    fn listener(&self) -> io::Result<TcpListener> {
        TcpListener::from_std(self.socket.try_clone()?)
    }

    /// Clients of it are let go.
    pub fn close(&self) {
        self.closing.send_replace(true);
    }
}

impl Opened {
    async fn new(config: Config, sockets: &Sockets) -> Result<Opened, EdgeError> {
        let file = config.file.clone();
        let trust = trust::open(&config.edge).map_err(|source| EdgeError::Trust { file: file.clone(), source })?;
        let address = config.edge.admin;
        let admin = Own::bind(address, sockets).await.map_err(|source| EdgeError::Admin {
            file: file.clone(),
            address,
            source,
        })?;
        let metrics = match config.edge.seen.metrics {
            Some(address) => Some(Own::bind(address, sockets).await.map_err(|source| EdgeError::Metrics {
                file: file.clone(),
                address,
                source,
            })?),
            None => None,
        };
        let seeing = seeing(&config.edge.seen).map_err(|(log, source)| EdgeError::AccessLog {
            file: file.clone(),
            log,
            source,
        })?;
        let ready = |pair| Ready::new(pair, sockets).map_err(|why| EdgeError::unready(&file, &pair.name, why));
        let pairs = config.pairs.iter().map(ready).collect::<Result<_, _>>()?;
        let threads = RequestThreads::start().map_err(|error| EdgeError::broken("the start", error))?;
        Ok(Opened { config, trust, admin, metrics, seeing, pairs, threads })
    }

    async fn with(self, store: Store) -> Result<Bound, EdgeError> {
        let edge = &self.config.edge;
        let names: Vec<&str> = self.pairs.iter().map(Ready::name).collect();
        let journal = Journal::open(&edge.state, &edge.name, edge.journal, &names)
            .map_err(|error| EdgeError::broken("the journal", error))?;
        let found = names.iter().map(|name| pairs::found(name, &store, &journal)).collect::<Result<_, _>>()?;
        // Last: the token of an edge that runs already must stay.
        let file = self.config.file.clone();
        let token = Token::create(&edge.state).map_err(|source| EdgeError::Token { file, source })?;
        Ok(Bound { opened: self, store, journal, token, found })
    }
}

impl Bound {
    fn start(self, former: Option<Arc<dyn Generation>>) -> Running {
        let Bound { opened, store, journal, token, found } = self;
        let Opened { config, trust, admin, metrics, seeing, pairs, threads } = opened;
        let mut minders = trust.as_ref().map(trust::keep).unwrap_or_default();
        let ground = Ground {
            edge: config.edge.name.clone(),
            trust: trust.clone(),
            store: store.clone(),
            journal: journal.clone(),
            means: Arc::new(Means::new(config.secrets.clone(), &config.edge.probe)),
            seeing,
            threads: threads.handle().clone(),
        };
        let mut tasks = Tasks::default();
        let start = |(ready, found): (Ready, Found)| ready.start(&ground, found, former.as_ref(), &mut tasks);
        let pairs: Vec<AtWork> = pairs.into_iter().zip(found).map(start).collect();
        let live = Arc::new(ArcSwap::from_pointee(pairs.iter().map(AtWork::encrypted).collect()));
        minders.push(tokio::spawn(encryption::keep_looking(Arc::clone(&live))));
        let (errands, asked) = mpsc::channel(ERRANDS);
        let edge = Arc::new(Edge {
            name: config.edge.name.clone(),
            config: config.file.display().to_string(),
            started: wall::now(),
            insecure: config.edge.security == Some(Security::Insecure),
            trust,
            token,
            users: ArcSwap::from_pointee(config.edge.users.clone()),
            store: ArcSwap::from_pointee(store),
            journal: ArcSwap::from_pointee(journal),
            access_log: ArcSwapOption::new(ground.seeing.log.clone().map(Arc::new)),
            pairs: ArcSwap::from_pointee(pairs.iter().map(|pair| Arc::clone(&pair.door)).collect()),
            policies: config.edge.policies.clone(),
            errands,
            reload: ArcSwap::default(),
        });
        let program = std::env::current_exe().unwrap_or_default();
        let mut running = Running {
            config,
            ground,
            edge,
            pairs,
            tasks,
            threads: Some(threads),
            live,
            admin,
            metrics: None,
            minders,
            leaving: JoinSet::new(),
            asked,
            program,
        };
        running.serve_admin();
        running.serve_metrics(metrics);
        running
    }
}

/// An edge at work.
pub(crate) struct Running {
    /// Of its pairs each has its own.
    pub config: Config,
    pub ground: Ground,
    pub edge: Arc<Edge>,
    pub pairs: Vec<AtWork>,
    pub tasks: Tasks,
    /// Taken when requests end.
    threads: Option<RequestThreads>,
    live: Arc<ArcSwap<Vec<Live>>>,
    admin: Own,
    pub metrics: Option<Own>,
    /// What looks after certificates.
    minders: Vec<JoinHandle<()>>,
    /// Doors that were closed, until there is no more patience with who came in by them.
    leaving: JoinSet<()>,
    asked: mpsc::Receiver<Errand>,
    /// The program that this process is of.
    pub program: PathBuf,
}

/// Somebody who waits for an upgrade.
type Waiting = Option<oneshot::Sender<Result<u32, String>>>;

impl Running {
    fn serve_admin(&mut self) {
        let mut closed = self.admin.closing.subscribe();
        let (listener, routes) = (self.admin.listener(), router(Arc::clone(&self.edge)));
        self.tasks.drivers.spawn(async move {
            let mut told = closed.clone();
            let served = match listener {
                Ok(listener) => {
                    let until = async move { drop(told.wait_for(|closing| *closing).await) };
                    axum::serve(listener, routes).with_graceful_shutdown(until).await
                }
                Err(error) => Err(error),
            };
            match served {
                Ok(()) if *closed.borrow_and_update() => Ok(()),
                Ok(()) => Err("the admin API has ended".to_owned()),
                Err(error) => Err(format!("the admin API: {error}")),
            }
        });
    }

    /// Gives metrics there and nowhere else from now on.
    pub fn serve_metrics(&mut self, metrics: Option<Own>) {
        if let Some(before) = std::mem::replace(&mut self.metrics, metrics) {
            before.close();
        }
        let Some(metrics) = &self.metrics else { return };
        match metrics.listener() {
            Ok(listener) => {
                let serving = metrics::serve(listener, Arc::clone(&self.edge), metrics.closing.subscribe());
                drop(tokio::spawn(serving));
            }
            Err(error) => tracing::error!(%error, "metrics are given to nobody"),
        }
    }

    async fn live(mut self, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<(), EdgeError> {
        let signalled = |kind| signal(kind).map_err(|error| EdgeError::broken("the signal handler", error));
        let mut hang_up = signalled(SignalKind::hangup())?;
        // Listened to in any case: left alone, they would end the process.
        let mut rotated = signalled(SignalKind::user_defined1())?;
        let mut upgraded = signalled(SignalKind::user_defined2())?;
        signals::notify("READY=1");
        tracing::info!(edge = self.config.edge.name, admin = %self.config.edge.admin, "edge is running");
        tokio::pin!(shutdown);
        let ended = loop {
            let wanted: Option<(Option<PathBuf>, Waiting)> = tokio::select! {
                () = &mut shutdown => break Ok(()),
                _ = hang_up.recv() => {
                    self.reload().await;
                    None
                }
                _ = rotated.recv() => {
                    self.edge.access_log.load_full().iter().for_each(|log| log.reopen());
                    None
                }
                _ = upgraded.recv() => Some((None, None)),
                Some(errand) = self.asked.recv() => match errand {
                    Errand::Reload(reply) => {
                        let _ = reply.send(self.reload().await);
                        None
                    }
                    Errand::Upgrade(program, reply) => Some((program, Some(reply))),
                },
                Some(ended) = self.tasks.drivers.join_next() => match task(ended) {
                    Ok(()) => None,
                    Err(broken) => break Err(broken),
                },
                Some(ended) = self.tasks.listeners.join_next() => match task(ended.map(Ok)) {
                    Ok(()) => None,
                    Err(broken) => break Err(broken),
                },
            };
            let Some((program, waiting)) = wanted else { continue };
            let upgrade = tokio::select! {
                upgrade = self.upgrade(program) => upgrade,
                () = &mut shutdown => break Ok(()),
            };
            match upgrade {
                Ok(successor) => {
                    waiting.map(|reply| reply.send(Ok(successor.pid())));
                    return self.step_down(successor, &mut shutdown).await;
                }
                Err(Upgrade::Refused(why)) => {
                    tracing::warn!(why, "the edge goes on in this process");
                    waiting.map(|reply| reply.send(Err(why)));
                }
                Err(Upgrade::Broken(error)) => break Err(error),
            }
        };
        signals::notify("STOPPING=1");
        self.stop().await;
        ended
    }

    async fn reload(&mut self) -> Reloaded {
        let reloaded = reload::reload(self).await;
        self.edge.reload.store(Arc::new(reloaded.said.clone()));
        self.live.store(Arc::new(self.pairs.iter().map(AtWork::encrypted).collect()));
        reloaded
    }

    /// Has patience with the clients of closed doors for as long as is configured.
    pub fn let_leave<T: Send + 'static>(&mut self, closed: T) {
        while self.leaving.try_join_next().is_some() {}
        let drain = self.config.edge.drain;
        self.leaving.spawn(async move {
            tokio::time::sleep(drain).await;
            drop(closed);
        });
    }

    /// The sockets of its pairs.
    pub fn sockets(&self) -> Sockets {
        self.pairs.iter().flat_map(AtWork::sockets).collect()
    }

    /// Requests under way end first, while leases are still renewed; then the pairs are left to the next edge.
    async fn stop(mut self) {
        tracing::info!("edge is stopping");
        self.pairs.iter_mut().for_each(AtWork::shut);
        self.leaving.abort_all();
        while self.tasks.listeners.join_next().await.is_some() {}
        // What has not ended within the listeners' grace is cut.
        drop(self.threads.take());
        self.pairs.iter_mut().for_each(AtWork::stop);
        self.admin.close();
        self.serve_no_metrics();
        // An order that waits for its end would keep the API; it ends with the drivers.
        let _ = tokio::time::timeout(END, async { while self.tasks.drivers.join_next().await.is_some() {} }).await;
        self.ground.journal.close().await;
        self.ground.store.close().await;
        if let Some(log) = self.edge.access_log.load_full() {
            log.close().await;
        }
    }

    fn serve_no_metrics(&mut self) {
        self.serve_metrics(None);
    }

    /// All sockets that it listens on.
    pub fn own_sockets(&self) -> Sockets {
        let own = std::iter::once(&self.admin).chain(&self.metrics);
        let own = own.map(|own| (own.address, Arc::clone(&own.socket)));
        self.sockets().into_iter().chain(own).collect()
    }

    /// Another process serves what is the edge's own, and looks after its certificates.
    pub fn close_own(&mut self) {
        self.admin.close();
        self.serve_no_metrics();
        self.minders.iter().for_each(JoinHandle::abort);
    }

    /// There is no more patience with the clients of closed doors.
    pub fn let_all_go(&mut self) {
        self.leaving.abort_all();
    }

    /// Ends, with neither store nor journal nor driver any more.
    pub async fn end_after_successor(mut self) {
        drop(self.threads.take());
        if let Some(log) = self.edge.access_log.load_full() {
            log.close().await;
        }
    }
}

/// What is made of requests beside serving them. The access log is opened; an error names it.
pub(crate) fn seeing(seen: &SeenConfig) -> Result<Seeing, (String, io::Error)> {
    let open = |settings: &access::Settings| {
        AccessLog::open(settings).map_err(|source| match &settings.to {
            To::File(log) => (log.display().to_string(), source),
            To::Stdout => ("stdout".to_owned(), source),
        })
    };
    let log = seen.access_log.as_ref().map(open).transpose()?;
    Ok(Seeing { log, trace: seen.trace, request_id: seen.request_id })
}

/// A task ends when it was told to; else a part of the edge is broken.
fn task(ended: Result<Result<(), String>, JoinError>) -> Result<(), EdgeError> {
    match ended {
        Ok(Ok(())) => Ok(()),
        Ok(Err(why)) => Err(EdgeError::broken("a part of the edge", why)),
        Err(error) => Err(EdgeError::broken("a part of the edge", error)),
    }
}

/// Does what waits for disks on a thread that may wait.
async fn off_the_loop<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, EdgeError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| EdgeError::broken("the start", error))
}
