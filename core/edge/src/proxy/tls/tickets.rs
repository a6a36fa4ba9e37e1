//! What clients resume, and by what a client is known again that does.
//!
//! A ticket is a session that its client keeps, encrypted by a key of ours. Where sessions are named by it, each connection's tickets
//! carry its *mark* within: one that resumes goes on with the mark that it shows, any other one gets a mark of its own. rustls has a
//! place for such data, but gives back what TLS 1.3 brings only; so the mark is written before what rustls encrypts.

use crate::config::{ListenerTls, Protocol};
use rustls::crypto::ring::Ticketer;
use rustls::server::{ProducesTickets, ServerSessionMemoryCache, StoresServerSessions};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Sessions of clients of TLS 1.2 that know no tickets, of one listener.
const STORED: usize = 4096;

/// Begins what has a mark. What rustls writes begins with 0 or 1.
const MARKED: [u8; 8] = *b"\xffmarked1";

/// By what a client of TLS is known again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) struct Mark(u128);

impl Mark {
    fn made() -> Mark {
        Mark(fastrand::u128(..))
    }

    pub(in crate::proxy) fn text(self) -> String {
        format!("{:032x}", self.0)
    }

    fn before(self, plain: &[u8]) -> Vec<u8> {
        [&MARKED[..], &self.0.to_be_bytes(), plain].concat()
    }

    /// The mark that stands before something; `None`: none does.
    fn taken_from(marked: &[u8]) -> Option<(Mark, Vec<u8>)> {
        let (mark, plain) = marked.strip_prefix(&MARKED)?.split_first_chunk()?;
        Some((Mark(u128::from_be_bytes(*mark)), plain.to_vec()))
    }
}

/// What the sessions of a listener's clients are kept with.
#[derive(Debug)]
pub(super) struct Tickets {
    sealed: Arc<dyn ProducesTickets>,
    stored: Arc<dyn StoresServerSessions>,
}

/// What clients take a listener for: the certificates that they are shown, and what is spoken beneath.
type Face = (Vec<PathBuf>, Protocol);

/// Those in use.
static IN_USE: Mutex<Vec<(Face, Weak<Tickets>)>> = Mutex::new(Vec::new());

impl Tickets {
    /// Those of a listener. One that stays, or whose files are read again, goes on with what it had: what
    /// its clients keep is good afterwards. Others never share theirs: nobody resumes with one name what began with another.
    pub(super) fn of(files: &ListenerTls) -> Result<Arc<Tickets>, rustls::Error> {
        let face = (files.certificates.clone(), files.protocol);
        let mut all = IN_USE.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(_, tickets)| tickets.strong_count() > 0);
        let known = all.iter().find(|(of, _)| *of == face);
        if let Some(tickets) = known.and_then(|(_, tickets)| tickets.upgrade()) {
            return Ok(tickets);
        }
        let (sealed, stored) = (Ticketer::new()?, ServerSessionMemoryCache::new(STORED));
        let tickets = Arc::new(Tickets { sealed, stored });
        all.push((face, Arc::downgrade(&tickets)));
        Ok(tickets)
    }

    pub(super) fn sealed(&self) -> Arc<dyn ProducesTickets> {
        Arc::clone(&self.sealed)
    }

    pub(super) fn stored(&self) -> Arc<dyn StoresServerSessions> {
        Arc::clone(&self.stored)
    }
}

/// The tickets of one connection.
#[derive(Debug)]
pub(super) struct Marked {
    tickets: Arc<Tickets>,
    mark: Mutex<Mark>,
}

impl Marked {
    pub(super) fn new(tickets: Arc<Tickets>) -> Marked {
        Marked { tickets, mark: Mutex::new(Mark::made()) }
    }

    /// What the client is known by from now on. One whose ticket did not suffice to resume by is known all the same: it has it from us.
    pub(super) fn mark(&self) -> Mark {
        *self.mark.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shown(&self, marked: &[u8]) -> Option<Vec<u8>> {
        let (mark, plain) = Mark::taken_from(marked)?;
        *self.mark.lock().unwrap_or_else(PoisonError::into_inner) = mark;
        Some(plain)
    }
}

impl ProducesTickets for Marked {
    fn enabled(&self) -> bool {
        self.tickets.sealed.enabled()
    }

    fn lifetime(&self) -> u32 {
        self.tickets.sealed.lifetime()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.tickets.sealed.encrypt(&self.mark().before(plain))
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.shown(&self.tickets.sealed.decrypt(cipher)?)
    }
}

impl StoresServerSessions for Marked {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        self.tickets.stored.put(key, self.mark().before(&value))
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.shown(&self.tickets.stored.get(key)?)
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.shown(&self.tickets.stored.take(key)?)
    }

    fn can_cache(&self) -> bool {
        self.tickets.stored.can_cache()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(certificate: &str) -> ListenerTls {
        ListenerTls {
            certificates: vec![certificate.into()],
            client_ca: None,
            client_required: false,
            protocol: Protocol::Http,
            http2: true,
        }
    }

    #[test]
    fn a_ticket_brings_its_mark_back_and_one_without_is_none() {
        let tickets = Tickets::of(&files("/mark.pem")).unwrap();
        let [first, again, other] = [(); 3].map(|()| Marked::new(Arc::clone(&tickets)));
        let ticket = first.encrypt(b"a session").unwrap();
        assert_ne!(again.mark(), first.mark());
        assert_eq!(again.decrypt(&ticket).as_deref(), Some(&b"a session"[..]));
        assert_eq!(again.mark(), first.mark());
        let second = again.encrypt(b"another").unwrap();
        assert_eq!(other.decrypt(&second).as_deref(), Some(&b"another"[..]));
        assert_eq!(other.mark(), first.mark(), "and on to the next ticket");
        assert!(!ticket.windows(8).any(|eight| eight == MARKED), "nobody reads it");
        let plain = tickets.sealed().encrypt(b"\x00 of rustls alone").unwrap();
        let later = Marked::new(Arc::clone(&tickets));
        let before = later.mark();
        assert_eq!((later.decrypt(&plain), later.mark()), (None, before));
        assert!(later.put(b"number".to_vec(), b"kept".to_vec()));
        assert_eq!(first.get(b"number").as_deref(), Some(&b"kept"[..]));
        assert_eq!(first.mark(), before);
    }

    #[test]
    fn files_that_are_read_again_open_what_was_sealed_before_and_others_do_not() {
        let before = Tickets::of(&files("/one.pem")).unwrap();
        let ticket = before.sealed().encrypt(b"a session").unwrap();
        let again = Tickets::of(&files("/one.pem")).unwrap();
        assert!(again.sealed().decrypt(&ticket).is_some());
        let other = Tickets::of(&files("/other.pem")).unwrap();
        assert!(other.sealed().decrypt(&ticket).is_none());
        drop((before, again));
        assert!(Tickets::of(&files("/one.pem")).unwrap().sealed().decrypt(&ticket).is_none(), "nobody had it any more");
    }
}
