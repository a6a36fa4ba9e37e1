//! What no pair can see alone: names, listeners, servers and agents of one file do not get into each other's way.

use super::EdgeConfig;
use super::pair::Read;
use super::problem::{Finding, Problems};
use super::tls::REMEDY;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

pub(super) fn check(edge: &EdgeConfig, pairs: &[Read], problems: &RefCell<Problems<'_>>) {
    names(pairs, problems);
    listeners(edge, pairs, problems);
    servers(pairs, problems);
    agents(pairs, problems);
    trust(edge, pairs, problems);
}

/// Where there are agents it is said whom to trust, or that nobody is asked.
fn trust(edge: &EdgeConfig, pairs: &[Read], problems: &RefCell<Problems<'_>>) {
    let agents = pairs.iter().flat_map(|pair| pair.sides.iter()).filter_map(|(_, side)| side.agent);
    if let Some(agent) = agents.min_by_key(|agent| agent.at).filter(|_| edge.security.is_none()) {
        let what = format!("is missing, and {} is an agent", agent.value);
        problems.borrow_mut().add(agent.at, Finding::new("edge.tls", what).valid(REMEDY));
    }
}

fn names(pairs: &[Read], problems: &RefCell<Problems<'_>>) {
    let mut first = BTreeMap::new();
    for pair in pairs.iter().filter(|pair| !pair.name.value.is_empty()) {
        if let Some(at) = first.insert(pair.name.value.as_str(), pair.name.at) {
            let line = problems.borrow().line(at);
            let what = format!("\"{}\" is the name of the pair in line {line} already", pair.name.value);
            problems.borrow_mut().add(pair.name.at, Finding::new("pair.name", what).valid("a name of its own"));
        }
    }
}

/// Listeners that the kernel would refuse, or between which it would share connections out.
fn listeners(edge: &EdgeConfig, pairs: &[Read], problems: &RefCell<Problems<'_>>) {
    let mut seen: Vec<(SocketAddr, usize, &str)> = Vec::new();
    for pair in pairs {
        for listen in pair.listening() {
            let refuse = |what: String| {
                let valid = "one listener for each address and port".to_owned();
                problems.borrow_mut().add(listen.at, Finding::new(&listen.key, what).valid(valid));
            };
            if listen.value.port() == 0 {
                refuse(format!("{} has no port", listen.value));
            }
            if overlap(listen.value, edge.admin) {
                refuse(format!("{} is where the admin API listens (edge.admin = {})", listen.value, edge.admin));
            }
            if let Some((other, at, name)) = seen.iter().find(|(other, ..)| overlap(listen.value, *other)) {
                let line = problems.borrow().line(*at);
                let of = if *name == pair.name.value { "this pair".to_owned() } else { format!("pair \"{name}\"") };
                let what = format!("{} is taken by {of} in line {line} ({other})", listen.value);
                let valid = "an address and port that no other listener takes";
                problems.borrow_mut().add(listen.at, Finding::new(&listen.key, what).valid(valid));
            }
            seen.push((listen.value, listen.at, &pair.name.value));
        }
    }
}

/// Whether two listeners cannot both be bound. `[::]` takes IPv4's connections too.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let everything = |ip: IpAddr| ip.is_unspecified();
    let takes = |wide: IpAddr, narrow: IpAddr| everything(wide) && (wide.is_ipv6() || narrow.is_ipv4());
    let (a, b) = (one.ip(), other.ip());
    one.port() == other.port() && (a == b || takes(a, b) || takes(b, a))
}

/// A server that requests go to is on one side only, and is no listener of this edge: requests would go in a ring. Pools without a
/// listener are for probes: both sides may have what both of them need, such as the same two CTI servers.
fn servers(pairs: &[Read], problems: &RefCell<Problems<'_>>) {
    let listeners: Vec<SocketAddr> = pairs.iter().flat_map(Read::listening).map(|listen| listen.value).collect();
    for pair in pairs {
        let takes_requests = |pool: &str| {
            let of_more = pair.more.iter().any(|listener| listener.config.pool == pool);
            of_more || pair.listeners.iter().any(|named| named.name == pool)
        };
        let mut served = BTreeMap::new();
        for (side, read) in pair.sides.iter() {
            let mut own = BTreeMap::new();
            for (pool, server) in read.servers() {
                let key = match pool {
                    "" => format!("pair.{side}.servers"),
                    pool => format!("pair.{side}.pools.{pool}"),
                };
                if server.value.inet().is_some_and(|address| listeners.contains(&address)) {
                    let what = format!("{} is a listener of this edge: requests would go in a ring", server.value);
                    problems.borrow_mut().add(server.at, Finding::new(&key, what).valid("the server's own address"));
                }
                let others = takes_requests(pool).then(|| served.insert(&server.value, server.at)).flatten();
                if let Some(at) = own.insert(&server.value, server.at).or(others) {
                    let line = problems.borrow().line(at);
                    let what = format!("{} is a server of this pair in line {line} already", server.value);
                    problems.borrow_mut().add(server.at, Finding::new(&key, what).valid("each server once"));
                }
            }
        }
    }
}

/// An agent speaks for one side of one pair.
fn agents(pairs: &[Read], problems: &RefCell<Problems<'_>>) {
    let mut seen = BTreeMap::new();
    for pair in pairs {
        for (side, read) in pair.sides.iter() {
            let Some(agent) = read.agent else { continue };
            if let Some(at) = seen.insert(agent.value, agent.at) {
                let line = problems.borrow().line(at);
                let what = format!("{} is the agent in line {line} already: an agent speaks for one side", agent.value);
                let finding = Finding::new(format!("pair.{side}.agent"), what).valid("an agent of its own");
                problems.borrow_mut().add(agent.at, finding);
            }
        }
    }
}
