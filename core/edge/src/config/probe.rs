//! `[edge.probe]`: whom probes trust.

use super::edge::beside;
use super::table::Table;
use std::path::{Path, PathBuf};

/// `[edge.probe]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProbeConfig {
    /// A file of certificates in PEM that verified probes trust; none: the system's.
    pub roots: Option<PathBuf>,
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
    table.finish();
    probe
}
