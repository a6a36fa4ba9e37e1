//! Who may connect to a listener, and how often one source may ask.
//!
//! A source is an address; with IPv6, a /64: that is what one client has. Sources are looked up when they connect; on the way
//! of a request there is no lock.

use super::listen::Patience;
use super::settings::ListenSettings;
use ipnet::IpNet;
use lockstep_policy::At;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;

/// Sources that are remembered. Those that have no connection go first, and there are never so many with one.
const SOURCES_MAX: usize = 65_536;

/// Which networks clients may come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    /// None: from anywhere.
    pub allow: Vec<IpNet>,
    /// Not from these, whatever `allow` says.
    pub deny: Vec<IpNet>,
}

impl Networks {
    fn admit(&self, from: IpAddr) -> bool {
        let among = |networks: &[IpNet]| networks.iter().any(|network| network.contains(&from));
        !among(&self.deny) && (self.allow.is_empty() || among(&self.allow))
    }
}

/// What a listener has turned away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnedAway {
    /// Connections from networks that may not.
    pub networks: u64,
    /// Connections from sources that have as many as they may.
    pub connections: u64,
    /// Requests from sources that ask more often than they may.
    pub requests: u64,
}

impl TurnedAway {
    pub(super) fn and(self, other: TurnedAway) -> TurnedAway {
        TurnedAway {
            networks: self.networks + other.networks,
            connections: self.connections + other.connections,
            requests: self.requests + other.requests,
        }
    }

    /// All together.
    #[must_use]
    pub fn sum(self) -> u64 {
        self.networks + self.connections + self.requests
    }
}

/// What protects one listener.
#[derive(Debug, Default)]
pub(super) struct Shelter {
    networks: Networks,
    connections: usize,
    pace: Option<Pace>,
    sources: Mutex<HashMap<IpAddr, Arc<Source>>>,
    pub(super) counts: Counts,
}

/// [`TurnedAway`] while it grows.
#[derive(Debug, Default)]
pub(super) struct Counts {
    networks: AtomicU64,
    connections: AtomicU64,
    requests: AtomicU64,
}

/// A token bucket, told as the time of each token (GCRA).
#[derive(Clone, Copy, Debug)]
struct Pace {
    each: u64,
    burst: u64,
}

#[derive(Debug, Default)]
struct Source {
    connections: AtomicUsize,
    /// When all that was asked for will have been worth its time.
    due: AtomicU64,
}

/// Why a client is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turned {
    /// Its network may not. It is not told so.
    Network,
    /// Its source has as many connections as it may.
    Crowd,
}

impl Shelter {
    pub(super) fn new(networks: Networks, settings: &ListenSettings) -> Shelter {
        let pace = (settings.requests_per_source > 0).then(|| Pace {
            each: 1_000_000_000 / u64::from(settings.requests_per_source),
            burst: u64::from(settings.request_burst.max(1)),
        });
        Shelter { networks, connections: settings.connections_per_source, pace, ..Shelter::default() }
    }

    /// A client that has connected.
    pub(super) fn admit(self: &Arc<Self>, from: IpAddr, now: At) -> Result<Guest, Turned> {
        let from = from.to_canonical();
        if !self.networks.admit(from) {
            self.counts.networks.fetch_add(1, Relaxed);
            return Err(Turned::Network);
        }
        if self.connections == 0 && self.pace.is_none() {
            return Ok(Guest { shelter: Arc::clone(self), source: None });
        }
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if sources.len() >= SOURCES_MAX {
            forget(&mut sources, now);
        }
        let source = Arc::clone(sources.entry(network(from)).or_default());
        if self.connections > 0 && source.connections.load(Relaxed) >= self.connections {
            self.counts.connections.fetch_add(1, Relaxed);
            return Err(Turned::Crowd);
        }
        // Under the lock: nobody else takes a place, and none is forgotten that has one.
        source.connections.fetch_add(1, Relaxed);
        Ok(Guest { shelter: Arc::clone(self), source: Some(source) })
    }

    pub(super) fn counts(&self) -> TurnedAway {
        let Counts { networks, connections, requests } = &self.counts;
        TurnedAway {
            networks: networks.load(Relaxed),
            connections: connections.load(Relaxed),
            requests: requests.load(Relaxed),
        }
    }
}

/// Makes room: by what has no weight any more, else by what has no connection.
fn forget(sources: &mut HashMap<IpAddr, Arc<Source>>, now: At) {
    let gone = |source: &Source| source.connections.load(Relaxed) == 0;
    sources.retain(|_, source| !gone(source) || source.due.load(Relaxed) > now.0);
    if sources.len() >= SOURCES_MAX {
        sources.retain(|_, source| !gone(source));
    }
}

/// What is counted as one source.
fn network(from: IpAddr) -> IpAddr {
    match from {
        IpAddr::V4(_) => from,
        IpAddr::V6(from) => IpAddr::V6((u128::from(from) & !u128::from(u64::MAX)).into()),
    }
}

/// A client that was let in.
#[derive(Debug)]
pub(super) struct Guest {
    shelter: Arc<Shelter>,
    /// None: nobody counts.
    source: Option<Arc<Source>>,
}

impl Guest {
    /// It asks for something. An error: not now, but after so long.
    pub(super) fn asks(&self, now: At) -> Result<(), Duration> {
        let (Some(pace), Some(source)) = (self.shelter.pace, &self.source) else { return Ok(()) };
        let slack = pace.each * (pace.burst - 1);
        let next = |due: u64| {
            let due = due.max(now.0);
            (due - now.0 <= slack).then_some(due + pace.each)
        };
        source.due.fetch_update(Relaxed, Relaxed, next).map(|_| ()).map_err(|due| {
            self.shelter.counts.requests.fetch_add(1, Relaxed);
            Duration::from_nanos(due - now.0 - slack)
        })
    }
}

/// A client's place at a listener, for as long as its connection is open.
#[derive(Debug)]
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
    guest: Option<Arc<Guest>>,
    patience: Option<Patience>,
}

impl Place {
    pub(super) fn new(permit: OwnedSemaphorePermit, patience: Option<Patience>) -> Place {
        Place { _permit: permit, guest: None, patience }
    }

    /// Resolves when its listener, which is closed, has no patience with it any more.
    pub(super) async fn no_longer(&self) {
        if let Some(mut patience) = self.patience.clone() {
            let _ = patience.wait_for(|patient| !*patient).await;
        }
    }

    /// Whose it is.
    pub(super) fn is_of(&mut self, guest: Guest) {
        self.guest = Some(Arc::new(guest));
    }

    /// Whose it is, where that is known.
    pub(super) fn guest(&self) -> Option<Arc<Guest>> {
        self.guest.clone()
    }

    /// Its client asks for something: see [`Guest::asks`].
    pub(super) fn asks(&self, now: At) -> Result<(), Duration> {
        self.guest.as_ref().map_or(Ok(()), |guest| guest.asks(now))
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if let Some(source) = &self.source {
            source.connections.fetch_sub(1, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shelter(settings: ListenSettings) -> Arc<Shelter> {
        Arc::new(Shelter::new(Networks::default(), &settings))
    }

    fn from(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn networks_are_let_in_unless_they_are_denied() {
        let networks = |allow: &[&str], deny: &[&str]| {
            let read = |listed: &[&str]| listed.iter().map(|network| network.parse().unwrap()).collect();
            Networks { allow: read(allow), deny: read(deny) }
        };
        let let_in = |networks: &Networks, address| {
            let shelter = Arc::new(Shelter::new(networks.clone(), &ListenSettings::default()));
            shelter.admit(from(address), At(0)).is_ok()
        };
        let some = networks(&["10.0.0.0/8", "2001:db8::/32"], &["10.9.0.0/16"]);
        assert!(let_in(&some, "10.1.2.3") && let_in(&some, "2001:db8::1") && let_in(&some, "::ffff:10.1.2.3"));
        assert!(!let_in(&some, "10.9.2.3") && !let_in(&some, "192.0.2.1") && !let_in(&some, "2001:db9::1"));
        assert!(let_in(&networks(&[], &["10.0.0.0/8"]), "192.0.2.1"));
    }

    #[test]
    fn a_source_has_so_many_connections_and_a_64_is_one_source() {
        let shelter = shelter(ListenSettings { connections_per_source: 2, ..ListenSettings::default() });
        let first = shelter.admit(from("2001:db8::1"), At(0)).unwrap();
        let _second = shelter.admit(from("2001:db8::2"), At(0)).unwrap();
        assert_eq!(shelter.admit(from("2001:db8::3"), At(0)).unwrap_err(), Turned::Crowd);
        assert!(shelter.admit(from("2001:db8:0:1::1"), At(0)).is_ok());
        drop(first);
        assert!(shelter.admit(from("2001:db8::3"), At(0)).is_ok());
        assert_eq!(shelter.counts(), TurnedAway { connections: 1, ..TurnedAway::default() });
    }

    #[test]
    fn a_source_asks_so_often_over_all_its_connections() {
        let settings = ListenSettings { requests_per_source: 10, request_burst: 3, ..ListenSettings::default() };
        let shelter = shelter(settings);
        let (one, other) =
            (shelter.admit(from("192.0.2.1"), At(0)).unwrap(), shelter.admit(from("192.0.2.1"), At(0)).unwrap());
        let now = At::from_millis(1000);
        assert!(one.asks(now).is_ok() && other.asks(now).is_ok() && one.asks(now).is_ok());
        assert_eq!(other.asks(now), Err(Duration::from_millis(100)));
        assert!(one.asks(At::from_millis(1100)).is_ok());
        assert!(other.asks(At::from_millis(1100)).is_err());
        drop((one, other));
        let again = shelter.admit(from("192.0.2.1"), now).unwrap();
        assert!(again.asks(At::from_millis(1101)).is_err(), "who connects anew is not new");
        assert!(shelter.admit(from("192.0.2.2"), now).unwrap().asks(At::from_millis(1101)).is_ok());
    }

    #[test]
    fn the_table_is_bounded() {
        let shelter = shelter(ListenSettings { requests_per_source: 1, ..ListenSettings::default() });
        let kept = shelter.admit(from("192.0.2.1"), At(0)).unwrap();
        for number in 0..200_000_u32 {
            let guest = shelter.admit(std::net::Ipv4Addr::from(number).into(), At(0)).unwrap();
            guest.asks(At(0)).unwrap();
        }
        let sources = shelter.sources.lock().unwrap();
        assert!(sources.len() <= SOURCES_MAX && sources.contains_key(&from("192.0.2.1")), "{}", sources.len());
        drop(kept);
    }
}
