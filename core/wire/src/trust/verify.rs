//! The one judgement over a peer's certificate: in each handshake, and again for peers that are connected when something changes.

use super::facts::Facts;
use super::identity::Identity;
use super::material::Material;
use super::refusal::{Reason, Refusal};
use lockstep_policy::Side;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible, SignatureScheme};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, UNIX_EPOCH};
use webpki::{
    EndEntityCert, ExpirationPolicy, KeyUsage, RevocationCheckDepth, RevocationOptionsBuilder, UnknownStatusPolicy,
};

/// Who is wanted at the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The agent of this side, and no other.
    Agent {
        /// The pair.
        pair: String,
        /// The side.
        side: Side,
    },
    /// An edge.
    Edge {
        /// One of these names; empty: whatever its name is.
        names: Vec<String>,
    },
}

impl Wanted {
    fn refuses(&self, identity: &Identity) -> Option<String> {
        match (self, identity) {
            (Wanted::Agent { pair, side }, Identity::Agent { pair: is, side: on }) if pair == is && side == on => None,
            (Wanted::Agent { pair, side }, other) => Some(format!(
                "it is for {other}, and wanted is the agent of side {side} of pair \"{pair}\": correct that address, or \
                     issue its agent another certificate"
            )),
            (Wanted::Edge { names }, Identity::Edge { name }) if names.is_empty() || names.contains(name) => None,
            (Wanted::Edge { names }, Identity::Edge { name }) => {
                Some(format!("`edges` in this agent's configuration lists {}, and not \"{name}\"", names.join(", ")))
            }
            (Wanted::Edge { .. }, other @ Identity::Agent { .. }) => {
                Some(format!("it is for {other}, and wanted is an edge"))
            }
        }
    }

    /// An edge is the client of TLS, an agent the server; certificates say for which they are made.
    fn usage(&self) -> KeyUsage {
        match self {
            Wanted::Agent { .. } => KeyUsage::server_auth(),
            Wanted::Edge { .. } => KeyUsage::client_auth(),
        }
    }
}

/// Somebody who has proven who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Who.
    pub identity: Identity,
    /// What its certificate says.
    pub facts: Facts,
    /// Where.
    pub address: SocketAddr,
    pub(super) wanted: Wanted,
    pub(super) chain: Vec<CertificateDer<'static>>,
}

/// Judges a chain, the peer's own certificate first.
pub(super) fn judge(
    material: &Material,
    wanted: &Wanted,
    address: SocketAddr,
    chain: &[CertificateDer<'_>],
    now: UnixTime,
) -> Result<Peer, Box<Refusal>> {
    let unreadable = |why: String| Refusal::without_certificate(address, Reason::Unreadable(why));
    let [own, between @ ..] = chain else {
        return Err(Refusal::without_certificate(address, Reason::NoCertificate));
    };
    let facts = Facts::read(own).map_err(unreadable)?;
    let refuse = |reason| Refusal::of(address, &facts, reason);
    let end = EndEntityCert::try_from(own).map_err(|error| refuse(Reason::Unreadable(error.to_string())))?;
    let lists: Vec<_> = material.revoked.iter().collect();
    let revocation = RevocationOptionsBuilder::new(&lists).ok().map(|options| {
        // Lists are renewed by revoking; one of another of our CAs says nothing of this certificate.
        let options = options.with_depth(RevocationCheckDepth::EndEntity);
        options.with_status_policy(UnknownStatusPolicy::Allow).with_expiration_policy(ExpirationPolicy::Ignore).build()
    });
    let algorithms = material.algorithms().all;
    end.verify_for_usage(algorithms, &material.anchors, between, now, wanted.usage(), revocation, None)
        .map_err(|error| refuse(reason(&error, wanted, &facts)))?;
    let identity = facts.identity.clone().map_err(|why| refuse(Reason::WrongRole(why)))?;
    if let Some(why) = wanted.refuses(&identity) {
        return Err(refuse(Reason::WrongRole(why)));
    }
    let chain = chain.iter().map(|certificate| certificate.clone().into_owned()).collect();
    Ok(Peer { identity, facts, address, wanted: wanted.clone(), chain })
}

fn reason(error: &webpki::Error, wanted: &Wanted, facts: &Facts) -> Reason {
    let time = |at: &UnixTime| UNIX_EPOCH + Duration::from_secs(at.as_secs());
    match error {
        webpki::Error::CertExpired { not_after, .. } => Reason::Expired(time(not_after)),
        webpki::Error::CertNotValidYet { not_before, .. } => Reason::NotYet(time(not_before)),
        webpki::Error::CertRevoked => Reason::Revoked,
        webpki::Error::UnknownIssuer => Reason::Foreign,
        webpki::Error::InvalidSignatureForPublicKey => Reason::Foreign,
        webpki::Error::RequiredEkuNotFoundContext(_) => {
            let why = facts.identity.as_ref().ok().and_then(|identity| wanted.refuses(identity));
            Reason::WrongRole(why.unwrap_or_else(|| "it is made for another use".to_owned()))
        }
        other => Reason::Unsound(format!("it is not sound: {other}")),
    }
}

/// [`judge`] for one handshake; what it has found.
#[derive(Debug)]
pub(super) struct Judge {
    pub(super) material: Arc<Material>,
    pub(super) wanted: Wanted,
    pub(super) address: SocketAddr,
    pub(super) found: Arc<OnceLock<Result<Peer, Box<Refusal>>>>,
}

impl Judge {
    fn verify(&self, own: &CertificateDer<'_>, between: &[CertificateDer<'_>], now: UnixTime) -> Result<(), Error> {
        let chain: Vec<_> = std::iter::once(own.clone()).chain(between.iter().cloned()).collect();
        let verdict = judge(&self.material, &self.wanted, self.address, &chain, now);
        let told = verdict.as_ref().map(drop).map_err(|refusal| Error::InvalidCertificate(refusal.alert()));
        // A handshake has one certificate; a second verdict could only be the same.
        let _ = self.found.set(verdict);
        told
    }

    fn algorithms(&self) -> &WebPkiSupportedAlgorithms {
        self.material.algorithms()
    }
}

/// TLS 1.2 is not spoken here.
fn too_old() -> Error {
    Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered)
}

impl ServerCertVerifier for Judge {
    /// The name that was dialled plays no part: a certificate names an agent, wherever its node is.
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.verify(own, between, now).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(too_old())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, own, signed, self.algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms().supported_schemes()
    }
}

impl ClientCertVerifier for Judge {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        own: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.verify(own, between, now).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(too_old())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, own, signed, self.algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms().supported_schemes()
    }
}
