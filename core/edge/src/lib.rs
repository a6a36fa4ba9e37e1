//! The edge's I/O: everything that touches a clock, a socket, a file or a thread.
//!
//! One task per pair, its *driver*, owns the pair's [`lockstep_pair::Coordinator`] and does what it says, in the order
//! in which it says it. All other rooms either bring the driver inputs (agents, probes, proxy, store, policy, admin)
//! or carry its outputs out; none of them decides.
//!
//! - `config`: the TOML, wholly validated: what is wrong, in which line, and what would be valid.
//! - `store`: what is durable, in one SQLite file.
//! - `journal`: every event and every action, to be read and replayed.
//! - `agents`: two connections to each side's agent.
//! - `probe`: what the policy asked to be watched.
//! - `remote`: sides that admit no agent, and what turns a node off.
//! - `address`: where a server takes connections, for proxy and probes.
//! - `proxy`: requests, by the route of the moment.
//! - `encryption`: the files of TLS with clients and servers.
//! - `driver`: the pair's one loop.
//! - `pairs`: a pair at work, as it starts, changes and ends; `doors`: the addresses that it listens on.
//! - `reload`: another configuration, whole or not at all, while requests go on.
//! - `succession`: another process, while requests go on.
//! - `admin`: the operator's API and its client.
//! - `access`: the access log.
//! - `metrics`: what monitoring reads.
//! - `unchunk`: chunks of answers, for proxy and probes.
//! - `rehearsal`: what of these decides without I/O, for the simulation.
#![forbid(unsafe_code)]

pub mod access;
mod address;
pub mod admin;
mod agents;
pub mod config;
mod crash;
mod descriptors;
mod doors;
mod driver;
mod encryption;
mod failure;
mod journal;
pub mod metrics;
mod pairs;
mod probe;
pub mod proxy;
pub mod rehearsal;
mod reload;
mod remote;
mod run;
mod signals;
mod store;
mod succession;
mod threads;
mod trust;
mod unchunk;
mod wall;

pub use address::Address;
pub use failure::EdgeError;
pub use lockstep_policy::Side;
pub use run::{run, succeed};
pub use signals::terminated;
