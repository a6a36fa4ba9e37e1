//! An agent's life, from its start to its end.

use crate::checkup::Checkup;
use crate::config::{Auto, Config, Lan, Release, Service};
use crate::hook::Hooks;
use crate::keeper::{self, Inbox, Keeper, Outlets};
use crate::lan;
use crate::link::{self, Door, Gate};
use crate::noticed::{self, Noticed};
use crate::notify::Manager;
use crate::platform::alarm::Alarm;
use crate::redirect::{self, RedirectError, Standing};
use crate::service::launch::Drivers;
use crate::service::{Crew, manager};
use crate::store::{Store, StoreError};
use crate::watchdog::Watchdog;
use lockstep_pair::node::Node;
use lockstep_pair::protocol::Session;
use lockstep_wire::clock;
use lockstep_wire::trust::TrustError;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};

/// What may wait for the loop. Whoever sends more waits.
const WAITING: usize = 256;
/// How often, and how long after one another, the state directory and the address are tried: half a second.
const ATTEMPTS: u32 = 50;
const NEXT_ATTEMPT: Duration = Duration::from_millis(10);
/// How long the last frames to an edge may take.
const GOODBYE: Duration = Duration::from_millis(300);

/// Why an agent has not started, or has ended.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Its state directory cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its address is not free, or not this machine's.
    #[error("cannot listen on {address}: {error}; set `listen` under [agent] to a free address of this machine")]
    Listen {
        /// As configured.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// A listener for direct requests cannot be.
    #[error(transparent)]
    Redirect(#[from] RedirectError),
    /// The system refuses what no agent can do without.
    #[error("{what}: {error}")]
    System {
        /// What.
        what: &'static str,
        /// What the system says.
        error: io::Error,
    },
    /// The kernel does not let it ask its neighbours, which `[lan]` wants.
    #[error(
        "[lan] asks neighbours by ICMP, which the kernel does not permit this process: {0}; let it by \
         `sysctl -w net.ipv4.ping_group_range=\"0 2147483647\"`, or by CAP_NET_RAW (AmbientCapabilities= in the agent's \
         unit), or look at the carrier alone: gateway = \"off\" and no neighbours"
    )]
    Lan(io::Error),
    /// Its certificates cannot be used.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The machine's watchdog cannot be used, which `[watchdog]` wants.
    #[error("[watchdog]: {0}")]
    Watchdog(String),
    /// The server has ended by itself.
    #[error("the server for edges has failed: {0}")]
    Server(#[from] tonic::transport::Error),
}

/// Runs an agent until `shutdown`, then stops its services in their order, the exclusive ones first.
///
/// Needs a tokio runtime with time and I/O.
///
/// # Errors
///
/// The agent could not be started, or its server has failed. Once services run, nothing but `shutdown` ends it.
pub async fn run(config: Config, shutdown: impl Future<Output = ()>) -> Result<(), AgentError> {
    may_ask(config.lan.as_ref()).map_err(AgentError::Lan)?;
    let gate = Gate::open(&config)?;
    let (store, stored) = patiently(
        || Store::open(&config.state, &config.pair, config.side),
        |error| matches!(error, StoreError::Taken(_)),
    )
    .await?;
    let state = config.state.canonicalize().map_err(|error| system("the state directory has no real path", error))?;
    let session =
        getrandom::u64().map_err(|error| system("no random number for the session", io::Error::other(error)))?;
    // First: whoever reaches the agent finds its listeners too.
    let redirects = patiently(|| redirect::bind(&config.redirects), RedirectError::passes).await?;
    let listen = |error| AgentError::Listen { address: config.listen, error };
    let bind = || std::net::TcpListener::bind(config.listen);
    let listener = patiently(bind, |error| error.kind() == io::ErrorKind::AddrInUse).await.map_err(listen)?;
    listener.set_nonblocking(true).map_err(listen)?;
    let listener = TcpListener::from_std(listener).map_err(listen)?;

    let (arrive, arrivals) = mpsc::channel(WAITING);
    let (happen, happenings) = mpsc::channel(WAITING);
    let (write, writes) = mpsc::unbounded_channel();
    let (done, written) = mpsc::channel(WAITING);
    thread::Builder::new()
        .name("store".to_owned())
        .spawn(move || keeper::write(&store, writes, &done))
        .map_err(|error| system("no thread for the store", error))?;

    let alarm = Alarm::new().map_err(|error| system("no kernel timer for the lease", error))?;
    let watchdog = watch_machine(&config).map_err(AgentError::Watchdog)?;
    let drivers = Drivers::new(state, config.guard.clone(), config.bus, &config.services)
        .map_err(|error| system("no kernel timer for the dead-man's switch", error))?;
    let now = clock::now();
    let node = Node::new(Session(session), stored, now);
    let release = match &config.release {
        Release::Text(text) => text.clone(),
        Release::Command(_) | Release::File(_) => String::new(),
    };
    let crew = Crew::new(&config.services, &release, drivers, happen, now);
    let manager = Manager::from_environment();
    manager.say("READY=1");
    let (notice, noticed) = mpsc::channel(WAITING);
    look_around(&config, &notice);
    tokio::spawn(manager::inspect(config.bus, config.services.clone()));
    log_start(&config, stored.epoch.0);

    let (end, ended) = oneshot::channel::<()>();
    let (vitals, seen) = watch::channel(crew.vitals());
    let (release, told) = watch::channel(release);
    let checkup = Checkup::new(&config.services, seen);
    let door = Door::new(&config, Session(session), told, checkup, arrive, gate);
    let mut server = tokio::spawn(link::serve(listener, door, async move {
        let _ = ended.await;
    }));
    let hooks = Hooks::new(&config.pair, config.side, config.hooks, notice);
    let isolation_binds = config.lan.is_some_and(|lan| lan.binding);
    let standing = Arc::<Standing>::default();
    // Requests are sent elsewhere from here on, until an edge makes the node active.
    let _serving = redirects.serve(&config.pair, &standing)?;
    let drain = config.redirects.iter().map(|redirect| redirect.drain).max().unwrap_or_default();
    let outlets =
        Outlets { writes: write, manager, vitals, release, hooks, watchdog, isolation_binds, standing, drain };
    let keeper = Keeper::new(node, crew, outlets);
    let mut failed = None;
    let shutdown = async {
        tokio::select! {
            () = shutdown => {}
            // Nobody can renew a lease any more: no less orderly than on an order.
            result = &mut server => failed = Some(result),
        }
    };
    keeper.run(alarm, Inbox { arrivals, happenings, written, noticed }, shutdown).await;
    let result = match failed {
        Some(result) => result,
        None => {
            drop(end);
            // What was said last is on its way to the edge.
            timeout(GOODBYE, &mut server).await.unwrap_or(Ok(Ok(())))
        }
    };
    server.abort();
    result.unwrap_or(Ok(())).map_err(AgentError::Server)
}

/// An earlier life of the agent may have left the watchdog counting, and its services running: it is taken over at once.
fn watch_machine(config: &Config) -> Result<Option<Watchdog>, String> {
    for lint in config.lints() {
        tracing::warn!("{lint}");
    }
    let Some(device) = &config.watchdog else { return Ok(None) };
    let mut watchdog = Watchdog::new(device)?;
    if watchdog.is_endless() {
        tracing::warn!(
            device = %device.device.display(),
            "the kernel was told (nowayout) that nothing ends this watchdog's count: when the agent ends, the machine is reset"
        );
    }
    watchdog.arm(clock::now())?;
    Ok(Some(watchdog))
}

/// Begins to look at what is beside the services.
fn look_around(config: &Config, notice: &mpsc::Sender<Noticed>) {
    tokio::spawn(noticed::release(config.release.clone(), notice.clone()));
    if let Some(replication) = config.replication.clone() {
        tokio::spawn(noticed::replication(replication, notice.clone()));
    }
    if let Some(lan) = config.lan.clone() {
        tokio::spawn(lan::watch(lan, notice.clone()));
    }
}

/// Said at the start, because a check that is never permitted would find every node isolated.
fn may_ask(lan: Option<&Lan>) -> io::Result<()> {
    let Some(lan) = lan else { return Ok(()) };
    let given = match &lan.gateway {
        Auto::Given(address) => Some(*address),
        Auto::Auto | Auto::Off => None,
    };
    let mut addresses = lan.neighbours.iter().copied().chain(given);
    let v6 = addresses.clone().any(|address| address.is_ipv6());
    lan::permitted(lan.gateway == Auto::Auto || addresses.any(|address| address.is_ipv4()), v6)
}

/// Tries for a moment what an agent that has just been killed may still hold: a process that it was about to start has
/// its descriptors until it runs its own program.
async fn patiently<T, E>(attempt: impl Fn() -> Result<T, E>, passes: impl Fn(&E) -> bool) -> Result<T, E> {
    for _ in 0..ATTEMPTS {
        match attempt() {
            Err(error) if passes(&error) => sleep(NEXT_ATTEMPT).await,
            result => return result,
        }
    }
    attempt()
}

fn system(what: &'static str, error: io::Error) -> AgentError {
    AgentError::System { what, error }
}

fn log_start(config: &Config, epoch: u64) {
    let services: Vec<&str> = config.services.iter().map(|Service { name, .. }| name.as_str()).collect();
    tracing::info!(pair = config.pair, side = %config.side, listen = %config.listen, epoch, ?services, "the agent runs");
}
