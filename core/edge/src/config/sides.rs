//! `[pair.a]` and `[pair.b]`, their pools, and the listeners that lead to these.

use super::listener::ReadListener;
use super::manner;
use super::pair::ADDRESS;
use super::remote::{self, FenceConfig, RemoteConfig};
use super::table::{Listed, Placed, Table};
use super::{PoolListeners, SideConfig};
use crate::address::Address;
use crate::proxy::POOL_MAX;
use lockstep_policy::setup::SideSetup;
use lockstep_policy::{Side, Sides};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::SocketAddr;
use std::str::FromStr;

/// What a server must be.
const SERVER: &str = "an address \"IP:PORT\", such as \"10.0.0.1:80\" (names are not looked up), or a socket of the file \
                      system, such as \"unix:/run/app.sock\"";

/// What a pool's name must be.
const NAME: &str = "a name of 1 to 64 letters, digits, `-`, `_` or `.`";

/// An address that is listened on, and the key that says so.
pub(super) struct Listening {
    pub value: SocketAddr,
    pub at: usize,
    /// With dots, as `pair.listeners.ucs`.
    pub key: String,
}

/// Servers, or listeners, of one pool.
pub(super) struct Named<A = SocketAddr> {
    /// Empty for the pool without a name.
    pub name: String,
    pub at: usize,
    pub addresses: Vec<Placed<A>>,
}

/// A side as it was read.
pub(super) struct ReadSide {
    /// Where its table stands.
    pub at: usize,
    /// The pool without a name first, then the others in the order of their names.
    pub pools: Vec<Named<Address>>,
    pub agent: Option<Placed<SocketAddr>>,
    /// Whether the key is there, whatever its value.
    pub has_agent: bool,
    pub remote: Option<RemoteConfig>,
    /// Where its first key stands, whatever its value.
    pub remote_at: Option<usize>,
    pub fence: Option<FenceConfig>,
    pub fence_at: Option<usize>,
    /// Its own name for clients.
    pub name: Option<String>,
}

impl ReadSide {
    pub fn servers(&self) -> impl Iterator<Item = (&str, &Placed<Address>)> {
        self.pools.iter().flat_map(|pool| pool.addresses.iter().map(|server| (pool.name.as_str(), server)))
    }

    pub fn setup(&self) -> SideSetup {
        let (pools, servers) = self.servers().map(|(pool, server)| (pool.to_owned(), server.value.to_string())).unzip();
        SideSetup { servers, pools, agent: self.agent.is_some() || self.remote.is_some() }
    }

    pub fn config(&self) -> SideConfig {
        let (pools, servers) = self.servers().map(|(pool, server)| (pool.to_owned(), server.value.clone())).unzip();
        let agent = self.agent.map(|agent| agent.value);
        SideConfig {
            servers,
            pools,
            agent,
            remote: self.remote.clone(),
            fence: self.fence.clone(),
            name: self.name.clone(),
        }
    }
}

pub(super) fn side(read: Option<Table<'_, '_>>, pair: &Table<'_, '_>, side: Side) -> ReadSide {
    let Some(mut table) = read else {
        let valid = format!("a table `[pair.{side}]` with `servers` and `agent`");
        pair.missing(&side.to_string(), &valid);
        let at = pair.at();
        return ReadSide {
            at,
            pools: Vec::new(),
            agent: None,
            has_agent: true,
            remote: None,
            remote_at: None,
            fence: None,
            fence_at: None,
            name: None,
        };
    };
    let example = "at least one, such as `servers = [\"10.0.0.1:80\"]`";
    let at = table.at();
    let path = if side == Side::A { "pair.a.pools" } else { "pair.b.pools" };
    let mut pools = named::<Address>(table.table("pools", path), SERVER, &format!("a pool of side {side}"));
    pools.sort_by(|one, other| one.name.cmp(&other.name));
    match table.list("servers", SERVER) {
        None if pools.is_empty() => table.missing("servers", example),
        Some(Listed { at, is_empty: true, .. }) => {
            table.refuse(at, "servers", format!("side {side} has no server"), example);
        }
        Some(Listed { at, items, .. }) => pools.insert(0, Named { name: String::new(), at, addresses: items }),
        None => {}
    }
    for pool in &pools {
        let key = if pool.name.is_empty() { "servers".to_owned() } else { format!("pools.{}", pool.name) };
        if pool.addresses.len() > POOL_MAX {
            let what = format!("{} servers are too many for one pool", pool.addresses.len());
            table.refuse(pool.at, &key, what, format!("at most {POOL_MAX}"));
        }
        for server in &pool.addresses {
            if server.value.inet().is_some_and(|address| address.port() == 0 || address.ip().is_unspecified()) {
                table.refuse(server.at, &key, format!("{} cannot be connected to", server.value), SERVER);
            }
        }
    }
    let agent = table.parsed::<SocketAddr>("agent", ADDRESS);
    let has_agent = table.has("agent");
    let (remote_at, remote) = remote::read(&mut table, side);
    let (fence_at, fence) = (table.place("fence"), remote::fence(&mut table, side));
    let name = manner::side_name(&mut table);
    table.finish();
    ReadSide { at, pools, agent, has_agent, remote, remote_at, fence, fence_at, name }
}

/// Whether a text may be a pool's name; refused if not.
pub(super) fn sound_name(table: &Table<'_, '_>, key: &str, name: &Placed<String>) -> bool {
    let letters = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let sound = !name.value.is_empty() && name.value.len() <= 64 && name.value.chars().all(letters);
    if !sound {
        table.refuse(name.at, key, "is not a pool's name", NAME);
    }
    sound
}

/// A table of pools' names, each with addresses.
fn named<A: FromStr<Err: Display>>(table: Option<Table<'_, '_>>, valid: &str, what: &str) -> Vec<Named<A>> {
    let Some(table) = table else { return Vec::new() };
    let mut read = Vec::new();
    for (name, listed) in table.lists::<A>(valid) {
        if !sound_name(&table, &name.value, &name) {
            continue;
        }
        if listed.is_empty {
            table.refuse(listed.at, &name.value, format!("{what} has no address"), valid);
        }
        read.push(Named { name: name.value, at: name.at, addresses: listed.items });
    }
    read
}

/// `listen` and `[pair.listeners]`. The pool without a name first.
pub(super) fn listeners(table: &mut Table<'_, '_>) -> Vec<Named> {
    let example = "the VIP's listeners, such as `listen = [\"10.0.0.100:80\"]`";
    let mut listeners = named(table.table("listeners", "pair.listeners"), ADDRESS, "a listener of the pair");
    match table.list("listen", ADDRESS) {
        None if listeners.is_empty() && !table.has("listener") => table.missing("listen", example),
        Some(Listed { at, is_empty: true, .. }) => table.refuse(at, "listen", "the pair has no listener", example),
        Some(Listed { at, items, .. }) => listeners.insert(0, Named { name: String::new(), at, addresses: items }),
        None => {}
    }
    listeners
}

/// A listener leads to a pool that both sides have, and both sides have the same pools.
pub(super) fn check(table: &Table<'_, '_>, listeners: &[Named], more: &[ReadListener], sides: &Sides<ReadSide>) {
    if sides.iter().any(|(_, side)| side.pools.is_empty()) {
        return;
    }
    let names = |side: Side| -> BTreeMap<&str, usize> {
        sides[side].pools.iter().map(|pool| (pool.name.as_str(), pool.at)).collect()
    };
    for side in Side::BOTH {
        let (own, others) = (names(side), names(side.other()));
        for (name, at) in own.iter().filter(|(name, _)| !others.contains_key(*name)) {
            let other = side.other();
            let (key, what, valid) = match *name {
                "" => (
                    format!("{side}.servers"),
                    format!("side {other} has no servers without a pool"),
                    format!("`servers` in [pair.{other}] too, or named pools only"),
                ),
                name => (
                    format!("{side}.pools.{name}"),
                    format!("side {other} has no pool \"{name}\""),
                    format!("the same names in [pair.a.pools] and [pair.b.pools]: {name} = [\"IP:PORT\"]"),
                ),
            };
            table.refuse(*at, &key, what, valid);
        }
    }
    let known = names(Side::A);
    for listener in more.iter().filter(|listener| !known.contains_key(listener.config.pool.as_str())) {
        let what = match listener.config.pool.as_str() {
            "" => "the sides have no servers without a pool".to_owned(),
            name => format!("there is no pool \"{name}\""),
        };
        let named = known.keys().map(|name| if name.is_empty() { "`servers`, which have no pool" } else { name });
        table.refuse(listener.at, "listener.pool", what, format!("one of: {}", named.collect::<Vec<_>>().join(", ")));
    }
    for listener in listeners.iter().filter(|listener| !known.contains_key(listener.name.as_str())) {
        let named: Vec<&str> = known.keys().copied().filter(|name| !name.is_empty()).collect();
        let pools = if named.is_empty() { "`servers` only".to_owned() } else { named.join(", ") };
        match listener.name.as_str() {
            "" => table.refuse(
                listener.at,
                "listen",
                "the sides have no servers without a pool",
                format!("`servers` on both sides, or [pair.listeners] only; there are: {pools}"),
            ),
            name => table.refuse(
                listener.at,
                &format!("listeners.{name}"),
                format!("there is no pool \"{name}\""),
                format!("a name of [pair.a.pools] and [pair.b.pools]; there are: {pools}"),
            ),
        }
    }
}

/// The listeners of named pools, as they are configured.
pub(super) fn pool_listeners(listeners: Vec<Named>) -> (Vec<SocketAddr>, Vec<PoolListeners>) {
    let addresses = |named: Named| named.addresses.into_iter().map(|address| address.value).collect();
    let (plain, named): (Vec<Named>, Vec<Named>) = listeners.into_iter().partition(|named| named.name.is_empty());
    let named = named.into_iter().map(|named| PoolListeners { pool: named.name.clone(), listen: addresses(named) });
    (plain.into_iter().flat_map(addresses_of).collect(), named.collect())
}

fn addresses_of(named: Named) -> impl Iterator<Item = SocketAddr> {
    named.addresses.into_iter().map(|address| address.value)
}
