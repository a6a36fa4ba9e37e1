//! A simulated pair, a client that counts, and the play of faults that `lockstep demo` shows.
//!
//! Three programs stand in for what a site has: [`app`] (a telisca server's web application), [`cti`] (its CTI service,
//! of which one of the pair may run at a time) and [`client`] (a steady stream of requests). Each writes down what it
//! saw, and [`activity`] and [`tally`] judge those logs afterwards: the product under test is not asked whether it did
//! well. [`play`] starts all of it, with the real edge and agents, and breaks it. [`ged188`], [`ts_server`], [`pool`] and [`appliance`] are
//! services of other vendors, for the tests of whom they concern.

#![forbid(unsafe_code)]

pub mod activity;
pub mod app;
pub mod appliance;
pub mod client;
mod clock;
pub mod cti;
mod descriptors;
pub mod finesse;
pub mod ged188;
mod lines;
pub mod lock;
pub mod play;
pub mod pool;
pub mod tally;
pub mod ts_server;

pub use clock::now;
