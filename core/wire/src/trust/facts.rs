//! What a certificate says of itself, for people and for decisions that come after its signature was checked.

use super::files::{self, TrustError};
use super::identity::{self, Identity};
use super::material::certificates;
use rustls::pki_types::CertificateDer;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Whom it is for, or why it is for nobody here.
    pub identity: Result<Identity, String>,
    /// Its subject, as in `CN=edge-1`.
    pub subject: String,
    /// Its serial number, in hexadecimal.
    pub serial: String,
    /// From when on it is valid.
    pub not_before: SystemTime,
    /// Until when.
    pub not_after: SystemTime,
}

impl Facts {
    /// Reads a certificate. Nothing of it is proven by that.
    ///
    /// # Errors
    /// It is none.
    pub fn read(certificate: &CertificateDer<'_>) -> Result<Facts, String> {
        let (rest, read) = X509Certificate::from_der(certificate.as_ref())
            .map_err(|error| format!("it is no certificate: {error}"))?;
        if !rest.is_empty() {
            return Err("something follows the certificate".to_owned());
        }
        Ok(Facts {
            identity: identity_of(&read),
            subject: cut(&read.subject().to_string()),
            serial: hexadecimal(read.raw_serial()),
            not_before: time(read.validity().not_before.timestamp()),
            not_after: time(read.validity().not_after.timestamp()),
        })
    }

    /// Reads the certificates of a file.
    ///
    /// # Errors
    /// It cannot be read, or contains none.
    pub fn read_file(file: &Path) -> Result<Vec<Facts>, TrustError> {
        let found = certificates(file, &files::read(file)?)?;
        found.iter().map(|found| Facts::read(found).map_err(|what| TrustError::new(file, what))).collect()
    }

    /// How long it is valid in all.
    #[must_use]
    pub fn lasting(&self) -> Duration {
        self.not_after.duration_since(self.not_before).unwrap_or_default()
    }
}

fn identity_of(read: &X509Certificate<'_>) -> Result<Identity, String> {
    let unreadable = |_| "its alternative names cannot be read".to_owned();
    let names = read.subject_alternative_name().map_err(unreadable)?;
    let names = names.map(|names| names.value.general_names.as_slice()).unwrap_or_default();
    let ours = names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) if identity::is_ours(uri) => Some(*uri),
        _ => None,
    });
    let ours: Vec<&str> = ours.collect();
    match ours[..] {
        [] => Err("it names neither an edge nor an agent".to_owned()),
        [uri] => Identity::from_uri(uri).ok_or_else(|| format!("it is for \"{}\", which is nobody here", cut(uri))),
        _ => Err("it names more than one edge or agent".to_owned()),
    }
}

fn time(seconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

/// A stranger's text, for a log.
fn cut(text: &str) -> String {
    let clean = text.chars().map(|c| if c.is_control() { '?' } else { c });
    clean.take(120).collect()
}

/// `0a3f`, without zeros that only keep the number positive.
pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    let bytes = if bytes.len() > 1 && bytes[0] == 0 { &bytes[1..] } else { bytes };
    bytes.iter().take(32).map(|byte| format!("{byte:02x}")).collect()
}

/// `2026-03-01T12:00:00Z`.
#[must_use]
pub fn written(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}
