//! The edge's side of the boundary: judges a plugin's file, has its code run, and survives it.
//!
//! ```no_run
//! use lockstep_policy::host::{Occupant, Plugin, PluginFile, Terms, TrustList};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let setup: lockstep_policy::Setup = serde_json::from_str("{}")?;
//! # let start: lockstep_policy::Event = serde_json::from_str("{}")?;
//! let file = PluginFile::read("/usr/lib/lockstep/policies/liblockstep_telisca.so".as_ref())?;
//! TrustList::read("/etc/lockstep/policies.trust".as_ref())?.admit(&file)?;
//! let plugin = Plugin::open(file, Terms::default())?;
//! plugin.try_create(&setup)?;
//! let occupant = Occupant::new(&plugin, &setup, 1, 1, None, |report| println!("{report:?}"))?;
//! occupant.send(1, &start)?;
//! # Ok(())
//! # }
//! ```
//!
//! | | |
//! |---|---|
//! | [`PluginFile`] | read once, judged by its bytes; none of its code has run |
//! | [`TrustList`], [`trust()`] | which files may be loaded |
//! | [`Plugin`] | described by a worker, run by workers: what an edge has |
//! | [`Occupant`], [`Report`] | one pair's instance in a worker, made again with its state whenever that is needed |
//! | [`worker`] | the other end: what a worker process runs |
//! | [`Library`], [`Instance`] | the same code in this process, for tools and tests |
//!
//! Two processes, and who does what:
//!
//! ```text
//!  pair ──> Occupant::send ──> socket ──────────> worker: Instance::step, one event after the other
//!  pair <── Report <── keeper's thread <── socket <──┘
//!                         └─ looks at the page of progress, kills, starts again, restores
//! ```
//!
//! A library is never unloaded: code that something may still point to is not taken away.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the edge's side has clocks, files and threads; policies have not"
)]

mod about;
mod body;
mod code;
mod confine;
mod elf;
mod error;
mod file;
mod frame;
#[cfg(test)]
mod fuzz;
mod instance;
mod keeper;
mod library;
mod life;
mod occupant;
mod parameters;
mod plugin;
mod post;
mod progress;
pub mod replay;
mod sink;
mod talk;
mod terms;
mod trust;
mod watch;
pub mod worker;

pub use error::{DescribeError, InstanceError, LoadError, ParameterError, StepError};
pub use file::{Fingerprint, PluginFile};
pub use instance::{Instance, Snapshot};
pub use library::Library;
pub use life::{LifeRecord, NotAFingerprint};
pub use occupant::{Haste, Occupant, Report, Sent, StepOutcome, Unheard};
pub use plugin::Plugin;
pub use terms::{Isolation, Program, Terms};
pub use trust::{TrustError, TrustList, Trusted, Unlisted, trust};
