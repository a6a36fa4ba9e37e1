//! The addresses that a pair listens on, and what stands behind each.

use crate::config::{LimitsConfig, ListenerConfig, PairConfig, Protocol};
use crate::driver::Feed;
use crate::encryption::Encryption;
use crate::proxy::{BindError, HoldSettings, ListenSettings, Listener, PairProxy, Pool, ProxySettings, StreamSettings};
use lockstep_policy::Sides;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};

/// An address that is bound.
pub(crate) struct Door {
    listener: Listener,
    behind: Behind,
}

enum Behind {
    /// The servers of a pool; of the empty name, those without one.
    Pool(String),
    /// The same, for what is passed on as it is.
    Streams(String, StreamSettings),
    /// The edge itself.
    Answers,
}

/// Binds all addresses of a pair. An error names the key that the address stands under.
pub(crate) fn bind(pair: &PairConfig, encryption: &Encryption) -> Result<Vec<Door>, (String, BindError)> {
    let door = |key: &str, address: &SocketAddr, behind: Behind, limits: &LimitsConfig| {
        let LimitsConfig { settings, networks } = limits;
        let bound = Listener::bind(*address, *settings).map(|listener| listener.sheltered(networks.clone()));
        bound.map(|listener| Door { listener, behind }).map_err(|error| (key.to_owned(), error))
    };
    let mut doors = Vec::new();
    for address in &pair.listen {
        doors.push(door("pair.listen", address, Behind::Pool(String::new()), &pair.limits)?);
    }
    for listeners in &pair.listeners {
        for address in &listeners.listen {
            let key = format!("pair.listeners.{}", listeners.pool);
            doors.push(door(&key, address, Behind::Pool(listeners.pool.clone()), &pair.limits)?);
        }
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
            let mut door = door("pair.listener.listen", address, behind(listener, pair), &limits)?;
            door.listener = door.listener.behind(&listener.proxy_protocol);
            if let Some(tls) = tls {
                door.listener = door.listener.secured(Arc::clone(tls));
            }
            doors.push(door);
        }
    }
    for address in &pair.answer {
        doors.push(door("pair.answer", address, Behind::Answers, &LimitsConfig::default())?);
    }
    Ok(doors)
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
            },
        ),
    }
}

impl Door {
    /// Serves clients until `closing` is true.
    pub async fn open(self, proxy: Arc<PairProxy>, closing: watch::Receiver<bool>) {
        let name = match &self.behind {
            Behind::Answers => return self.listener.answer(proxy, closing).await,
            Behind::Pool(name) | Behind::Streams(name, _) => name,
        };
        let Some(pool) = proxy.pool(name) else {
            // The configuration lets no listener lead to a pool that is not there.
            return tracing::error!(pair = proxy.name(), pool = name, "a listener leads to no pool");
        };
        match self.behind {
            Behind::Streams(_, settings) => self.listener.pass_streams(proxy, pool, settings, closing).await,
            Behind::Pool(_) | Behind::Answers => self.listener.serve_pool(proxy, pool, closing).await,
        }
    }
}

/// A pair's proxy, which tells the pair's driver what it sees.
pub(crate) fn proxy(pair: &PairConfig, feeds: mpsc::Sender<Feed>) -> Arc<PairProxy> {
    let hold = HoldSettings {
        max_requests: pair.hold.max_requests,
        max_wait: pair.hold.max_wait,
        retry_after: pair.hold.retry_after,
    };
    // On a request's own task: what finds no room is lost, and only records and early probes are poorer by it.
    let events = move |event| drop(feeds.try_send(Feed::Proxy(event)));
    let sessions = (!pair.policy.traits.exclusive).then(|| pair.session.clone());
    let settings = ProxySettings { hold, ..ProxySettings::default() };
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
