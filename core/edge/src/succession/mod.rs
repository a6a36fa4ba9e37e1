//! An edge goes on in another process, of another program perhaps, and no client notices.
//!
//! The edge that is there starts the new one and gives it its listening sockets ([`wire`]). The new one reads the configuration, loads
//! plugins and opens what is new; when it is ready, and no handover is under way anywhere, the old one's drivers leave, journal
//! and store are closed, and the new one takes over as an edge that is back after a restart does: from what is stored, and what
//! agents say. If it fails until then, the old one goes on as if nothing had been.
//!
//! The old one ([`leave`]) then takes no more clients. Those it has leave with their next answer, and what goes on goes on; for as long
//! as it has any, it does what the new one's drivers say about the routes ([`enter`]), and when it does not hear the new one any
//! more, it cuts everything: nothing outlives the role of its side.

mod enter;
mod leave;
mod wire;

pub(crate) use enter::Predecessor;
pub(crate) use leave::Upgrade;
