//! One check, the Linux half.
//!
//! - [`echo`] asks, over a socket that the kernel gives to everyone (`net.ipv4.ping_group_range`), or to the privileged.
//! - [`route`] finds the default route's interface and gateway.

mod echo;
mod route;

pub(crate) use echo::permitted;

use super::Found;
use crate::config::{self, Auto};
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use route::Route;
use std::net::SocketAddr;
use std::time::Duration;

/// Looks at carrier and neighbours.
#[derive(Debug)]
pub(super) struct Checker {
    config: config::Lan,
    /// The last default route that was there: it goes when its interface is down, and that is what is to be noticed.
    route: Option<Route>,
}

impl Checker {
    pub(super) fn new(config: config::Lan) -> Checker {
        Checker { config, route: None }
    }

    pub(super) fn check(&mut self) -> Found {
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
    fn an_interface_that_is_not_there_has_no_carrier_and_loopback_has() {
        assert!(carrier("no-such0").unwrap_err().contains("no interface no-such0"));
        assert_eq!(carrier("lo"), Ok(()));
    }
}
