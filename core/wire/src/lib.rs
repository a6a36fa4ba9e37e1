//! What an edge and an agent say to each other, over gRPC.
//!
//! `proto/lockstep.proto` is the contract. [`proto`] is that file in Rust; nothing but this room and the agent's server
//! touches it. Everyone else speaks [`FromEdge`] and [`FromAgent`], whose parts are `lockstep_pair`'s own words: what comes
//! in is either a whole, valid message or a [`FrameError`] that names the field.
//!
//! - [`frame`] turns one into the other.
//! - [`link`] is the edge's end: it connects, says hello, and hands out the two halves of a call.
//! - [`braid`] is the connection below it: the same bytes over two TCP connections.
//! - [`clock`] is the one clock of edge and agent.
//! - [`realtime`] lets whoever holds short leases be served before others.
//! - [`trust`] is who may be at the other end.
#![forbid(unsafe_code)]

pub mod braid;
pub mod clock;
mod dial;
pub mod frame;
#[cfg(test)]
mod fuzz;
pub mod link;
mod mark;
pub mod realtime;
pub mod trust;

/// The contract as generated code.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod proto {
    tonic::include_proto!("lockstep.v1");
}

pub use frame::{Finding, FrameError, FromAgent, FromEdge, Hello, Ping, Pong, Welcome};
pub use link::{Auxiliary, Client, Commands, LinkError, Main, Messages, Pings, Pongs, WeakCommands};

/// The version of the contract. Grows only when an older peer would misunderstand.
pub const PROTOCOL: u32 = 1;

/// What this agent understands beyond the contract's first form, said in its welcome. Grows with each frame that an edge
/// may send and wait for an answer to. 1: pings on the main call and of services, gates, hooks. 2: certificates.
pub const MINOR: u32 = 2;

/// An edge that says less in its hello issues no certificates.
pub const ISSUES_CERTIFICATES: u32 = 2;

/// No frame is longer than this, in bytes.
pub const FRAME_MAX: usize = 256 * 1024;
