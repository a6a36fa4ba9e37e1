//! Files that TLS rests on, read with care and checked as a whole: what could not be used in a handshake is refused here.

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, RootCertStore};
use std::fs::File;
use std::io::{self, Read as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// No file of certificates is so long; the system's roots have a fifth of it.
const FILE_MAX: u64 = 1 << 20;

/// A certificate that ends within this time is spoken of.
const SOON: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// Why a file cannot be used: a sentence with its remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {what}", file.display())]
pub struct TlsError {
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it, and what to do.
    pub what: String,
}

impl TlsError {
    pub(super) fn new(file: &Path, what: impl Into<String>) -> TlsError {
        TlsError { file: file.to_owned(), what: what.into() }
    }
}

/// A chain with its key, and whom it is for.
#[derive(Debug)]
pub(super) struct Chain {
    pub(super) key: Arc<CertifiedKey>,
    /// The same key, for whoever wants it as it stands in the file.
    pub(super) secret: PrivateKeyDer<'static>,
    /// In lower case; `*.domain` among them.
    pub(super) names: Vec<String>,
    pub(super) file: PathBuf,
    pub(super) not_after: SystemTime,
}

impl Chain {
    /// Reads a file in PEM: the certificate, those that lead from it to a root, and the key.
    pub(super) fn read(file: &Path, provider: &CryptoProvider, now: SystemTime) -> Result<Chain, TlsError> {
        let wrong = |what: String| TlsError::new(file, what);
        let text = read(file, true)?;
        let chain = certificates(file, &text)?;
        let secret = PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
            pem::Error::NoItemsFound => wrong(
                "contains no private key: the certificate, those that lead to its root, and the key stand in one file, in PEM"
                    .to_owned(),
            ),
            error => wrong(format!("contains a private key that cannot be read: {error}; one without a passphrase is wanted")),
        })?;
        let (names, not_after) = facts(&chain[0], now).map_err(wrong)?;
        let key = CertifiedKey::from_der(chain, secret.clone_key(), provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => wrong(
                "its key does not fit its first certificate: the own certificate stands first, and the key is the one that it was \
                 asked for with"
                    .to_owned(),
            ),
            error => wrong(format!("contains a key that cannot be used: {error}; RSA, ECDSA and Ed25519 can")),
        })?;
        Ok(Chain { key: Arc::new(key), secret, names, file: file.to_owned(), not_after })
    }

    /// A sentence, if it ends soon.
    pub(super) fn ends_soon(&self, now: SystemTime) -> Option<String> {
        (self.not_after < now + SOON).then(|| {
            let (file, end) = (self.file.display(), humantime::format_rfc3339_seconds(self.not_after));
            format!("{file}: the certificate ends on {end}: put a new one in its place, and send the edge SIGHUP")
        })
    }
}

/// Whom a certificate is for, and until when. One that is not valid now is refused.
fn facts(certificate: &CertificateDer<'_>, now: SystemTime) -> Result<(Vec<String>, SystemTime), String> {
    let (_, read) =
        X509Certificate::from_der(certificate).map_err(|error| format!("contains what is no certificate: {error}"))?;
    let time = |seconds: i64| UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    let written = humantime::format_rfc3339_seconds;
    let (not_before, not_after) =
        (time(read.validity().not_before.timestamp()), time(read.validity().not_after.timestamp()));
    if now > not_after {
        return Err(format!("the certificate has expired on {}: put a new one in its place", written(not_after)));
    }
    if now < not_before {
        let (from, now) = (written(not_before), written(now));
        return Err(format!(
            "the certificate is valid from {from} on, and by this machine's clock it is {now}: set the clock"
        ));
    }
    let names = read.subject_alternative_name().map_err(|_| "its alternative names cannot be read".to_owned())?;
    let names = names.map(|names| names.value.general_names.as_slice()).unwrap_or_default();
    let names = names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        GeneralName::IPAddress(bytes) => address(bytes).map(|address| address.to_string()),
        _ => None,
    });
    Ok((names.collect(), not_after))
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(|octets| Ipv4Addr::from(octets).into());
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(|octets| Ipv6Addr::from(octets).into())).ok()
}

/// The roots in a file, at least one.
pub(super) fn roots(file: &Path) -> Result<(RootCertStore, Vec<CertificateDer<'static>>), TlsError> {
    let found = certificates(file, &read(file, false)?)?;
    let mut store = RootCertStore::empty();
    for certificate in &found {
        let refused = |error| TlsError::new(file, format!("contains what can be no CA: {error}"));
        store.add(certificate.clone()).map_err(refused)?;
    }
    Ok((store, found))
}

fn certificates(file: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let none = "contains no certificate: a file in PEM is wanted, with lines -----BEGIN CERTIFICATE-----";
    match CertificateDer::pem_slice_iter(text).collect::<Result<Vec<_>, _>>() {
        Ok(found) if found.is_empty() => Err(TlsError::new(file, none)),
        Ok(found) => Ok(found),
        Err(error) => Err(TlsError::new(file, format!("contains a certificate that cannot be read: {error}"))),
    }
}

/// What is in a file; one with a key is nobody else's.
fn read(file: &Path, private: bool) -> Result<Vec<u8>, TlsError> {
    let unreadable = |error: io::Error| {
        let what = match error.kind() {
            io::ErrorKind::NotFound => "is not there: put it there, or change the configuration".to_owned(),
            io::ErrorKind::PermissionDenied => "may not be read: give it to the edge's user".to_owned(),
            _ => format!("cannot be read: {error}"),
        };
        TlsError::new(file, what)
    };
    let opened = File::open(file).map_err(unreadable)?;
    let mode = opened.metadata().map_err(unreadable)?.mode() & 0o7777;
    if private && mode & 0o027 != 0 {
        let what = format!("contains a private key and is open to others (mode {mode:04o}): say chmod 0600");
        return Err(TlsError::new(file, what));
    }
    let mut bytes = Vec::new();
    opened.take(FILE_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(TlsError::new(file, format!("is longer than {FILE_MAX} bytes: this is no file of certificates")));
    }
    Ok(bytes)
}
