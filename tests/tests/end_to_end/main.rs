//! The whole of lockstep on real processes and a real network: an edge, two nodes and a client that counts, in network
//! namespaces of their own.
//!
//! A test reads as a story: [`lockstep_tests::bed::Bed`] sets everything up, breaks it and waits for it; the judgement at the end rests on the
//! logs of the client, the applications and the CTI services, and not on what the edge says about itself. What must hold on any machine
//! is asserted; times are printed as figures, to be compared with their targets, and asserted with a wide margin only.
//!
//! `cargo build --workspace && cargo nextest run -p lockstep-tests --test end_to_end`, as root or not. The figures of all runs are
//! collected in `target/tmp/figures.txt`, and what the actors of a failed story wrote is kept beside it.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

mod agent_deaths;
mod bad_input;
mod clients;
mod drivers;
mod edge_deaths;
mod faults;
mod hostile;
mod journal;
mod knocks;
mod lean;
mod mixed;
mod neighbours;
mod planned;
mod policies;
mod rapid;
mod redirect;
mod reload;
mod seen;
mod service_manager;
mod shelter;
mod streams;
mod the_bed;
mod tls;
mod trust;
mod unfenced;
mod upgrade;
mod verbs;

use lockstep_tests::{bed, configuration, network, processes, stream, world};
