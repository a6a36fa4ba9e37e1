//! TLS and HTTP/2, with clients, servers and an authority of the tests' own.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod http2;
#[allow(dead_code, reason = "it is that of the tests of the proxy, and not all of it is needed here")]
#[path = "../proxy/rig.rs"]
mod rig;
mod sessions;
mod streams;
mod termination;
mod to_sides;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use lockstep_edge::config::{ListenerTls, Protocol};
use lockstep_edge::proxy::{ListenSettings, Listener, Termination};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rig::{PATIENCE, Rig};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// An authority, and where it keeps what it has signed.
struct Pki {
    dir: TempDir,
    params: CertificateParams,
    key: KeyPair,
    root: CertificateDer<'static>,
}

impl Pki {
    fn new() -> Pki {
        let (dir, key) = (tempfile::tempdir().unwrap(), KeyPair::generate().unwrap());
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = params.self_signed(&key).unwrap();
        std::fs::write(dir.path().join("ca.pem"), root.pem()).unwrap();
        let root = root.der().clone();
        Pki { dir, params, key, root }
    }

    fn ca(&self) -> PathBuf {
        self.file("ca.pem")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A certificate for these names, with its key.
    fn issue(&self, file: &str, names: &[&str]) -> PathBuf {
        self.issue_with(file, names, |_| {})
    }

    fn issue_with(&self, file: &str, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> PathBuf {
        let mut params = CertificateParams::new(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>()).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &Issuer::from_params(&self.params, &self.key)).unwrap();
        self.write(file, &format!("{}{}", leaf.pem(), key.serialize_pem()), 0o600)
    }

    fn write(&self, file: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.file(file);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        path
    }

    /// What a listener says with these certificates.
    fn listener(&self, certificates: &[PathBuf]) -> ListenerTls {
        let (certificates, protocol) = (certificates.to_vec(), Protocol::Http);
        ListenerTls { certificates, client_ca: None, client_required: true, protocol, http2: true }
    }

    /// A client that trusts this authority, and shows a certificate if it has one.
    fn client(&self, protocols: &[&str], own: Option<&Path>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
        let mut config = match own.map(pair) {
            Some((chain, key)) => builder.with_client_auth_cert(chain, key).unwrap(),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    /// A server with a certificate of this authority; `asks`: it wants one of its clients, too.
    fn server(&self, certificate: &Path, protocols: &[&str], asks: bool) -> TlsAcceptor {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
        let builder = if asks {
            let mut roots = RootCertStore::empty();
            roots.add(self.root.clone()).unwrap();
            let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.unwrap().with_client_cert_verifier(verifier.build().unwrap())
        } else {
            builder.unwrap().with_no_client_auth()
        };
        let (chain, key) = pair(certificate);
        let mut config = builder.with_single_cert(chain, key).unwrap();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }
}

fn pair(file: &Path) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let text = std::fs::read(file).unwrap();
    let chain = CertificateDer::pem_slice_iter(&text).collect::<Result<_, _>>().unwrap();
    (chain, PrivateKeyDer::from_pem_slice(&text).unwrap())
}

/// One more listener of a rig's pair, with TLS.
fn secured(rig: &Rig, tls: &Arc<Termination>, settings: ListenSettings) -> SocketAddr {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), settings).unwrap().secured(Arc::clone(tls));
    let address = listener.address();
    tokio::spawn(listener.serve(Arc::clone(&rig.pair), rig.closing.subscribe()));
    address
}

async fn connect(config: &Arc<ClientConfig>, name: &str, at: SocketAddr) -> std::io::Result<TlsStream<TcpStream>> {
    let socket = TcpStream::connect(at).await.unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let connected = TlsConnector::from(Arc::clone(config)).connect(name, socket);
    tokio::time::timeout(PATIENCE, connected).await.expect("a handshake, or an end, in time")
}

/// One request by HTTP/1.1; what came until a whole answer, or the end.
async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), path: &str) -> std::io::Result<String> {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: pair\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::new();
    let read = async {
        loop {
            let text = String::from_utf8_lossy(&answer).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = rig::field(head, "content-length").map_or(0, |length| length.parse().unwrap());
                if body.len() >= length {
                    return Ok(text);
                }
            }
            if stream.read_buf(&mut answer).await? == 0 {
                return Ok(text);
            }
        }
    };
    tokio::time::timeout(PATIENCE, read).await.expect("an answer, or an end, in time")
}

/// A client of HTTP/2.
struct Web {
    send: SendRequest<Bytes>,
    driver: JoinHandle<Result<(), h2::Error>>,
}

/// What it was answered.
#[derive(Debug)]
struct Page {
    status: u16,
    body: String,
    trailers: Option<http::HeaderMap>,
}

impl Web {
    async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Web {
        let (send, connection) = h2::client::handshake(stream).await.unwrap();
        Web { send, driver: tokio::spawn(connection) }
    }

    /// Begins a request; with a body, it is sent whole.
    async fn begin(&mut self, method: &str, path: &str, body: Option<Bytes>) -> Result<ResponseFuture, h2::Error> {
        let mut send = self.send.clone().ready().await?;
        let mut request = http::Request::builder().method(method).uri(format!("https://pair{path}"));
        if let Some(body) = &body {
            request = request.header("content-length", body.len());
        }
        let request = request.body(()).unwrap();
        let (answer, mut stream) = send.send_request(request, body.is_none())?;
        if let Some(body) = body {
            stream.send_data(body, true)?;
        }
        Ok(answer)
    }

    async fn get(&mut self, path: &str) -> Result<Page, h2::Error> {
        let answer = self.begin("GET", path, None).await?;
        page(answer).await
    }
}

async fn page(answer: ResponseFuture) -> Result<Page, h2::Error> {
    let read = async {
        let (head, mut body) = answer.await?.into_parts();
        let mut text = Vec::new();
        while let Some(part) = body.data().await {
            let part = part?;
            body.flow_control().release_capacity(part.len())?;
            text.extend_from_slice(&part);
        }
        let trailers = body.trailers().await?;
        Ok(Page { status: head.status.as_u16(), body: String::from_utf8(text).unwrap(), trailers })
    };
    tokio::time::timeout(PATIENCE, read).await.expect("an answer, or an end, in time")
}
