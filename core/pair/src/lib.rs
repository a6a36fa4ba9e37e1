//! How the active role moves: the handover as two pure state machines.
//!
//! Pure: nothing here reads a clock, a socket, a file, a thread or a source of randomness. Time is an argument of
//! every call. A shell (the edge, the agent, a simulation, a model) hands inputs in with `handle`, takes outputs out
//! with `poll`, and arms one timer for `deadline`.
//!
//! - [`coordinator`] is the edge's half: it owns the route, grants leases, and runs one handover at a time.
//! - [`node`] is the agent's half: it owns the exclusive services of a node, and obeys no older epoch.
//! - [`remote`] stands for the agent of a node that admits none.
//! - [`protocol`] is what they say to each other.
//! - [`share`] says which side a session belongs to, in a pair in which both sides may serve.
//!
//! What must always hold is written down as I1 to I6 in `docs/handover.md`.
#![forbid(unsafe_code)]
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod coordinator;
pub mod node;
pub mod protocol;
pub mod record;
pub mod remote;
mod route;
pub mod share;

pub use coordinator::Coordinator;
pub use node::Node;
pub use route::{Route, RouteKind};
