//! How it stands with the certificates between edge and agents, as the admin API tells it.

use lockstep_wire::trust::{Facts, Life, Peer, Trust, written};
use serde::{Deserialize, Serialize};
use std::time::SystemTime;

/// The trust between this edge and the agents.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustStatus {
    /// It was said explicitly that there is none: agents obey whoever reaches them.
    pub insecure: bool,
    /// The edge's own certificate; none when it is insecure, or has no agents.
    pub certificate: Option<CertificateStatus>,
}

/// A certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateStatus {
    /// Its serial number.
    pub serial: String,
    /// Until when it is valid.
    pub until: String,
    /// Where in its life it is.
    pub life: Life,
    /// What must be done about it; empty: nothing.
    pub text: String,
}

impl TrustStatus {
    /// Of an edge that has agents, or needs no trust.
    pub(crate) fn of(trust: Option<&Trust>, insecure: bool) -> TrustStatus {
        TrustStatus { insecure, certificate: trust.map(own) }
    }
}

fn own(trust: &Trust) -> CertificateStatus {
    let (standing, trouble) = (trust.standing(), trust.trouble());
    let text = match (standing.text.is_empty(), trouble.is_empty()) {
        (false, false) => format!("{} ({trouble})", standing.text),
        _ => standing.text,
    };
    CertificateStatus { life: standing.life, text, ..named(&standing.facts) }
}

impl CertificateStatus {
    /// Of the agent at the other end of a connection.
    pub(crate) fn of(peer: &Peer) -> CertificateStatus {
        let status = named(&peer.facts);
        let text = match status.life {
            Life::Urgent | Life::Over | Life::NotYet => format!("its certificate ends on {}", status.until),
            Life::Fresh | Life::Due => String::new(),
        };
        CertificateStatus { text, ..status }
    }
}

fn named(facts: &Facts) -> CertificateStatus {
    CertificateStatus {
        serial: facts.serial.clone(),
        until: written(facts.not_after),
        life: Life::of(facts, SystemTime::now()),
        text: String::new(),
    }
}
