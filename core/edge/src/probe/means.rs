//! What the probes of all pairs share: secrets, trusted roots, sockets for pings, and who was refused a log-in.

use super::icmp::Pinger;
use super::judge::Finding;
use super::tls::Trust;
use super::together::Together;
use super::xmpp::LogIns;
use crate::config::{ProbeConfig, SecretFiles};
use lockstep_policy::event::Verdict;
use std::sync::Arc;

/// Made once for an edge.
pub(crate) struct Means {
    secrets: SecretFiles,
    pub(super) trust: Arc<Trust>,
    pub(super) pinger: Pinger,
    pub(super) log_ins: LogIns,
    pub(super) together: Together,
    /// One HTTP probe in so many makes a connection, where they come often.
    pub(super) connect_every: u32,
}

/// One in ten: a server that takes no new connections is noticed after so many probes at the latest.
pub(crate) const CONNECT_EVERY: u32 = 10;

impl Means {
    /// With the secrets that probes may name, and as `[edge.probe]` has it.
    pub fn new(secrets: SecretFiles, probe: &ProbeConfig) -> Means {
        Means {
            secrets,
            trust: Arc::new(Trust::new(probe.roots.clone())),
            pinger: Pinger::default(),
            log_ins: LogIns::default(),
            together: Together::default(),
            connect_every: probe.connect_every,
        }
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
        Means::new(SecretFiles::default(), &ProbeConfig::default())
    }
}
