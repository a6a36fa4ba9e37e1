//! `agent.toml`: what the agent is told. [`load`] gives a whole, checked [`Config`] or a sentence that names file, line,
//! key and remedy.

mod error;
mod file;
mod service;
#[cfg(test)]
mod tests;
mod watch;

pub use error::ConfigError;
pub use file::load;

use lockstep_policy::Side;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

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
    /// Where the application's release is found.
    pub release: Release,
    /// The message bus on which systemd is found.
    pub bus: Bus,
    /// In the order in which they are started.
    pub services: Vec<Service>,
    /// What an edge may have run.
    pub hooks: Vec<Hook>,
    /// How it is known how the node's copy of the pair's data is; none: it is not known.
    pub replication: Option<Replication>,
    /// How it is known whether the node is on its LAN; none: it is not known.
    pub lan: Option<Lan>,
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
    /// How it is known to be well when somebody asks; none: by `ready`, or by its process being there.
    pub alive: Option<Alive>,
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
    /// By nobody: the start waits here until a named person confirms it.
    Gate,
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

/// How a service is known to be well when somebody asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alive {
    /// The check, as for [`Ready`]; [`Ready::Notify`]: the service says `WATCHDOG=1` at least so often.
    pub check: Ready,
    /// A check that takes longer has failed.
    pub timeout: Duration,
}

/// Where the application's release is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Release {
    /// It stands in the configuration; empty: it is not known.
    Text(String),
    /// The first line that a program writes.
    Command(Vec<String>),
    /// The first line of a file.
    File(PathBuf),
}

/// A program that an edge may have run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Names it to edges and people.
    pub name: String,
    /// Program and arguments; no shell reads them.
    pub command: Vec<String>,
    /// When it is killed, with all of its process group.
    pub timeout: Duration,
}

/// How it is known how the node's copy of the pair's data is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replication {
    /// Who says so.
    pub source: ReplicationSource,
    /// From one look to the next.
    pub interval: Duration,
}

/// Who says how the node's copy of the pair's data is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplicationSource {
    /// A program: 0 current, 1 behind, else stopped; its first line is the detail.
    Command {
        /// Program and arguments; no shell reads them.
        command: Vec<String>,
        /// A program that runs longer is killed, and the copy counts as stopped.
        timeout: Duration,
    },
    /// A file's first line: `current`, `behind` or `stopped`, and the detail. An empty one says `current`.
    File {
        /// The file.
        path: PathBuf,
        /// An older one says `stopped`.
        max_age: Duration,
    },
}

/// How it is known whether the node is on its LAN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lan {
    /// From one check to the next; a check takes no longer.
    pub interval: Duration,
    /// So many failures in a row mean isolated.
    pub failures: u32,
    /// The interface whose carrier is looked at.
    pub carrier: Auto<String>,
    /// The gateway that is asked.
    pub gateway: Auto<IpAddr>,
    /// Others of whom one may answer in its stead.
    pub neighbours: Vec<IpAddr>,
    /// Whether an isolated node may not be active.
    pub binding: bool,
}

/// Found out, given, or left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auto<T> {
    /// By the default route.
    Auto,
    /// This one.
    Given(T),
    /// Not looked at.
    Off,
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
