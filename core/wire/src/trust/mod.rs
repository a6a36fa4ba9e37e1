//! Trust between edges and agents: mutual TLS 1.3, and who may be what.
//!
//! A certificate names one edge, or the agent of one side of one pair ([`Identity`]), and is judged by that alone: addresses and
//! host names play no part. The judgement ([`verify`]) is one function, for each handshake and for peers that are connected
//! already: whoever is revoked or expires while connected is cut. What counts is in files ([`TlsFiles`]) that are read again
//! while everything runs ([`Trust::keep_reading`]); a bad file changes nothing and is named.
//!
//! Sessions are not resumed: a resumed one would not be judged, and a handshake costs less than a millisecond.
//!
//! - [`Authority`], [`Directory`]: the CA of `lockstep pki`, and of edges that renew certificates.
//! - [`Request`]: an agent's half of a renewal.

mod authority;
mod directory;
mod facts;
mod files;
mod identity;
mod life;
mod material;
mod refusal;
mod request;
mod stream;
mod verify;

pub use authority::{Authority, CA_LASTING, Issued, LASTING, lasting_again};
pub use directory::{Directory, Record, Renewed, Revoked, renew};
pub use facts::{Facts, written};
pub use files::{TlsFiles, TrustError};
pub use identity::Identity;
pub use life::{Life, Standing};
pub use refusal::{Reason, Refusal};
pub use request::Request;
pub use stream::{HandshakeError, Stream};
pub use verify::{Peer, Wanted};

use arc_swap::ArcSwap;
use files::Contents;
use material::Material;
use refusal::Noted;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::UnixTime;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::sync::watch;
use tokio::time::sleep;

/// From one look at the files to the next.
const LOOK: Duration = Duration::from_secs(1);
/// The dates of a connected peer are looked at so often at least: the clock may be set.
const LOOK_AT_PEERS: Duration = Duration::from_secs(30);

/// Whom an edge or an agent trusts, and as whom it is known. Clones are the same.
#[derive(Clone, Debug)]
pub struct Trust(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    files: TlsFiles,
    own: Identity,
    provider: Arc<CryptoProvider>,
    material: ArcSwap<Material>,
    /// Counts what was taken over.
    changed: watch::Sender<u64>,
    noted: Noted,
    /// Why the own certificate could not be renewed.
    trouble: Mutex<String>,
}

impl Trust {
    /// Reads the files of `own`.
    ///
    /// # Errors
    /// One cannot be read, is unsound, or does not belong to the others. An own certificate that has expired is taken, and
    /// [`Trust::keep_reading`] says so: it may be renewed.
    pub fn load(files: TlsFiles, own: Identity) -> Result<Trust, TrustError> {
        let provider = Arc::new(ring::default_provider());
        let material = Material::new(&files, files.read()?, &own, &provider)?;
        Ok(Trust(Arc::new(Inner {
            files,
            own,
            provider,
            material: ArcSwap::from_pointee(material),
            changed: watch::Sender::new(0),
            noted: Noted::default(),
            trouble: Mutex::default(),
        })))
    }

    /// Where everything is.
    #[must_use]
    pub fn files(&self) -> &TlsFiles {
        &self.0.files
    }

    /// Who we are.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.0.own
    }

    /// What the certificate says that is presented now.
    #[must_use]
    pub fn own(&self) -> Facts {
        self.material().own.clone()
    }

    /// Is sent a new number when other files are in force.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    /// Reads the files again. Whether something has changed.
    ///
    /// # Errors
    /// They cannot be used; what was in force stays so.
    pub fn reload(&self) -> Result<bool, TrustError> {
        let contents = self.0.files.read()?;
        self.take(contents)
    }

    fn take(&self, contents: Contents) -> Result<bool, TrustError> {
        if contents == self.material().contents {
            return Ok(false);
        }
        let material = Material::new(&self.0.files, contents, &self.0.own, &self.0.provider)?;
        tracing::info!(
            serial = material.own.serial,
            until = %written(material.own.not_after),
            "other certificates are in force: {}",
            self.0.own
        );
        self.0.material.store(Arc::new(material));
        self.set_trouble("");
        self.0.changed.send_modify(|number| *number += 1);
        Ok(true)
    }

    /// Whether a file with this text would do in the place of the own certificate and key.
    fn would_do(&self, text: &[u8]) -> Result<(), TrustError> {
        let contents = Contents { certificate: text.to_vec(), key: text.to_vec(), ..self.material().contents.clone() };
        Material::new(&self.0.files, contents, &self.0.own, &self.0.provider).map(drop)
    }

    /// Stores certificate and key in the place of those of now, and uses them.
    ///
    /// # Errors
    /// They would not do, or cannot be stored. Nothing has changed then.
    pub fn replace(&self, text: &str) -> Result<(), TrustError> {
        self.would_do(text.as_bytes())?;
        files::write_private(&self.0.files.certificate, text)?;
        self.reload().map(drop)
    }

    /// Reads the files again whenever they change, for ever, and says when the own certificate comes to its end.
    pub async fn keep_reading(self) {
        let (mut before, mut refused) = (None, None);
        // What the files looked like when they were last read, and whether they had then been the same twice.
        let (mut seen, mut still) = (None, false);
        let mut worries = life::Worries::default();
        loop {
            sleep(LOOK).await;
            worries.voice(&self.standing(), &self.trouble());
            let (files, known) = (self.0.files.clone(), seen.clone().filter(|_| still));
            let look = move || {
                let marks = files.marks();
                let read = (known.as_ref() != Some(&marks)).then(|| files.read());
                (marks, read)
            };
            let Ok((marks, Some(read))) = tokio::task::spawn_blocking(look).await else { continue };
            // Files that are being replaced one by one are waited for: what counts has been the same twice.
            let twice = before.as_ref() == Some(&read);
            if twice && refused.as_ref() != Some(&read) {
                if let Err(error) = read.clone().and_then(|contents| self.take(contents)) {
                    tracing::error!(%error, "changed certificates are not taken over; those of before stay in force");
                    refused = Some(read.clone());
                } else {
                    refused = None;
                }
            }
            still = twice && read.is_ok() && seen.as_ref() == Some(&marks);
            (before, seen) = (Some(read), Some(marks));
        }
    }

    /// How it stands with the own certificate.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let material = self.material();
        Standing::of(&material.own, material.ca_ends, SystemTime::now())
    }

    /// Why the own certificate could not be renewed; empty when nothing is known of that.
    #[must_use]
    pub fn trouble(&self) -> String {
        self.0.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// For who renews the own certificate, and could not.
    pub fn set_trouble(&self, why: &str) {
        why.clone_into(&mut self.0.trouble.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Writes a refusal into the log, unless the same one was not long ago.
    pub fn note(&self, refusal: &Refusal) {
        let what = match &self.0.own {
            Identity::Edge { .. } => "an agent is not trusted",
            Identity::Agent { .. } => "somebody who connects is not trusted",
        };
        self.0.noted.note(refusal, what);
    }

    /// Waits until a peer is not to be trusted any more, and says why: it has expired, or what is in force now refuses it.
    pub async fn falls(&self, peer: &Peer) -> Box<Refusal> {
        let mut changes = self.changes();
        loop {
            if let Err(refusal) = self.judge_again(peer) {
                return refusal;
            }
            let left = peer.facts.not_after.duration_since(SystemTime::now()).unwrap_or_default();
            tokio::select! {
                Ok(()) = changes.changed() => {}
                // A second later, because the last one still counts.
                () = sleep((left + Duration::from_secs(1)).min(LOOK_AT_PEERS)) => {}
            }
        }
    }

    fn judge_again(&self, peer: &Peer) -> Result<(), Box<Refusal>> {
        let material = self.material();
        verify::judge(&material, &peer.wanted, peer.address, &peer.chain, UnixTime::now()).map(drop)
    }

    fn material(&self) -> Arc<Material> {
        self.0.material.load_full()
    }
}
