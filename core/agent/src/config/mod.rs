//! `agent.toml`: what the agent is told. [`load`] gives a whole, checked [`Config`] or a sentence that names file, line,
//! key and remedy.

mod calls;
mod error;
mod file;
mod lints;
mod redirect;
mod service;
#[cfg(test)]
mod tests;
mod tls;
mod watch;

pub use error::ConfigError;
pub use file::load;
pub use lints::check;

use http::StatusCode;
use http::uri::{Authority, Scheme};
use lockstep_policy::Side;
use lockstep_wire::trust::TlsFiles;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
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
    /// Whom the agent trusts, and as whom it is known.
    pub security: Security,
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
    /// Where requests come in that are sent to the node directly.
    pub redirects: Vec<Redirect>,
    /// The machine's own watchdog; none: it is not used.
    pub watchdog: Option<Watchdog>,
    /// The program that is started as `PROGRAM guard …`. Not in the file: the agent's own, unless a test has another.
    pub guard: PathBuf,
}

/// `[agent.tls]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Security {
    /// Mutual TLS.
    Tls {
        /// Its files.
        files: TlsFiles,
        /// The names of the edges that may come; empty: any of the CA's.
        edges: Vec<String>,
    },
    /// None: whoever reaches the agent is obeyed.
    Insecure,
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
    /// How its start is tried.
    pub start: Attempts,
    /// Its part of the time that a stop has; none: as much as the others that name none.
    pub stop_timeout: Option<Duration>,
    /// How often the agent starts it again by itself. None: an exclusive one never, the others by the agent's own rule.
    pub restarts: Option<Restarts>,
}

/// How a start is tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attempts {
    /// One that is not ready by then has failed; none: the edge's deadline is the only one.
    pub timeout: Option<Duration>,
    /// How often it is tried again, in one start of what is exclusive.
    pub retries: u32,
    /// How long after the one before.
    pub pause: Duration,
}

/// A budget of restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restarts {
    /// So many.
    pub most: u32,
    /// Within so long.
    pub window: Duration,
}

impl Restarts {
    /// The window of who names none.
    pub const WINDOW: Duration = Duration::from_secs(600);
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
    /// By Windows' service control manager.
    WindowsService {
        /// The service's name, which need not be what Windows shows of it.
        service: String,
    },
    /// By nobody: the start waits here until a named person confirms it.
    Gate,
    /// By nobody: a step, done when a program has ended.
    Run {
        /// Program and arguments; no shell reads them.
        command: Vec<String>,
        /// What takes it back at the stop; none: there is nothing to take back.
        undo: Option<Vec<String>>,
        /// The exit codes that mean that it is done.
        expected: Vec<i32>,
    },
    /// By somebody else, who is told over HTTP.
    Http(Box<HttpService>),
}

/// A service that is started and stopped by calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpService {
    /// Starts it.
    pub start: Call,
    /// Stops it. Its expected answer is the proof that it is stopped, as far as there is no `status`.
    pub stop: Call,
    /// How it is asked how it is; none: nobody knows.
    pub status: Option<HttpStatus>,
    /// Whom `https` trusts, in PEM; none: the system's roots.
    pub ca: Option<PathBuf>,
    /// A file with USER:PASSWORD.
    pub login: Option<PathBuf>,
    /// What surely ends it, run by the guard at the deadline. Without it nothing on this node bounds it.
    pub kill: Option<Vec<String>>,
}

/// A call over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// GET, POST, …
    pub method: http::Method,
    /// `http` or `https`.
    pub uri: http::Uri,
    /// Beside those that every request has.
    pub headers: Vec<(http::HeaderName, http::HeaderValue)>,
    /// May be empty.
    pub body: String,
    /// The answer that means that it is done.
    pub expected: Expected,
    /// An answer that comes later does not count.
    pub timeout: Duration,
}

/// What an answer must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Its status is in one of them.
    pub statuses: Vec<RangeInclusive<u16>>,
    /// This stands in its body; empty: whatever stands there.
    pub contains: String,
}

/// How a service is asked how it is. An answer that is neither of the two says nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpStatus {
    /// The call, and the answer of one that runs.
    pub running: Call,
    /// The answer of one that is stopped.
    pub stopped: Expected,
    /// From one call to the next.
    pub interval: Duration,
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
    /// From one check to the next, when the agent watches by itself ([`Service::restarts`]).
    pub interval: Duration,
    /// So many failures in a row mean that it hangs.
    pub failures: u32,
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

/// A listener for requests that come to the node directly: passed to the application while the node is active, redirected
/// while it is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where the application listens itself.
    pub application: SocketAddr,
    /// Where clients are sent to.
    pub to: Destination,
    /// With which status: 307, or 302 for GET and HEAD.
    pub status: StatusCode,
    /// Paths that are passed to the application whatever the node's role is: probes of the node itself.
    pub exempt: Vec<String>,
    /// By which it speaks TLS; none: it does not.
    pub tls: Option<Identity>,
    /// How long requests that were passed may take to finish when the node stands down as planned.
    pub drain: Duration,
    /// How long the application may take until its answer begins.
    pub timeout: Duration,
    /// How long either end may be silent, or may not read, in the midst of a request or between two.
    pub idle: Duration,
    /// So many at once; more wait in the kernel's queue.
    pub connections: usize,
}

/// Where clients are sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// To the pair's address.
    Vip(Origin),
    /// To the other side's own name while it is known to be active.
    Active {
        /// The other side.
        active: Active,
        /// Where they are sent to otherwise; none: they get 503.
        vip: Option<Origin>,
    },
}

/// The other side, by its own name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Active {
    /// Where clients are sent to.
    pub origin: Origin,
    /// `host:port` of a listener of its agent without TLS, which says whether it is active.
    pub ask: String,
}

/// Scheme and authority: what a redirect changes of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// HTTP or HTTPS.
    pub scheme: Scheme,
    /// Host, and port if it is not the scheme's own.
    pub authority: Authority,
}

impl Origin {
    /// The port, that of the scheme if none is given.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.authority.port_u16().unwrap_or(self.own_port())
    }

    /// Whether its port is that of its scheme.
    #[must_use]
    pub fn is_at_its_own_port(&self) -> bool {
        self.port() == self.own_port()
    }

    fn own_port(&self) -> u16 {
        if self.scheme == Scheme::HTTPS { 443 } else { 80 }
    }
}

/// The files by which a listener speaks TLS, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its certificate, with those between it and its root.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// The machine's watchdog, which resets it when nobody feeds it any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watchdog {
    /// As `/dev/watchdog`.
    pub device: PathBuf,
    /// The device's own timeout, where the system does not tell it.
    pub timeout: Option<Duration>,
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
