//! What the probes of all pairs share: secrets, trusted roots, sockets for pings, and who was refused a log-in.

use super::icmp::Pinger;
use super::judge::Finding;
use super::tls::Trust;
use super::xmpp::LogIns;
use crate::config::SecretFiles;
use lockstep_policy::event::Verdict;
use std::path::PathBuf;
use std::sync::Arc;

/// Made once for an edge.
pub(crate) struct Means {
    secrets: SecretFiles,
    pub(super) trust: Arc<Trust>,
    pub(super) pinger: Pinger,
    pub(super) log_ins: LogIns,
}

impl Means {
    /// `roots`: a file of certificates to be trusted instead of the system's.
    pub fn new(secrets: SecretFiles, roots: Option<PathBuf>) -> Means {
        Means { secrets, trust: Arc::new(Trust::new(roots)), pinger: Pinger::default(), log_ins: LogIns::default() }
    }

    /// A declared probe's secret must have a name that is known; an empty one is none.
    pub(super) fn check_secret(&self, name: &str) -> Result<(), String> {
        if name.is_empty() { Ok(()) } else { self.secrets.check(name) }
    }

    /// A secret as its file has it now.
    pub(super) async fn secret(&self, name: &str) -> Result<String, Finding> {
        let (secrets, name) = (self.secrets.clone(), name.to_owned());
        let read = tokio::task::spawn_blocking(move || secrets.read(&name)).await;
        let read = read.unwrap_or_else(|error| Err(error.to_string()));
        read.map_err(|why| Finding::new(Verdict::Wrong, 0, why))
    }
}

impl Default for Means {
    fn default() -> Means {
        Means::new(SecretFiles::default(), None)
    }
}
