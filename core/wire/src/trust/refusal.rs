//! Why somebody is not trusted, by name, and how often that is said.

use super::facts::{Facts, written};
use super::identity::Identity;
use rustls::{AlertDescription, CertificateError};
use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// The same refusal is written into the log no more often than this.
const SAID_AGAIN: Duration = Duration::from_secs(60);
/// Different ones that are remembered for that.
const REMEMBERED: usize = 256;

/// Why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// What it presents cannot be read.
    Unreadable(String),
    /// None of our CAs has signed it.
    Foreign,
    /// It was valid until then.
    Expired(SystemTime),
    /// It is valid from then on.
    NotYet(SystemTime),
    /// It is in the revocation list.
    Revoked,
    /// It is for somebody else than who was wanted.
    WrongRole(String),
    /// Its signature, its use or its chain is not as it must be.
    Unsound(String),
    /// It has presented none.
    NoCertificate,
    /// It does not speak TLS, or not ours.
    NoTls(String),
    /// It is the one who does not trust us.
    RefusesUs(String),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const CLOCK: &str = "look at both machines' clocks, and issue it anew";
        match self {
            Reason::Unreadable(why) => write!(f, "{why}"),
            Reason::Foreign => write!(f, "it was not signed by a CA of ours: `ca` on both sides must be the same CA"),
            Reason::Expired(at) => write!(f, "it has expired on {}: {CLOCK}", written(*at)),
            Reason::NotYet(at) => write!(f, "it is not valid before {}: {CLOCK}", written(*at)),
            Reason::Revoked => write!(f, "it was revoked"),
            Reason::WrongRole(why) | Reason::Unsound(why) => write!(f, "{why}"),
            Reason::NoCertificate => write!(f, "it has presented no certificate"),
            Reason::NoTls(why) | Reason::RefusesUs(why) => write!(f, "{why}"),
        }
    }
}

/// Somebody who is not trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Where from, or where to.
    pub peer: SocketAddr,
    /// The certificate's; empty when there is none.
    pub subject: String,
    /// The certificate's; empty when there is none.
    pub serial: String,
    /// Whom it is for, when it says so.
    pub identity: Option<Identity>,
    /// Why.
    pub reason: Reason,
}

impl Refusal {
    pub(super) fn without_certificate(peer: SocketAddr, reason: Reason) -> Box<Refusal> {
        Box::new(Refusal { peer, subject: String::new(), serial: String::new(), identity: None, reason })
    }

    pub(super) fn of(peer: SocketAddr, facts: &Facts, reason: Reason) -> Box<Refusal> {
        let (subject, serial) = (facts.subject.clone(), facts.serial.clone());
        Box::new(Refusal { peer, subject, serial, identity: facts.identity.clone().ok(), reason })
    }

    /// What the peer is told by an alert.
    pub(super) fn alert(&self) -> CertificateError {
        match &self.reason {
            Reason::Unreadable(_) => CertificateError::BadEncoding,
            Reason::Foreign => CertificateError::UnknownIssuer,
            Reason::Expired(_) | Reason::NotYet(_) => CertificateError::Expired,
            Reason::Revoked => CertificateError::Revoked,
            Reason::Unsound(_) => CertificateError::BadSignature,
            Reason::WrongRole(_) | Reason::NoCertificate | Reason::NoTls(_) | Reason::RefusesUs(_) => {
                CertificateError::ApplicationVerificationFailure
            }
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.serial.is_empty() {
            return write!(f, "{}", self.reason);
        }
        match &self.identity {
            Some(identity) => write!(f, "the certificate of {identity} (serial {}) is refused: ", self.serial)?,
            None => write!(f, "the certificate {} (serial {}) is refused: ", self.subject, self.serial)?,
        }
        write!(f, "{}", self.reason)
    }
}

impl std::error::Error for Refusal {}

/// What an alert of the peer means.
pub(super) fn meaning(alert: AlertDescription) -> Option<&'static str> {
    Some(match alert {
        AlertDescription::UnknownCA => {
            "its `ca` is not the CA that has signed it, or its revocation list is not that CA's"
        }
        AlertDescription::CertificateExpired => "by its clock it has expired, or is not valid yet",
        AlertDescription::CertificateRevoked => "it was revoked",
        AlertDescription::AccessDenied => "it is for another role, or this edge's name is not in its `edges`",
        AlertDescription::CertificateRequired => "none was presented",
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::DecryptError => "it finds it unsound",
        AlertDescription::ProtocolVersion => "it speaks no TLS 1.3",
        _ => return None,
    })
}

/// Writes refusals into the log: each once, and then once a minute.
#[derive(Debug, Default)]
pub(super) struct Noted(Mutex<HashMap<What, Said>>);

/// Whose refusal: address, serial number, reason.
type What = (IpAddr, String, String);
/// When it was said, and how often it was not since.
type Said = (Instant, u64);

impl Noted {
    pub(super) fn note(&self, refusal: &Refusal, what: &str) {
        let now = Instant::now();
        let key = (refusal.peer.ip(), refusal.serial.clone(), refusal.reason.to_string());
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.len() >= REMEMBERED && !noted.contains_key(&key) {
            noted.clear();
        }
        let more = match noted.get_mut(&key) {
            Some((said, more)) if now.duration_since(*said) < SAID_AGAIN => {
                *more += 1;
                return;
            }
            Some((_, more)) => *more,
            None => 0,
        };
        noted.insert(key, (now, 0));
        drop(noted);
        tracing::warn!(
            peer = %refusal.peer,
            subject = refusal.subject,
            serial = refusal.serial,
            reason = %refusal.reason,
            more,
            "{what}"
        );
    }
}
