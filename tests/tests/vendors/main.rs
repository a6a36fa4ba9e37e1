//! A pair of each vendor as it stands at a customer's: the real edge, real agents, and beside them what the vendor's site has,
//! simulated or real. Told and judged as the stories of `end_to_end` are, in worlds of their own; each names the policy's rules that it is
//! about.
//!
//! `cargo build --workspace && cargo nextest run -p lockstep-tests --test vendors`, as root or not.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

mod balancer;
mod cic;
mod eservices;
mod finesse;
mod telisca;
