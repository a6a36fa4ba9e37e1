//! Policies in workers: what they may do, what is done when they do otherwise, and that nobody else notices.
#![cfg(feature = "host")]

mod hostile;
mod restart;
mod rig;
mod together;
mod trust;
mod unconfined;
mod versions;

/// Not a test: the workers of the others are this program with this test alone. By itself it has nobody to serve.
#[test]
fn policy_worker() {
    let _ = lockstep_policy::host::worker::serve();
}
