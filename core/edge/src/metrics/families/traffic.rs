//! What becomes of requests and streams.

use super::{Family, Kind, PAIR, SIDE, each_pair, each_side, name, pairs};
use crate::admin::api::SideSeen;
use crate::metrics::text::seconds;
use crate::proxy::TurnedAway;
use lockstep_policy::Side;

const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Requests.
pub(super) const REQUESTS: &[Family] = &[
    Family {
        name: "lockstep_requests_taken_total",
        kind: Kind::Counter,
        labels: PAIR,
        unit: "requests",
        help: "Requests taken from clients, those under way included.",
        read: |look, samples| each_pair(look, samples, |pair| Some(pair.traffic.requests)),
    },
    Family {
        name: "lockstep_requests_total",
        kind: Kind::Counter,
        labels: &["pair", "side", "class"],
        unit: "requests",
        help: "Requests that are over and were answered by a side, by the first digit of the status.",
        read: |look, samples| {
            for pair in pairs(look) {
                for side in Side::BOTH {
                    for (class, count) in CLASSES.iter().zip(pair.seen.sides[side].answers) {
                        samples.put(&[("pair", &pair.name), ("side", name(side)), ("class", class)], count);
                    }
                }
            }
        },
    },
    Family {
        name: "lockstep_own_answers_total",
        kind: Kind::Counter,
        labels: &["pair", "class"],
        unit: "requests",
        help: "Requests that are over and were answered by the edge itself, by the first digit of the status.",
        read: |look, samples| {
            for pair in pairs(look) {
                for (class, count) in CLASSES.iter().zip(pair.seen.own) {
                    samples.put(&[("pair", &pair.name), ("class", class)], count);
                }
            }
        },
    },
    Family {
        name: "lockstep_requests_unanswered_total",
        kind: Kind::Counter,
        labels: PAIR,
        unit: "requests",
        help: "Requests that are over and were given no answer: their client left.",
        read: |look, samples| each_pair(look, samples, |pair| Some(pair.seen.unanswered)),
    },
    Family {
        name: "lockstep_requests_malformed_total",
        kind: Kind::Counter,
        labels: PAIR,
        unit: "requests",
        help: "What was refused before it was a request: malformed, too long or too slow. Not among those taken.",
        read: |look, samples| each_pair(look, samples, |pair| Some(pair.seen.malformed)),
    },
    Family {
        name: "lockstep_turned_away_total",
        kind: Kind::Counter,
        labels: &["pair", "limit"],
        unit: "connections or requests",
        help: "What the limits of listeners have turned away: connections by networks and by connections (of one source), requests by requests (of one source in a second).",
        read: |look, samples| {
            for pair in pairs(look) {
                let TurnedAway { networks, connections, requests } = pair.seen.turned_away;
                for (limit, count) in [("networks", networks), ("connections", connections), ("requests", requests)] {
                    samples.put(&[("pair", &pair.name), ("limit", limit)], count);
                }
            }
        },
    },
    Family {
        name: "lockstep_queued_requests",
        kind: Kind::Gauge,
        labels: PAIR,
        unit: "requests",
        help: "Requests that wait for a place at a server now, because each has as many as it may.",
        read: |look, samples| each_pair(look, samples, |pair| Some(pair.seen.queued)),
    },
    Family {
        name: "lockstep_answers_unwritten_total",
        kind: Kind::Counter,
        labels: PAIR,
        unit: "answers",
        help: "Answers that a rule of [[pair.rewrite]] was for, and that passed as they were: too large, or coded.",
        read: |look, samples| each_pair(look, samples, |pair| Some(pair.seen.unwritten)),
    },
    Family {
        name: "lockstep_retries_total",
        kind: Kind::Counter,
        labels: PAIR,
        unit: "attempts",
        help: "Attempts to have a request answered, after its first one.",
        read: |look, samples| each_pair(look, samples, |pair| Some(pair.seen.retried)),
    },
    Family {
        name: "lockstep_first_byte_seconds",
        kind: Kind::Histogram,
        labels: SIDE,
        unit: "seconds",
        help: "From a request's beginning to the head of the side's answer, holds and retries included.",
        read: |look, samples| {
            for pair in pairs(look) {
                for side in Side::BOTH {
                    samples.histogram(&[("pair", &pair.name), ("side", name(side))], &pair.seen.sides[side].first_byte);
                }
            }
        },
    },
    Family {
        name: "lockstep_request_seconds",
        kind: Kind::Histogram,
        labels: SIDE,
        unit: "seconds",
        help: "From a request's beginning to its end, of those that a side has answered; connections that were upgraded are not among them.",
        read: |look, samples| {
            for pair in pairs(look) {
                for side in Side::BOTH {
                    samples.histogram(&[("pair", &pair.name), ("side", name(side))], &pair.seen.sides[side].whole);
                }
            }
        },
    },
    Family {
        name: "lockstep_body_bytes_total",
        kind: Kind::Counter,
        labels: &["pair", "side", "direction"],
        unit: "bytes",
        help: "Bytes of bodies of requests that are over: in from clients, out to clients.",
        read: |look, samples| {
            for pair in pairs(look) {
                for side in Side::BOTH {
                    let SideSeen { bytes_in, bytes_out, .. } = pair.seen.sides[side];
                    for (direction, bytes) in [("in", bytes_in), ("out", bytes_out)] {
                        samples.put(&[("pair", &pair.name), ("side", name(side)), ("direction", direction)], bytes);
                    }
                }
            }
        },
    },
];

/// Those that wait.
pub(super) const HOLDS: &[Family] = &[
    Family {
        name: "lockstep_held_requests",
        kind: Kind::Gauge,
        labels: PAIR,
        unit: "requests",
        help: "Requests that wait now.",
        read: |look, samples| each_pair(look, samples, |pair| Some(pair.traffic.holding)),
    },
    Family {
        name: "lockstep_holds_total",
        kind: Kind::Counter,
        labels: PAIR,
        unit: "requests",
        help: "Requests that had to wait.",
        read: |look, samples| each_pair(look, samples, |pair| Some(pair.traffic.held)),
    },
    Family {
        name: "lockstep_holds_ended_total",
        kind: Kind::Counter,
        labels: &["pair", "how"],
        unit: "requests",
        help: "Waits that have ended: released to a side, refused with 503, abandoned by their client.",
        read: |look, samples| {
            for pair in pairs(look) {
                let ended = [
                    ("released", pair.traffic.released),
                    ("refused", pair.seen.holds_refused),
                    ("abandoned", pair.seen.holds_abandoned),
                ];
                for (how, count) in ended {
                    samples.put(&[("pair", &pair.name), ("how", how)], count);
                }
            }
        },
    },
    Family {
        name: "lockstep_hold_longest_seconds",
        kind: Kind::Gauge,
        labels: PAIR,
        unit: "seconds",
        help: "The longest wait that has ended since the edge started.",
        read: |look, samples| each_pair(look, samples, |pair| Some(seconds(pair.seen.longest_hold_ms))),
    },
];

/// Streams.
pub(super) const STREAMS: &[Family] = &[
    Family {
        name: "lockstep_streams_total",
        kind: Kind::Counter,
        labels: PAIR,
        unit: "streams",
        help: "Streams taken from clients, those under way and those refused included.",
        read: |look, samples| each_pair(look, samples, |pair| Some(pair.seen.streams.taken)),
    },
    Family {
        name: "lockstep_streams_refused_total",
        kind: Kind::Counter,
        labels: PAIR,
        unit: "streams",
        help: "Streams that were given to no side.",
        read: |look, samples| each_pair(look, samples, |pair| Some(pair.seen.streams.refused)),
    },
    Family {
        name: "lockstep_streams_open",
        kind: Kind::Gauge,
        labels: SIDE,
        unit: "streams",
        help: "Streams to a side that are open now.",
        read: |look, samples| each_side(look, samples, |pair, side| Some(pair.seen.sides[side].streams_open)),
    },
    Family {
        name: "lockstep_stream_bytes_total",
        kind: Kind::Counter,
        labels: &["pair", "direction"],
        unit: "bytes",
        help: "Bytes of streams: in from clients, out to clients.",
        read: |look, samples| {
            for pair in pairs(look) {
                let streams = &pair.seen.streams;
                for (direction, bytes) in [("in", streams.bytes_in), ("out", streams.bytes_out)] {
                    samples.put(&[("pair", &pair.name), ("direction", direction)], bytes);
                }
            }
        },
    },
];
