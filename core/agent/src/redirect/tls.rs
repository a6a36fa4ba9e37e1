//! The certificate by which a listener speaks TLS, read anew when its files have changed: a renewal needs no restart.

use crate::config::Identity;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::watch;
use tokio::time::sleep;

/// How often it is looked whether the files have changed.
const LOOK: Duration = Duration::from_secs(1);

/// What a listener begins TLS with. Errors name the file.
pub(super) fn load(identity: &Identity) -> Result<Arc<ServerConfig>, String> {
    let Identity { certificate, key } = identity;
    let wrong = |file: &Path, error: &dyn Display| format!("{}: {error}", file.display());
    let chain = CertificateDer::pem_file_iter(certificate).map_err(|error| wrong(certificate, &error))?;
    let chain: Vec<_> = chain.collect::<Result<_, _>>().map_err(|error| wrong(certificate, &error))?;
    if chain.is_empty() {
        return Err(wrong(certificate, &"holds no certificate in PEM"));
    }
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key, &error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(|error| format!("{} and {}: {error}", certificate.display(), key.display()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Follows the files for as long as anybody listens.
pub(super) async fn follow(identity: Identity, tell: watch::Sender<Arc<ServerConfig>>) {
    let mut seen = changed(&identity);
    loop {
        tokio::select! {
            () = sleep(LOOK) => {}
            () = tell.closed() => return,
        }
        let now = changed(&identity);
        if now == seen {
            continue;
        }
        seen = now;
        match load(&identity) {
            Ok(config) => {
                tell.send_replace(config);
                tracing::info!(certificate = %identity.certificate.display(), "a listener has a new certificate");
            }
            // One of two files may have been written and not the other: the next change is looked at again.
            Err(error) => tracing::warn!(error, "a listener keeps its certificate: the new one cannot be used"),
        }
    }
}

fn changed(identity: &Identity) -> [Option<SystemTime>; 2] {
    [&identity.certificate, &identity.key].map(|file| std::fs::metadata(file).and_then(|found| found.modified()).ok())
}
