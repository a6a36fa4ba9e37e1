//! The agent of a Windows node, under Wine, in a pair with a Linux node: real edge, real agents, and every judge of the other stories.
//!
//! `.ci/windows` builds what runs here. Without it, as where Wine or the Rust target cannot be had, the stories say so and end; with
//! `CI=true` that is a failure.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

mod installed;
mod programs;
mod services;
mod site;
