//! The addresses that a pair listens on, and what stands behind each.
//!
//! A door is bound before anything is changed, and open once its pair is at work. When what stands behind an address changes, the
//! address keeps its socket: another door is opened on it, and the one before takes no more clients and lets those it has leave.

use crate::config::{LimitsConfig, ListenerConfig, ListenerTls, PairConfig, Protocol};
use crate::driver::Feed;
use crate::encryption::Encryption;
use crate::proxy::{
    BindError, HoldSettings, ListenSettings, Listener, PairProxy, Pool, ProxyEvent, ProxySettings, StreamSettings,
    Termination,
};
use arc_swap::ArcSwap;
use ipnet::IpNet;
use lockstep_policy::Sides;
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// Sockets that listen already, by the addresses that the configuration names.
pub(crate) type Sockets = BTreeMap<SocketAddr, Arc<TcpListener>>;

/// What a door is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Under which the address stands.
    pub key: String,
    pub address: SocketAddr,
    behind: Behind,
    limits: LimitsConfig,
    balancers: Vec<IpNet>,
    tls: Option<ListenerTls>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Behind {
    /// The servers of a pool; of the empty name, those without one.
    Pool(String),
    /// The same, for what is passed on as it is.
    Streams(String, StreamSettings),
    /// The edge itself.
    Answers,
}

/// An address that is bound.
pub(crate) struct Door {
    plan: Plan,
    listener: Listener,
    socket: Arc<TcpListener>,
    tls: Option<Arc<Termination>>,
}

/// A door that clients come in by.
pub(crate) struct Open {
    pub plan: Plan,
    pub socket: Arc<TcpListener>,
    pub tls: Option<Arc<Termination>>,
    closing: watch::Sender<bool>,
    patient: watch::Sender<bool>,
}

/// A door that takes no more clients, and still has some, perhaps. Dropped, it has no more patience with them.
pub(crate) struct Closed {
    /// They go by the other one's state, and by this one being gone.
    _closing: watch::Sender<bool>,
    patient: watch::Sender<bool>,
}

/// All doors of a pair, in the configuration's order, each with its TLS.
pub(crate) fn plans(pair: &PairConfig, encryption: &Encryption) -> Vec<(Plan, Option<Arc<Termination>>)> {
    let plain = |key: &str, address: &SocketAddr, behind, limits: &LimitsConfig| {
        let (key, limits) = (key.to_owned(), limits.clone());
        (Plan { key, address: *address, behind, limits, balancers: Vec::new(), tls: None }, None)
    };
    let mut plans = Vec::new();
    for address in &pair.listen {
        plans.push(plain("pair.listen", address, Behind::Pool(String::new()), &pair.limits));
    }
    for listeners in &pair.listeners {
        let key = format!("pair.listeners.{}", listeners.pool);
        let behind = || Behind::Pool(listeners.pool.clone());
        plans.extend(listeners.listen.iter().map(|address| plain(&key, address, behind(), &pair.limits)));
    }
    for (listener, tls) in pair.listener.iter().zip(&encryption.listeners) {
        let settings = ListenSettings {
            prior_knowledge: listener.h2c,
            on_switch: listener.on_switch,
            finish_within: listener.finish_within,
            ..listener.limits.settings
        };
        let limits = LimitsConfig { settings, networks: listener.limits.networks.clone() };
        for address in &listener.listen {
            let (plan, _) = plain("pair.listener.listen", address, behind(listener, pair), &limits);
            let plan = Plan { balancers: listener.proxy_protocol.clone(), tls: listener.tls.clone(), ..plan };
            plans.push((plan, tls.clone()));
        }
    }
    for address in &pair.answer {
        plans.push(plain("pair.answer", address, Behind::Answers, &LimitsConfig::default()));
    }
    plans
}

fn behind(listener: &ListenerConfig, pair: &PairConfig) -> Behind {
    let pool = listener.pool.clone();
    match listener.protocol {
        Protocol::Http => Behind::Pool(pool),
        Protocol::Tcp => Behind::Streams(
            pool,
            StreamSettings {
                sni: listener.sni.clone(),
                on_switch: listener.on_switch,
                finish_within: listener.finish_within,
                proxy_protocol: pair.upstream.proxy_protocol,
                secured: listener.upstream_tls,
            },
        ),
    }
}

impl Door {
    /// Binds the address, unless there is a socket for it already. It needs a tokio runtime around the call.
    pub fn bind(plan: Plan, tls: Option<Arc<Termination>>, sockets: &Sockets) -> Result<Door, BindError> {
        let settings = plan.limits.settings;
        let listener = match sockets.get(&plan.address) {
            Some(socket) => Listener::over(second(socket, plan.address)?, settings)?,
            None => Listener::bind(plan.address, settings)?,
        };
        let socket = Arc::new(listener.socket()?);
        let listener = listener.sheltered(plan.limits.networks.clone()).behind(&plan.balancers);
        let listener = match &tls {
            Some(tls) => listener.secured(Arc::clone(tls)),
            None => listener,
        };
        Ok(Door { plan, listener, socket, tls })
    }

    /// Lets clients in.
    pub fn open(self, proxy: &Arc<PairProxy>, threads: &Handle, listeners: &mut JoinSet<()>) -> Open {
        let Door { plan, listener, socket, tls } = self;
        let (closing, closed) = watch::channel(false);
        let (patient, patience) = watch::channel(false);
        listeners.spawn_on(serve(listener.patient(patience), plan.behind.clone(), Arc::clone(proxy), closed), threads);
        Open { plan, socket, tls, closing, patient }
    }
}

/// Another handle to a socket.
fn second(socket: &TcpListener, address: SocketAddr) -> Result<TcpListener, BindError> {
    socket.try_clone().map_err(|error| BindError::new(address, error))
}

async fn serve(listener: Listener, behind: Behind, proxy: Arc<PairProxy>, closing: watch::Receiver<bool>) {
    let name = match &behind {
        Behind::Answers => return listener.answer(proxy, closing).await,
        Behind::Pool(name) | Behind::Streams(name, _) => name,
    };
    let Some(pool) = proxy.pool(name) else {
        // The configuration lets no listener lead to a pool that is not there.
        return tracing::error!(pair = proxy.name(), pool = name, "a listener leads to no pool");
    };
    match behind {
        Behind::Streams(_, settings) => listener.pass_streams(proxy, pool, settings, closing).await,
        Behind::Pool(_) | Behind::Answers => listener.serve_pool(proxy, pool, closing).await,
    }
}

impl Open {
    /// Takes no more clients. Those it has leave with their next answer, or when what goes on has ended.
    pub fn close(self) -> Closed {
        self.patient.send_replace(true);
        self.closing.send_replace(true);
        Closed { _closing: self.closing, patient: self.patient }
    }

    /// Takes no more clients, and has no patience with those it has.
    pub fn shut(self) {
        self.closing.send_replace(true);
    }
}

impl Drop for Closed {
    fn drop(&mut self) {
        self.patient.send_replace(false);
    }
}

/// A pair's proxy, which tells the pair's driver what it sees.
pub(crate) fn proxy(pair: &PairConfig, feeds: Arc<ArcSwap<mpsc::Sender<Feed>>>) -> Arc<PairProxy> {
    let hold = HoldSettings {
        max_requests: pair.hold.max_requests,
        max_wait: pair.hold.max_wait,
        release_at_once: pair.hold.release_at_once,
        retry_after: pair.hold.retry_after,
    };
    // On a request's own task: what finds no room is lost, and only records and early probes are poorer by it.
    let events = move |event: ProxyEvent| drop(feeds.load().try_send(Feed::Proxy(event)));
    let sessions = (!pair.policy.traits.exclusive).then(|| pair.session.clone());
    let verified = pair.upstream.tls.as_ref().is_some_and(|tls| tls.ca.is_none() && !tls.insecure);
    let settings = ProxySettings { hold, system_roots: verified, ..ProxySettings::default() };
    let proxy = PairProxy::with_pools(&pair.name, pools(pair), sessions, settings, events);
    proxy.set_manner(pair.manner.clone());
    proxy
}

/// The pools in the order in which their servers are numbered. The one without a name may have no server.
fn pools(pair: &PairConfig) -> Vec<Pool> {
    let mut names = vec![String::new()];
    names.extend(pair.sides.a.pools.iter().cloned());
    names.dedup();
    let servers =
        |side: &crate::config::SideConfig, name: &str| side.pool(name).iter().map(ToString::to_string).collect();
    let pool = |name: String| Pool {
        servers: Sides { a: servers(&pair.sides.a, &name), b: servers(&pair.sides.b, &name) },
        name,
    };
    names.into_iter().map(pool).collect()
}
