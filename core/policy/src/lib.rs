//! What a policy sees of the world, and all that it may do: events in, actions out.
//!
//! Pure: nothing here reads a clock, a socket, a file or a source of randomness. The exceptions are on the edge's side
//! of the boundary: `host` (feature `host`) loads a plugin's file and gives each policy a thread, and `scenario`
//! (feature `scenario`) reads transcripts.
//!
//! | module | what it is |
//! |---|---|
//! | [`event`], [`action`] | the whole contract: read them first |
//! | [`setup`] | what an instance is made from |
//! | [`abi`] | both as flat records with a frozen layout, also in C: `include/lockstep_policy.h` |
//! | [`sdk`] | makes a plugin out of a Rust struct; no unsafe code in the plugin |
//! | `host` | refuses what is no policy for this host before any of its code runs, loads the rest, contains it |
//! | `journal` | every event and action of a pair, as bytes that a torn file or a flipped bit is noticed in |
//! | `scenario` | plays a transcript in virtual time and says where a policy does otherwise |
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod abi;
mod about;
pub mod action;
#[cfg(feature = "author")]
pub mod author;
pub mod event;
#[cfg(feature = "host")]
pub mod host;
#[cfg(feature = "host")]
pub mod journal;
#[cfg(feature = "scenario")]
pub mod scenario;
pub mod sdk;
pub mod setup;
mod side;
mod time;

pub use about::{CommandInfo, Lint, Rule, Traits};
pub use action::{Action, Level};
pub use event::Event;
pub use setup::Setup;
pub use side::{Epoch, Side, Sides};
pub use time::At;
