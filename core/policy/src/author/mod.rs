//! What an author of a policy needs beside the contract: a project to begin with, and proofs that a plugin keeps to the
//! contract.
//!
//! | | |
//! |---|---|
//! | [`project`] | a new project, in Rust or in C, that builds and passes its own checks |
//! | [`story`] | a made-up life of a pair, played with the plugin itself |
//! | [`conformance`] | the checks: what every plugin must do, whatever it decides |
//! | [`page`] | what a plugin says of itself, as a page of documentation |
//! | [`reference`] | the ABI, as a page of documentation |
//!
//! The checks run the plugin's code in this process: whoever calls them lets a process of its own do it, which may die.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "an author's tools have files; the policies that they prove have none"
)]

pub mod conformance;
mod fenced;
pub mod page;
pub mod project;
pub mod reference;
pub mod story;
