//! One call on one new connection: bounded in time and in bytes.

use crate::config::{Call, Expected, HttpService};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONNECTION, HOST, HeaderValue, USER_AGENT};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// So much of an answer is looked at.
const BODY_MAX: usize = 64 * 1024;
/// And so much of its head.
const HEAD_MAX: usize = 64 * 1024;
const HEADERS_MAX: usize = 100;
/// Of what an answer says, so much goes into a sentence.
const QUOTED_MAX: usize = 120;
/// A longer log-in is no log-in.
const LOGIN_MAX: u64 = 1024;

/// Who makes the calls of one service.
pub(super) struct Caller {
    ca: Option<PathBuf>,
    login: Option<PathBuf>,
    /// Made when it is first needed: certificates are read from a disk.
    connector: tokio::sync::OnceCell<TlsConnector>,
}

/// An answer, as far as it is looked at.
#[derive(Debug)]
pub(super) struct Answer {
    status: u16,
    body: Vec<u8>,
}

impl Answer {
    pub(super) fn is(&self, expected: &Expected) -> bool {
        expected.statuses.iter().any(|range| range.contains(&self.status))
            && contains(&self.body, expected.contains.as_bytes())
    }

    /// For a person to read.
    pub(super) fn text(&self) -> String {
        let body = String::from_utf8_lossy(&self.body);
        let line = body.split_whitespace().collect::<Vec<_>>().join(" ");
        let quoted: String = line.chars().filter(|c| !c.is_control()).take(QUOTED_MAX).collect();
        if quoted.is_empty() { format!("status {}", self.status) } else { format!("status {}: {quoted}", self.status) }
    }
}

fn contains(body: &[u8], text: &[u8]) -> bool {
    text.is_empty() || body.windows(text.len()).any(|window| window == text)
}

impl Caller {
    pub(super) fn new(service: &HttpService) -> Caller {
        let HttpService { ca, login, .. } = service;
        Caller { ca: ca.clone(), login: login.clone(), connector: tokio::sync::OnceCell::new() }
    }

    /// Makes a call, whose answer must be the expected one. An error says what came instead.
    pub(super) async fn make(&self, call: &Call) -> Result<(), String> {
        let answer = self.ask(call).await?;
        if answer.is(&call.expected) {
            return Ok(());
        }
        Err(format!(
            "{} was answered with {}, which is not what `expect` and `contains` say",
            text(call),
            answer.text()
        ))
    }

    /// Makes a call; whatever its answer is.
    pub(super) async fn ask(&self, call: &Call) -> Result<Answer, String> {
        let asked = timeout(call.timeout, self.exchange(call)).await;
        let fault = |why: String| format!("{} had no answer: {why}", text(call));
        asked.unwrap_or_else(|_| Err(format!("none within {:?}", call.timeout))).map_err(fault)
    }

    async fn exchange(&self, call: &Call) -> Result<Answer, String> {
        let authority = call.uri.authority().ok_or("the address names no host")?;
        let secure = call.uri.scheme_str() == Some("https");
        let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let host = authority.host().trim_matches(['[', ']']);
        let request = self.request(call, authority.as_str()).await?;
        let stream = TcpStream::connect((host, port)).await.map_err(|error| error.to_string())?;
        let _ = stream.set_nodelay(true);
        if !secure {
            return send(stream, request).await;
        }
        let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
        let connector = self.connector.get_or_try_init(|| connector(self.ca.clone())).await?;
        send(connector.connect(name, stream).await.map_err(|error| error.to_string())?, request).await
    }

    async fn request(&self, call: &Call, authority: &str) -> Result<http::Request<Full<Bytes>>, String> {
        let path = call.uri.path_and_query().map_or("/", |path| path.as_str());
        let mut request = http::Request::builder()
            .method(call.method.clone())
            .uri(path)
            .header(HOST, authority)
            .header(CONNECTION, "close");
        if !call.headers.iter().any(|(name, _)| name == USER_AGENT) {
            request = request.header(USER_AGENT, concat!("lockstep-agent/", env!("CARGO_PKG_VERSION")));
        }
        for (name, value) in &call.headers {
            request = request.header(name, value);
        }
        if let Some(file) = self.login.clone() {
            let login = spawn_blocking(move || read_login(&file)).await.map_err(|error| error.to_string())??;
            let mut value =
                HeaderValue::try_from(format!("Basic {}", STANDARD.encode(login))).map_err(|e| e.to_string())?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        request.body(Full::from(call.body.clone())).map_err(|error| error.to_string())
    }
}

/// `POST https://host/path`.
pub(super) fn text(call: &Call) -> String {
    format!("{} {}", call.method, call.uri)
}

async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send,
    request: http::Request<Full<Bytes>>,
) -> Result<Answer, String> {
    let handshake = hyper::client::conn::http1::Builder::new()
        .max_buf_size(HEAD_MAX)
        .max_headers(HEADERS_MAX)
        .handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(|error| error.to_string())?;
    let answered = async {
        let (head, body) = sender.send_request(request).await.map_err(|error| error.to_string())?.into_parts();
        Ok(Answer { status: head.status.as_u16(), body: read(body).await? })
    };
    let (mut answered, mut connection) = (pin!(answered), pin!(connection));
    tokio::select! {
        biased;
        answer = &mut answered => answer,
        // The connection may end with the answer in hand.
        _ = &mut connection => answered.await,
    }
}

/// As much of a body as is looked at.
async fn read(mut body: Incoming) -> Result<Vec<u8>, String> {
    let mut text = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(|error| error.to_string())?.into_data() {
            text.extend_from_slice(&data);
        }
        if text.len() >= BODY_MAX {
            break;
        }
    }
    text.truncate(BODY_MAX);
    Ok(text)
}

async fn connector(ca: Option<PathBuf>) -> Result<TlsConnector, String> {
    let read = spawn_blocking(move || match ca {
        Some(file) => trusted(&file),
        None => rustls_native_certs::load_native_certs().map_err(|error| format!("the system's roots: {error}")),
    });
    let mut roots = RootCertStore::empty();
    // The system's may contain what only other libraries can read.
    roots.add_parsable_certificates(read.await.map_err(|error| error.to_string())??);
    if roots.is_empty() {
        return Err("this machine has no trusted roots: install its ca-certificates, or name a file by `ca`".to_owned());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = builder.map_err(|error| error.to_string())?.with_root_certificates(roots).with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// The certificates in a file; there is at least one.
pub(crate) fn trusted(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let unreadable = |error: rustls::pki_types::pem::Error| format!("{}: {error}", file.display());
    let read = CertificateDer::pem_file_iter(file).map_err(unreadable)?.collect::<Result<Vec<_>, _>>();
    match read.map_err(unreadable)? {
        none if none.is_empty() => Err(format!("{}: contains no certificate", file.display())),
        certificates => Ok(certificates),
    }
}

/// USER:PASSWORD, the first line of a file that is its owner's alone.
pub(crate) fn read_login(file: &Path) -> Result<String, String> {
    let fault = |what: &str| format!("{}: {what}", file.display());
    let opened = File::open(file).map_err(|error| fault(&error.to_string()))?;
    if is_open_to_others(&opened).map_err(|error| fault(&error.to_string()))? {
        return Err(fault("others than its owner may read it: `chmod 600` it"));
    }
    let mut text = String::new();
    opened.take(LOGIN_MAX).read_to_string(&mut text).map_err(|error| fault(&error.to_string()))?;
    let line = text.lines().next().unwrap_or("").trim();
    match line.split_once(':') {
        Some((user, _)) if !user.is_empty() => Ok(line.to_owned()),
        _ => Err(fault("its first line is not USER:PASSWORD")),
    }
}

#[cfg(unix)]
fn is_open_to_others(file: &File) -> std::io::Result<bool> {
    use std::os::unix::fs::PermissionsExt as _;
    Ok(file.metadata()?.permissions().mode() & 0o077 != 0)
}

/// Who may read a file is said by its access list there, which is its owner's care.
#[cfg(not(unix))]
fn is_open_to_others(_: &File) -> std::io::Result<bool> {
    Ok(false)
}
