//! The Windows half.

pub(crate) mod alarm;
pub(crate) mod disk;
pub(crate) mod family;
pub(crate) mod notify;
pub(crate) mod process;
pub(crate) mod socket;

/// Where an agent that is told nothing else has its state.
pub(crate) const STATE: &str = r"C:\ProgramData\lockstep\agent";
