//! What requests and sides have shown, as the admin API tells it: what metrics and `lockstep top` are made of.

use crate::metrics::COUNTS;
use crate::proxy::TurnedAway;
use lockstep_policy::Sides;
use serde::{Deserialize, Serialize};

/// What has been seen of one pair since the edge started.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SeenStatus {
    /// By side.
    pub sides: Sides<SideSeen>,
    /// Answers of the edge's own, by the first digit of their status: 1xx to 5xx.
    pub own: [u64; 5],
    /// Requests that were given no answer: their client left.
    pub unanswered: u64,
    /// What was refused before it was a request.
    pub malformed: u64,
    /// What the limits of its listeners have turned away.
    #[serde(default)]
    pub turned_away: TurnedAway,
    /// Requests that wait for a place at a server now.
    #[serde(default)]
    pub queued: u64,
    /// Answers that were to be rewritten and passed as they were: too large, or coded.
    #[serde(default)]
    pub unwritten: u64,
    /// Attempts after the first one.
    pub retried: u64,
    /// Waits that ended with 503.
    pub holds_refused: u64,
    /// Waits whose client left.
    pub holds_abandoned: u64,
    /// The longest wait that has ended.
    pub longest_hold_ms: f64,
    /// Streams.
    #[serde(default)]
    pub streams: StreamsSeen,
    /// Handovers that have ended.
    pub handovers: HandoverCounts,
}

/// What has been seen of one side.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SideSeen {
    /// Its answers, by the first digit of their status: 1xx to 5xx.
    pub answers: [u64; 5],
    /// From a request's beginning to the head of the side's answer.
    pub first_byte: Latencies,
    /// From a request's beginning to its end.
    pub whole: Latencies,
    /// Bytes of bodies from clients.
    pub bytes_in: u64,
    /// Bytes of bodies to clients.
    pub bytes_out: u64,
    /// Connects that were refused or found no way.
    pub refused: u64,
    /// Connections that ended before their answer had.
    pub resets: u64,
    /// Connects or answers that did not come in time.
    pub timeouts: u64,
    /// Answers of 500 and above, and answers that are no HTTP.
    #[serde(default)]
    pub server_errors: u64,
    /// Answers that came later than `[pair.detect]`'s `slow`.
    #[serde(default)]
    pub slow: u64,
    /// Connections to its servers, idle ones included.
    pub connections: u64,
    /// Streams to it that are open.
    #[serde(default)]
    pub streams_open: u64,
}

/// What has been seen of the streams of one pair.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamsSeen {
    /// Taken from clients.
    pub taken: u64,
    /// Given to no side.
    pub refused: u64,
    /// Bytes from clients.
    pub bytes_in: u64,
    /// Bytes to clients.
    pub bytes_out: u64,
}

/// How long something took: a histogram of [`BUCKETS_MS`](crate::metrics::BUCKETS_MS).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latencies {
    /// How many there are in each bucket; those beyond the last bound come last.
    pub counts: [u64; COUNTS],
    /// All of them together.
    pub sum_ms: f64,
}

/// Handovers that have ended, by how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandoverCounts {
    /// The wanted side is active.
    pub completed: u64,
    /// The side before is active again.
    pub rolled_back: u64,
    /// No side is active.
    pub no_active: u64,
}
