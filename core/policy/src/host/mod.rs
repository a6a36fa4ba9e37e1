//! The edge's side of the boundary: loads a plugin's file, checks parameters, runs instances.
//!
//! ```no_run
//! use lockstep_policy::host::{Library, PolicyThread};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let setup: lockstep_policy::Setup = serde_json::from_str("{}")?;
//! let library = Library::open("/usr/lib/lockstep/policies/liblockstep_telisca.so".as_ref())?;
//! if let Err(errors) = library.check_parameters(&setup.parameters) {
//!     for error in errors {
//!         eprintln!("{error}");
//!     }
//! }
//! let instance = library.instance(&setup, 1)?;
//! let thread = PolicyThread::spawn(instance, "policy phones", |outcome| println!("{outcome:?}"))?;
//! # drop(thread);
//! # Ok(())
//! # }
//! ```
//!
//! A library is never unloaded: code that something may still point to is not taken away.

mod elf;
mod error;
mod instance;
mod library;
mod life;
mod parameters;
pub mod replay;
mod sink;
mod thread;

pub use error::{DescribeError, InstanceError, LoadError, ParameterError, StepError};
pub use instance::{Instance, Snapshot};
pub use library::{Fingerprint, Library};
pub use life::{LifeRecord, NotAFingerprint};
pub use thread::{PolicyThread, SendError, StepOutcome};
