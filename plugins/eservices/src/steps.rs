//! E5 and E6: how each step of the runbook is done, and how it is known that it is.

use crate::Eservices;
use crate::moves::{STALE_REPORT, Why};
use crate::runbook::{Runbook, Step};
use crate::sites::Moved;
use lockstep_policy::action::{Action, Alert, ConfirmGate, Level, RunHook, StandDown};
use lockstep_policy::event::{ActionResult, Outcome, Role, Traffic};
use lockstep_policy::sdk::{Actions, Period};
use lockstep_policy::{At, Side};
use std::time::Duration;

/// E6: the pause before the store is asked again; it doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

impl Eservices {
    /// Begins the step if it has not begun, and sees whether it is done.
    pub(crate) fn work_on(&mut self, step: Step, at: At, out: &mut Actions) {
        let Some(runbook) = &mut self.runbook else { return };
        let to = runbook.to;
        if runbook.state.finished.is_some() {
            return self.point_to(step, to, out);
        }
        let enters = !std::mem::replace(&mut runbook.state.entered, true);
        match step {
            Step::Stop if self.settings.both => {
                self.by_hook(step, self.settings.steps.stop_hook.clone(), enters, at, out)
            }
            Step::Stop => self.stop_old_site(enters, at, out),
            Step::Suspend => self.by_hook(step, self.settings.steps.suspend_hook.clone(), enters, at, out),
            Step::Database => self.ask_a_person(step, enters, out),
            Step::Core if self.settings.both => {
                self.by_hook(step, self.settings.steps.core_hook.clone(), enters, at, out)
            }
            Step::Core => self.start_core(to, enters, at, out),
            Step::Proxies => self.see_proxies(to, enters, out),
            Step::SiteOption => self.by_hook(step, self.settings.steps.site_option_hook.clone(), enters, at, out),
            Step::Clients => {}
        }
    }

    fn finished(&mut self, how: String) {
        if let Some(runbook) = &mut self.runbook {
            runbook.state.finished.get_or_insert(how);
        }
    }

    fn ask_a_person(&self, step: Step, enters: bool, out: &mut Actions) {
        if enters {
            let name = step.name();
            let text = format!("E5: step {name} waits for a person: {}; then `runbook confirm {name}`", step.task());
            out.push(Action::Alert(Alert { level: Level::Critical, text }));
        }
    }

    fn stop_old_site(&mut self, enters: bool, at: At, out: &mut Actions) {
        let Some(from) = self.runbook.as_ref().map(Runbook::from) else { return };
        let report = self.sites[from].word();
        let stands = report.is_some_and(|report| report.role == Role::Standby && at.since(report.at) <= STALE_REPORT);
        if stands && self.active != Some(from) {
            return self.finished(format!("the agent of {from} says that it stands by"));
        }
        if !enters {
            return;
        }
        if self.active != Some(from) && report.is_none() {
            return self.ask_a_person(Step::Stop, enters, out);
        }
        let reason = format!("E5: the runbook to {}: {}", from.other(), Step::Stop.task());
        let evidence = report.map(|report| report.seq).into_iter().collect();
        let action = out.push(Action::StandDown(StandDown { side: from, reason, evidence }));
        self.wait_for(action);
    }

    fn wait_for(&mut self, action: u64) {
        if let Some(runbook) = &mut self.runbook {
            runbook.state.asked = Some(action);
        }
    }

    /// Runs the step's hook on the new site's node, once; without one a person does the step.
    fn by_hook(&mut self, step: Step, hook: Option<String>, enters: bool, at: At, out: &mut Actions) {
        let Some(runbook) = &mut self.runbook else { return };
        let side = runbook.to;
        let again = runbook.state.again.is_some_and(|due| at >= due);
        if !enters && !again {
            return;
        }
        runbook.state.again = None;
        match hook.filter(|_| self.settings.agents[side]) {
            Some(hook) => {
                let reason = format!("E5: the runbook to {side}: {}", step.task());
                let action = out.push(Action::RunHook(RunHook { side, hook, reason }));
                self.wait_for(action);
            }
            None => self.ask_a_person(step, enters, out),
        }
    }

    fn start_core(&mut self, to: Side, enters: bool, at: At, out: &mut Actions) {
        if self.active == Some(to) && !self.moves.busy() {
            return self.finished(format!("{to} is active by handover, epoch {}", self.epoch));
        }
        self.open_gate(to, out);
        let asked = self.runbook.as_ref().is_some_and(|runbook| runbook.state.asked.is_some());
        if asked || self.moves.busy() {
            return;
        }
        if let Err(why_not) = self.sites[to].can_take_over() {
            if enters {
                out.push(Action::Prepare(to));
                let text = format!("E5: step core waits until {} can become active: {why_not}", self.site_name(to));
                out.push(Action::Alert(Alert { level: Level::Warning, text }));
            }
            return;
        }
        let reason = format!("E5: the runbook to {to}: {}", Step::Core.task());
        let evidence = self.sites[to].word().map(|report| report.seq).into_iter().collect();
        let action = self.switch(to, Why { reason, evidence, order: 0, told: true }, at, out);
        self.wait_for(action);
    }

    /// The gate in the node's start that stands for the database, which a named person has confirmed.
    fn open_gate(&mut self, to: Side, out: &mut Actions) {
        let gate = &self.settings.steps.database_gate;
        let waits = self.sites[to].word().is_some_and(|report| report.waiting == *gate);
        let Some(runbook) = &mut self.runbook else { return };
        let Some(by) = runbook.promoted_by.clone().filter(|_| waits && runbook.state.opened.is_none()) else { return };
        let action = out.push(Action::ConfirmGate(ConfirmGate { side: to, gate: gate.clone(), by }));
        runbook.state.opened = Some(action);
    }

    /// The proxies are there when each pool has one that answers now.
    fn see_proxies(&mut self, to: Side, enters: bool, out: &mut Actions) {
        if enters {
            self.look_afresh(to, out);
        }
        if self.available(to) {
            self.finished(format!("a server of each pool of {to} answers"));
        }
    }

    /// Where both sites serve, the new option is the new share.
    fn point_to(&mut self, step: Step, to: Side, out: &mut Actions) {
        if step == Step::SiteOption && self.settings.both {
            let reason = format!("E5: the runbook points the application's site to {}", self.site_name(to));
            self.move_site(to, None, Moved { to: Some(to), reason, evidence: Vec::new(), order: 0 }, out);
        }
    }

    /// Requests are answered well at the new site.
    pub(crate) fn on_traffic(&mut self, traffic: &Traffic) {
        if traffic.good > 0 {
            self.clients_came(
                traffic.side,
                format!("{} requests were answered well at {}", traffic.good, traffic.side),
            );
        }
    }

    pub(crate) fn clients_came(&mut self, side: Side, how: String) {
        let expects = |runbook: &Runbook| runbook.to == side && runbook.step() == Some(Step::Clients);
        if self.runbook.as_ref().is_some_and(expects) {
            self.finished(how);
        }
    }

    /// A gate that was not opened: the person can say it again, in the same words.
    pub(crate) fn on_gate_result(&mut self, result: &ActionResult, out: &mut Actions) {
        let opened = self.runbook.as_ref().and_then(|runbook| runbook.state.opened);
        if opened == Some(result.action) && result.outcome != Outcome::Done {
            let (gate, why) = (&self.settings.steps.database_gate, &result.why);
            let text = format!("E5: gate `{gate}` was not opened: {why}. `runbook confirm {gate}` tries it again");
            out.push(Action::Alert(Alert { level: Level::Critical, text }));
        }
    }

    /// The result of an order to stand down, or of a hook, that the present step has given.
    pub(crate) fn on_step_result(&mut self, result: &ActionResult, at: At, out: &mut Actions) {
        let Some(runbook) = self.runbook.as_mut().filter(|runbook| runbook.state.asked == Some(result.action)) else {
            return;
        };
        let Some(step) = runbook.step() else { return };
        let (to, from) = (runbook.to, runbook.from());
        match (step, result.outcome) {
            // The handover's end is what counts.
            (Step::Core, _) if !self.settings.both => {}
            (Step::Stop, Outcome::Done) if !self.settings.both => {
                runbook.state.asked = None;
                self.finished(format!("{from} has stood down"));
                if self.active == Some(from) {
                    self.becomes_active(None, at, out);
                    self.told_of_none = true;
                }
            }
            (_, Outcome::Done) => {
                runbook.state.asked = None;
                self.finished(format!("the hook on the node of {to} is done"));
            }
            (Step::SiteOption, Outcome::Refused | Outcome::Failed) => self.store_unreachable(&result.why, at, out),
            (_, Outcome::Refused | Outcome::Failed) => self.halt_runbook(&result.why, at, out),
        }
    }

    /// E6: the option is written when its store is back. Until then the step is tried again.
    fn store_unreachable(&mut self, why: &str, at: At, out: &mut Actions) {
        let Some(runbook) = &mut self.runbook else { return };
        let state = &mut runbook.state;
        let pause = (FIRST_PAUSE * 2_u32.pow(state.failures.min(10))).min(LONGEST_PAUSE);
        state.asked = None;
        state.failures = state.failures.saturating_add(1);
        state.again = Some(at + pause);
        if state.failures == 1 {
            runbook.note(at, format!("site-option: the store cannot be written: {why}"));
            let text = format!(
                "E6: the site option cannot be written: {why}. It is tried again until it can, the first time in {}, at \
                 most {} apart",
                Period(pause),
                Period(LONGEST_PAUSE)
            );
            out.push(Action::Alert(Alert { level: Level::Warning, text }));
        }
    }

    /// The switch of the step `core` came to nothing; whether the switch was its.
    pub(crate) fn core_came_to_nothing(&mut self, action: u64, why: &str, at: At, out: &mut Actions) -> bool {
        let its = |runbook: &Runbook| runbook.state.asked == Some(action) && runbook.step() == Some(Step::Core);
        let was = self.runbook.as_ref().is_some_and(its);
        if was {
            self.halt_runbook(why, at, out);
        }
        was
    }

    pub(crate) fn runbook_deadline(&self) -> Option<At> {
        self.runbook.as_ref().filter(|runbook| !runbook.stopped)?.state.again
    }
}
