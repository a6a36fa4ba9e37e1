//! How sides are.

use super::{Family, Kind, SIDE, each_side, name, pairs};
use crate::admin::api::{SideSeen, SideStatus};
use crate::metrics::text::seconds;
use lockstep_policy::Side;

/// Connections, agents and leases.
pub(super) const SIDES: &[Family] = &[
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
        unit: "troubles",
        help: "What clients' traffic met at a side: refused (no connection), reset (ended before its answer had), timeout, server_error (5xx, or no HTTP), slow (later than [pair.detect] slow; counted by its status, too).",
        read: |look, samples| {
            for pair in pairs(look) {
                for side in Side::BOTH {
                    let SideSeen { refused, resets, timeouts, server_errors, slow, .. } = pair.seen.sides[side];
                    let kinds = [
                        ("refused", refused),
                        ("reset", resets),
                        ("timeout", timeouts),
                        ("server_error", server_errors),
                        ("slow", slow),
                    ];
                    for (kind, count) in kinds {
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
];
