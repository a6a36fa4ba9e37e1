//! Which of an agent's reports a policy is told of: leases are renewed by each, decisions are made by what changes.

use lockstep_pair::protocol::Report;
use lockstep_policy::event::AgentReport;
use lockstep_policy::{At, Side};
use std::time::Duration;

/// An unchanged report is passed on to the policy no more often than this.
const REPORT_AGAIN: Duration = Duration::from_secs(1);

/// What the policy was told last of one side, and when.
#[derive(Clone, Debug, Default)]
pub struct LastWord(Option<(At, AgentReport)>);

impl LastWord {
    /// What the policy is to be told of a report; none when it knows.
    pub fn hear(&mut self, now: At, side: Side, report: &Report) -> Option<AgentReport> {
        let told = AgentReport {
            side,
            role: report.role,
            epoch: report.epoch,
            serving: report.serving,
            fit: report.fit,
            services: report.services.clone(),
            release: report.release.clone(),
            replication: report.replication,
            replication_detail: report.replication_detail.clone(),
            lan: report.lan,
            waiting: report.waiting.clone(),
        };
        let same = self.0.as_ref().is_some_and(|(at, last)| *last == told && now.since(*at) < REPORT_AGAIN);
        (!same).then(|| {
            self.0 = Some((now, told.clone()));
            told
        })
    }

    /// The agent has connected anew: whatever it says then is passed on.
    pub fn forget(&mut self) {
        self.0 = None;
    }

    /// What the policy was told last.
    #[must_use]
    pub fn known(&self) -> Option<&AgentReport> {
        self.0.as_ref().map(|(_, report)| report)
    }
}
