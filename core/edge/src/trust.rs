//! The edge's certificates: whom it trusts, its own renewal, and those that it signs for agents where it has the CA's key.

use crate::config::{EdgeConfig, Security};
use lockstep_wire::trust::{Authority, Identity, Life, Peer, Trust, TrustError, lasting_again, written};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// The dates are looked at so often at least: the clock may be set.
const LOOK: Duration = Duration::from_secs(1);
/// From one attempt of a renewal to the next.
const AGAIN: Duration = Duration::from_secs(60);

/// Reads the certificates; none when the configuration wants no TLS, which is said loudly, or needs none.
pub(crate) fn open(config: &EdgeConfig) -> Result<Option<Trust>, TrustError> {
    let files = match &config.security {
        Some(Security::Tls(files)) => files,
        Some(Security::Insecure) => {
            tracing::warn!(
                "INSECURE: `insecure = true` is said in [edge.tls]: whoever is at an agent's address is taken for the agent, \
                 and agents obey whoever calls itself an edge"
            );
            return Ok(None);
        }
        None => return Ok(None),
    };
    let own = Identity::edge(&config.name).map_err(|what| TrustError { file: files.certificate.clone(), what })?;
    let trust = Trust::load(files.clone(), own)?;
    if let Some(key) = &files.ca_key {
        // What would fail in twenty days is to fail now.
        Authority::open(&files.ca, key)?;
    }
    Ok(Some(trust))
}

/// What is wrong with the certificates as they are now: the configuration that names them may be sound all the same.
pub(crate) fn lint(config: &EdgeConfig) -> Option<String> {
    match open(config) {
        Err(error) => Some(error.to_string()),
        Ok(Some(trust)) => Some(trust.standing().text).filter(|text| !text.is_empty()),
        Ok(None) if config.security == Some(Security::Insecure) => {
            Some("insecure = true: whoever reaches an agent starts and stops its services".to_owned())
        }
        Ok(None) => None,
    }
}

/// Keeps the certificates as their files are, and the own one renewed where that can be, until the tasks are aborted.
pub(crate) fn keep(trust: &Trust) -> Vec<JoinHandle<()>> {
    let reading = tokio::spawn(trust.clone().keep_reading());
    let renewing = trust.files().ca_key.is_some().then(|| tokio::spawn(renew(trust.clone())));
    std::iter::once(reading).chain(renewing).collect()
}

async fn renew(trust: Trust) {
    loop {
        let due = matches!(trust.standing().life, Life::Due | Life::Urgent | Life::Over);
        if !due {
            sleep(LOOK).await;
            continue;
        }
        let of = trust.clone();
        let renewed = match tokio::task::spawn_blocking(move || renew_now(&of)).await {
            Ok(renewed) => renewed,
            Err(error) => Err(error.to_string()),
        };
        match renewed {
            Ok(()) => tracing::info!(serial = trust.own().serial, "the edge has renewed its certificate"),
            Err(why) => {
                tracing::warn!(why, "the edge's certificate could not be renewed; it is tried again");
                trust.set_trouble(&why);
            }
        }
        sleep((trust.own().lasting() / 100).clamp(LOOK, AGAIN)).await;
    }
}

/// Waits for disks.
fn renew_now(trust: &Trust) -> Result<(), String> {
    let files = trust.files();
    if !files.is_one() {
        return Err("it is renewed by itself only where key and certificate are one file: leave `key` out".to_owned());
    }
    let (authority, key) = authority(trust)?;
    let (issued, text) = authority.issue(trust.identity(), lasting_again(trust.own().lasting()))?;
    trust.replace(&text).map_err(|error| error.to_string())?;
    record(&authority, &key, &issued);
    Ok(())
}

/// Signs an agent's request, for exactly whom its present certificate is. Waits for disks.
pub(crate) fn sign(trust: &Trust, peer: &Peer, request: &[u8]) -> Result<Vec<u8>, String> {
    let facts = &peer.facts;
    let now = std::time::SystemTime::now();
    // Once in a life, and not as many as somebody likes who has got hold of a node.
    if now < facts.not_before + facts.lasting() / 2 {
        return Err(format!("half of the life of the present one (serial {}) is not over", facts.serial));
    }
    let (authority, key) = authority(trust)?;
    let issued = authority.answer(&peer.identity, request, lasting_again(facts.lasting()))?;
    record(&authority, &key, &issued);
    let (serial, until) = (&issued.facts.serial, written(issued.facts.not_after));
    tracing::info!(serial, until, before = facts.serial, "a certificate was issued for {}", peer.identity);
    Ok(issued.certificate.to_vec())
}

fn authority(trust: &Trust) -> Result<(Authority, std::path::PathBuf), String> {
    let files = trust.files();
    let key = files.ca_key.clone().ok_or("this edge has no `ca_key` in [edge.tls], with which it could")?;
    let authority = Authority::open(&files.ca, &key).map_err(|error| error.to_string())?;
    Ok((authority, key))
}

/// What is not on record can still be revoked by its serial number, which is in the log.
fn record(authority: &Authority, key: &std::path::Path, issued: &lockstep_wire::trust::Issued) {
    if let Err(error) = authority.record(key, issued) {
        tracing::warn!(%error, serial = issued.facts.serial, "a certificate was issued that is not on record");
    }
}
