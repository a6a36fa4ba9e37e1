//! Real faults: seeded schedules of what breaks, played on real processes and a real network, and judged by I1 to I6.
//!
//! A schedule follows from its seed, and so does the weather on the wire; what the machine's scheduler does in between does not, so a seed
//! that has failed once may need several plays to fail again. Schedules are played several at once, each in a world of its own.
//!
//! `make faults SCHEDULES=1000 SEED=1` plays many; each that fails is printed with the command that plays it again.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

mod judge;
mod mutations;
mod play;
mod round;
mod schedule;
mod sighting;
mod site;
mod stored;
mod watch;
mod wire;

/// Thirty schedules, or as many as the environment says.
#[test]
fn schedules() {
    round::play_all();
}
