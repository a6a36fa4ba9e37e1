//! TLS that ends at a listener.

use super::files::{self, Chain, TlsError};
use super::names::Names;
use super::tickets::{Mark, Marked, Tickets};
use crate::config::{ListenerTls, Protocol};
use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{self, cipher_suite as suite};
use rustls::server::{Acceptor, ClientHello, NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{CipherSuite, ServerConfig, SupportedCipherSuite};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

/// Handshakes of one listener under way at once. Half of the connections that it takes: who never ends a handshake leaves
/// places to others.
const HANDSHAKES: usize = 5_000;

/// Tickets that a client of TLS 1.3 is given with each connection. Each costs us as much as a record of its own; a client that opens several
/// connections at once, before it has more, makes whole handshakes for them.
const TICKETS: usize = 1;
/// … where they say which session it is.
const MARKED_TICKETS: usize = 2;

/// What is spoken, in our order. SHA-256 has instructions of its own in processors, SHA-384 has not: over a handshake that makes more of a
/// difference than all else that can be chosen, and both are out of anybody's reach.
static SUITES: [SupportedCipherSuite; 9] = [
    suite::TLS13_AES_128_GCM_SHA256,
    suite::TLS13_AES_256_GCM_SHA384,
    suite::TLS13_CHACHA20_POLY1305_SHA256,
    suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
];

/// Whether a client would rather have ChaCha20 than AES: its processor has no instructions for AES, and it chooses.
fn prefers_chacha(hello: &ClientHello<'_>) -> bool {
    use CipherSuite as C;
    let chacha = [
        C::TLS13_CHACHA20_POLY1305_SHA256,
        C::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        C::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ];
    let known = |offered: &&C| SUITES.iter().any(|suite| suite.suite() == **offered);
    hello.cipher_suites().iter().find(known).is_some_and(|first| chacha.contains(first))
}

/// One listener's certificates, and how it speaks TLS. Clients that are connected keep what they were shown.
pub struct Termination {
    files: ListenerTls,
    live: ArcSwap<Fresh>,
    handshakes: Arc<Semaphore>,
}

/// Files that were read and found sound.
struct Fresh {
    /// By our order of ciphers.
    config: Arc<ServerConfig>,
    /// By the client's.
    obliging: Arc<ServerConfig>,
    chains: Vec<Chain>,
    /// None: nobody resumes anything.
    tickets: Option<Arc<Tickets>>,
}

impl Termination {
    /// Reads the files.
    ///
    /// # Errors
    /// One of them cannot be used.
    pub fn open(files: &ListenerTls) -> Result<Termination, TlsError> {
        let live = ArcSwap::from_pointee(read(files)?);
        Ok(Termination { files: files.clone(), live, handshakes: Arc::new(Semaphore::new(HANDSHAKES)) })
    }

    /// Reads the files again. Nothing has changed until [`take_over`](Termination::take_over).
    ///
    /// # Errors
    /// One of them cannot be used.
    pub fn read_again(&self) -> Result<Termination, TlsError> {
        Termination::open(&self.files)
    }

    /// Shows new clients what another one has read of the same files, later. False: it is what they are shown already.
    pub fn take_over(&self, later: &Termination) -> bool {
        let (before, fresh) = (self.live.load(), later.live.load_full());
        let same = before.chains.len() == fresh.chains.len()
            && before.chains.iter().zip(&fresh.chains).all(|(old, new)| old.key.cert == new.key.cert);
        self.live.store(fresh);
        !same
    }

    /// Sentences about certificates that end soon.
    #[must_use]
    pub fn ending(&self) -> Vec<String> {
        let now = SystemTime::now();
        self.live.load().chains.iter().filter_map(|chain| chain.ends_soon(now)).collect()
    }

    /// One client's handshake. `marked`: with by what the client is known again, where it can be.
    pub(in crate::proxy) async fn accept(
        &self,
        socket: TcpStream,
        within: Duration,
        marked: bool,
    ) -> io::Result<(TlsStream<TcpStream>, Option<Mark>)> {
        let busy = |_| io::Error::new(io::ErrorKind::ResourceBusy, "too many handshakes are under way");
        let _turn = self.handshakes.try_acquire().map_err(busy)?;
        let shake_hands = async {
            let hello = LazyConfigAcceptor::new(Acceptor::default(), socket).await?;
            let (config, marked) = self.live.load().config_of_one(prefers_chacha(&hello.client_hello()), marked);
            let stream = hello.into_stream(config).await?;
            Ok((stream, marked.map(|marked| marked.mark())))
        };
        tokio::time::timeout(within, shake_hands).await?
    }
}

impl Fresh {
    /// What one connection's handshake goes by, and where its mark will be.
    fn config_of_one(&self, obliging: bool, marked: bool) -> (Arc<ServerConfig>, Option<Arc<Marked>>) {
        let config = if obliging { &self.obliging } else { &self.config };
        let Some(tickets) = self.tickets.as_ref().filter(|_| marked) else { return (Arc::clone(config), None) };
        let marked = Arc::new(Marked::new(Arc::clone(tickets)));
        let mut config = ServerConfig::clone(config);
        config.send_tls13_tickets = MARKED_TICKETS;
        config.ticketer = Arc::clone(&marked) as _;
        config.session_storage = Arc::clone(&marked) as _;
        (Arc::new(config), Some(marked))
    }
}

impl fmt::Debug for Termination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Termination").field("files", &self.files).finish_non_exhaustive()
    }
}

fn read(files: &ListenerTls) -> Result<Fresh, TlsError> {
    let provider = Arc::new(CryptoProvider { cipher_suites: SUITES.to_vec(), ..ring::default_provider() });
    let now = SystemTime::now();
    let chains: Result<Vec<Chain>, TlsError> =
        files.certificates.iter().map(|file| Chain::read(file, &provider, now)).collect();
    let chains = chains?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .expect("ring knows TLS 1.2 and 1.3");
    let names = Arc::new(Names::new(&chains));
    let mut tickets = None;
    let mut config = match &files.client_ca {
        None => {
            let mut config = builder.with_no_client_auth().with_cert_resolver(names);
            let nowhere = || TlsError { file: "/dev/urandom".into(), what: "gives no random numbers".to_owned() };
            let own = tickets.insert(Tickets::of(files).map_err(|_| nowhere())?);
            config.ticketer = own.sealed();
            config.session_storage = own.stored();
            config.send_tls13_tickets = TICKETS;
            config
        }
        Some(file) => {
            let (roots, _) = files::roots(file)?;
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = if files.client_required { verifier } else { verifier.allow_unauthenticated() };
            let refused = |error| TlsError::new(file, format!("vouches for nobody: {error}"));
            let verifier = verifier.build().map_err(refused)?;
            let mut config = builder.with_client_cert_verifier(verifier).with_cert_resolver(names);
            // A session that is resumed is not judged again: whose certificate has ended would come in with it.
            config.send_tls13_tickets = 0;
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config
        }
    };
    if files.protocol == Protocol::Http {
        let offered: &[&[u8]] = if files.http2 { &[b"h2", b"http/1.1"] } else { &[b"http/1.1"] };
        config.alpn_protocols = offered.iter().map(|protocol| protocol.to_vec()).collect();
    }
    let obliging = Arc::new(config.clone());
    config.ignore_client_order = true;
    Ok(Fresh { config: Arc::new(config), obliging, chains, tickets })
}
