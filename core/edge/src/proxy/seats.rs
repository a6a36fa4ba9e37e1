//! How many requests a server is given at once, and who waits for a place. Touches no socket.

use super::servers::Server;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use tokio::sync::Notify;

/// The places of one server.
#[derive(Debug, Default)]
pub(super) struct Seats {
    /// Zero: as many as come.
    limit: AtomicUsize,
    taken: AtomicUsize,
    crowd: Arc<Crowd>,
}

/// Who waits for a place at one of a pool's servers.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    waiting: AtomicUsize,
    freed: Notify,
}

impl Seats {
    pub(super) fn of(crowd: &Arc<Crowd>) -> Seats {
        Seats { crowd: Arc::clone(crowd), ..Seats::default() }
    }

    pub(super) fn limit(&self, limit: usize) {
        self.limit.store(limit, Relaxed);
        self.crowd.freed.notify_waiters();
    }

    /// No place is free now.
    pub(super) fn is_full(&self) -> bool {
        let limit = self.limit.load(Relaxed);
        limit != 0 && self.taken.load(SeqCst) >= limit
    }

    pub(super) fn crowd(&self) -> &Arc<Crowd> {
        &self.crowd
    }

    fn take(&self) -> bool {
        let limit = self.limit.load(Relaxed);
        let next = |taken: usize| (limit == 0 || taken < limit).then_some(taken + 1);
        self.taken.fetch_update(SeqCst, SeqCst, next).is_ok()
    }
}

/// A request's place at a server.
#[derive(Debug)]
pub(super) struct Seat(Arc<Server>);

impl Seat {
    /// None: there is none free.
    pub(super) fn take(server: &Arc<Server>) -> Option<Seat> {
        server.seats().take().then(|| Seat(Arc::clone(server)))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let seats = self.0.seats();
        seats.taken.fetch_sub(1, SeqCst);
        // With nobody there, the next who looks finds the place.
        if seats.crowd.waiting.load(SeqCst) > 0 {
            seats.crowd.freed.notify_one();
        }
    }
}

impl Crowd {
    /// Who waits now.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Relaxed)
    }

    /// One more waits; none when there are as many already.
    pub(super) fn join(self: &Arc<Self>, most: usize) -> Option<Waiting> {
        let next = |waiting: usize| (waiting < most).then_some(waiting + 1);
        self.waiting.fetch_update(SeqCst, SeqCst, next).ok()?;
        Some(Waiting(Arc::clone(self)))
    }
}

/// A request that waits for a place.
#[derive(Debug)]
pub(super) struct Waiting(Arc<Crowd>);

impl Waiting {
    /// Resolves when a place has been freed after this was made. The places go to who waits longest.
    pub(super) fn freed(&self) -> tokio::sync::futures::Notified<'_> {
        self.0.freed.notified()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, SeqCst);
    }
}
