//! A handover for a person to read: why, what happened when, and what clients felt.

use crate::words::{cut, lasting, lasting_or_dash, word};
use lockstep_edge::admin::api::{Handover, JournalEntry};
use lockstep_pair::record::{Fenced, HandoverRecord, PhaseRecord};
use lockstep_policy::At;
use std::fmt::Write;

/// The waterfall's width in characters.
const WIDTH: usize = 40;
/// The most of a journal's entry that is shown.
const ENTRY: usize = 110;

/// `telisca: epoch 5, a -> b, planned, completed in 412.1 ms`.
pub fn headline(handover: &Handover) -> String {
    let record = &handover.record;
    let from = record.from.map_or_else(|| "none".to_owned(), |side| side.to_string());
    let outcome = record.outcome.as_ref().map_or_else(|| "under way".to_owned(), word);
    let took = handover.measures.total_ms.map(|ms| format!(" in {}", lasting(ms))).unwrap_or_default();
    format!(
        "{}: epoch {}, {from} -> {}, {}, {outcome}{took}",
        handover.pair,
        record.epoch,
        record.to,
        word(&record.urgency)
    )
}

/// The whole record.
pub fn text(handover: &Handover) -> String {
    let (record, measures) = (&handover.record, &handover.measures);
    let mut text = headline(handover);
    let mut line = |name: &str, what: &str| {
        // Writing to a String cannot fail.
        let _ = write!(text, "\n  {name:<9} {what}");
    };
    line("when", &handover.when);
    line("by", &record.by);
    line("reason", &record.reason);
    if !record.why.is_empty() {
        line("because", &record.why);
    }
    if let Some(fenced) = &record.fenced {
        line("fenced", &fenced_text(fenced, record));
    }
    line("waited", &format!("{} from hold to commit: what clients felt", lasting_or_dash(measures.gap_ms)));
    line("skew", &format!("{} from `active` to the first request", lasting_or_dash(measures.skew_ms)));
    if measures.detection_ms.is_some() {
        line("detected", &format!("{} from the first evidence to the order", lasting_or_dash(measures.detection_ms)));
    }
    if measures.delay_ms.is_some() {
        let expected = measures.expected_delay_ms;
        let beside = expected.map(|ms| format!("; the policy expects {} at worst", lasting(ms))).unwrap_or_default();
        line("delay", &format!("{} from the first evidence to service{beside}", lasting_or_dash(measures.delay_ms)));
    }
    line("requests", &format!("{} held, {} released, {} refused", measures.held, measures.released, measures.refused));
    text.push_str("\n\n");
    text.push_str(&waterfall(record));
    if !handover.evidence.is_empty() {
        text.push('\n');
        text.push_str(&evidence(record, &handover.evidence));
    }
    text
}

/// Why the other side counted as stopped.
fn fenced_text(fenced: &Fenced, record: &HandoverRecord) -> String {
    let old = record.to.other();
    match fenced {
        Fenced::Confirmed => format!("side {old} confirmed that it had stopped"),
        Fenced::LeaseOver => format!("side {old}'s lease was over"),
        Fenced::Hook => format!("the fencing hook confirmed that side {old} was off"),
        Fenced::Unfenced => {
            format!(
                "UNFENCED: side {old} has no lease and confirmed nothing, its delay passed; both may have been active"
            )
        }
        Fenced::Unsafe { reason } => format!("UNSAFE, on the word of {}: {reason}", record.by),
    }
}

/// One line for each phase, with a bar where it lay in time.
fn waterfall(record: &HandoverRecord) -> String {
    let ends = record.phases.iter().filter_map(|phase| phase.ended);
    let begins = record.phases.iter().map(|phase| phase.began);
    let last = ends.chain(begins).max().unwrap_or(record.began);
    let whole = ms(record.began, last).max(f64::MIN_POSITIVE);
    let mut text = format!("  {:<10} {:>9}  {:>9}\n", "phase", "began", "took");
    for phase in &record.phases {
        let (began, ended) = (ms(record.began, phase.began), ms(record.began, phase.ended.unwrap_or(last)));
        let took = phase.ended.map_or_else(|| "…".to_owned(), |_| format!("{:.1} ms", ended - began));
        let name = word(&phase.phase);
        let began_at = format!("{began:.1} ms");
        let drawn = format!("{}{}", bar(began / whole, ended / whole), note(record, phase));
        let _ = writeln!(text, "  {name:<10} {began_at:>9}  {took:>9}  {}", drawn.trim_end());
    }
    text
}

fn note(record: &HandoverRecord, phase: &PhaseRecord) -> String {
    let rolled_back = (phase.epoch != record.epoch).then(|| format!("epoch {}", phase.epoch));
    let said = (!phase.note.is_empty()).then(|| phase.note.clone());
    let parts: Vec<_> = rolled_back.into_iter().chain(said).collect();
    if parts.is_empty() { String::new() } else { format!("  {}", parts.join(", ")) }
}

/// A bar from one fraction of the width to another, in eighths of a character at its end; never empty.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "0 to 8 × WIDTH"
)]
fn bar(from: f64, to: f64) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let column = ((from * WIDTH as f64) as usize).min(WIDTH - 1);
    let end = ((to * WIDTH as f64 * 8.0).round() as usize).clamp(column * 8 + 1, WIDTH * 8);
    let length = end - column * 8;
    let drawn = format!("{}{}{}", " ".repeat(column), "█".repeat(length / 8), EIGHTHS[length % 8]);
    let missing = (WIDTH + 1).saturating_sub(drawn.chars().count());
    drawn + &" ".repeat(missing)
}

fn evidence(record: &HandoverRecord, entries: &[JournalEntry]) -> String {
    let mut text = String::from("  evidence\n");
    for entry in entries {
        let before = ms(At::ZERO, record.began) - entry.at_ms;
        let when = if before >= 0.0 { format!("-{}", lasting(before)) } else { format!("+{}", lasting(-before)) };
        let _ = writeln!(text, "  {:>8} {when:>10}  {}", format!("#{}", entry.seq), cut(&plain(&entry.what), ENTRY));
    }
    text
}

/// JSON without its quotes and outer braces: `probe: {side: a, verdict: silent}`.
fn plain(value: &serde_json::Value) -> String {
    use serde_json::Value;
    match value {
        Value::Object(fields) => {
            let fields: Vec<_> = fields
                .iter()
                .map(|(key, value)| match value {
                    Value::Object(_) => format!("{key} {{{}}}", plain(value)),
                    other => format!("{key} {}", plain(other)),
                })
                .collect();
            fields.join(", ")
        }
        Value::Array(values) => format!("[{}]", values.iter().map(plain).collect::<Vec<_>>().join(", ")),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn ms(from: At, to: At) -> f64 {
    to.since(from).as_secs_f64() * 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_edge::admin::api::Measures;
    use lockstep_pair::record::{Outcome, Phase};
    use lockstep_policy::action::Urgency;
    use lockstep_policy::{Epoch, Side};

    fn phase(phase: Phase, began: u64, ended: Option<u64>) -> PhaseRecord {
        PhaseRecord { phase, epoch: Epoch(5), began: at(began), ended: ended.map(at), note: String::new() }
    }

    fn at(ms: u64) -> At {
        At::from_millis(10_000 + ms)
    }

    fn handover() -> Handover {
        let phases = vec![
            phase(Phase::Prepare, 0, Some(20)),
            phase(Phase::Hold, 20, Some(20)),
            phase(Phase::Drain, 20, Some(22)),
            phase(Phase::Fence, 22, Some(60)),
            PhaseRecord { note: "2nd attempt".into(), ..phase(Phase::Activate, 60, Some(380)) },
            phase(Phase::Commit, 380, Some(385)),
            phase(Phase::Settle, 385, None),
        ];
        Handover {
            pair: "telisca".into(),
            when: "2026-03-01T12:00:00Z".into(),
            record: HandoverRecord {
                epoch: Epoch(5),
                from: Some(Side::A),
                to: Side::B,
                urgency: Urgency::Failover,
                reason: "T1: a failed 2 probes in a row".into(),
                by: "policy".into(),
                evidence: vec![41],
                fenced: None,
                began: at(0),
                phases,
                outcome: Some(Outcome::Completed),
                why: String::new(),
                activated_at: Some(at(379)),
                first_sent_at: Some(at(380)),
                first_answer_at: None,
            },
            measures: Measures {
                total_ms: Some(385.0),
                gap_ms: Some(360.0),
                skew_ms: Some(0.4),
                detection_ms: Some(212.0),
                delay_ms: Some(597.0),
                expected_delay_ms: Some(1_100.0),
                held: 175,
                released: 175,
                refused: 0,
            },
            evidence: vec![JournalEntry {
                seq: 41,
                at_ms: 9_788.0,
                when: String::new(),
                kind: "event".into(),
                what: serde_json::json!({"probe": {"side": "a", "verdict": "silent"}}),
            }],
        }
    }

    #[test]
    fn a_handover_reads_like_this() {
        assert_eq!(
            text(&handover()),
            "\
telisca: epoch 5, a -> b, failover, completed in 385.0 ms
  when      2026-03-01T12:00:00Z
  by        policy
  reason    T1: a failed 2 probes in a row
  waited    360.0 ms from hold to commit: what clients felt
  skew      0.4 ms from `active` to the first request
  detected  212.0 ms from the first evidence to the order
  delay     597.0 ms from the first evidence to service; the policy expects 1.10 s at worst
  requests  175 held, 175 released, 0 refused

  phase          began       took
  prepare       0.0 ms    20.0 ms  ██▏
  hold         20.0 ms     0.0 ms    ▏
  drain        20.0 ms     2.0 ms    ▎
  fence        22.0 ms    38.0 ms    ████▎
  activate     60.0 ms   320.0 ms        █████████████████████████████████▌   2nd attempt
  commit      380.0 ms     5.0 ms                                         █
  settle      385.0 ms          …                                         █

  evidence
       #41  -212.0 ms  probe {side a, verdict silent}
"
        );
    }

    #[test]
    fn a_handover_without_phases_is_shown_too() {
        let mut bare = handover();
        bare.record.phases.clear();
        bare.record.outcome = None;
        bare.measures = Measures::default();
        assert!(text(&bare).starts_with("telisca: epoch 5, a -> b, failover, under way\n"));
    }
}
