//! Who is let in, by the configuration.

use crate::config::{Config, Security};
use lockstep_wire::trust::{Identity, Peer, Trust, TrustError};
use std::sync::Arc;

/// Whom the agent trusts. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    pub(super) trust: Trust,
    /// The names of the edges that may come; empty: any of the CA's.
    pub(super) edges: Arc<[String]>,
}

impl Gate {
    /// Reads the certificates; none when the configuration wants no TLS, which is said loudly.
    pub(crate) fn open(config: &Config) -> Result<Option<Gate>, TrustError> {
        let (files, edges) = match &config.security {
            Security::Tls { files, edges } => (files, edges),
            Security::Insecure => {
                tracing::warn!(
                    listen = %config.listen,
                    "INSECURE: `insecure = true` is said in [agent.tls]: whoever reaches this address can start and stop \
                     this node's services"
                );
                return Ok(None);
            }
        };
        let own = Identity::agent(&config.pair, config.side)
            .map_err(|what| TrustError { file: files.certificate.clone(), what })?;
        Ok(Some(Gate { trust: Trust::load(files.clone(), own)?, edges: edges.as_slice().into() }))
    }

    /// Keeps the certificates as their files are, for as long as the agent runs.
    pub(super) fn keep(&self) {
        tokio::spawn(self.trust.clone().keep_reading());
        #[cfg(unix)]
        tokio::spawn(reload_on_hang_up(self.trust.clone()));
    }
}

/// SIGHUP: the certificates are read at once.
#[cfg(unix)]
async fn reload_on_hang_up(trust: Trust) {
    use tokio::signal::unix::{SignalKind, signal};
    let mut hang_up = match signal(SignalKind::hangup()) {
        Ok(hang_up) => hang_up,
        Err(error) => {
            return tracing::warn!(%error, "SIGHUP cannot be waited for; changed certificates are found anyway");
        }
    };
    while hang_up.recv().await.is_some() {
        if let Err(error) = trust.reload() {
            tracing::error!(%error, "changed certificates are not taken over; those of before stay in force");
        }
    }
}

/// Whether an edge calls itself what its certificate does.
pub(super) fn is_named(peer: &Peer, name: &str) -> Result<(), String> {
    match &peer.identity {
        Identity::Edge { name: proven } if proven == name => Ok(()),
        proven => Err(format!(
            "it calls itself edge `{name}`, and its certificate (serial {}) is for {proven}: set `name` under [edge] to that, \
             or issue one for `{name}`",
            peer.facts.serial
        )),
    }
}
