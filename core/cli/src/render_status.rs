//! How the edge and its pairs stand, for a person to read.

use crate::words::{cut, lasting, word};
use comfy_table::{ContentArrangement, Table, presets};
use lockstep_edge::admin::api::{PairStatus, ReportStatus, SessionsStatus, SideStatus, Status, route_text};
use lockstep_policy::event::{Lan, Replication};
use lockstep_policy::{Side, Sides};
use std::fmt::Write;

/// The whole status.
pub fn text(status: &Status) -> String {
    let mut text = format!(
        "{}: lockstep {}, running since {}, configured by {}\n",
        status.edge, status.version, status.started, status.config
    );
    for sentence in &status.reload {
        let _ = writeln!(text, "  reload: {sentence}");
    }
    if status.journal_lost > 0 {
        let _ = writeln!(text, "  journal: {} records lost, the disk was too slow or full", status.journal_lost);
    }
    if let Some(log) = status.access_log.filter(|log| log.lost > 0) {
        let _ = writeln!(text, "  access log: {} lines lost, the disk was too slow or full", log.lost);
    }
    if status.trust.insecure {
        let _ = writeln!(text, "  trust: INSECURE: agents obey whoever reaches them, as [edge.tls] says");
    }
    if let Some(own) = status.trust.certificate.as_ref().filter(|own| !own.text.is_empty()) {
        let _ = writeln!(text, "  trust: {}", own.text);
    }
    for pair in &status.pairs {
        text.push('\n');
        text.push_str(&of_pair(pair));
    }
    text
}

fn of_pair(pair: &PairStatus) -> String {
    let mut text = format!("{}: {}\n", pair.name, pair.listen.join(", "));
    let mut line = |name: &str, what: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {name:<9} {what}");
    };
    match &pair.sessions {
        Some(sessions) => {
            line("sessions", &sessions_text(sessions));
            if !sessions.names.is_empty() {
                line("failed", &format!("did not come back: {}", sessions.names.join(", ")));
            }
            line("route", route_text(pair.route));
        }
        None => {
            let active = pair.active.map_or_else(
                || "no side is active".to_owned(),
                |active| format!("side {} is active since epoch {}", active.side, active.epoch),
            );
            line("active", &active);
            line("route", &format!("{} (epoch {})", route_text(pair.route), pair.route.epoch));
        }
    }
    if pair.recovering {
        line("recovery", "asking both agents after the edge's start");
    }
    if let Some(handover) = pair.handover {
        line("handover", &format!("to {}, in {}", handover.to, word(&handover.phase)));
    }
    line("policy", &policy(pair));
    if let Some(pause) = &pair.paused {
        let reason = if pause.reason.is_empty() { String::new() } else { format!(": {}", pause.reason) };
        line("paused", &format!("by {} since {}{reason}", pause.by, pause.since));
    }
    if let Some(begun) = &pair.maintenance {
        let text = if begun.text.is_empty() { String::new() } else { format!(": {}", begun.text) };
        line("closed", &format!("maintenance by {} since {}{text}", begun.by, begun.since));
    }
    let traffic = &pair.traffic;
    if traffic.turned_away > 0 {
        line("limits", &format!("{} connections and requests turned away", traffic.turned_away));
    }
    line(
        "requests",
        &format!(
            "{} taken, {} wait now, {} had to wait, {} refused, {} failed",
            traffic.requests, traffic.holding, traffic.held, traffic.refused, traffic.failed
        ),
    );
    if let Some(last) = &pair.last {
        let gap = last.gap_ms.map(|ms| format!(", clients waited {}", lasting(ms))).unwrap_or_default();
        line("last", &format!("epoch {} at {}: {}{gap}", last.epoch, last.when, last.text));
    }
    if !pair.store.is_empty() {
        line("store", &pair.store);
    }
    for alert in &pair.alerts {
        line(&word(&alert.level), &format!("{} {}: {}", alert.when, alert.from, alert.text));
    }
    text.push_str(&sides(pair));
    text
}

/// `12 on a, 30 on b; new ones 1:1; 8 moved from a, 4 left, 0 failed; reason`.
fn sessions_text(sessions: &SessionsStatus) -> String {
    let SessionsStatus { on, parts, moving_from, moved, left, failed, reason, .. } = sessions;
    let mut text = format!("{} on a, {} on b; ", on.a, on.b);
    text.push_str(&match parts {
        Sides { a: 0, b: 0 } => "no new ones are let in".to_owned(),
        Sides { a: _, b: 0 } => "new ones go to a".to_owned(),
        Sides { a: 0, b: _ } => "new ones go to b".to_owned(),
        Sides { a, b } => format!("new ones {a}:{b}"),
    });
    if let Some(from) = moving_from {
        let _ = write!(text, "; {moved} moved from {from}, {left} left, {failed} failed");
    } else if moved + failed > 0 {
        let _ = write!(text, "; {moved} moved, {failed} failed");
    }
    if !reason.is_empty() {
        let _ = write!(text, "; {reason}");
    }
    text
}

fn policy(pair: &PairStatus) -> String {
    let policy = &pair.policy;
    let mut text = format!("{} {}", policy.id, policy.version);
    if let Some(ms) = policy.expected_delay_ms {
        let _ = write!(text, ", switches within {} at worst", lasting(ms));
    }
    match policy.worker_pid {
        Some(pid) => drop(write!(text, ", in process {pid}")),
        None if policy.isolation == "in-process" => text.push_str(", in the edge's own process"),
        None => {}
    }
    if policy.restarts > 0 {
        let _ = write!(text, " (started again {} times)", policy.restarts);
    }
    if !policy.promoted.is_empty() {
        let _ = write!(text, ", promoted {} and not the configured one", policy.promoted);
    }
    if !policy.in_shadow.is_empty() {
        let _ = write!(text, "; {} in shadow", policy.in_shadow);
    }
    let trouble = if policy.trouble.is_empty() { String::new() } else { format!(": {}", policy.trouble) };
    if !policy.standing_in.is_empty() {
        let _ = write!(text, ", DOES NOT WORK, {} stands in and the pair keeps its route{trouble}", policy.standing_in);
    } else if !policy.working {
        let _ = write!(text, ", DOES NOT WORK, the pair keeps its course{trouble}");
    }
    text
}

fn sides(pair: &PairStatus) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(["side", "servers", "agent", "role", "epoch", "lease", "in flight", "services", "probes", ""]);
    for side in Side::BOTH {
        table.add_row(row(side, &pair.sides[side]));
    }
    let mut text = String::new();
    for line in table.lines() {
        let _ = writeln!(text, " {}", line.trim_end());
    }
    text
}

/// How a side's agent is connected, in a word.
pub fn links(status: &SideStatus) -> String {
    let word = match (status.main, status.auxiliary) {
        _ if status.unfenced => "UNFENCED",
        _ if status.agent.is_empty() => "none",
        (true, true) => "up",
        (true, false) => "no auxiliary",
        (false, true) => "no main",
        (false, false) => "down",
    };
    word.to_owned()
}

fn row(side: Side, status: &SideStatus) -> [String; 10] {
    let dash = || "-".to_owned();
    let report = status.report.as_ref();
    let services = report.map(|report| {
        let services = report.services.iter().map(|service| {
            let again = if service.restarts > 0 { format!(" (restarted {})", service.restarts) } else { String::new() };
            let unbound = if report.unbound.contains(&service.name) { ", unbound" } else { "" };
            format!("{} {}{again}{unbound}", service.name, word(&service.state))
        });
        services.collect::<Vec<_>>().join(", ")
    });
    let probes = status.probes.iter().map(|probe| {
        let last = probe.last.as_ref();
        last.map_or_else(
            || "unknown".to_owned(),
            |last| format!("{} {}", word(&last.verdict), lasting(last.latency_ms)),
        )
    });
    let found = report.map(beside).unwrap_or_default();
    let certificate = status.certificate.as_ref().map(|certificate| certificate.text.as_str()).unwrap_or_default();
    let note = [status.trouble.as_str(), certificate, &found, status.shown.as_str()]
        .into_iter()
        .filter(|part| !part.is_empty());
    [
        side.to_string(),
        status.servers.join(" "),
        links(status),
        report.map_or_else(dash, |report| word(&report.role)),
        report.map_or_else(dash, |report| report.epoch.to_string()),
        report.map_or_else(dash, |report| {
            if report.lease_left_ms > 0.0 { lasting(report.lease_left_ms) } else { "none".to_owned() }
        }),
        status.in_flight.to_string(),
        services.unwrap_or_else(dash),
        probes.collect::<Vec<_>>().join(", "),
        cut(&note.collect::<Vec<_>>().join("; "), 120),
    ]
}

/// What an agent has found beside its services, as far as somebody must do something about it.
fn beside(report: &ReportStatus) -> String {
    let mut found = Vec::new();
    if !report.waiting.is_empty() {
        found.push(format!("waits at gate {}: `lockstep confirm`", report.waiting));
    }
    if report.lan == Lan::Isolated {
        found.push("isolated from its LAN".to_owned());
    }
    if let Replication::Behind | Replication::Stopped = report.replication {
        let detail = Some(report.replication_detail.as_str()).filter(|detail| !detail.is_empty());
        let detail = detail.map(|detail| format!(": {detail}")).unwrap_or_default();
        found.push(format!("copy {}{detail}", word(&report.replication)));
    }
    found.join("; ")
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// As the edge answers it, so that a field that is taken away is noticed here too.
    pub fn status() -> Status {
        let side = |role: &str, lease_ms: f64| {
            serde_json::json!({
                "servers": ["10.0.0.1:80"], "agent": "10.0.0.1:7401", "main": true, "auxiliary": role == "active",
                "trouble": "", "shown": if role == "active" { "" } else { "2 of 5 good, then rollback" }, "in_flight": 3,
                "report": {
                    "role": role, "epoch": 5, "serving": true, "fit": true, "running": true, "lease_left_ms": lease_ms,
                    "release": "7.2", "age_ms": 12.0,
                    "services": [{"name": "cti", "exclusive": true, "state": "running", "pid": 7, "restarts": 0}],
                },
                "probes": [{
                    "probe": 1, "target": "http :80/x", "interval_ms": 100.0,
                    "last": {"verdict": "good", "status": 200, "latency_ms": 0.8, "detail": "", "age_ms": 40.0},
                }],
            })
        };
        let pair = serde_json::json!({
            "name": "telisca", "listen": ["10.0.0.100:80"], "route": {"epoch": 5, "kind": {"serve": "a"}}, "epoch": 5,
            "active": {"side": "a", "epoch": 5}, "handover": null, "recovering": false,
            "sides": {"a": side("active", 512.0), "b": side("standby", 0.0)},
            "policy": {
                "id": "telisca", "version": "0.1.0", "file": "x.so", "fingerprint": "00", "expected_delay_ms": 162_000.0,
                "working": true, "trouble": "", "events": 9, "slowest_step_ms": 0.1,
                "standing_in": "", "isolation": "process", "worker_pid": 4711, "restarts": 2,
            },
            "traffic": {"requests": 10, "holding": 0, "held": 2, "released": 2, "refused": 0, "failed": 1},
            "paused": {"by": "jo", "reason": "patch day", "since": "2026-03-01T12:00:00Z"},
            "alerts": [{"when": "2026-03-01T12:01:00Z", "level": "warning", "from": "policy", "text": "cti restarted"}],
            "last": {"epoch": 5, "when": "2026-03-01T11:00:00Z", "text": "b -> a, planned, completed", "gap_ms": 351.0},
            "store": "",
        });
        serde_json::from_value(serde_json::json!({
            "edge": "edge-1", "version": "0.1.0", "started": "2026-03-01T10:00:00Z", "config": "/etc/lockstep/edge.toml",
            "reload": [], "journal_lost": 2, "pairs": [pair],
        }))
        .unwrap()
    }

    #[test]
    fn who_stands_in_for_a_policy_is_said() {
        let mut pair = status().pairs.remove(0);
        pair.policy.working = false;
        pair.policy.worker_pid = None;
        pair.policy.trouble = "policy `telisca` 0.1.0 failed at event 7 (timer): it crashed".to_owned();
        assert!(policy(&pair).ends_with(
            ", DOES NOT WORK, the pair keeps its course: policy `telisca` 0.1.0 failed at event 7 (timer): it crashed"
        ));
        pair.policy.standing_in = "hold-course".to_owned();
        assert!(policy(&pair).contains(", DOES NOT WORK, hold-course stands in and the pair keeps its route: "));
    }

    #[test]
    fn a_status_reads_like_this() {
        assert_eq!(
            text(&status()),
            "\
edge-1: lockstep 0.1.0, running since 2026-03-01T10:00:00Z, configured by /etc/lockstep/edge.toml
  journal: 2 records lost, the disk was too slow or full

telisca: 10.0.0.100:80
  active    side a is active since epoch 5
  route     a (epoch 5)
  policy    telisca 0.1.0, switches within 2 min 42 s at worst, in process 4711 (started again 2 times)
  paused    by jo since 2026-03-01T12:00:00Z: patch day
  requests  10 taken, 0 wait now, 2 had to wait, 0 refused, 1 failed
  last      epoch 5 at 2026-03-01T11:00:00Z: b -> a, planned, completed, clients waited 351.0 ms
  warning   2026-03-01T12:01:00Z policy: cti restarted
  side  servers      agent         role     epoch  lease     in flight  services     probes
  a     10.0.0.1:80  up            active   5      512.0 ms  3          cti running  good 0.8 ms
  b     10.0.0.1:80  no auxiliary  standby  5      none      3          cti running  good 0.8 ms  2 of 5 good, then rollback
"
        );
    }

    #[test]
    fn what_was_started_again_and_what_is_unbound_stands_beside_the_service() {
        let mut status = status();
        let report = status.pairs[0].sides.a.report.as_mut().unwrap();
        report.services[0].restarts = 2;
        report.unbound = vec!["cti".to_owned()];
        let text = text(&status);
        assert!(text.contains("cti running (restarted 2), unbound"), "{text}");
    }
}
