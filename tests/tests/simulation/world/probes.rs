//! Probes: what the simulated nodes answer, and when.

use super::network::Place;
use super::policy::Declared;
use super::services::Trouble;
use super::{MS, What, World};
use lockstep_policy::Side;
use lockstep_policy::action::{ProbeKind, Watch};
use lockstep_policy::event::{self, Connection, Fact, ProbeId, ProbeResult, Verdict};
use std::time::Duration;

/// What a probe has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Finding {
    /// With the process that answers, when it says so.
    Good(Option<u64>),
    /// An HTTP status; 0: no HTTP.
    Wrong(u16),
    Silent,
    Refused,
}

impl World {
    pub(super) fn watch(&mut self, watch: Watch) {
        self.policy.declarations += 1;
        let (probe, declaration) = (watch.probe, self.policy.declarations);
        let repeats = watch.repeats();
        self.policy.declared.insert(probe, Declared { watch, declaration });
        if repeats {
            self.after(MS / 10, What::ProbeDue { probe: probe.0, declaration });
        }
    }

    pub(super) fn probe_due(&mut self, probe: u32, declaration: u64) {
        let probe = ProbeId(probe);
        if !self.is_declared(probe, declaration) {
            return;
        }
        let interval = self.policy.declared[&probe].watch.interval;
        self.probe_now(probe);
        let interval = nanos(interval).max(5 * MS);
        let next = interval - self.rng.u64(0..=interval / 10);
        self.after(next, What::ProbeDue { probe: probe.0, declaration });
    }

    pub(super) fn probe_now(&mut self, probe: ProbeId) {
        let Some(Declared { watch, declaration }) = self.policy.declared.get(&probe).cloned() else { return };
        let finding = self.find(&watch);
        let round = self.delay() + self.delay();
        let timeout = nanos(watch.timeout);
        let (finding, delay) = match finding {
            Finding::Silent => (finding, timeout),
            _ if round >= timeout => (Finding::Silent, timeout),
            _ => (finding, round),
        };
        let sent = self.now;
        self.after(delay, What::ProbeDone { probe: probe.0, declaration, sent, finding });
    }

    /// Requests have met trouble at a side: each of its probes is sent at once.
    pub(super) fn probe_side_now(&mut self, side: Side) {
        let of_side: Vec<ProbeId> = self
            .policy
            .declared
            .iter()
            .filter(|(_, declared)| declared.watch.side == side && declared.watch.repeats())
            .map(|(probe, _)| *probe)
            .collect();
        of_side.into_iter().for_each(|probe| self.probe_now(probe));
    }

    pub(super) fn probe_done(&mut self, probe: u32, declaration: u64, sent: u64, finding: Finding) {
        let probe = ProbeId(probe);
        if !self.is_declared(probe, declaration) {
            return;
        }
        let watch = &self.policy.declared[&probe].watch;
        let (verdict, status, facts) = match finding {
            Finding::Good(pid) => {
                let status = if matches!(watch.kind, ProbeKind::Http(_)) { 200 } else { 0 };
                let facts = pid.map(|pid| Fact { name: "pid".to_owned(), value: pid.to_string() });
                (Verdict::Good, status, facts.into_iter().collect())
            }
            Finding::Wrong(status) => (Verdict::Wrong, status, Vec::new()),
            Finding::Silent => (Verdict::Silent, 0, Vec::new()),
            Finding::Refused => (Verdict::Refused, 0, Vec::new()),
        };
        let latency = Duration::from_nanos(self.now - sent);
        let (side, server) = (watch.side, watch.server);
        let detail = String::new();
        self.inform(event::What::Probe(ProbeResult { probe, side, server, verdict, latency, status, detail, facts }));
    }

    fn find(&self, watch: &Watch) -> Finding {
        let side = watch.side;
        let host = &self.hosts[side];
        let reached = self.network.both(Place::Edge, Place::Node(side)) && !host.off;
        match &watch.kind {
            ProbeKind::Agent(probe) => {
                let connected = match probe.connection {
                    Connection::Main => self.links[side].up,
                    Connection::Auxiliary => self.links[side].auxiliary,
                };
                match host.crew.exclusive {
                    _ if !connected => Finding::Refused,
                    _ if !self.agent_answers(side) => Finding::Silent,
                    _ if probe.service.is_empty() => Finding::Good(Some(host.life)),
                    Some(process) if process.ready => Finding::Good(Some(process.id)),
                    _ => Finding::Wrong(0),
                }
            }
            // The edge's own network is not what fails here.
            ProbeKind::Icmp(probe) if probe.target != lockstep_policy::action::IcmpTarget::Server => {
                Finding::Good(None)
            }
            ProbeKind::Icmp(_) if reached && !host.frozen => Finding::Good(None),
            _ if !reached || host.frozen || host.crew.app_asleep => Finding::Silent,
            _ => match host.crew.app {
                None => Finding::Refused,
                Some(app) if !app.ready => Finding::Wrong(503),
                Some(_) if host.crew.trouble == Trouble::Sick => Finding::Wrong(500),
                Some(_) => Finding::Good(None),
            },
        }
    }
}

pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
