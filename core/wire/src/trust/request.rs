//! An agent's own renewal: a new key that never leaves the node, a request for a certificate of it, and both stored as one.

use super::Trust;
use super::authority::pem;
use super::facts::Facts;
use super::files::{self, TrustError};
use rcgen::{CertificateParams, KeyPair, PublicKeyData as _};
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// A key that waits for its certificate.
#[derive(Debug)]
pub struct Request {
    key: KeyPair,
    der: Vec<u8>,
}

impl Request {
    /// Makes a key. Who it is for is not asked for: the one who signs takes that from the present certificate.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn new() -> Result<Request, String> {
        let key = KeyPair::generate().map_err(|error| error.to_string())?;
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let request = params.serialize_request(&key).map_err(|error| error.to_string())?;
        Ok(Request { der: request.der().to_vec(), key })
    }

    /// As it is sent.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Takes the certificate that came for it: stores both in one file, in the place of those of now, and uses them from then on.
    ///
    /// # Errors
    /// It is not for this key, not for who we are, does not last longer, or cannot be stored. Nothing has changed then.
    pub fn complete(&self, trust: &Trust, certificate: &[u8]) -> Result<Facts, TrustError> {
        let file = &trust.files().certificate;
        let wrong = |what: String| TrustError::new(file, what);
        let certificate = CertificateDer::from(certificate.to_vec());
        let (_, read) = X509Certificate::from_der(&certificate)
            .map_err(|error| wrong(format!("the renewed one cannot be read: {error}")))?;
        if read.public_key().raw != self.key.subject_public_key_info().as_slice() {
            return Err(wrong("the renewed one is for another key".to_owned()));
        }
        let facts = Facts::read(&certificate).map_err(wrong)?;
        if facts.not_after <= trust.own().not_after {
            return Err(wrong("the renewed one ends no later than the present one".to_owned()));
        }
        let text = format!("{}{}", self.key.serialize_pem(), pem("CERTIFICATE", &certificate));
        trust.would_do(text.as_bytes())?;
        files::write_private(file, &text)?;
        trust.reload()?;
        Ok(facts)
    }
}
