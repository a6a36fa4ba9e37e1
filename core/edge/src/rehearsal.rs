//! What of the edge decides something and does no I/O: a simulation plays the edge with the very parts that production has.

pub use crate::driver::{Alarms, LastWord, Timers, Today};
pub use crate::proxy::{Departure, Failed, Place, Rehearsal, Step};
