//! What the agent tells the service manager of itself (`sd_notify(3)`).

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The service manager, if there is one that listens.
#[derive(Debug)]
pub(crate) struct Manager {
    socket: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Manager {
    /// From the environment, as the service manager sets it.
    pub(crate) fn from_environment() -> Manager {
        let for_us = std::env::var("WATCHDOG_PID").map_or(true, |pid| pid == std::process::id().to_string());
        let micros = std::env::var("WATCHDOG_USEC").ok().filter(|_| for_us).and_then(|text| text.parse().ok());
        Manager {
            socket: std::env::var("NOTIFY_SOCKET").ok().and_then(|name| connect(&name)),
            watchdog: micros.map(Duration::from_micros).filter(|interval| !interval.is_zero()),
        }
    }

    /// How often [`Manager::say`] `WATCHDOG=1` is due; none: nobody watches.
    pub(crate) fn watchdog(&self) -> Option<Duration> {
        self.watchdog.map(|interval| interval / 3)
    }

    /// At once or not at all.
    pub(crate) fn say(&self, state: &str) {
        if let Some((socket, address)) = &self.socket {
            let _ = socket.send_to_addr(state.as_bytes(), address);
        }
    }
}

fn connect(name: &str) -> Option<(UnixDatagram, SocketAddr)> {
    let address = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name).ok()?,
        None => SocketAddr::from_pathname(name).ok()?,
    };
    let socket = UnixDatagram::unbound().ok()?;
    socket.set_nonblocking(true).ok()?;
    Some((socket, address))
}
