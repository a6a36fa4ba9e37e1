//! The operator's API: JSON over HTTP on loopback, behind a token that only the edge's user can read,
//! or one of the configuration's users.

pub mod api;
mod certificates;
pub mod client;
mod export;
mod orders;
mod policies;
mod seen;
pub(crate) mod server;
pub(crate) mod token;
mod who;
mod whole;

pub use token::new_token;

/// The token's file in the state directory.
pub(crate) const TOKEN_FILE: &str = "admin.token";
