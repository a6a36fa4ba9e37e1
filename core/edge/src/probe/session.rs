//! Sessions that are kept from one probe to the next, one for each server of a side.

use super::judge::Finding;
use tokio::sync::{Mutex, MutexGuard};

/// The places of a declared probe's sessions.
pub(super) struct Kept<S>(Vec<Mutex<Place<S>>>);

/// One session's place; whoever has it locked is the only one who uses the session.
pub(super) struct Place<S> {
    /// Taken out while it is used: a probe that is cut off takes it along, and the connection is gone with it.
    pub session: Option<S>,
    closed: bool,
}

impl<S> Kept<S> {
    pub fn new(servers: usize) -> Kept<S> {
        Kept((0..servers).map(|_| Mutex::new(Place { session: None, closed: false })).collect())
    }

    /// Waits until nobody else uses a server's session.
    pub async fn of(&self, server: usize) -> MutexGuard<'_, Place<S>> {
        self.0[server].lock().await
    }

    /// Takes all sessions out, for good.
    pub async fn take_all(&self) -> Vec<S> {
        let mut taken = Vec::new();
        for place in &self.0 {
            let mut place = place.lock().await;
            place.closed = true;
            taken.extend(place.session.take());
        }
        taken
    }
}

impl<S> Place<S> {
    /// Gives the session back when the place is closed: it is to be ended.
    pub fn keep(&mut self, session: S) -> Option<S> {
        if self.closed {
            return Some(session);
        }
        self.session = Some(session);
        None
    }
}

/// How it ended that a session did not do what it should.
pub(super) enum Ended {
    /// The connection is closed or broken. That of a kept session may have been so for long.
    Gone(Finding),
    /// The server has answered, and not well.
    Answered(Finding),
}

impl From<Ended> for Finding {
    fn from(ended: Ended) -> Finding {
        let (Ended::Gone(finding) | Ended::Answered(finding)) = ended;
        finding
    }
}
