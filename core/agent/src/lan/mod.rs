//! Whether the node finds itself on its LAN: its interface has a carrier, and its gateway or another neighbour answers.
//!
//! Neighbours are asked by ICMP echo alone. A neighbour table shows what answered once, and a TCP port that is silent may
//! be closed by a firewall: an active node stands down by what is found here, so nothing is guessed.
//!
//! - [`echo`] asks, over a socket that the kernel gives to everyone (`net.ipv4.ping_group_range`), or to the privileged.
//! - [`route`] finds the default route's interface and gateway.
//! - Here: one check, and the count of failures.

mod echo;
mod route;

pub(crate) use echo::permitted;

use crate::config::{self, Auto};
use crate::noticed::Noticed;
use lockstep_policy::event::Lan;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use route::Route;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

/// Looks again and again, until nobody listens.
pub(crate) async fn watch(config: config::Lan, to: mpsc::Sender<Noticed>) {
    let mut ticks = interval(config.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut checker = Checker { config: config.clone(), route: None };
    let mut count = Count { failures: config.failures, failed: 0, lan: Lan::Unknown };
    loop {
        ticks.tick().await;
        let Ok((used, found)) =
            spawn_blocking(move || (checker.check(), checker)).await.map(|(found, used)| (used, found))
        else {
            return;
        };
        checker = used;
        if let Some((lan, why)) = count.count(found) {
            match lan {
                Lan::Isolated => tracing::error!(why, "the node finds itself isolated from its LAN"),
                _ => tracing::info!("the node finds itself on its LAN"),
            }
            if to.send(Noticed::Lan(lan, why)).await.is_err() {
                return;
            }
        }
    }
}

/// What one check says: on the LAN, or why not. None: there is nothing to look at, as before the first default route.
type Found = Option<Result<(), String>>;

/// Failures in a row.
#[derive(Debug)]
struct Count {
    /// So many mean isolated.
    failures: u32,
    failed: u32,
    lan: Lan,
}

impl Count {
    /// What has changed, if something has.
    fn count(&mut self, found: Found) -> Option<(Lan, String)> {
        let (lan, why) = match found? {
            Ok(()) => {
                self.failed = 0;
                (Lan::Connected, String::new())
            }
            Err(why) => {
                self.failed = self.failed.saturating_add(1);
                if self.failed < self.failures {
                    return None;
                }
                (Lan::Isolated, format!("{why} ({} checks in a row)", self.failures))
            }
        };
        (std::mem::replace(&mut self.lan, lan) != lan).then_some((lan, why))
    }
}

/// Looks at carrier and neighbours.
#[derive(Debug)]
struct Checker {
    config: config::Lan,
    /// The last default route that was there: it goes when its interface is down, and that is what is to be noticed.
    route: Option<Route>,
}

impl Checker {
    fn check(&mut self) -> Found {
        if self.config.carrier == Auto::Auto || self.config.gateway == Auto::Auto {
            self.route = route::default().or(self.route.take());
        }
        let route = self.route.as_ref();
        let interface = match &self.config.carrier {
            Auto::Auto => route.map(|route| route.interface.clone()),
            Auto::Given(name) => Some(name.clone()),
            Auto::Off => None,
        };
        let mut neighbours: Vec<SocketAddr> =
            self.config.neighbours.iter().map(|address| SocketAddr::new(*address, 0)).collect();
        match &self.config.gateway {
            Auto::Auto => neighbours.extend(route.map(|route| route.gateway)),
            Auto::Given(address) => neighbours.push(SocketAddr::new(*address, 0)),
            Auto::Off => {}
        }
        if interface.is_none() && neighbours.is_empty() {
            return None;
        }
        if let Some(name) = &interface
            && let Err(why) = carrier(name)
        {
            return Some(Err(why));
        }
        if neighbours.is_empty() {
            return Some(Ok(()));
        }
        Some(echo::any_answers(&neighbours, self.patience()))
    }

    /// A check is over before the next one begins.
    fn patience(&self) -> Duration {
        self.config.interval.min(Duration::from_secs(1)).mul_f64(0.9)
    }
}

/// Whether an interface has a carrier.
fn carrier(name: &str) -> Result<(), String> {
    let interfaces = getifaddrs().map_err(|error| format!("the system does not tell its interfaces: {error}"))?;
    let flags = interfaces.filter(|interface| interface.interface_name == name).map(|interface| interface.flags);
    match flags.reduce(|all, flags| all | flags) {
        None => Err(format!("there is no interface {name}")),
        Some(flags) if !flags.contains(InterfaceFlags::IFF_UP) => Err(format!("{name} is switched off")),
        Some(flags) if !flags.contains(InterfaceFlags::IFF_RUNNING) => Err(format!("{name} has no carrier")),
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn isolation_takes_failures_in_a_row_and_one_success_ends_it() {
        let mut count = Count { failures: 3, failed: 0, lan: Lan::Unknown };
        let bad = || Some(Err("eth0 has no carrier".to_owned()));
        assert_eq!(count.count(None), None);
        assert_eq!(count.count(Some(Ok(()))), Some((Lan::Connected, String::new())));
        for found in [bad(), bad(), Some(Ok(())), bad(), bad()] {
            assert_eq!(count.count(found), None);
        }
        let (lan, why) = count.count(bad()).unwrap();
        assert!(lan == Lan::Isolated && why.contains("no carrier (3 checks"), "{why}");
        assert_eq!(count.count(bad()), None, "said once");
        assert_eq!(count.count(Some(Ok(()))), Some((Lan::Connected, String::new())));
    }

    #[test]
    fn an_interface_that_is_not_there_has_no_carrier_and_loopback_has() {
        assert!(carrier("no-such0").unwrap_err().contains("no interface no-such0"));
        assert_eq!(carrier("lo"), Ok(()));
    }
}
