//! What an edge and an agent say to each other, over gRPC.
//!
//! `proto/lockstep.proto` is the contract. [`proto`] is that file in Rust; nothing but this room and the agent's server
//! touches it. Everyone else speaks [`FromEdge`] and [`FromAgent`], whose parts are `lockstep_pair`'s own words: what comes
//! in is either a whole, valid message or a [`FrameError`] that names the field.
//!
//! - [`frame`] turns one into the other.
//! - [`link`] is the edge's end: it connects, says hello, and hands out the two halves of a call.
//! - [`clock`] is the one clock of edge and agent.
#![forbid(unsafe_code)]

pub mod clock;
pub mod frame;
pub mod link;

/// The contract as generated code.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod proto {
    tonic::include_proto!("lockstep.v1");
}

pub use frame::{FrameError, FromAgent, FromEdge, Hello, Welcome};
pub use link::{Auxiliary, Client, Commands, LinkError, Main, Messages};

/// The version of the contract. Grows only when an older peer would misunderstand.
pub const PROTOCOL: u32 = 1;

/// No frame is longer than this, in bytes.
pub const FRAME_MAX: usize = 256 * 1024;
