//! `[edge.tls]`: whom the edge trusts, and as whom it is known to agents.

use super::edge::beside;
use super::table::Table;
use lockstep_wire::trust::TlsFiles;
use std::path::Path;

/// `[edge.tls]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Security {
    /// Mutual TLS.
    Tls(TlsFiles),
    /// None: agents obey whoever reaches them.
    Insecure,
}

/// What to do where it is missing.
pub(super) const REMEDY: &str = "a table [edge.tls] with `ca` and `certificate`, which `lockstep pki init` and `lockstep pki \
                                 issue edge NAME` make; or with `insecure = true`: whoever reaches an agent may then start \
                                 and stop its services";

/// The table is there; nothing starts with it.
const REFUSED: Option<Security> = Some(Security::Insecure);

/// `[edge.tls]`. Relative paths start at the configuration's directory; the files are read when the edge starts.
pub(super) fn read(table: Option<Table<'_, '_>>, file: &Path) -> Option<Security> {
    let mut table = table?;
    let mut path = |key| table.text(key).map(|text| beside(file).join(text.value));
    let (ca, certificate, key) = (path("ca"), path("certificate"), path("key"));
    let (revoked, ca_key) = (path("revoked"), path("ca_key"));
    let insecure = table.truth("insecure").unwrap_or(false);
    let none = [&ca, &certificate, &key, &revoked, &ca_key].iter().all(|file| file.is_none());
    let at = table.at();
    let security = match (insecure, ca, certificate) {
        (true, ..) if none => Some(Security::Insecure),
        (true, ..) => {
            table.refuse(at, "insecure", "and certificates contradict each other", "one of them");
            REFUSED
        }
        (false, Some(ca), Some(certificate)) => {
            let key = key.unwrap_or_else(|| certificate.clone());
            Some(Security::Tls(TlsFiles { ca, certificate, key, revoked, ca_key }))
        }
        (false, ca, _) => {
            table.missing(if ca.is_none() { "ca" } else { "certificate" }, REMEDY);
            REFUSED
        }
    };
    table.finish();
    security
}
