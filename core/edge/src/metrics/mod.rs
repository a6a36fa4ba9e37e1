//! What monitoring reads: `GET /metrics` in Prometheus' text format, version 0.0.4.
//!
//! Requests count in atomics of their pair ([`meter`]); a scrape reads them with all else that the admin API's status tells ([`Look`]), and
//! [`families`] says what of it is shown under which name. No label has a value that a client could choose: what there is to store is
//! bounded by the configuration.

mod families;
mod listen;
mod meter;
mod process;
mod text;

pub use families::{Family, Kind, SECTIONS, families};
pub(crate) use listen::serve;
pub use meter::{Answered, BUCKETS_MS, COUNTS, Meters};
pub use process::Process;
pub use text::Samples;

use crate::admin::api::Status;

/// The type of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a scrape shows.
#[derive(Clone, Debug)]
pub struct Look {
    /// How the edge and its pairs stand.
    pub status: Status,
    /// What the process takes.
    pub process: Process,
}

/// The text of a scrape.
#[must_use]
pub fn text(look: &Look) -> String {
    let mut samples = Samples::default();
    for family in families() {
        samples.begin(family);
        (family.read)(look, &mut samples);
    }
    samples.into_text()
}

#[cfg(test)]
mod tests;
