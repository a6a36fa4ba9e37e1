//! An edge's life: everything is read, opened and bound first, then it starts; nothing starts by halves.

use crate::access::{self, AccessLog, To};
use crate::admin::server::{Edge, PairDoor, router};
use crate::admin::token::Token;
use crate::config::{Config, PairConfig, Report, Security, SeenConfig};
use crate::doors::{self, Door};
use crate::driver::{self, Driver, Parts};
use crate::encryption::{self, Encryption};
use crate::journal::Journal;
use crate::probe::Means;
use crate::proxy::Seeing;
use crate::proxy::{BindError, TlsError};
use crate::store::{Found, Store, StoreError};
use crate::threads::RequestThreads;
use crate::{descriptors, metrics, reload, signals, trust, wall};
use arc_swap::ArcSwap;
use lockstep_wire::trust::{Trust, TrustError};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Drivers end at once; the admin API is not waited for longer.
const END: Duration = Duration::from_secs(5);

/// An edge does not start, or cannot go on. Each is a sentence with its remedy.
#[derive(Debug, thiserror::Error)]
pub enum EdgeError {
    /// The configuration is not valid.
    #[error("{0}")]
    Config(#[from] Report),
    /// The state directory or what is in it cannot be used.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The certificates that `[edge.tls]` names cannot be used.
    #[error("{}: edge.tls: {source}", file.display())]
    Trust {
        /// The configuration.
        file: PathBuf,
        /// Which, and why.
        source: TrustError,
    },
    /// What a pair's TLS rests on cannot be used.
    #[error("{}: {key} of pair \"{pair}\": {source}", file.display())]
    Encryption {
        /// The configuration.
        file: PathBuf,
        /// The key that names it.
        key: &'static str,
        /// The pair.
        pair: String,
        /// Which file, and why.
        source: TlsError,
    },
    /// A listener of a pair cannot be bound.
    #[error("{}: {key} of pair \"{pair}\": {source}", file.display())]
    Listen {
        /// The configuration.
        file: PathBuf,
        /// The key that it stands under.
        key: String,
        /// The pair.
        pair: String,
        /// Why.
        source: BindError,
    },
    /// The admin API cannot be bound.
    #[error("{}: edge.admin: cannot listen on {address}: {source}: is another edge running? give each an address of its own", file.display())]
    Admin {
        /// The configuration.
        file: PathBuf,
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The address for metrics cannot be bound.
    #[error("{}: edge.metrics: cannot listen on {address}: {source}: give it an address of this machine and a port that nobody listens on", file.display())]
    Metrics {
        /// The configuration.
        file: PathBuf,
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The access log cannot be opened.
    #[error("{}: edge.access_log.file: {log} cannot be appended to: {source}: make its directory, and let the edge's user write there", file.display())]
    AccessLog {
        /// The configuration.
        file: PathBuf,
        /// The log.
        log: String,
        /// Why.
        source: io::Error,
    },
    /// The admin token cannot be written.
    #[error("{}: edge.state: the admin token cannot be written: {source}: let the edge's user write to the state directory", file.display())]
    Token {
        /// The configuration.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A part of the edge has ended that must not: the process is to be started again.
    #[error("{what} has ended unexpectedly: {why}; start the edge again")]
    Broken {
        /// Which part.
        what: String,
        /// Why.
        why: String,
    },
}

/// Runs an edge until `shutdown` is there, or until a part of it breaks. SIGHUP has the configuration read again, SIGUSR1 the
/// access log opened again.
pub async fn run(config: &Path, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<(), EdgeError> {
    descriptors::as_many_as_allowed();
    let path = config.to_owned();
    let config = off_the_loop(move || crate::config::load(&path)).await??;
    let edge = Bound::new(config).await?.start();
    edge.live(shutdown).await
}

/// Everything that can fail, done; nothing serves yet.
struct Bound {
    config: Config,
    trust: Option<Trust>,
    store: Store,
    journal: Journal,
    token: Token,
    admin: TcpListener,
    metrics: Option<TcpListener>,
    seeing: Seeing,
    pairs: Vec<(PairConfig, Found, Vec<Door>, Encryption)>,
    threads: RequestThreads,
}

impl Bound {
    async fn new(config: Config) -> Result<Bound, EdgeError> {
        let state = config.edge.state.clone();
        let store = off_the_loop(move || Store::open(&state)).await??;
        match Bound::with(config, store.clone()).await {
            Ok(bound) => Ok(bound),
            Err(error) => {
                store.close().await;
                Err(error)
            }
        }
    }

    async fn with(config: Config, store: Store) -> Result<Bound, EdgeError> {
        let file = config.file.clone();
        let trust = trust::open(&config.edge).map_err(|source| EdgeError::Trust { file: file.clone(), source })?;
        let address = config.edge.admin;
        let admin = TcpListener::bind(address).await.map_err(|source| EdgeError::Admin {
            file: file.clone(),
            address,
            source,
        })?;
        let metrics = match config.edge.seen.metrics {
            Some(address) => Some(TcpListener::bind(address).await.map_err(|source| EdgeError::Metrics {
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
        let names: Vec<&str> = config.pairs.iter().map(|pair| pair.name.as_str()).collect();
        let journal = Journal::open(&config.edge.state, &config.edge.name, config.edge.journal, &names)
            .map_err(|error| EdgeError::Broken { what: "the journal".to_owned(), why: error.to_string() })?;
        let mut pairs = Vec::new();
        for pair in &config.pairs {
            let encryption = Encryption::open(pair).map_err(|(key, source)| EdgeError::Encryption {
                file: file.clone(),
                key,
                pair: pair.name.clone(),
                source,
            })?;
            let doors = doors::bind(pair, &encryption).map_err(|(key, source)| EdgeError::Listen {
                file: file.clone(),
                key,
                pair: pair.name.clone(),
                source,
            })?;
            let mut found = store.find(&pair.name)?;
            // Either may have been lost, and has then been told of fewer numbers than were used.
            found.next_seq = found.next_seq.max(journal.next_seq(&pair.name));
            pairs.push((pair.clone(), found, doors, encryption));
        }
        let threads = RequestThreads::start()
            .map_err(|error| EdgeError::Broken { what: "the start".to_owned(), why: error.to_string() })?;
        // Last: the token of an edge that runs already must stay.
        let token = Token::create(&config.edge.state).map_err(|source| EdgeError::Token { file, source })?;
        Ok(Bound { config, trust, store, journal, token, admin, metrics, seeing, pairs, threads })
    }

    fn start(self) -> Running {
        let Bound { config, trust, store, journal, token, admin, metrics, seeing, pairs, threads } = self;
        let (closing, closed) = watch::channel(false);
        let (stopping, stopped) = watch::channel(false);
        if let Some(trust) = &trust {
            trust::keep(trust);
        }
        let (mut listeners, mut drivers, mut doors) = (JoinSet::new(), JoinSet::new(), Vec::new());
        let means = Arc::new(Means::new(config.secrets.clone(), config.edge.probe.roots.clone()));
        let mut encrypted = Vec::new();
        for (pair, found, bound, encryption) in pairs {
            let means = Arc::clone(&means);
            let inlet = driver::inlet();
            let proxy = doors::proxy(&pair, inlet.0.clone());
            proxy.be_seen(seeing.clone());
            encrypted.push(encryption.start(&pair.name, &proxy));
            for door in bound {
                listeners.spawn_on(door.open(Arc::clone(&proxy), closed.clone()), threads.handle());
            }
            let in_force = Arc::new(ArcSwap::from_pointee(pair.policy.clone()));
            let policy = Arc::clone(&in_force);
            doors.push(PairDoor { name: pair.name.clone(), feeds: inlet.0.clone(), policy });
            let edge = config.edge.name.clone();
            let name = pair.name.clone();
            let noted = journal.pair(&name, found.next_seq);
            let parts = Parts {
                edge,
                trust: trust.clone(),
                config: pair,
                in_force,
                found,
                store: store.clone(),
                journal: noted,
                means,
                proxy,
                inlet,
            };
            let run = Driver::new(parts).run(stopped.clone());
            drivers.spawn(async move {
                run.await;
                name
            });
        }
        let encrypted = Arc::<[encryption::Live]>::from(encrypted);
        tokio::spawn(encryption::keep_looking(Arc::clone(&encrypted)));
        let edge = Arc::new(Edge {
            name: config.edge.name.clone(),
            config: config.file.display().to_string(),
            started: wall::now(),
            insecure: config.edge.security == Some(Security::Insecure),
            trust,
            token,
            users: ArcSwap::from_pointee(config.edge.users.clone()),
            store: store.clone(),
            journal: journal.clone(),
            access_log: seeing.log.clone(),
            pairs: doors,
            policies: config.edge.policies.clone(),
            encrypted,
            reload: ArcSwap::default(),
        });
        if let Some(metrics) = metrics {
            tokio::spawn(metrics::serve(metrics, Arc::clone(&edge), stopped.clone()));
        }
        let mut api_closed = stopped;
        let api = axum::serve(admin, router(Arc::clone(&edge))).with_graceful_shutdown(async move {
            let _ = api_closed.wait_for(|stopping| *stopping).await;
        });
        drivers.spawn(async move {
            if let Err(error) = api.await {
                tracing::error!(%error, "the admin API has ended");
            }
            "the admin API".to_owned()
        });
        Running { config, store, journal, edge, listeners, threads, drivers, closing, stopping }
    }
}

/// An edge at work.
struct Running {
    config: Config,
    store: Store,
    journal: Journal,
    edge: Arc<Edge>,
    listeners: JoinSet<()>,
    threads: RequestThreads,
    drivers: JoinSet<String>,
    /// True: the listeners take no more.
    closing: watch::Sender<bool>,
    /// True: drivers and admin API end.
    stopping: watch::Sender<bool>,
}

impl Running {
    async fn live(mut self, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<(), EdgeError> {
        let broken_handler =
            |error: io::Error| EdgeError::Broken { what: "the signal handler".to_owned(), why: error.to_string() };
        let mut hang_up = signal(SignalKind::hangup()).map_err(broken_handler)?;
        // Listened to in any case: left alone, it would end the process.
        let mut rotated = signal(SignalKind::user_defined1()).map_err(broken_handler)?;
        signals::notify("READY=1");
        tracing::info!(edge = self.config.edge.name, admin = %self.config.edge.admin, "edge is running");
        tokio::pin!(shutdown);
        let ended = loop {
            tokio::select! {
                () = &mut shutdown => break Ok(()),
                _ = hang_up.recv() => reload::reload(&mut self.config, &self.edge).await,
                _ = rotated.recv() => self.edge.access_log.iter().for_each(AccessLog::reopen),
                Some(ended) = self.drivers.join_next() => break Err(broken(ended)),
                Some(ended) = self.listeners.join_next() => {
                    break Err(broken(ended.map(|()| "a listener".to_owned())));
                }
            }
        };
        signals::notify("STOPPING=1");
        self.stop().await;
        ended
    }

    /// Requests under way end first, while leases are still renewed; then the pairs are left to the next edge.
    async fn stop(mut self) {
        tracing::info!("edge is stopping");
        self.closing.send_replace(true);
        while self.listeners.join_next().await.is_some() {}
        // What has not ended within the listeners' grace is cut.
        drop(self.threads);
        self.stopping.send_replace(true);
        // An order that waits for its end would keep the API; it ends with the drivers.
        let _ = tokio::time::timeout(END, async { while self.drivers.join_next().await.is_some() {} }).await;
        self.journal.close().await;
        self.store.close().await;
        if let Some(log) = &self.edge.access_log {
            log.close().await;
        }
    }
}

/// What is made of requests beside serving them. The access log is opened; an error names it.
fn seeing(seen: &SeenConfig) -> Result<Seeing, (String, io::Error)> {
    let open = |settings: &access::Settings| {
        AccessLog::open(settings).map_err(|source| match &settings.to {
            To::File(log) => (log.display().to_string(), source),
            To::Stdout => ("stdout".to_owned(), source),
        })
    };
    let log = seen.access_log.as_ref().map(open).transpose()?;
    Ok(Seeing { log, trace: seen.trace, request_id: seen.request_id })
}

fn broken(ended: Result<String, tokio::task::JoinError>) -> EdgeError {
    match ended {
        Ok(what) => EdgeError::Broken { what, why: "it must not end by itself".to_owned() },
        Err(error) => EdgeError::Broken { what: "a part of the edge".to_owned(), why: error.to_string() },
    }
}

/// Does what waits for disks on a thread that may wait.
async fn off_the_loop<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, EdgeError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| EdgeError::Broken { what: "the start".to_owned(), why: error.to_string() })
}
