//! The addresses that a pair listens on, and what stands behind each.

use crate::config::PairConfig;
use crate::driver::Feed;
use crate::proxy::{BindError, HoldSettings, ListenSettings, Listener, PairProxy, Pool, ProxySettings};
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
    /// The edge itself.
    Answers,
}

/// Binds all addresses of a pair. An error names the key that the address stands under.
pub(crate) fn bind(pair: &PairConfig) -> Result<Vec<Door>, (String, BindError)> {
    let door = |key: &str, address: &SocketAddr, behind: Behind| {
        let bound = Listener::bind(*address, ListenSettings::default());
        bound.map(|listener| Door { listener, behind }).map_err(|error| (key.to_owned(), error))
    };
    let mut doors = Vec::new();
    for address in &pair.listen {
        doors.push(door("pair.listen", address, Behind::Pool(String::new()))?);
    }
    for listeners in &pair.listeners {
        for address in &listeners.listen {
            let key = format!("pair.listeners.{}", listeners.pool);
            doors.push(door(&key, address, Behind::Pool(listeners.pool.clone()))?);
        }
    }
    for listener in &pair.listener {
        for address in &listener.listen {
            doors.push(door("pair.listener.listen", address, Behind::Pool(listener.pool.clone()))?);
        }
    }
    for address in &pair.answer {
        doors.push(door("pair.answer", address, Behind::Answers)?);
    }
    Ok(doors)
}

impl Door {
    /// Serves clients until `closing` is true.
    pub async fn open(self, proxy: Arc<PairProxy>, closing: watch::Receiver<bool>) {
        match self.behind {
            Behind::Answers => self.listener.answer(proxy, closing).await,
            Behind::Pool(name) => match proxy.pool(&name) {
                Some(pool) => self.listener.serve_pool(proxy, pool, closing).await,
                // The configuration lets no listener lead to a pool that is not there.
                None => tracing::error!(pair = proxy.name(), pool = name, "a listener leads to no pool"),
            },
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
    PairProxy::with_pools(&pair.name, pools(pair), sessions, settings, events)
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
