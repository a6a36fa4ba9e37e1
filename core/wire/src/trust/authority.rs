//! A certification authority: signs certificates and the list of those that are revoked.

use super::facts::Facts;
use super::files::{self, TrustError};
use super::identity::Identity;
use super::material::certificates;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertificateSigningRequestParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PublicKeyData, RevokedCertParams,
    SanType, SerialNumber,
};
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// A certificate is valid from so long ago on: clocks differ.
const BACK: Duration = Duration::from_secs(3_600);
/// How long a CA is valid.
pub const CA_LASTING: Duration = Duration::from_secs(3_650 * 86_400);
/// How long a certificate is valid that nobody has said anything else of.
pub const LASTING: Duration = Duration::from_secs(30 * 86_400);
/// A request is not longer, in bytes.
const REQUEST_MAX: usize = 8 * 1024;

/// A CA with its key.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate.
    pub facts: Facts,
    certificate: CertificateDer<'static>,
    /// Its certificate and its key, in PEM.
    pem: (String, String),
}

/// What was issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// The certificate.
    pub certificate: CertificateDer<'static>,
    /// What it says.
    pub facts: Facts,
}

impl Authority {
    /// A new one. Two of one name are two: neither is taken for the other.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn new(name: &str) -> Result<Authority, String> {
        let mut tag = [0; 4];
        getrandom::fill(&mut tag).map_err(|error| format!("no random numbers: {error}"))?;
        let key = KeyPair::generate().map_err(failed)?;
        let now = SystemTime::now();
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, format!("{name} {}", super::facts::hexadecimal(&tag)));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        (params.not_before, params.not_after) = (date(now - BACK)?, date(now + CA_LASTING)?);
        params.serial_number = Some(serial()?);
        let certificate = params.self_signed(&key).map_err(failed)?;
        Authority::with(certificate.der().clone(), &key.serialize_pem())
    }

    /// Reads one: the certificate among those of a file that belongs to the key.
    ///
    /// # Errors
    /// A file cannot be read, or they do not belong together.
    pub fn open(ca: &Path, key: &Path) -> Result<Authority, TrustError> {
        let wrong = |what: String| TrustError::new(key, what);
        let pem = String::from_utf8(files::read_private(key)?).map_err(|error| wrong(error.to_string()))?;
        let pair = KeyPair::from_pem(&pem).map_err(|error| wrong(format!("is no private key: {error}")))?;
        let is_its = |certificate: &CertificateDer<'_>| {
            let spki = pair.subject_public_key_info();
            X509Certificate::from_der(certificate).is_ok_and(|(_, read)| read.public_key().raw == spki.as_slice())
        };
        let found = certificates(ca, &files::read(ca)?)?.into_iter().find(is_its);
        let certificate = found.ok_or_else(|| {
            wrong(format!("is not the key of a CA in {}: it is ca.key of `lockstep pki init`", ca.display()))
        })?;
        Authority::with(certificate, &pem).map_err(wrong)
    }

    fn with(certificate: CertificateDer<'static>, key: &str) -> Result<Authority, String> {
        let pair = KeyPair::from_pem(key).map_err(failed)?;
        let issuer = Issuer::from_ca_cert_der(&certificate, pair).map_err(failed)?;
        let pem = (pem("CERTIFICATE", &certificate), key.to_owned());
        Ok(Authority { issuer, facts: Facts::read(&certificate)?, certificate, pem })
    }

    /// Its certificate, in PEM: what both sides trust.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.pem.0
    }

    /// Its key, in PEM.
    #[must_use]
    pub fn key_pem(&self) -> &str {
        &self.pem.1
    }

    /// Signs a certificate for a key of its own making: the certificate, and both in one PEM text.
    ///
    /// # Errors
    /// The CA has ended, or the system has no random numbers.
    pub fn issue(&self, identity: &Identity, lasting: Duration) -> Result<(Issued, String), String> {
        let key = KeyPair::generate().map_err(failed)?;
        let issued = self.sign(identity, &key, lasting, SystemTime::now())?;
        let text = format!("{}{}", key.serialize_pem(), pem("CERTIFICATE", &issued.certificate));
        Ok((issued, text))
    }

    /// The same, as if it were another time: for tests of what has expired and what is not valid yet.
    ///
    /// # Errors
    /// As [`Authority::issue`].
    pub fn issue_at(&self, identity: &Identity, lasting: Duration, now: SystemTime) -> Result<String, String> {
        let key = KeyPair::generate().map_err(failed)?;
        let issued = self.sign(identity, &key, lasting, now)?;
        Ok(format!("{}{}", key.serialize_pem(), pem("CERTIFICATE", &issued.certificate)))
    }

    /// Signs a certificate for the key of a request, and for the identity that is given: whatever else the request asks for,
    /// nothing of it is taken.
    ///
    /// # Errors
    /// It is no request, its signature is not of the key in it, or the CA has ended.
    pub fn answer(&self, identity: &Identity, request: &[u8], lasting: Duration) -> Result<Issued, String> {
        if request.len() > REQUEST_MAX {
            return Err(format!("the request is longer than {REQUEST_MAX} bytes"));
        }
        let request = CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(request))
            .map_err(|error| format!("the request is refused: {error}"))?;
        self.sign(identity, &request.public_key, lasting, SystemTime::now())
    }

    fn sign(
        &self,
        identity: &Identity,
        key: &impl PublicKeyData,
        lasting: Duration,
        now: SystemTime,
    ) -> Result<Issued, String> {
        let until = (now + lasting).min(self.facts.not_after);
        if until <= SystemTime::now().min(now) {
            return Err(format!("the CA {} has ended: make a new one with `lockstep pki init`", self.facts.subject));
        }
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, common_name(identity));
        let uri = identity.uri().try_into().map_err(failed)?;
        params.subject_alt_names = vec![SanType::URI(uri)];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![match identity {
            Identity::Edge { .. } => ExtendedKeyUsagePurpose::ClientAuth,
            Identity::Agent { .. } => ExtendedKeyUsagePurpose::ServerAuth,
        }];
        (params.not_before, params.not_after) = (date(now - back(lasting))?, date(until)?);
        params.serial_number = Some(serial()?);
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(key, &self.issuer).map_err(failed)?;
        let certificate = certificate.der().clone();
        Ok(Issued { facts: Facts::read(&certificate)?, certificate })
    }

    /// Signs the list of revoked serial numbers, in hexadecimal.
    ///
    /// # Errors
    /// One is no serial number.
    pub fn revoke(&self, serials: &[(String, SystemTime)], number: u64) -> Result<String, String> {
        let revoked = serials.iter().map(|(serial, at)| {
            Ok(RevokedCertParams {
                serial_number: SerialNumber::from(bytes(serial)?),
                revocation_time: date(*at)?,
                reason_code: None,
                invalidity_date: None,
            })
        });
        let now = SystemTime::now();
        let list = CertificateRevocationListParams {
            this_update: date(now - BACK)?,
            // Nobody looks at it: a list counts until there is a newer one.
            next_update: date(now + CA_LASTING)?,
            crl_number: SerialNumber::from(number.max(1)),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect::<Result<_, String>>()?,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).and_then(|list| list.pem()).map_err(failed)
    }

    /// Whether a certificate was signed by this CA.
    #[must_use]
    pub fn has_signed(&self, certificate: &CertificateDer<'_>) -> bool {
        let Ok((_, read)) = X509Certificate::from_der(certificate) else { return false };
        let Ok((_, own)) = X509Certificate::from_der(&self.certificate) else { return false };
        read.verify_signature(Some(own.public_key())).is_ok()
    }
}

/// For people: what counts is the URI.
fn common_name(identity: &Identity) -> String {
    let name = match identity {
        Identity::Edge { name } => format!("edge {name}"),
        Identity::Agent { pair, side } => format!("agent {pair} {side}"),
    };
    // RFC 5280 allows 64 characters.
    name.chars().take(64).collect()
}

/// How far back a certificate begins: an hour, and not more than a ninth of a short life.
fn back(lasting: Duration) -> Duration {
    BACK.min(lasting / 9)
}

/// For how long a certificate is to be issued that takes the place of one that lasts so long in all.
#[must_use]
pub fn lasting_again(whole: Duration) -> Duration {
    if whole > BACK * 10 { whole - BACK } else { whole * 9 / 10 }
}

fn date(at: SystemTime) -> Result<OffsetDateTime, String> {
    let seconds = at.duration_since(UNIX_EPOCH).map_err(|_| "this machine's clock is before 1970".to_owned())?;
    i64::try_from(seconds.as_secs())
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .ok_or_else(|| "a date is too far away".to_owned())
}

/// 128 random bits, never negative and never 0.
fn serial() -> Result<SerialNumber, String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| format!("no random numbers: {error}"))?;
    bytes[0] = bytes[0] & 0x3f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

/// A serial number as it was written, with or without colons.
pub(super) fn bytes(serial: &str) -> Result<Vec<u8>, String> {
    let digits: String = serial.chars().filter(|c| *c != ':').collect();
    let wrong = || format!("\"{serial}\" is no serial number: hexadecimal digits, as `lockstep pki show` prints them");
    if digits.is_empty() || digits.len() > 40 || !digits.len().is_multiple_of(2) || !digits.is_ascii() {
        return Err(wrong());
    }
    let pairs = (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16));
    pairs.collect::<Result<_, _>>().map_err(|_| wrong())
}

/// In PEM.
pub(super) fn pem(label: &str, der: &[u8]) -> String {
    let encoded = base64(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in encoded.as_bytes().chunks(64) {
        text.push_str(&String::from_utf8_lossy(line));
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn failed(error: rcgen::Error) -> String {
    error.to_string()
}
