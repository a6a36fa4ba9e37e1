//! The proxy with real sockets: servers and clients here write and read every byte themselves.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod alike;
mod announce;
mod answers;
mod clients;
mod generations;
mod hold;
mod malformed;
mod pools;
mod race;
mod resend;
mod rig;
mod seen;
mod share;
mod shelter;
mod sockets;
mod streams;
mod switch;
mod websockets;
