//! A whole edge in this process: with operators, and with nodes that are the real machine without services behind it.
#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

mod driving;
mod journal;
mod node;
mod operators;
mod place;
mod shared;
mod signals;
#[path = "../workers/mod.rs"]
mod workers;
