//! What is spoken with servers: TLS that verifies them, and HTTP/2.
//!
//! Pingora speaks TLS on the connections that `links` has made and registered, and so they are cut as any other. With a
//! CA or a certificate of one's own it keeps no sessions: each new connection is a whole handshake. Connections are
//! pooled, and a side that takes the role has sessions of nobody.

use super::files::{self, Chain, TlsError};
use crate::address::Address;
use crate::config::{ProxyVersion, UpstreamConfig, UpstreamTls};
use crate::probe::Anybody;
use crate::proxy::servers::Server;
use pingora_core::protocols::tls::CaType;
use pingora_core::upstreams::peer::{ALPN, HttpPeer};
use pingora_core::utils::tls::{CertKey, WrappedX509, parse_x509};
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio_rustls::TlsConnector;

/// Requests on one HTTP/2 connection to a server at once.
const STREAMS: u32 = 100;

/// What may come of one answer before its client takes it. All together fit into the connection's window: a client that
/// takes nothing keeps nobody else's answer.
const STREAM_WINDOW: u32 = 128 * 1024;

/// What is spoken with the servers of a pair.
#[derive(Default)]
pub struct Upstream {
    tls: Option<Secured>,
    http2: bool,
    announces: Option<ProxyVersion>,
}

struct Secured {
    ca: Option<Arc<CaType>>,
    /// Whom the system trusts, where pingora does not know it and `ca` is not given.
    system: Option<Arc<CaType>>,
    certificate: Option<(Arc<CertKey>, Chain)>,
    name: Option<String>,
    insecure: bool,
    /// For streams, which pingora does not carry.
    streams: TlsConnector,
}

impl Upstream {
    /// Reads the files that the configuration names.
    ///
    /// # Errors
    /// One of them cannot be used.
    pub fn open(config: &UpstreamConfig) -> Result<Upstream, TlsError> {
        let tls = config.tls.as_ref().map(Secured::open).transpose()?;
        Ok(Upstream { tls, http2: config.http2, announces: config.proxy_protocol })
    }

    /// Brings along whom the system trusts, where servers are verified by that. With pingora's own knowledge of it connections
    /// are made with less work.
    pub(in crate::proxy) fn bring_roots(&mut self) {
        if let Some(tls) = self.tls.as_mut().filter(|tls| tls.ca.is_none() && !tls.insecure) {
            let found = rustls_native_certs::load_native_certs().unwrap_or_default();
            // Read as pingora reads them: what cannot be is left out.
            let roots: Box<[_]> = found
                .into_iter()
                .filter(|root| RootCertStore::empty().add(root.clone()).is_ok())
                .map(|root| wrapped(&root))
                .collect();
            tls.system = (!roots.is_empty()).then(|| roots.into());
        }
    }

    /// Each connection begins with a PROXY header, and so belongs to one client's connection: none may be given to another one.
    pub(in crate::proxy) fn announces(&self) -> Option<ProxyVersion> {
        self.announces
    }

    /// What speaks TLS with a server of streams, and the name that it must show; none: no TLS is spoken with servers.
    pub(in crate::proxy) fn connector(
        &self,
        server: &Server,
    ) -> Option<(TlsConnector, io::Result<ServerName<'static>>)> {
        let tls = self.tls.as_ref()?;
        let name = tls.name.clone().unwrap_or_else(|| server.host().to_owned());
        let name = ServerName::try_from(name).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error));
        Some((tls.streams.clone(), name))
    }

    /// HTTP/1.1 in the clear is spoken, on connections that any client's requests may share.
    pub(in crate::proxy) fn is_plain(&self) -> bool {
        self.tls.is_none() && !self.http2 && self.announces.is_none()
    }

    /// A sentence about a certificate that ends soon.
    #[must_use]
    pub fn ending(&self) -> Option<String> {
        let (_, chain) = self.tls.as_ref()?.certificate.as_ref()?;
        chain.ends_soon(SystemTime::now())
    }

    /// Whether the same certificates are in both.
    pub(crate) fn is_like(&self, other: &Upstream) -> bool {
        let own = |upstream: &Upstream| {
            let tls = upstream.tls.as_ref()?;
            let ca: Vec<Vec<u8>> =
                tls.ca.iter().flat_map(|ca| ca.iter()).map(|ca| ca.borrow_raw_cert().clone()).collect();
            let certificate = tls.certificate.as_ref().map(|(_, chain)| chain.key.cert.clone());
            Some((ca, certificate))
        };
        own(self) == own(other)
    }

    /// Where an attempt goes, and how it is spoken to. `handshake` bounds that of TLS.
    pub(in crate::proxy) fn peer(
        &self,
        server: &Server,
        address: &Address,
        handshake: Duration,
    ) -> pingora_core::Result<Box<HttpPeer>> {
        let name = |tls: &Secured| tls.name.clone().unwrap_or_else(|| server.host().to_owned());
        let name = self.tls.as_ref().map(name).unwrap_or_default();
        let mut peer = Box::new(match address {
            Address::Inet(address) => HttpPeer::new(address, self.tls.is_some(), name),
            Address::Unix(path) => HttpPeer::new_uds(path, self.tls.is_some(), name)?,
        });
        if let Some(tls) = &self.tls {
            peer.options.connection_timeout = Some(handshake);
            peer.options.ca = tls.ca.clone().or_else(|| tls.system.clone());
            peer.client_cert_key = tls.certificate.as_ref().map(|(certificate, _)| Arc::clone(certificate));
            peer.options.verify_cert = !tls.insecure;
            peer.options.verify_hostname = !tls.insecure;
        }
        if self.http2 {
            // Without TLS nobody can be asked: the configuration says what servers understand.
            peer.options.alpn = if self.tls.is_some() { ALPN::H2H1 } else { ALPN::H2 };
            peer.options.max_h2_streams = STREAMS as usize;
            peer.options.h2_stream_window_size = Some(STREAM_WINDOW);
            peer.options.h2_connection_window_size = Some(STREAMS * STREAM_WINDOW);
        }
        Ok(peer)
    }
}

impl Secured {
    fn open(config: &UpstreamTls) -> Result<Secured, TlsError> {
        let UpstreamTls { ca, name, certificate, insecure } = config;
        let ca = match ca {
            Some(file) => {
                let (_, certificates) = files::roots(file)?;
                Some(certificates.iter().map(|certificate| wrapped(certificate)).collect::<Box<[_]>>().into())
            }
            None => None,
        };
        let chain = certificate.as_ref().map(|file| Chain::read(file, &ring::default_provider(), SystemTime::now()));
        let certificate = chain.transpose()?.map(|chain| {
            let der = chain.key.cert.iter().map(|certificate| certificate.to_vec()).collect();
            (Arc::new(CertKey::new(der, chain.secret.secret_der().to_vec())), chain)
        });
        let streams = TlsConnector::from(Arc::new(client(config, certificate.as_ref().map(|(_, chain)| chain))?));
        Ok(Secured { ca, certificate, name: name.clone(), insecure: *insecure, streams, system: None })
    }
}

fn wrapped(der: &[u8]) -> WrappedX509 {
    WrappedX509::new(der.to_vec(), parse_x509)
}

/// How streams speak TLS with servers: as requests do, without the protocols that these agree on.
fn client(config: &UpstreamTls, own: Option<&Chain>) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("ring knows TLS 1.2 and 1.3");
    let builder = if config.insecure {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider)))
    } else {
        builder.with_root_certificates(match &config.ca {
            Some(file) => files::roots(file)?.0,
            None => system_roots(),
        })
    };
    match own {
        None => Ok(builder.with_no_client_auth()),
        Some(chain) => builder
            .with_client_auth_cert(chain.key.cert.clone(), chain.secret.clone_key())
            .map_err(|error| TlsError::new(&chain.file, format!("cannot be shown to servers: {error}"))),
    }
}

/// Whom the system trusts. What of it cannot be read is left out, as pingora does.
fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().unwrap_or_default());
    roots
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream").field("tls", &self.tls.is_some()).field("http2", &self.http2).finish()
    }
}
