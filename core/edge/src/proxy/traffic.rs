//! What requests show about the sides, counted for the policy and told at once where a probe should follow.

use super::shelter::TurnedAway;
use lockstep_policy::{At, Epoch, Side, Sides};
use pingora_core::{Error, ErrorType};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// What the requests of one side showed since they were last asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrafficCounts {
    /// Answers below 500.
    pub good: u32,
    /// Answers of 500 and above, and answers that are no HTTP.
    pub server_errors: u32,
    /// Connects that were refused or found no way.
    pub refused: u32,
    /// Connections that ended before their answer had.
    pub resets: u32,
    /// Connects or answers that did not come in time.
    pub timeouts: u32,
}

/// What kind of trouble a request met at a side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trouble {
    /// A connect was refused or found no way.
    Refused,
    /// A connection ended before its answer had.
    Reset,
    /// A connect or an answer did not come in time.
    Timeout,
}

/// What the proxy says of itself. Told on the request's own task: the receiver must not block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyEvent {
    /// The first request under a new epoch is about to be written to its side.
    FirstSent {
        /// The epoch.
        epoch: Epoch,
        /// When.
        at: At,
    },
    /// The first answer below 500 under a new epoch has come.
    FirstAnswer {
        /// The epoch.
        epoch: Epoch,
        /// When.
        at: At,
    },
    /// A request met trouble at a side: worth an immediate probe. At most one in `trouble_interval` for each side;
    /// the counts have them all.
    Trouble {
        /// The side.
        side: Side,
        /// The epoch under which the request was given to it.
        epoch: Epoch,
        /// What it was.
        kind: Trouble,
        /// When.
        at: At,
    },
}

/// The counts while they grow.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    sides: Sides<Counters>,
}

#[derive(Debug, Default)]
struct Counters {
    good: AtomicU32,
    server_errors: AtomicU32,
    refused: AtomicU32,
    resets: AtomicU32,
    timeouts: AtomicU32,
    /// Troubles since the start, by kind; never taken.
    troubles: [AtomicU64; 3],
    quiet_until: AtomicU64,
}

impl Traffic {
    pub(super) fn answered(&self, side: Side, good: bool) {
        let counters = &self.sides[side];
        if good { &counters.good } else { &counters.server_errors }.fetch_add(1, Relaxed);
    }

    /// Counts the trouble; true when it is time to tell of some again.
    pub(super) fn trouble(&self, side: Side, kind: Trouble, at: At, interval: Duration) -> bool {
        let counters = &self.sides[side];
        counters.troubles[kind as usize].fetch_add(1, Relaxed);
        match kind {
            Trouble::Refused => &counters.refused,
            Trouble::Reset => &counters.resets,
            Trouble::Timeout => &counters.timeouts,
        }
        .fetch_add(1, Relaxed);
        let quiet_until = counters.quiet_until.load(Relaxed);
        let next = (at + interval).0;
        at.0 >= quiet_until && counters.quiet_until.compare_exchange(quiet_until, next, Relaxed, Relaxed).is_ok()
    }

    /// Refused, reset, timed out: so many since the start.
    pub(super) fn troubles(&self, side: Side) -> [u64; 3] {
        self.sides[side].troubles.each_ref().map(|count| count.load(Relaxed))
    }

    pub(super) fn take(&self) -> Sides<TrafficCounts> {
        Sides::from_fn(|side| {
            let counters = &self.sides[side];
            TrafficCounts {
                good: counters.good.swap(0, Relaxed),
                server_errors: counters.server_errors.swap(0, Relaxed),
                refused: counters.refused.swap(0, Relaxed),
                resets: counters.resets.swap(0, Relaxed),
                timeouts: counters.timeouts.swap(0, Relaxed),
            }
        })
    }
}

/// What an error says about the side; `None` when it says nothing.
pub(super) fn trouble_of(error: &Error) -> Option<Trouble> {
    match error.etype() {
        ErrorType::ConnectRefused | ErrorType::ConnectNoRoute => Some(Trouble::Refused),
        ErrorType::ConnectTimedout | ErrorType::ReadTimedout | ErrorType::WriteTimedout => Some(Trouble::Timeout),
        ErrorType::ConnectionClosed
        | ErrorType::ReadError
        | ErrorType::WriteError
        | ErrorType::TLSHandshakeFailure
        | ErrorType::HandshakeError
        | ErrorType::H2Error => Some(Trouble::Reset),
        _ => None,
    }
}

/// What the proxy has done since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProxyTotals {
    /// Requests taken from clients.
    pub requests: u64,
    /// Requests waiting now.
    pub held_now: u64,
    /// Waits begun.
    pub held: u64,
    /// Waits that ended with a server.
    pub released: u64,
    /// Requests answered 503 by the edge itself.
    pub refused: u64,
    /// Requests whose client left while they waited.
    pub abandoned: u64,
    /// Attempts after the first one.
    pub retried: u64,
    /// Requests answered 502 or 504 by the edge itself.
    pub failed: u64,
    /// The longest wait that has ended.
    pub longest_hold: Duration,
    /// Connections to servers, idle ones included.
    pub links: u64,
    /// Answers that were to be rewritten and passed as they were: too large, or coded.
    pub unwritten: u64,
    /// Requests that wait for a place at a server now.
    pub queued: u64,
    /// What listeners have turned away.
    pub turned_away: TurnedAway,
    /// Streams taken from clients.
    pub streams: u64,
    /// Streams that have a server now.
    pub streams_open: u64,
    /// Streams that the edge closed because no server could be had, or that asked for a name that it does not know.
    pub streams_refused: u64,
    /// Bytes of streams, from clients.
    pub stream_bytes_in: u64,
    /// Bytes of streams, from servers.
    pub stream_bytes_out: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_counted_always_and_told_at_intervals() {
        let traffic = Traffic::default();
        let told = |ms| traffic.trouble(Side::A, Trouble::Reset, At::from_millis(ms), Duration::from_millis(20));
        assert_eq!([told(5), told(10), told(25), told(26), told(45)], [true, false, true, false, true]);
        traffic.answered(Side::B, true);
        traffic.answered(Side::B, false);
        let counts = traffic.take();
        assert_eq!(counts.a, TrafficCounts { resets: 5, ..TrafficCounts::default() });
        assert_eq!(counts.b, TrafficCounts { good: 1, server_errors: 1, ..TrafficCounts::default() });
        assert_eq!(traffic.take(), Sides::default());
        assert_eq!((traffic.troubles(Side::A), traffic.troubles(Side::B)), ([0, 5, 0], [0; 3]), "these stay");
    }
}
