//! The servers of one side: their addresses, looked up off the request path, and which of them is worth a connect.

use lockstep_policy::At;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::task::JoinHandle;

/// Addresses of one name that are used; a name with more is cut short.
const ADDRESSES_MAX: usize = 16;

/// One server, as it was configured: `host:port`.
#[derive(Debug)]
pub(super) struct Server {
    name: String,
    addresses: ArcSwap<Vec<SocketAddr>>,
    turn: AtomicUsize,
    /// Zero while it takes connections; else the time before which only a request that claims it may try.
    next_try: AtomicU64,
}

impl Server {
    fn new(name: String) -> Server {
        let addresses = name.parse().into_iter().collect::<Vec<SocketAddr>>();
        Server {
            name,
            addresses: ArcSwap::from_pointee(addresses),
            turn: AtomicUsize::new(0),
            next_try: AtomicU64::new(0),
        }
    }

    /// A connect to it succeeded. True: before, it had been down.
    pub(super) fn is_up(&self) -> bool {
        self.next_try.load(Relaxed) != 0 && self.next_try.swap(0, Relaxed) != 0
    }

    /// A connect to it failed: leave it alone until then.
    pub(super) fn is_down(&self, until: At) {
        self.next_try.store(until.0.max(1), Relaxed);
    }

    /// Whether this request may try it now; else when one may.
    fn claim(&self, now: At, interval: Duration) -> Result<SocketAddr, At> {
        let addresses = self.addresses.load();
        if addresses.is_empty() {
            return Err(now + interval);
        }
        let next_try = self.next_try.load(Relaxed);
        if next_try != 0 {
            if now.0 < next_try {
                return Err(At(next_try));
            }
            let next = now + interval;
            // Of all who wait for it one tries; the others hear from that one.
            if self.next_try.compare_exchange(next_try, next.0, Relaxed, Relaxed).is_err() {
                return Err(next);
            }
        }
        let turn = self.turn.fetch_add(1, Relaxed);
        Ok(addresses[turn % addresses.len()])
    }
}

/// All servers of one side.
#[derive(Debug)]
pub(super) struct Servers {
    all: Vec<Arc<Server>>,
    turn: AtomicUsize,
    lookups: Vec<JoinHandle<()>>,
}

impl Servers {
    /// Names among the servers are looked up by tasks of their own, which needs a tokio runtime around the call.
    pub(super) fn new(names: Vec<String>, resolve_every: Duration) -> Servers {
        let all: Vec<_> = names.into_iter().map(|name| Arc::new(Server::new(name))).collect();
        let named = all.iter().filter(|server| server.addresses.load().is_empty());
        let lookups = named.map(|server| tokio::spawn(keep_resolved(Arc::clone(server), resolve_every))).collect();
        Servers { all, turn: AtomicUsize::new(0), lookups }
    }

    /// The server to try now, by turns among those that take connections; else when to ask again.
    pub(super) fn pick(&self, now: At, interval: Duration) -> Result<(Arc<Server>, SocketAddr), At> {
        let start = if self.all.len() > 1 { self.turn.fetch_add(1, Relaxed) } else { 0 };
        let mut soonest = now + interval;
        for offset in 0..self.all.len() {
            let server = &self.all[(start + offset) % self.all.len()];
            match server.claim(now, interval) {
                Ok(address) => return Ok((Arc::clone(server), address)),
                Err(later) => soonest = soonest.min(later),
            }
        }
        Err(soonest)
    }

    /// Forgets what was known: in a new epoch each server is worth a try.
    pub(super) fn forget_failures(&self) {
        for server in &self.all {
            server.next_try.store(0, Relaxed);
        }
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for lookup in &self.lookups {
            lookup.abort();
        }
    }
}

async fn keep_resolved(server: Arc<Server>, every: Duration) {
    loop {
        match tokio::net::lookup_host(&server.name).await {
            Ok(found) => {
                let found: Vec<_> = found.take(ADDRESSES_MAX).collect();
                if !found.is_empty() && **server.addresses.load() != found {
                    tracing::info!(server = server.name, addresses = ?found, "server's name resolved");
                    server.addresses.store(Arc::new(found));
                }
            }
            // What was known stays in use: a resolver that fails must not take a server away.
            Err(error) => tracing::warn!(server = server.name, %error, "server's name could not be looked up"),
        }
        let known = !server.addresses.load().is_empty();
        tokio::time::sleep(if known { every } else { every.min(Duration::from_secs(1)) }).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(50);

    fn servers(names: &[&str]) -> Servers {
        Servers::new(names.iter().map(|&name| name.to_owned()).collect(), INTERVAL)
    }

    #[test]
    fn servers_take_turns_and_one_that_is_down_is_passed_over() {
        let servers = servers(&["127.0.0.1:1", "127.0.0.1:2"]);
        let port = |at| servers.pick(at, INTERVAL).unwrap().1.port();
        assert_eq!([port(At(1)), port(At(1)), port(At(1))], [1, 2, 1]);
        servers.all[1].is_down(At(1) + INTERVAL);
        assert_eq!([port(At(2)), port(At(2)), port(At(2))], [1, 1, 1]);
    }

    #[test]
    fn of_all_who_wait_for_a_server_that_is_down_one_tries() {
        let servers = servers(&["127.0.0.1:1"]);
        servers.all[0].is_down(At(100));
        assert_eq!(servers.pick(At(99), INTERVAL).unwrap_err(), At(100));
        assert!(servers.pick(At(100), INTERVAL).is_ok());
        assert_eq!(servers.pick(At(100), INTERVAL).unwrap_err(), At(100) + INTERVAL);
        assert!(servers.all[0].is_up());
        assert!(!servers.all[0].is_up());
        assert!(servers.pick(At(100), INTERVAL).is_ok());
    }

    #[test]
    fn a_new_epoch_forgets_failures() {
        let servers = servers(&["127.0.0.1:1"]);
        servers.all[0].is_down(At(u64::MAX));
        servers.forget_failures();
        assert!(servers.pick(At(0), INTERVAL).is_ok());
    }
}
