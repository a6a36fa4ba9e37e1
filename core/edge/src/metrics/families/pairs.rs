//! How pairs stand.

use super::{Family, Kind, PAIR, SIDE, each_pair, each_side, name, pairs};
use crate::admin::api::PairStatus;
use crate::metrics::text::seconds;
use lockstep_pair::RouteKind;

const ROUTES: [&str; 5] = ["a", "b", "share", "hold", "refuse"];

/// Route, role and handovers.
pub(super) const PAIRS: &[Family] = &[
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
];

fn route_of(pair: &PairStatus) -> &'static str {
    match pair.route.kind {
        RouteKind::Serve(side) => name(side),
        RouteKind::Share => "share",
        RouteKind::Hold => "hold",
        RouteKind::Refuse => "refuse",
    }
}
