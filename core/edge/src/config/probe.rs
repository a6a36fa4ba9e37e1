//! `[edge.probe]`: whom probes trust, and how often they connect.

use super::edge::beside;
use super::table::Table;
use crate::probe::CONNECT_EVERY;
use std::path::{Path, PathBuf};

/// `[edge.probe]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeConfig {
    /// A file of certificates in PEM that verified probes trust; none: the system's.
    pub roots: Option<PathBuf>,
    /// One HTTP probe in so many makes a connection, where they come every 5 seconds or more often; 1: each does.
    pub connect_every: u32,
}

impl Default for ProbeConfig {
    fn default() -> Self {
        ProbeConfig { roots: None, connect_every: CONNECT_EVERY }
    }
}

/// `[edge.probe]`; all of it has a default.
pub(super) fn read(table: Option<Table<'_, '_>>, config: &Path) -> ProbeConfig {
    let mut probe = ProbeConfig::default();
    let Some(mut table) = table else { return probe };
    if let Some(roots) = table.text("roots") {
        let file = beside(config).join(roots.value);
        match crate::probe::roots_of(&file) {
            Ok(_) => probe.roots = Some(file),
            Err(why) => table.refuse(roots.at, "roots", why, "a file of one or more certificates in PEM"),
        }
    }
    let connect_every = table.number("connect_every", probe.connect_every.into(), 1..=1000);
    probe.connect_every = u32::try_from(connect_every).unwrap_or(CONNECT_EVERY);
    table.finish();
    probe
}
