//! The agent: a node's I/O around the pure half in `lockstep_pair::node`.
//!
//! ```text
//!  edge ──> link ──> keeper (Node) ──> crew ──> exec ──> guard ──> service
//!                      │    ^            └────> systemd ──> unit
//!                      v    │
//!                     store (node.json)
//! ```
//!
//! - `process` is an agent that has a process of its own.
//! - [`config`] reads `agent.toml`.
//! - `link` serves edges, `store` keeps (epoch, active) on the disk, `keeper` is the one loop around the node.
//! - `service` starts, watches and stops services.
//! - `checkup` finds out whether a service is well, when an edge pings it; `hook` runs what an edge may have run.
//! - `watchdog` is the machine's own, for a loop that hangs.
//! - `noticed` and `lan` look at what is beside the services: the copy of the pair's data, the release, the LAN.
//! - `redirect` answers requests that come to the node directly.
//! - [`guard`] is the process around each of them, and the dead-man's switch.
#![forbid(unsafe_code)]

mod checkup;
pub mod config;
mod crash;
pub mod guard;
mod hook;
mod keeper;
mod lan;
mod link;
mod noticed;
mod platform;
#[cfg(unix)]
pub mod process;
mod program;
mod redirect;
mod run;
mod service;
mod store;
mod watchdog;

use platform::notify;

pub use config::{Config, ConfigError, check, load};
pub use redirect::RedirectError;
pub use run::{AgentError, run};
pub use store::StoreError;
