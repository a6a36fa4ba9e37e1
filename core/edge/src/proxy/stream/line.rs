//! What is written down of a stream when it is over.

use super::super::pair::Shared;
use crate::access::Entry;
use lockstep_policy::{Epoch, Side};
use std::fmt::Display;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// A stream's story.
pub(super) struct Story {
    pub(super) begun: Instant,
    pub(super) client: SocketAddr,
    /// What it has connected to.
    pub(super) asked: SocketAddr,
    /// What it was given to, if a server was had.
    pub(super) given_to: Option<(Side, Epoch)>,
    pub(super) waited: Duration,
    pub(super) attempts: u32,
    /// When the server said something first.
    pub(super) answered: Option<Instant>,
    pub(super) received: u64,
    pub(super) sent: u64,
    /// Why it has ended, where the two ends did not agree on it.
    pub(super) why: Option<&'static str>,
}

impl Story {
    pub(super) fn of(client: SocketAddr, asked: SocketAddr) -> Story {
        Story {
            begun: Instant::now(),
            client,
            asked,
            given_to: None,
            waited: Duration::ZERO,
            attempts: 0,
            answered: None,
            received: 0,
            sent: 0,
            why: None,
        }
    }

    /// Writes its line.
    pub(super) fn tell(&self, pair: &Shared) {
        let total = self.begun.elapsed();
        let (side, epoch) = self.given_to.unzip();
        if let Some(log) = &pair.seeing.load().log {
            log.put(&Entry {
                ended: SystemTime::now(),
                total,
                client: Some(self.client),
                listener: Some(self.asked),
                protocol: "tcp",
                request: None,
                status: None,
                received: self.received,
                sent: self.sent,
                pair: &pair.name,
                side,
                epoch,
                by_edge: side.is_none(),
                hold: self.waited,
                first_byte: self.answered.map(|at| at.duration_since(self.begun)),
                attempts: self.attempts,
                trace: None,
                request_id: None,
                why: self.why.as_ref().map(|why| why as &dyn Display),
            });
        }
        tracing::debug!(
            target: "lockstep::access",
            pair = pair.name,
            side = side.map(tracing::field::display),
            epoch = epoch.map(tracing::field::display),
            client = %self.client,
            received = self.received,
            sent = self.sent,
            ms = total.as_millis(),
            hold_ms = self.waited.as_millis(),
            retries = self.attempts.saturating_sub(1),
            why = self.why,
            "a stream is over"
        );
    }
}
