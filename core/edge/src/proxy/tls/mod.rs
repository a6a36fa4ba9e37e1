//! TLS: where it ends, and where it begins again.
//!
//! - `files`: certificates, keys and trusted roots as their files have them, checked before anything starts.
//! - `names`: which certificate a client is shown.
//! - `tickets`: what clients resume, and by what they are known again.
//! - `terminate`: a listener's end. Its files are read again while connections go on.
//! - `wire`: a client's connection, with TLS or without.
//! - `upstream`: what is spoken with servers.

mod files;
mod names;
mod terminate;
mod tickets;
mod upstream;
mod wire;

pub use files::TlsError;
pub use terminate::Termination;
pub(super) use tickets::Mark;
pub use upstream::Upstream;
pub(super) use wire::Wire;
