//! Files that were found sound: what handshakes and judgements use, as one whole.

use super::facts::Facts;
use super::files::{Contents, TlsFiles, TrustError};
use super::identity::Identity;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, TrustAnchor, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use webpki::{CertRevocationList, EndEntityCert, KeyUsage, OwnedCertRevocationList};
use x509_parser::prelude::{CertificateRevocationList, FromDer as _, X509Certificate};

/// Certificates and lists in one file.
const PER_FILE: usize = 64;

/// All that was read, checked against each other.
#[derive(Debug)]
pub(super) struct Material {
    pub(super) contents: Contents,
    pub(super) anchors: Vec<TrustAnchor<'static>>,
    pub(super) revoked: Vec<CertRevocationList<'static>>,
    /// The own certificate, for whoever asks for it.
    pub(super) own: Facts,
    pub(super) presented: Arc<SingleCertAndKey>,
    /// When the first of the CAs ends.
    pub(super) ca_ends: SystemTime,
    pub(super) provider: Arc<CryptoProvider>,
}

impl Material {
    pub(super) fn algorithms(&self) -> &WebPkiSupportedAlgorithms {
        &self.provider.signature_verification_algorithms
    }

    /// Checks what files contain. An own certificate that has expired, or is not valid yet, is taken: it may be renewed.
    pub(super) fn new(
        files: &TlsFiles,
        contents: Contents,
        own: &Identity,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Material, TrustError> {
        let ca = certificates(&files.ca, &contents.ca)?;
        let mut anchors = Vec::new();
        for certificate in &ca {
            let anchor = webpki::anchor_from_trusted_cert(certificate)
                .map_err(|error| TrustError::new(&files.ca, format!("contains what can be no CA: {error}")))?;
            anchors.push(anchor.to_owned());
        }
        let ca_ends = ca_ends(&files.ca, &ca)?;
        let revoked = match &files.revoked {
            Some(file) => lists(file, &contents.revoked, &ca)?,
            None => Vec::new(),
        };
        let chain = certificates(&files.certificate, &contents.certificate)?;
        let facts = Facts::read(&chain[0]).map_err(|what| TrustError::new(&files.certificate, what))?;
        check_own(&files.certificate, &facts, own)?;
        check_chain(&files.certificate, &chain, &facts, &anchors, own, provider)?;
        let presented = Arc::new(SingleCertAndKey::from(certified(files, &contents, chain, provider)?));
        Ok(Material { contents, anchors, revoked, own: facts, presented, ca_ends, provider: Arc::clone(provider) })
    }
}

/// Those that a PEM file contains, at least one.
pub(super) fn certificates(file: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).take(PER_FILE).collect();
    match read {
        Ok(found) if found.is_empty() => {
            Err(TrustError::new(file, "contains no certificate: -----BEGIN CERTIFICATE----- is looked for"))
        }
        Ok(found) => Ok(found),
        Err(error) => Err(TrustError::new(file, format!("contains a certificate that cannot be read: {error}"))),
    }
}

fn ca_ends(file: &Path, ca: &[CertificateDer<'static>]) -> Result<SystemTime, TrustError> {
    let mut first = None;
    for certificate in ca {
        let wrong = |what: String| TrustError::new(file, what);
        let facts = Facts::read(certificate).map_err(wrong)?;
        let (_, read) = X509Certificate::from_der(certificate).map_err(|error| wrong(error.to_string()))?;
        if !read.is_ca() {
            let subject = facts.subject;
            return Err(wrong(format!(
                "contains {subject}, which is no CA: `ca` is the file ca.pem of `lockstep pki init`"
            )));
        }
        first = Some(first.map_or(facts.not_after, |at: SystemTime| at.min(facts.not_after)));
    }
    Ok(first.unwrap_or(UNIX_EPOCH))
}

/// Revocation lists that one of the CAs has signed.
fn lists(
    file: &Path,
    pem: &[u8],
    ca: &[CertificateDer<'static>],
) -> Result<Vec<CertRevocationList<'static>>, TrustError> {
    let wrong = |what: String| TrustError::new(file, what);
    let mut lists = Vec::new();
    for list in CertificateRevocationListDer::pem_slice_iter(pem).take(PER_FILE) {
        let list = list.map_err(|error| wrong(format!("contains a list that cannot be read: {error}")))?;
        let (_, read) = CertificateRevocationList::from_der(&list)
            .map_err(|error| wrong(format!("contains a list that cannot be read: {error}")))?;
        let is_signed = ca.iter().any(|certificate| {
            X509Certificate::from_der(certificate)
                .is_ok_and(|(_, ca)| ca.subject() == read.issuer() && read.verify_signature(ca.public_key()).is_ok())
        });
        if !is_signed {
            return Err(wrong(format!("is a list by {}, and not by a CA of `ca`", read.issuer())));
        }
        let owned = OwnedCertRevocationList::from_der(&list)
            .map_err(|error| wrong(format!("contains a list that cannot be used: {error}")))?;
        lists.push(CertRevocationList::from(owned));
    }
    if lists.is_empty() {
        return Err(wrong(
            "contains no revocation list: `revoked` is the file revoked.pem of `lockstep pki`".to_owned(),
        ));
    }
    Ok(lists)
}

/// The own certificate must be for who we are: nobody would speak to us otherwise.
fn check_own(file: &Path, facts: &Facts, own: &Identity) -> Result<(), TrustError> {
    let verb = match own {
        Identity::Edge { name } => format!("lockstep pki issue edge {name}"),
        Identity::Agent { pair, side } => format!("lockstep pki issue agent {pair} {side}"),
    };
    let why = match &facts.identity {
        Ok(identity) if identity == own => return Ok(()),
        Ok(identity) => format!("is for {identity}"),
        Err(why) => format!("is of no use here: {why}"),
    };
    Err(TrustError::new(file, format!("{why}, and by its configuration this is {own}: issue one with `{verb}`")))
}

/// The own chain leads to a CA of ours, apart from the time.
fn check_chain(
    file: &Path,
    chain: &[CertificateDer<'static>],
    facts: &Facts,
    anchors: &[TrustAnchor<'static>],
    own: &Identity,
    provider: &CryptoProvider,
) -> Result<(), TrustError> {
    let usage = match own {
        Identity::Edge { .. } => KeyUsage::client_auth(),
        Identity::Agent { .. } => KeyUsage::server_auth(),
    };
    let now = SystemTime::now().clamp(facts.not_before, facts.not_after.max(facts.not_before));
    let now = UnixTime::since_unix_epoch(now.duration_since(UNIX_EPOCH).unwrap_or_default());
    let sound = EndEntityCert::try_from(&chain[0]).and_then(|end| {
        let algorithms = provider.signature_verification_algorithms.all;
        end.verify_for_usage(algorithms, anchors, &chain[1..], now, usage, None, None).map(drop)
    });
    sound.map_err(|error| match error {
        webpki::Error::UnknownIssuer => {
            TrustError::new(file, "was not signed by a CA of `ca`: copy certificate and ca.pem of the same CA here")
        }
        other => TrustError::new(file, format!("is not sound: {other}")),
    })
}

fn certified(
    files: &TlsFiles,
    contents: &Contents,
    chain: Vec<CertificateDer<'static>>,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TrustError> {
    let wrong = |what: String| TrustError::new(&files.key, what);
    let key = PrivateKeyDer::from_pem_slice(&contents.key).map_err(|error| {
        wrong(format!("contains no private key that can be read ({error}): -----BEGIN PRIVATE KEY----- is looked for"))
    })?;
    let key = provider.key_provider.load_private_key(key).map_err(|error| wrong(format!("is of no use: {error}")))?;
    let certified = CertifiedKey::new(chain, key);
    certified.keys_match().map_err(|_| {
        wrong("is not the key of the certificate: copy both of the same `lockstep pki issue` here".to_owned())
    })?;
    Ok(certified)
}
