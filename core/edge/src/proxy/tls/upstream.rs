//! What is spoken with servers: TLS that verifies them, and HTTP/2.
//!
//! Pingora speaks TLS on the connections that `links` has made and registered, and so they are cut as any other. With a
//! CA or a certificate of one's own it keeps no sessions: each new connection is a whole handshake. Connections are
//! pooled, and a side that takes the role has sessions of nobody.

use super::files::{self, Chain, TlsError};
use crate::config::{UpstreamConfig, UpstreamTls};
use crate::proxy::servers::Server;
use pingora_core::protocols::tls::CaType;
use pingora_core::upstreams::peer::{ALPN, HttpPeer};
use pingora_core::utils::tls::{CertKey, WrappedX509, parse_x509};
use rustls::crypto::ring;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

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
}

struct Secured {
    ca: Option<Arc<CaType>>,
    certificate: Option<(Arc<CertKey>, Chain)>,
    name: Option<String>,
    insecure: bool,
}

impl Upstream {
    /// Reads the files that the configuration names.
    ///
    /// # Errors
    /// One of them cannot be used.
    pub fn open(config: &UpstreamConfig) -> Result<Upstream, TlsError> {
        let tls = config.tls.as_ref().map(Secured::open).transpose()?;
        Ok(Upstream { tls, http2: config.http2 })
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
    pub(in crate::proxy) fn peer(&self, server: &Server, address: SocketAddr, handshake: Duration) -> Box<HttpPeer> {
        let name = |tls: &Secured| tls.name.clone().unwrap_or_else(|| server.host().to_owned());
        let mut peer =
            Box::new(HttpPeer::new(address, self.tls.is_some(), self.tls.as_ref().map(name).unwrap_or_default()));
        if let Some(tls) = &self.tls {
            peer.options.connection_timeout = Some(handshake);
            peer.options.ca.clone_from(&tls.ca);
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
        peer
    }
}

impl Secured {
    fn open(config: &UpstreamTls) -> Result<Secured, TlsError> {
        let UpstreamTls { ca, name, certificate, insecure } = config;
        let wrapped = |der: &[u8]| WrappedX509::new(der.to_vec(), parse_x509);
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
        Ok(Secured { ca, certificate, name: name.clone(), insecure: *insecure })
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream").field("tls", &self.tls.is_some()).field("http2", &self.http2).finish()
    }
}
