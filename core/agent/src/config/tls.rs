//! `[agent.tls]`: whom the agent trusts, and as whom it is known.

use super::file::Check;
use super::{ConfigError, Security};
use lockstep_wire::trust::TlsFiles;
use serde::Deserialize;
use std::ops::Range;
use std::path::{Path, PathBuf};
use toml::Spanned;

const NAMES_MAX: usize = 64;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TlsTable {
    ca: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    revoked: Option<PathBuf>,
    #[serde(default)]
    edges: Vec<String>,
    #[serde(default)]
    insecure: bool,
}

impl Check<'_> {
    /// `at` is where it is said that the table is missing.
    pub(super) fn security(&self, table: Option<Spanned<TlsTable>>, at: Range<usize>) -> Result<Security, ConfigError> {
        let refuse = |at: Range<usize>, what: &str| Err(ConfigError::at(self.path, self.text, at, what));
        let Some(table) = table else {
            return refuse(
                at,
                "`[agent.tls]` is missing: an agent is known to edges by a certificate, and takes only edges that have one. \
                 `lockstep pki issue agent PAIR SIDE` makes it; then name `ca` and `certificate` here. Or say `insecure = \
                 true` there: whoever reaches this agent's address may then start and stop its services",
            );
        };
        let span = table.span();
        match table.into_inner() {
            TlsTable { ca: None, certificate: None, key: None, revoked: None, edges, insecure: true } => {
                match edges.is_empty() {
                    true => Ok(Security::Insecure),
                    false => {
                        refuse(span, "`edges` needs certificates: without TLS an edge may call itself what it likes")
                    }
                }
            }
            TlsTable { insecure: true, .. } => {
                refuse(span, "`insecure = true` and certificates contradict each other: leave one of them out")
            }
            TlsTable { edges, .. } if edges.len() > NAMES_MAX => {
                refuse(span, "more than 64 edges are listed in `edges`")
            }
            TlsTable { ca: Some(ca), certificate: Some(certificate), key, revoked, edges, insecure: false } => {
                let beside = |file: PathBuf| self.path.parent().unwrap_or(Path::new("")).join(file);
                let certificate = beside(certificate);
                let files = TlsFiles {
                    ca: beside(ca),
                    key: key.map_or_else(|| certificate.clone(), beside),
                    certificate,
                    revoked: revoked.map(beside),
                    ca_key: None,
                };
                Ok(Security::Tls { files, edges })
            }
            TlsTable { .. } => refuse(
                span,
                "`[agent.tls]` needs `ca` and `certificate`: the files ca.pem and agent-PAIR-SIDE.pem of `lockstep pki issue`",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::load;
    use super::*;

    fn read(table: &str) -> Result<Security, String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("agent.toml");
        std::fs::write(&file, format!("[agent]\npair = \"telisca\"\nside = \"a\"\n{table}\n")).unwrap();
        let read = load(&file).map(|config| config.security).map_err(|error| error.to_string());
        match read {
            Ok(Security::Tls { files, edges }) => {
                assert_eq!(files.ca, dir.path().join("ca.pem"), "beside the configuration");
                Ok(Security::Tls { files: TlsFiles { ca: "ca.pem".into(), ..files }, edges })
            }
            other => other,
        }
    }

    #[test]
    fn what_is_said_is_understood() {
        assert_eq!(read("tls = { insecure = true }"), Ok(Security::Insecure));
        let tls = read("tls = { ca = \"ca.pem\", certificate = \"/x/a.pem\", edges = [\"edge-1\"] }").unwrap();
        let own = PathBuf::from("/x/a.pem");
        let files = TlsFiles { ca: "ca.pem".into(), certificate: own.clone(), key: own, revoked: None, ca_key: None };
        assert_eq!(tls, Security::Tls { files, edges: vec!["edge-1".to_owned()] });
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (table, why) in [
            ("", "agent.toml:2:8: `[agent.tls]` is missing"),
            ("tls = {}", "agent.toml:4:7: `[agent.tls]` needs `ca` and `certificate`"),
            ("tls = { ca = \"ca.pem\" }", "needs `ca` and `certificate`"),
            ("tls = { insecure = true, ca = \"ca.pem\" }", "contradict each other"),
            ("tls = { insecure = true, edges = [\"edge-1\"] }", "`edges` needs certificates"),
            ("tls = { ca_key = \"x\" }", "`ca_key` is no key here"),
        ] {
            let said = read(table).unwrap_err();
            assert!(said.contains(why), "{table}: {said}");
        }
    }
}
