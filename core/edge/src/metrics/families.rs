//! Every metric: its name, what it means, and where it is read. `docs/metrics.md` is made of this.

use super::Look;
use super::text::{Samples, seconds};
use crate::admin::api::{PairStatus, SideSeen, SideStatus};
use lockstep_pair::RouteKind;
use lockstep_policy::Side;

/// What kind of number a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows while the edge runs.
    Counter,
    /// It goes up and down.
    Gauge,
    /// How many of what it measures were at most so long.
    Histogram,
}

/// One metric.
#[derive(Clone, Copy)]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// What kind of number it is.
    pub kind: Kind,
    /// The names of its labels; a histogram's `le` is not among them.
    pub labels: &'static [&'static str],
    /// What it is counted in.
    pub unit: &'static str,
    /// What it means.
    pub help: &'static str,
    pub(super) read: fn(&Look, &mut Samples),
}

const PAIR: &[&str] = &["pair"];
const SIDE: &[&str] = &["pair", "side"];
const ROUTES: [&str; 5] = ["a", "b", "share", "hold", "refuse"];
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// All of them, in the order in which they are shown.
pub const FAMILIES: &[Family] = &[
    // Pairs.
    Family {
        name: "lockstep_pair_route",
        kind: Kind::Gauge,
        labels: &["pair", "route"],
        unit: "0 or 1",
        help: "What is done with the pair's requests now: 1 for the one route of a, b, share, hold and refuse that stands.",
        read: |look, samples| {
            for pair in pairs(look) {
                for route in ROUTES {
                    samples.put(&[("pair", &pair.name), ("route", route)], u8::from(route == route_of(pair)));
                }
            }
        },
    },
    Family {
        name: "lockstep_pair_active",
        kind: Kind::Gauge,
        labels: SIDE,
        unit: "0 or 1",
        help: "1 for the side that is active.",
        read: |look, samples| {
            each_side(look, samples, |pair, side| {
                Some(u8::from(pair.active.is_some_and(|active| active.side == side)))
            });
        },
    },
    Family {
        name: "lockstep_pair_epoch",
        kind: Kind::Gauge,
        labels: PAIR,
        unit: "epochs",
        help: "The highest epoch used.",
        read: |look, samples| each_pair(look, samples, |pair| Some(pair.epoch.0)),
    },
    Family {
        name: "lockstep_pair_paused",
        kind: Kind::Gauge,
        labels: PAIR,
        unit: "0 or 1",
        help: "1 while the policy's own switches are refused (lockstep pause).",
        read: |look, samples| each_pair(look, samples, |pair| Some(u8::from(pair.paused.is_some()))),
    },
    Family {
        name: "lockstep_pair_policy_working",
        kind: Kind::Gauge,
        labels: PAIR,
        unit: "0 or 1",
        help: "0 while the policy does not work and the pair keeps its course.",
        read: |look, samples| each_pair(look, samples, |pair| Some(u8::from(pair.policy.working))),
    },
    Family {
        name: "lockstep_pair_handover_under_way",
        kind: Kind::Gauge,
        labels: PAIR,
        unit: "0 or 1",
        help: "1 while the active role moves.",
        read: |look, samples| each_pair(look, samples, |pair| Some(u8::from(pair.handover.is_some()))),
    },
    Family {
        name: "lockstep_handovers_total",
        kind: Kind::Counter,
        labels: &["pair", "outcome"],
        unit: "handovers",
        help: "Handovers that have ended: completed, rolled_back, no_active.",
        read: |look, samples| {
            for pair in pairs(look) {
                let ended = &pair.seen.handovers;
                let outcomes = [
                    ("completed", ended.completed),
                    ("rolled_back", ended.rolled_back),
                    ("no_active", ended.no_active),
                ];
                for (outcome, count) in outcomes {
                    samples.put(&[("pair", &pair.name), ("outcome", outcome)], count);
                }
            }
        },
    },
    Family {
        name: "lockstep_handover_last_gap_seconds",
        kind: Kind::Gauge,
        labels: PAIR,
        unit: "seconds",
        help: "How long requests were held by the latest handover that moved the role, from hold to commit.",
        read: |look, samples| each_pair(look, samples, |pair| Some(seconds(pair.last.as_ref()?.gap_ms?))),
    },
    Family {
        name: "lockstep_sessions",
        kind: Kind::Gauge,
        labels: SIDE,
        unit: "sessions",
        help: "Sessions on a side, in a pair in which both sides may serve.",
        read: |look, samples| {
            each_side(look, samples, |pair, side| pair.sessions.as_ref().map(|sessions| sessions.on[side]));
        },
    },
    // Requests.
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
    // Holds.
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
    // Sides.
    Family {
        name: "lockstep_requests_in_flight",
        kind: Kind::Gauge,
        labels: SIDE,
        unit: "requests",
        help: "Requests at a side, or on their way to it; upgraded connections are not among them.",
        read: |look, samples| each_side(look, samples, |pair, side| Some(pair.sides[side].in_flight)),
    },
    Family {
        name: "lockstep_server_connections",
        kind: Kind::Gauge,
        labels: SIDE,
        unit: "connections",
        help: "Connections to a side's servers, idle ones included.",
        read: |look, samples| each_side(look, samples, |pair, side| Some(pair.seen.sides[side].connections)),
    },
    Family {
        name: "lockstep_side_troubles_total",
        kind: Kind::Counter,
        labels: &["pair", "side", "kind"],
        unit: "connections",
        help: "What clients' traffic met at a side: refused (no connection), reset (ended before its answer had), timeout.",
        read: |look, samples| {
            for pair in pairs(look) {
                for side in Side::BOTH {
                    let SideSeen { refused, resets, timeouts, .. } = pair.seen.sides[side];
                    for (kind, count) in [("refused", refused), ("reset", resets), ("timeout", timeouts)] {
                        samples.put(&[("pair", &pair.name), ("side", name(side)), ("kind", kind)], count);
                    }
                }
            }
        },
    },
    Family {
        name: "lockstep_agent_connected",
        kind: Kind::Gauge,
        labels: &["pair", "side", "link"],
        unit: "0 or 1",
        help: "Whether a connection to the side's agent is up, main or auxiliary; only where there is an agent.",
        read: |look, samples| {
            for pair in pairs(look) {
                for side in Side::BOTH {
                    let SideStatus { agent, main, auxiliary, .. } = &pair.sides[side];
                    for (link, up) in
                        [("main", main), ("auxiliary", auxiliary)].into_iter().filter(|_| !agent.is_empty())
                    {
                        samples.put(&[("pair", &pair.name), ("side", name(side)), ("link", link)], u8::from(*up));
                    }
                }
            }
        },
    },
    Family {
        name: "lockstep_side_unfenced",
        kind: Kind::Gauge,
        labels: SIDE,
        unit: "0 or 1",
        help: "1 where a side has neither agent nor lease: only its calls' answers say that it has stopped.",
        read: |look, samples| each_side(look, samples, |pair, side| Some(u8::from(pair.sides[side].unfenced))),
    },
    Family {
        name: "lockstep_lease_left_seconds",
        kind: Kind::Gauge,
        labels: SIDE,
        unit: "seconds",
        help: "How long the side's lease lasts by what its agent said last, less the time since; 0 without one.",
        read: |look, samples| {
            each_side(look, samples, |pair, side| {
                let report = pair.sides[side].report.as_ref()?;
                Some(seconds((report.lease_left_ms - report.age_ms).max(0.0)))
            });
        },
    },
    Family {
        name: "lockstep_side_serving",
        kind: Kind::Gauge,
        labels: SIDE,
        unit: "0 or 1",
        help: "1 where the agent says that its side is active and all that serving needs is ready.",
        read: |look, samples| {
            each_side(look, samples, |pair, side| Some(u8::from(pair.sides[side].report.as_ref()?.serving)));
        },
    },
    Family {
        name: "lockstep_side_fit",
        kind: Kind::Gauge,
        labels: SIDE,
        unit: "0 or 1",
        help: "1 where the agent says that all is ready that is not exclusive: the side could take over.",
        read: |look, samples| {
            each_side(look, samples, |pair, side| Some(u8::from(pair.sides[side].report.as_ref()?.fit)));
        },
    },
    // The edge.
    Family {
        name: "lockstep_build_info",
        kind: Kind::Gauge,
        labels: &["version", "edge"],
        unit: "1",
        help: "The version of lockstep, and the edge's name; always 1.",
        read: |look, samples| {
            samples.put(&[("version", &look.status.version), ("edge", &look.status.edge)], 1);
        },
    },
    Family {
        name: "lockstep_journal_lost_total",
        kind: Kind::Counter,
        labels: &[],
        unit: "records",
        help: "Records that the journals have lost because the disk was too slow or full.",
        read: |look, samples| samples.put(&[], look.status.journal_lost),
    },
    Family {
        name: "lockstep_access_log_lines_total",
        kind: Kind::Counter,
        labels: &[],
        unit: "lines",
        help: "Lines of the access log that were written; only where there is one.",
        read: |look, samples| look.status.access_log.iter().for_each(|log| samples.put(&[], log.written)),
    },
    Family {
        name: "lockstep_access_log_lost_total",
        kind: Kind::Counter,
        labels: &[],
        unit: "lines",
        help: "Lines of the access log that were lost because the disk was too slow or full; only where there is one.",
        read: |look, samples| look.status.access_log.iter().for_each(|log| samples.put(&[], log.lost)),
    },
    // The process, by the names that all exporters use.
    Family {
        name: "process_resident_memory_bytes",
        kind: Kind::Gauge,
        labels: &[],
        unit: "bytes",
        help: "Memory that the process has in RAM.",
        read: |look, samples| samples.put(&[], look.process.resident),
    },
    Family {
        name: "process_virtual_memory_bytes",
        kind: Kind::Gauge,
        labels: &[],
        unit: "bytes",
        help: "Memory that the process may address.",
        read: |look, samples| samples.put(&[], look.process.addressed),
    },
    Family {
        name: "process_threads",
        kind: Kind::Gauge,
        labels: &[],
        unit: "threads",
        help: "Threads of the process.",
        read: |look, samples| samples.put(&[], look.process.threads),
    },
    Family {
        name: "process_open_fds",
        kind: Kind::Gauge,
        labels: &[],
        unit: "descriptors",
        help: "Open files and connections of the process.",
        read: |look, samples| samples.put(&[], look.process.descriptors),
    },
    Family {
        name: "process_max_fds",
        kind: Kind::Gauge,
        labels: &[],
        unit: "descriptors",
        help: "How many files and connections the process may have open.",
        read: |look, samples| samples.put(&[], look.process.descriptors_max),
    },
    Family {
        name: "process_cpu_seconds_total",
        kind: Kind::Counter,
        labels: &[],
        unit: "seconds",
        help: "Time of processors that the process has taken.",
        read: |look, samples| samples.put(&[], look.process.cpu.as_secs_f64()),
    },
    Family {
        name: "process_start_time_seconds",
        kind: Kind::Gauge,
        labels: &[],
        unit: "seconds",
        help: "When the process was started, in seconds after 1970.",
        read: |look, samples| samples.put(&[], look.process.started),
    },
];

fn pairs(look: &Look) -> &[PairStatus] {
    &look.status.pairs
}

fn name(side: Side) -> &'static str {
    match side {
        Side::A => "a",
        Side::B => "b",
    }
}

fn route_of(pair: &PairStatus) -> &'static str {
    match pair.route.kind {
        RouteKind::Serve(side) => name(side),
        RouteKind::Share => "share",
        RouteKind::Hold => "hold",
        RouteKind::Refuse => "refuse",
    }
}

/// One sample for each pair, where there is a value.
fn each_pair<T: std::fmt::Display>(look: &Look, samples: &mut Samples, value: impl Fn(&PairStatus) -> Option<T>) {
    for pair in pairs(look) {
        if let Some(value) = value(pair) {
            samples.put(&[("pair", &pair.name)], value);
        }
    }
}

/// One sample for each side of each pair, where there is a value.
fn each_side<T: std::fmt::Display>(look: &Look, samples: &mut Samples, value: impl Fn(&PairStatus, Side) -> Option<T>) {
    for pair in pairs(look) {
        for side in Side::BOTH {
            if let Some(value) = value(pair, side) {
                samples.put(&[("pair", &pair.name), ("side", name(side))], value);
            }
        }
    }
}
