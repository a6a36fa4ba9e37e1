//! What operators read beside a site.

use crate::Eservices;
use lockstep_policy::Side;
use lockstep_policy::action::{Action, Alert, Level};
use lockstep_policy::event::Verdict;
use lockstep_policy::sdk::{Actions, Period};

impl Eservices {
    /// Shows what has changed.
    pub(crate) fn show(&mut self, out: &mut Actions) {
        for side in Side::BOTH {
            let status = self.status(side);
            if self.shown[side] != status {
                self.shown[side].clone_from(&status);
                out.push(Action::Show(side, status));
            }
        }
    }

    fn status(&self, side: Side) -> String {
        let mut parts = vec![if self.passive(side) { self.passive_status(side) } else { self.serving_status(side) }];
        let waiting = self.sites[side].word().map_or("", |report| report.waiting.as_str());
        if !waiting.is_empty() {
            parts.push(format!("waits at gate `{waiting}`"));
        }
        if let Some(runbook) = self.runbook.as_ref().filter(|runbook| runbook.to == side && runbook.step().is_some()) {
            parts.push(runbook.line());
        }
        if !self.passive(side) {
            let rules = self.armed.rules().iter().filter(|_| self.settings.both || self.active == Some(side));
            parts.extend(rules.map(|rule| format!("armed: {} {}", rule.pool, Period(rule.patience))));
        }
        parts.join("; ")
    }

    fn serving_status(&self, side: Side) -> String {
        let role = if self.settings.both { "Serving" } else { "Active" };
        if self.sites[side].servers.iter().all(|server| server.last.is_none()) {
            return format!("{role}, nothing known yet");
        }
        let pools = self.settings.pools(side).into_iter().map(|pool| {
            let all = self.of_pool(side, pool).count();
            let there = self.working(side, pool);
            let name = if pool.is_empty() { String::new() } else { format!("{pool} ") };
            format!("{name}{there} of {all}")
        });
        format!("{role}: {}", pools.collect::<Vec<_>>().join(", "))
    }

    fn passive_status(&self, side: Side) -> String {
        match self.listening(side) {
            0 => "Passive".to_owned(),
            listening => format!("Passive, but servers listen: {listening}"),
        }
    }

    fn listening(&self, side: Side) -> usize {
        self.sites[side].servers.iter().filter(|server| server.last == Some(Verdict::Good)).count()
    }

    /// E4: at a passive site nothing listens. What does could be given work that belongs to the other site.
    pub(crate) fn check_passive_sites(&mut self, out: &mut Actions) {
        for side in Side::BOTH {
            let settled = self.active == Some(side.other()) && !self.moves.busy();
            let listens = self.passive(side) && settled && self.listening(side) > 0;
            if listens && !self.told_of_listeners[side] {
                let site = self.site_name(side);
                let text = format!(
                    "E4: {site} is passive, and servers of it listen ({}): clients that find them are served by a core that \
                     must not run. Look at what runs there",
                    self.listening(side)
                );
                out.push(Action::Alert(Alert { level: Level::Warning, text }));
            }
            self.told_of_listeners[side] = listens;
        }
    }
}
