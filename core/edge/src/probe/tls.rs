//! Whom probes believe: anybody, or who shows a certificate that the edge's trusted roots vouch for.

use super::judge::Finding;
use lockstep_policy::action::Tls;
use lockstep_policy::event::Verdict;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;

/// The edge's trusted roots; read when first needed.
pub(super) struct Trust {
    roots: Option<PathBuf>,
    provider: Arc<CryptoProvider>,
    verified: OnceCell<Arc<ClientConfig>>,
    unverified: Arc<ClientConfig>,
}

impl Trust {
    /// With the roots of a file in PEM; without: the system's.
    pub fn new(roots: Option<PathBuf>) -> Trust {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let anybody = Arc::new(Anybody(Arc::clone(&provider)));
        let unverified = builder(&provider).dangerous().with_custom_certificate_verifier(anybody).with_no_client_auth();
        Trust { roots, provider, verified: OnceCell::new(), unverified: Arc::new(unverified) }
    }

    /// What makes a connection an encrypted one; none for [`Tls::Off`].
    pub async fn connector(&self, tls: Tls) -> Result<Option<TlsConnector>, Finding> {
        let config = match tls {
            Tls::Off => return Ok(None),
            Tls::Unverified => Arc::clone(&self.unverified),
            Tls::Verified => {
                let verified = self.verified.get_or_try_init(|| self.with_roots()).await;
                let refuse = |why| Finding::new(Verdict::Wrong, 0, format!("no certificate can be verified: {why}"));
                Arc::clone(verified.map_err(refuse)?)
            }
        };
        Ok(Some(TlsConnector::from(config)))
    }

    async fn with_roots(&self) -> Result<Arc<ClientConfig>, String> {
        let file = self.roots.clone();
        let read = tokio::task::spawn_blocking(move || match file {
            Some(file) => roots_of(&file),
            None => rustls_native_certs::load_native_certs().map_err(|error| format!("the system's roots: {error}")),
        });
        let mut store = RootCertStore::empty();
        // The system's may contain what only other libraries can read.
        store.add_parsable_certificates(read.await.map_err(|error| error.to_string())??);
        if store.is_empty() {
            return Err("this machine has no trusted roots: install its ca-certificates, or name a file with \
                        `roots` in [edge.probe]"
                .to_owned());
        }
        Ok(Arc::new(builder(&self.provider).with_root_certificates(store).with_no_client_auth()))
    }
}

/// The certificates in a file; there is at least one.
pub(crate) fn roots_of(file: &std::path::Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let unreadable = |error: rustls::pki_types::pem::Error| format!("{}: {error}", file.display());
    let read = CertificateDer::pem_file_iter(file).map_err(unreadable)?.collect::<Result<Vec<_>, _>>();
    match read.map_err(unreadable)? {
        none if none.is_empty() => Err(format!("{}: contains no certificate", file.display())),
        roots => Ok(roots),
    }
}

fn builder(provider: &Arc<CryptoProvider>) -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_safe_default_protocol_versions()
        .expect("ring knows TLS 1.2 and 1.3")
}

/// The name that a certificate must be for: a host's name, or an address. A port at its end is none of it.
pub(super) fn name_of(host: &str) -> Result<ServerName<'static>, String> {
    let host = host.strip_prefix('[').and_then(|rest| rest.split_once(']')).map_or(host, |(address, _)| address);
    let host = match host.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') && port.parse::<u16>().is_ok() => name,
        _ => host,
    };
    ServerName::try_from(host.to_owned()).map_err(|_| format!("\"{host}\" is neither a host's name nor an address"))
}

/// Believes whoever answers. That he has the key to what he shows is checked all the same.
pub(crate) struct Anybody(pub(crate) Arc<CryptoProvider>);

impl fmt::Debug for Anybody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Anybody")
    }
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
