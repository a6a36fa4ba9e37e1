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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load_edge;
    use std::path::PathBuf;

    /// What is read of a table, without the directory.
    fn read(table: &str) -> Result<Option<Security>, String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("edge.toml");
        std::fs::write(&file, format!("[edge]\n{table}\n")).unwrap();
        let short = |text: String| text.replace(&format!("{}/", dir.path().display()), "");
        match load_edge(&file) {
            Ok(edge) => Ok(edge.security.map(|security| match security {
                Security::Tls(files) => {
                    let near = |file: PathBuf| PathBuf::from(short(file.display().to_string()));
                    let TlsFiles { ca, certificate, key, revoked, ca_key } = files;
                    let (ca, certificate, key) = (near(ca), near(certificate), near(key));
                    Security::Tls(TlsFiles {
                        ca,
                        certificate,
                        key,
                        revoked: revoked.map(near),
                        ca_key: ca_key.map(near),
                    })
                }
                Security::Insecure => Security::Insecure,
            })),
            Err(report) => Err(short(report.to_string())),
        }
    }

    #[test]
    fn what_is_said_is_understood() {
        assert_eq!(read(""), Ok(None));
        assert_eq!(read("tls = { insecure = true }"), Ok(Some(Security::Insecure)));
        let files = |key: &str| TlsFiles {
            ca: "ca.pem".into(),
            certificate: "/x/edge.pem".into(),
            key: key.into(),
            revoked: None,
            ca_key: None,
        };
        let text = "tls = { ca = \"ca.pem\", certificate = \"/x/edge.pem\" }";
        assert_eq!(read(text), Ok(Some(Security::Tls(files("/x/edge.pem")))), "key and certificate are one file");
        let text = "tls = { ca = \"ca.pem\", certificate = \"/x/edge.pem\", key = \"edge.key\", insecure = false }";
        assert_eq!(read(text), Ok(Some(Security::Tls(files("edge.key")))));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (table, why) in [
            ("tls = {}", "edge.toml:2:7: edge.tls.ca: is missing; a table [edge.tls] with `ca` and `certificate`"),
            ("tls = { ca = \"ca.pem\" }", "edge.tls.certificate: is missing"),
            ("tls = { insecure = true, ca = \"ca.pem\" }", "edge.tls.insecure: and certificates contradict each other"),
            ("tls = { insecure = \"yes\" }", "edge.tls.insecure: is of the wrong type (string); true or false"),
            ("tls = { ca = \"ca.pem\", certificate = \"c\", cakey = \"k\" }", "edge.tls.cakey: is not a known key"),
            ("tls = true", "a table `[edge.tls]`"),
        ] {
            let said = read(table).unwrap_err();
            assert!(said.contains(why), "{table}: {said}");
        }
    }
}
