//! What was measured of a handover, from its record and from what the proxy counted.

use crate::admin::api::Measures;
use crate::proxy::HoldStats;
use lockstep_pair::record::{HandoverRecord, Phase};
use lockstep_policy::{At, Epoch};
use std::collections::BTreeSet;
use std::time::Duration;

/// What the record tells, with the holds of all its epochs.
pub(super) fn measures(
    record: &HandoverRecord,
    evidence_began: Option<At>,
    expected: Option<Duration>,
    holds: impl Fn(Epoch) -> HoldStats,
) -> Measures {
    let began = |phase: Phase| record.phases.iter().find(|one| one.phase == phase).map(|one| one.began);
    let committed = began(Phase::Commit);
    let ended = committed.or_else(|| record.outcome.and(record.phases.last()).and_then(|last| last.ended));
    let served = record.first_answer_at.or(committed);
    let epochs: BTreeSet<Epoch> = record.phases.iter().map(|phase| phase.epoch).chain([record.epoch]).collect();
    let (mut held, mut released, mut refused) = (0, 0, 0);
    for stats in epochs.into_iter().map(holds) {
        held += stats.held;
        released += stats.released;
        refused += stats.refused;
    }
    Measures {
        total_ms: ended.map(|end| ms(end.since(record.began))),
        gap_ms: between(began(Phase::Hold), committed),
        skew_ms: between(record.activated_at, record.first_sent_at),
        detection_ms: between(evidence_began, Some(record.began)),
        delay_ms: between(evidence_began, served),
        expected_delay_ms: expected.map(ms),
        held,
        released,
        refused,
    }
}

/// Milliseconds, for people.
pub(super) fn ms(time: Duration) -> f64 {
    // To the microsecond: nothing here is known more exactly.
    (time.as_secs_f64() * 1e6).round() / 1e3
}

fn between(from: Option<At>, to: Option<At>) -> Option<f64> {
    Some(ms(to?.since(from?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_pair::record::{Outcome, PhaseRecord};
    use lockstep_policy::Side;
    use lockstep_policy::action::Urgency;

    fn record(phases: &[(Phase, u64, u64)]) -> HandoverRecord {
        let phases = phases.iter().map(|(phase, epoch, began)| PhaseRecord {
            phase: *phase,
            epoch: Epoch(*epoch),
            began: At::from_millis(*began),
            ended: Some(At::from_millis(*began + 10)),
            note: String::new(),
        });
        HandoverRecord {
            epoch: Epoch(7),
            from: Some(Side::A),
            to: Side::B,
            urgency: Urgency::Failover,
            reason: String::new(),
            by: "policy".into(),
            evidence: vec![1],
            fenced: None,
            began: At::from_millis(1000),
            phases: phases.collect(),
            outcome: Some(Outcome::Completed),
            why: String::new(),
            activated_at: Some(At::from_millis(1500)),
            first_sent_at: Some(At::from_millis(1502)),
            first_answer_at: Some(At::from_millis(1510)),
        }
    }

    fn holds(epoch: Epoch) -> HoldStats {
        HoldStats { held: epoch.0, released: epoch.0, refused: 1, ..HoldStats::default() }
    }

    #[test]
    fn the_gap_is_hold_to_commit_and_the_delay_counts_from_the_first_evidence() {
        let phases =
            [(Phase::Prepare, 7, 1000), (Phase::Hold, 7, 1100), (Phase::Commit, 7, 1500), (Phase::Settle, 7, 1500)];
        let measures = measures(&record(&phases), Some(At::from_millis(800)), Some(Duration::from_secs(160)), holds);
        assert_eq!(
            measures,
            Measures {
                total_ms: Some(500.0),
                gap_ms: Some(400.0),
                skew_ms: Some(2.0),
                detection_ms: Some(200.0),
                delay_ms: Some(710.0),
                expected_delay_ms: Some(160_000.0),
                held: 7,
                released: 7,
                refused: 1,
            }
        );
    }

    #[test]
    fn a_roll_back_counts_the_requests_of_both_its_epochs() {
        let phases =
            [(Phase::Hold, 7, 1000), (Phase::Fence, 7, 1000), (Phase::Activate, 8, 1200), (Phase::Commit, 8, 1300)];
        let measures = measures(&record(&phases), None, None, holds);
        assert_eq!((measures.held, measures.refused, measures.gap_ms), (15, 2, Some(300.0)));
        assert_eq!(measures.detection_ms, None);
    }

    #[test]
    fn what_was_given_up_before_the_hold_has_no_gap() {
        let mut given_up = record(&[(Phase::Prepare, 7, 1000)]);
        given_up.outcome = Some(Outcome::RolledBack);
        given_up.first_answer_at = None;
        let measures = measures(&given_up, None, None, holds);
        assert_eq!((measures.total_ms, measures.gap_ms, measures.delay_ms), (Some(10.0), None, None));
    }
}
