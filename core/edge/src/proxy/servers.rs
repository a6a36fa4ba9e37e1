//! The servers of one side: their addresses, looked up off the request path, in which pool they stand, which of them the
//! policy allows, and which is worth a connect.

use super::seats::{Crowd, Seats};
use crate::address::Address;
use arc_swap::{ArcSwap, ArcSwapOption};
use lockstep_policy::At;
use lockstep_policy::action::Pick;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use std::time::Duration;
use tokio::task::JoinHandle;

/// Addresses of one name that are used; a name with more is cut short.
const ADDRESSES_MAX: usize = 16;

/// What keeps failing is said this often.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// One server, as it was configured: `host:port`, or `unix:/path`.
#[derive(Debug)]
pub(super) struct Server {
    name: String,
    addresses: ArcSwap<Vec<Address>>,
    turn: AtomicUsize,
    /// Zero while it takes connections; else the time before which only a request that claims it may try.
    next_try: AtomicU64,
    /// Until then nothing is said again of why no handshake succeeds.
    quiet_until: AtomicU64,
    seats: Seats,
}

impl Server {
    fn new(name: String, crowd: &Arc<Crowd>) -> Server {
        let addresses = name.parse().into_iter().collect::<Vec<Address>>();
        Server {
            name,
            addresses: ArcSwap::from_pointee(addresses),
            turn: AtomicUsize::new(0),
            next_try: AtomicU64::new(0),
            quiet_until: AtomicU64::new(0),
            seats: Seats::of(crowd),
        }
    }

    pub(super) fn seats(&self) -> &Seats {
        &self.seats
    }

    /// Whether it is time to say, again, why no handshake succeeds.
    pub(super) fn is_to_be_told_of(&self, now: At) -> bool {
        let until = self.quiet_until.load(Relaxed);
        let next = (now + TELL_EVERY).0;
        now.0 >= until && self.quiet_until.compare_exchange(until, next, Relaxed, Relaxed).is_ok()
    }

    /// Its name, or its address as it was written. A socket of the file system is this machine's.
    pub(super) fn host(&self) -> &str {
        if let [Address::Unix(_)] = self.addresses.load().as_slice() {
            return "localhost";
        }
        let host = self.name.rsplit_once(':').map_or(self.name.as_str(), |(host, _)| host);
        host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
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
    fn claim(&self, now: At, interval: Duration) -> Result<Address, At> {
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
        Ok(addresses[turn % addresses.len()].clone())
    }
}

/// Servers in one pool, and in one roster.
pub(crate) const POOL_MAX: usize = 64;

/// One pool of a side.
#[derive(Debug)]
struct Pool {
    members: Vec<Arc<Server>>,
    turn: AtomicUsize,
    /// Whether there is a roster. Most pools have none, and their requests need not look for one.
    listed: AtomicBool,
    roster: ArcSwapOption<Roster>,
}

/// The servers of a pool that may be given requests, as the policy wants them.
#[derive(Debug)]
struct Roster {
    pick: Pick,
    servers: Vec<Arc<Server>>,
}

/// Why there is no server to try now.
#[derive(Clone, Debug)]
pub(super) enum Unpicked {
    /// Ask again then.
    Until(At),
    /// All that take connections are given as many requests as they may have.
    Busy(Arc<Crowd>),
    /// The policy allows none.
    Nobody,
}

/// Of crowds, whether they are the same.
impl PartialEq for Unpicked {
    fn eq(&self, other: &Unpicked) -> bool {
        match (self, other) {
            (Unpicked::Until(one), Unpicked::Until(other)) => one == other,
            (Unpicked::Busy(one), Unpicked::Busy(other)) => Arc::ptr_eq(one, other),
            (Unpicked::Nobody, Unpicked::Nobody) => true,
            _ => false,
        }
    }
}

/// All servers of one side.
#[derive(Debug)]
pub(super) struct Servers {
    all: Vec<Arc<Server>>,
    pools: Vec<Pool>,
    lookups: Vec<JoinHandle<()>>,
}

impl Servers {
    /// The servers of each pool; they are numbered from 1, pool after pool. Names among them are looked up by tasks of
    /// their own, which needs a tokio runtime around the call.
    pub(super) fn new(pools: Vec<Vec<String>>, resolve_every: Duration) -> Servers {
        let pool = |names: Vec<String>| {
            let crowd = Arc::<Crowd>::default();
            Pool {
                members: names.into_iter().map(|name| Arc::new(Server::new(name, &crowd))).collect(),
                turn: AtomicUsize::new(0),
                listed: AtomicBool::new(false),
                roster: ArcSwapOption::empty(),
            }
        };
        let pools: Vec<Pool> = pools.into_iter().map(pool).collect();
        let all: Vec<_> = pools.iter().flat_map(|pool| &pool.members).cloned().collect();
        let named = all.iter().filter(|server| server.addresses.load().is_empty());
        let lookups = named.map(|server| tokio::spawn(keep_resolved(Arc::clone(server), resolve_every))).collect();
        Servers { all, pools, lookups }
    }

    /// The server of a pool to try now, among those that take connections. `client` tells one client connection from the
    /// others; it is asked for only where servers are shuffled.
    pub(super) fn pick(
        &self,
        pool: usize,
        client: impl FnOnce() -> u64,
        now: At,
        interval: Duration,
    ) -> Result<(Arc<Server>, Address), Unpicked> {
        let Some(pool) = self.pools.get(pool) else { return Err(Unpicked::Nobody) };
        if !pool.listed.load(Acquire) {
            return pool.in_turn(&pool.members, now, interval);
        }
        let roster = pool.roster.load();
        let Some(roster) = roster.as_deref().filter(|roster| !roster.servers.is_empty()) else {
            return Err(Unpicked::Nobody);
        };
        match roster.pick {
            Pick::Turn => pool.in_turn(&roster.servers, now, interval),
            Pick::Order => first_of(roster.servers.iter(), now, interval),
            Pick::Shuffle => {
                // One and the same order for all requests of the connection, so that it stays where it is.
                let mut order: [usize; POOL_MAX] = std::array::from_fn(|index| index);
                let order = &mut order[..roster.servers.len().min(POOL_MAX)];
                fastrand::Rng::with_seed(client()).shuffle(order);
                first_of(order.iter().map(|index| &roster.servers[*index]), now, interval)
            }
        }
    }

    /// Restricts a pool to servers, by their numbers. Nothing changes when one of them is not of the pool.
    pub(super) fn set_roster(&self, pool: usize, pick: Pick, numbers: &[u32]) -> Result<(), String> {
        let pool = self.pools.get(pool).ok_or("there is no such pool")?;
        if numbers.len() > POOL_MAX {
            return Err(format!("a roster has at most {POOL_MAX} servers"));
        }
        let mut servers = Vec::with_capacity(numbers.len());
        for number in numbers {
            let index = usize::try_from(*number).ok().and_then(|number| number.checked_sub(1));
            let server = index.and_then(|index| self.all.get(index));
            let server = server.ok_or_else(|| format!("server {number} is none of the side's {}", self.all.len()))?;
            if !pool.members.iter().any(|member| Arc::ptr_eq(member, server)) {
                return Err(format!("server {number}, {}, is not of that pool", server.name));
            }
            if servers.iter().any(|named| Arc::ptr_eq(named, server)) {
                return Err(format!("server {number} stands twice in the roster"));
            }
            servers.push(Arc::clone(server));
        }
        pool.roster.store(Some(Arc::new(Roster { pick, servers })));
        pool.listed.store(true, Release);
        Ok(())
    }

    /// Requests that wait for a place at one.
    pub(super) fn queued(&self) -> usize {
        let first = self.pools.iter().filter_map(|pool| pool.members.first());
        first.map(|server| server.seats.crowd().waiting()).sum()
    }

    /// How many requests each server is given at once; zero: as many as come.
    pub(super) fn limit_seats(&self, limit: usize) {
        for server in &self.all {
            server.seats.limit(limit);
        }
    }

    /// Forgets what was known: in a new epoch each server is worth a try.
    pub(super) fn forget_failures(&self) {
        for server in &self.all {
            server.next_try.store(0, Relaxed);
        }
    }
}

impl Pool {
    fn in_turn(
        &self,
        servers: &[Arc<Server>],
        now: At,
        interval: Duration,
    ) -> Result<(Arc<Server>, Address), Unpicked> {
        let start = if servers.len() > 1 { self.turn.fetch_add(1, Relaxed) % servers.len() } else { 0 };
        first_of(servers[start..].iter().chain(&servers[..start]), now, interval)
    }
}

/// The first of these that may be tried now; else when to ask again.
fn first_of<'a>(
    servers: impl Iterator<Item = &'a Arc<Server>>,
    now: At,
    interval: Duration,
) -> Result<(Arc<Server>, Address), Unpicked> {
    let mut soonest = now + interval;
    let mut crowd = None;
    for server in servers {
        if server.seats.is_full() {
            crowd = Some(server.seats.crowd());
            continue;
        }
        match server.claim(now, interval) {
            Ok(address) => return Ok((Arc::clone(server), address)),
            Err(later) => soonest = soonest.min(later),
        }
    }
    Err(crowd.map_or(Unpicked::Until(soonest), |crowd| Unpicked::Busy(Arc::clone(crowd))))
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
                let found: Vec<Address> = found.take(ADDRESSES_MAX).map(Address::from).collect();
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
        Servers::new(vec![names.iter().map(|&name| name.to_owned()).collect()], INTERVAL)
    }

    fn pick(servers: &Servers, at: At) -> Result<u16, Unpicked> {
        servers.pick(0, || 0, at, INTERVAL).map(|(_, address)| address.inet().unwrap().port())
    }

    #[test]
    fn servers_take_turns_and_one_that_is_down_is_passed_over() {
        let servers = servers(&["127.0.0.1:1", "127.0.0.1:2"]);
        let port = |at| pick(&servers, at).unwrap();
        assert_eq!([port(At(1)), port(At(1)), port(At(1))], [1, 2, 1]);
        servers.all[1].is_down(At(1) + INTERVAL);
        assert_eq!([port(At(2)), port(At(2)), port(At(2))], [1, 1, 1]);
    }

    #[test]
    fn of_all_who_wait_for_a_server_that_is_down_one_tries() {
        let servers = servers(&["127.0.0.1:1"]);
        servers.all[0].is_down(At(100));
        assert_eq!(pick(&servers, At(99)), Err(Unpicked::Until(At(100))));
        assert!(pick(&servers, At(100)).is_ok());
        assert_eq!(pick(&servers, At(100)), Err(Unpicked::Until(At(100) + INTERVAL)));
        assert!(servers.all[0].is_up());
        assert!(!servers.all[0].is_up());
        assert!(pick(&servers, At(100)).is_ok());
    }

    #[test]
    fn a_new_epoch_forgets_failures() {
        let servers = servers(&["127.0.0.1:1"]);
        servers.all[0].is_down(At(u64::MAX));
        servers.forget_failures();
        assert!(pick(&servers, At(0)).is_ok());
    }

    #[test]
    fn a_roster_restricts_and_orders_its_pool_only() {
        let names = |ports: [u16; 3]| ports.map(|port| format!("127.0.0.1:{port}")).to_vec();
        let servers = Servers::new(vec![names([1, 2, 3]), names([4, 5, 6])], INTERVAL);
        let ports = |pool, count: usize| -> Vec<u16> {
            (0..count).map(|_| servers.pick(pool, || 0, At(1), INTERVAL).unwrap().1.inet().unwrap().port()).collect()
        };
        servers.set_roster(1, Pick::Order, &[6, 4]).unwrap();
        assert_eq!((ports(0, 4), ports(1, 3)), (vec![1, 2, 3, 1], vec![6, 6, 6]));
        servers.all[5].is_down(At(1) + INTERVAL);
        assert_eq!(ports(1, 2), [4, 4], "the next one of the list");
        servers.set_roster(1, Pick::Turn, &[5, 4]).unwrap();
        assert_eq!(ports(1, 4), [5, 4, 5, 4]);
        for bad in [&[0][..], &[7], &[1], &[4, 4], &[4; 65]] {
            assert!(servers.set_roster(1, Pick::Turn, bad).is_err(), "{bad:?}");
        }
        assert_eq!(ports(1, 2), [5, 4], "a bad roster changes nothing");
        servers.set_roster(1, Pick::Turn, &[]).unwrap();
        assert_eq!(servers.pick(1, || 0, At(1), INTERVAL).unwrap_err(), Unpicked::Nobody);
        assert_eq!(ports(0, 1), [2]);
    }

    #[test]
    fn e1_each_connection_has_a_shuffled_order_of_its_own_and_keeps_it() {
        let servers = servers(&["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"]);
        servers.set_roster(0, Pick::Shuffle, &[1, 2, 3]).unwrap();
        let port = |client| servers.pick(0, || client, At(1), INTERVAL).unwrap().1.inet().unwrap().port();
        let first: Vec<u16> = (0..300).map(port).collect();
        assert_eq!(first, (0..300).map(port).collect::<Vec<_>>());
        for server in 1..=3 {
            let share = first.iter().filter(|port| **port == server).count();
            assert!((60..140).contains(&share), "server {server} has {share} of 300");
        }
        servers.all[usize::from(first[0]) - 1].is_down(At(1) + INTERVAL);
        assert_ne!(port(0), first[0], "the next one of its order");
    }
}
