//! How the pair stands, for operators.

use super::Driver;
use super::measure::ms;
use crate::admin::api::{
    Active, CertificateStatus, PairStatus, PolicyStatus, ProbeAnswer, ProbeStatus, ReportStatus, SeenStatus,
    SideStatus, Summary, TrafficStatus, Underway,
};
use crate::agents::Way;
use crate::probe::target;
use lockstep_pair::record::{HandoverRecord, Outcome};
use lockstep_policy::action::Urgency;
use lockstep_policy::{At, Side, Sides};
use lockstep_wire::clock;

impl Driver {
    pub(super) fn status(&self) -> PairStatus {
        let now = clock::now();
        let view = self.coordinator.view();
        PairStatus {
            name: self.config.name.clone(),
            listen: self.listening(),
            route: view.route,
            epoch: view.epoch,
            active: view.active.map(|(side, epoch)| Active { side, epoch }),
            handover: view.handover.map(|(to, phase)| Underway { to, phase }),
            recovering: view.recovering,
            sides: Sides::from_fn(|side| self.side_status(now, side)),
            policy: self.policy_status(now),
            traffic: self.traffic_status(),
            seen: SeenStatus { handovers: self.handovers, ..self.proxy.seen() },
            sessions: self.sessions_status(),
            paused: self.pause.clone(),
            maintenance: self.maintenance.clone(),
            alerts: self.notes.alerts(),
            last: self.summary(),
            store: self.store_trouble.clone(),
        }
    }

    fn listening(&self) -> Vec<String> {
        let of_pools = self.config.listeners.iter().flat_map(|listeners| &listeners.listen);
        let more = self.config.listener.iter().flat_map(|listener| &listener.listen);
        self.config.listen.iter().chain(of_pools).chain(more).map(ToString::to_string).collect()
    }

    fn side_status(&self, now: At, side: Side) -> SideStatus {
        let (config, room) = (&self.config.sides[side], &self.sides[side]);
        SideStatus {
            servers: config.servers.iter().map(ToString::to_string).collect(),
            agent: config.agent.map(|agent| agent.to_string()).unwrap_or_default(),
            unfenced: config.remote.is_some(),
            main: room.main,
            auxiliary: room.auxiliary,
            trouble: if room.main { String::new() } else { room.trouble.clone() },
            certificate: match &room.commands {
                Some(Way::Agent(commands)) => commands.peer().map(CertificateStatus::of),
                _ => None,
            },
            report: room.report.as_ref().map(|(heard, report)| ReportStatus {
                role: report.role,
                epoch: report.epoch,
                serving: report.serving,
                fit: report.fit,
                running: report.running,
                lease_left_ms: ms(report.lease_left),
                services: report.services.clone(),
                release: report.release.clone(),
                replication: report.replication,
                replication_detail: report.replication_detail.clone(),
                lan: report.lan,
                waiting: report.waiting.clone(),
                unbound: report.unbound.clone(),
                age_ms: ms(now.since(*heard)),
            }),
            probes: self.probe_status(now, side),
            shown: room.shown.clone(),
            in_flight: self.proxy.in_flight(side) as u64,
        }
    }

    fn probe_status(&self, now: At, side: Side) -> Vec<ProbeStatus> {
        let answer = |probe| {
            self.sides[side].probes.get(&probe).map(|(at, result)| ProbeAnswer {
                verdict: result.verdict,
                status: result.status,
                latency_ms: ms(result.latency),
                detail: result.detail.clone(),
                age_ms: ms(now.since(*at)),
            })
        };
        let watches = self.probes.watches().filter(|watch| watch.side == side);
        let status = watches.map(|watch| ProbeStatus {
            probe: watch.probe.0,
            target: target(&watch.kind),
            interval_ms: ms(watch.interval),
            last: answer(watch.probe),
        });
        status.collect()
    }

    fn policy_status(&self, now: At) -> PolicyStatus {
        let policy = &self.config.policy;
        let (worker_pid, restarts) = self.seat.worker();
        PolicyStatus {
            id: policy.plugin.id().to_owned(),
            version: policy.plugin.version().to_owned(),
            file: policy.file.display().to_string(),
            fingerprint: policy.plugin.fingerprint().to_string(),
            expected_delay_ms: policy.expected_delay.map(ms),
            working: self.seat.is_working(now),
            trouble: self.seat.trouble.clone(),
            events: self.seat.events,
            slowest_step_ms: ms(self.seat.slowest),
            standing_in: self.seat.stand_in().unwrap_or_default().to_owned(),
            isolation: policy.plugin.terms().isolation.name().to_owned(),
            worker_pid,
            restarts,
            promoted: self.promoted.clone(),
            in_shadow: self.in_shadow(),
        }
    }

    fn traffic_status(&self) -> TrafficStatus {
        let totals = self.proxy.totals();
        TrafficStatus {
            requests: totals.requests,
            holding: totals.held_now,
            held: totals.held,
            released: totals.released,
            refused: totals.refused,
            failed: totals.failed,
            turned_away: totals.turned_away.sum(),
        }
    }

    fn summary(&self) -> Option<Summary> {
        let kept = self.kept()?;
        let (epoch, text, gap_ms) = (kept.record.epoch, summary(&kept.record), kept.measures.gap_ms);
        Some(Summary { epoch, when: kept.when, text, gap_ms })
    }
}

/// `a -> b, planned, completed: reason`.
fn summary(record: &HandoverRecord) -> String {
    let from = record.from.map_or_else(|| "none".to_owned(), |side| side.to_string());
    let urgency = match record.urgency {
        Urgency::Planned => "planned",
        Urgency::Failover => "failover",
    };
    let outcome = match record.outcome {
        None => "under way",
        Some(Outcome::Completed) => "completed",
        Some(Outcome::RolledBack) => "rolled back",
        Some(Outcome::NoActive) => "no side is active",
    };
    format!("{from} -> {}, {urgency}, {outcome}: {}", record.to, record.reason)
}
