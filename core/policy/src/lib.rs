//! What a policy sees of the world, and all that it may do: events in, actions out.
//!
//! Pure: nothing here reads a clock, a socket, a file or a source of randomness. The one exception is [`host`]
//! (feature `host`), the edge's side of the boundary, which loads a plugin's file.
//!
//! Read [`event`] and [`action`] first: they are the whole contract. [`abi`] gives both a frozen binary layout,
//! [`sdk`] makes a plugin out of a Rust struct, [`host`] loads one.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod abi;
mod about;
pub mod action;
pub mod event;
#[cfg(feature = "host")]
pub mod host;
#[cfg(feature = "scenario")]
pub mod scenario;
pub mod sdk;
pub mod setup;
mod side;
mod time;

pub use about::{Lint, Rule};
pub use action::{Action, Level};
pub use event::Event;
pub use setup::Setup;
pub use side::{Epoch, Side, Sides};
pub use time::At;
