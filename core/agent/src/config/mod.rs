//! `agent.toml`: what the agent is told. [`load`] gives a whole, checked [`Config`] or a sentence that names file, line,
//! key and remedy.

mod error;
mod file;
#[cfg(test)]
mod tests;

pub use error::ConfigError;
pub use file::load;

use lockstep_policy::Side;
use std::net::SocketAddr;
use std::path::PathBuf;

/// What an agent needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The pair that it serves.
    pub pair: String,
    /// Its side of the pair.
    pub side: Side,
    /// Where edges connect to.
    pub listen: SocketAddr,
    /// The directory of its durable state; one agent each.
    pub state: PathBuf,
    /// The application's release; empty when unknown.
    pub release: String,
    /// The message bus on which systemd is found.
    pub bus: Bus,
    /// In the order in which they are started.
    pub services: Vec<Service>,
    /// The program that is started as `PROGRAM guard …`. Not in the file: `/proc/self/exe`, unless a test has another.
    pub guard: PathBuf,
}

/// One service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Names it to people, and its files in the state directory.
    pub name: String,
    /// How it is started and stopped.
    pub driver: Driver,
    /// Whether it runs on the active side only.
    pub exclusive: bool,
    /// It must serve nothing that it was given before the node lost the active role: killed and started anew when that
    /// is lost by failover, and bound to the dead-man's switch while it is held.
    pub flush: bool,
    /// How it is known to be ready; none: as soon as it runs.
    pub ready: Option<Ready>,
}

/// How a service is started and stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Driver {
    /// By the agent itself, under a guard. The program stays in the foreground.
    Exec {
        /// Program and arguments; no shell reads them.
        command: Vec<String>,
    },
    /// By systemd.
    Systemd {
        /// The unit's whole name, as in `cti.service`.
        unit: String,
    },
}

/// How a service is known to be ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ready {
    /// A GET of this `http://` address is answered with a status below 400.
    Http(http::Uri),
    /// `host:port` accepts a connection.
    Tcp(String),
    /// The program ends with status 0.
    Exec(Vec<String>),
    /// The service says `READY=1` on `$NOTIFY_SOCKET` (`sd_notify(3)`).
    Notify,
}

/// A message bus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bus {
    /// The machine's.
    #[default]
    System,
    /// The user's.
    Session,
}
