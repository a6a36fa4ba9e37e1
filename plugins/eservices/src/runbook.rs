//! E5: the site switch runbook: its steps in order, who confirmed them, and when.

use crate::Eservices;
use lockstep_policy::action::{Action, Alert, Level};
use lockstep_policy::sdk::{Actions, Period};
use lockstep_policy::{At, Side};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The most entries of a runbook's journal: the first of them stay.
const MAX_JOURNAL: usize = 100;

/// The vendor's steps, after the disaster is detected and the decision is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Step {
    Stop,
    Suspend,
    Database,
    Core,
    Proxies,
    SiteOption,
    Clients,
}

impl Step {
    pub(crate) const ALL: [Step; 7] =
        [Step::Stop, Step::Suspend, Step::Database, Step::Core, Step::Proxies, Step::SiteOption, Step::Clients];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Step::Stop => "stop",
            Step::Suspend => "suspend",
            Step::Database => "database",
            Step::Core => "core",
            Step::Proxies => "proxies",
            Step::SiteOption => "site-option",
            Step::Clients => "clients",
        }
    }

    /// What has to be done.
    pub(crate) fn task(self) -> &'static str {
        match self {
            Step::Stop => "stop what still runs at the old site, core and proxies",
            Step::Suspend => "suspend the agents' eServices activity",
            Step::Database => "make the new site's database the primary",
            Step::Core => "start the new site's core pairs, Interaction Server and UCS",
            Step::Proxies => "start the new site's proxies",
            Step::SiteOption => "point disaster-recovery.eservices-site to the new site",
            Step::Clients => "clients reconnect to the new site",
        }
    }
}

/// A move of the site, step by step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Runbook {
    pub(crate) to: Side,
    /// Steps that are done.
    done: usize,
    /// An operator has stopped it, or a step has failed.
    pub(crate) stopped: bool,
    pub(crate) state: StepState,
    /// Who confirmed that the database is promoted.
    pub(crate) promoted_by: Option<String>,
    begun: At,
    journal: Vec<Entry>,
}

/// Where the present step is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct StepState {
    pub(crate) entered: bool,
    /// The action whose result is waited for.
    pub(crate) asked: Option<u64>,
    /// How it was done, and by whom or what.
    pub(crate) finished: Option<String>,
    /// When a hook is to run again, and how often it came to nothing.
    pub(crate) again: Option<At>,
    pub(crate) failures: u32,
    /// The action that opened a gate during it.
    pub(crate) opened: Option<u64>,
}

/// Who did what, and how long after the runbook's start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Entry {
    after: Duration,
    text: String,
}

impl Runbook {
    pub(crate) fn step(&self) -> Option<Step> {
        Step::ALL.get(self.done).copied()
    }

    pub(crate) fn from(&self) -> Side {
        self.to.other()
    }

    pub(crate) fn note(&mut self, at: At, text: String) {
        if self.journal.len() < MAX_JOURNAL {
            // A tenth of a second is precise enough for a person.
            let after = Duration::from_millis(u64::try_from(at.since(self.begun).as_millis() / 100 * 100).unwrap_or(0));
            self.journal.push(Entry { after, text });
        }
    }

    /// In one line.
    pub(crate) fn line(&self) -> String {
        let (of, to) = (Step::ALL.len(), self.to);
        match self.step() {
            None => format!("runbook to {to}: done"),
            Some(step) if self.stopped => {
                format!("runbook to {to}: stopped at step {} of {of}, {}", self.done + 1, step.name())
            }
            Some(step) => format!("runbook to {to}: step {} of {of}, {}", self.done + 1, step.name()),
        }
    }

    /// All of it, for a person to read.
    fn report(&self) -> String {
        let entries = self.journal.iter().map(|entry| format!("; +{} {}", Period(entry.after), entry.text));
        format!("{}{}", self.line(), entries.collect::<String>())
    }
}

impl Eservices {
    /// A runbook is under way: nothing else moves the site.
    pub(crate) fn runbook_runs(&self) -> bool {
        self.runbook.as_ref().is_some_and(|runbook| runbook.step().is_some())
    }

    pub(crate) fn begin_runbook(&mut self, to: Side, by: &str, at: At) {
        let mut runbook = Runbook {
            to,
            done: 0,
            stopped: false,
            state: StepState::default(),
            promoted_by: None,
            begun: at,
            journal: Vec::new(),
        };
        runbook.note(at, format!("started by {by}"));
        self.runbook = Some(runbook);
    }

    /// After the edge's start results of before do not come any more: the present step begins anew.
    pub(crate) fn begin_step_anew(&mut self) {
        if let Some(runbook) = &mut self.runbook {
            let finished = runbook.state.finished.take();
            runbook.state = StepState { finished, ..StepState::default() };
        }
    }

    /// Goes on to the next step for as long as steps are done.
    pub(crate) fn advance_runbook(&mut self, at: At, out: &mut Actions) {
        for _ in Step::ALL {
            let Some(runbook) = &self.runbook else { return };
            let Some(step) = runbook.step().filter(|_| !runbook.stopped) else { return };
            self.work_on(step, at, out);
            if !self.finish_step(step, at, out) {
                return;
            }
        }
    }

    /// The step is done, if it is: written down, and told.
    fn finish_step(&mut self, step: Step, at: At, out: &mut Actions) -> bool {
        let Some(runbook) = &mut self.runbook else { return false };
        let Some(how) = runbook.state.finished.take() else { return false };
        runbook.note(at, format!("{}: {how}", step.name()));
        runbook.done += 1;
        runbook.state = StepState::default();
        let text = match runbook.step() {
            Some(next) => format!("E5: step {} is done: {how}. Next: {}: {}", step.name(), next.name(), next.task()),
            None => format!("E5: step {} is done: {how}. The runbook to {} is done", step.name(), runbook.to),
        };
        out.push(Action::Alert(Alert { level: Level::Info, text }));
        true
    }

    /// A step came to nothing: a person has to look, and resumes.
    pub(crate) fn halt_runbook(&mut self, why: &str, at: At, out: &mut Actions) {
        let Some(runbook) = &mut self.runbook else { return };
        let Some(step) = runbook.step() else { return };
        runbook.state = StepState::default();
        runbook.stopped = true;
        let name = step.name();
        runbook.note(at, format!("{name}: came to nothing: {why}"));
        let text = format!(
            "E5: step {name} came to nothing: {why}. The runbook has stopped: `runbook resume` tries the step again"
        );
        let by_handover = step == Step::Core && !self.settings.both;
        let or = if by_handover {
            String::new()
        } else {
            format!(", unless `runbook confirm {name}` has said before that it is done")
        };
        let text = text + &or;
        out.push(Action::Alert(Alert { level: Level::Critical, text }));
    }

    /// `start`: from its first step.
    pub(crate) fn runbook_start(&mut self, to: Side, by: &str, confirmed: bool, at: At) -> Result<String, Answer> {
        if let Some(runbook) = self.runbook.as_ref().filter(|runbook| runbook.step().is_some()) {
            if !runbook.stopped {
                return Err(Answer::No(format!("E5: {}; stop it first", runbook.line())));
            }
            if !confirmed {
                let line = runbook.line();
                return Err(Answer::Ask(format!("E5: {line}. Give it up, and start another one at its first step?")));
            }
        }
        if self.moves.busy() {
            return Err(Answer::No("E5: a handover is under way; ask again when it has ended".to_owned()));
        }
        if !self.settings.both && self.active == Some(to) {
            return Err(Answer::No(format!("E5: {} is active already", self.site_name(to))));
        }
        let from = to.other();
        if !confirmed && !self.settings.both && self.active == Some(from) && self.works(from) {
            let text = format!(
                "E5: {} works. The runbook's first step stops it, and until the last one nobody is served. Start it?",
                self.site_name(from)
            );
            return Err(Answer::Ask(text));
        }
        self.begin_runbook(to, by, at);
        let steps: Vec<&str> = Step::ALL.into_iter().map(Step::name).collect();
        Ok(format!("E5: the runbook to {} has started: {}", self.site_name(to), steps.join(", ")))
    }

    pub(crate) fn runbook_stop(&mut self, by: &str, at: At) -> Result<String, Answer> {
        let Some(runbook) = self.runbook.as_mut().filter(|runbook| runbook.step().is_some()) else { return none() };
        if runbook.stopped {
            return Err(Answer::No(format!("E5: {} already", runbook.line())));
        }
        runbook.stopped = true;
        runbook.note(at, format!("stopped by {by}"));
        Ok(format!("E5: {}. What its step has begun goes on; `runbook resume` continues", runbook.report()))
    }

    pub(crate) fn runbook_resume(&mut self, by: &str, at: At) -> Result<String, Answer> {
        let Some(runbook) = self.runbook.as_mut().filter(|runbook| runbook.step().is_some()) else { return none() };
        if !runbook.stopped {
            return Err(Answer::No(format!("E5: it is not stopped: {}", runbook.line())));
        }
        runbook.stopped = false;
        runbook.note(at, format!("resumed by {by}"));
        Ok(format!("E5: {}", runbook.report()))
    }

    /// A named person says that the present step is done.
    pub(crate) fn runbook_confirm(&mut self, step: &str, by: &str) -> Result<String, Answer> {
        if by.is_empty() {
            return Err(Answer::No("E5: a step is confirmed by a person with a name".to_owned()));
        }
        let Some(runbook) = self.runbook.as_mut().filter(|runbook| runbook.step().is_some()) else { return none() };
        let present = runbook.step().map_or("", Step::name);
        if step != present {
            let known = Step::ALL.into_iter().any(|known| known.name() == step);
            let why = if known { "is not the present step" } else { "is no step" };
            return Err(Answer::No(format!("E5: `{step}` {why}: {}", runbook.line())));
        }
        if runbook.step() == Some(Step::Core) && !self.settings.both {
            let text =
                "E5: `core` is confirmed by the handover's end, not by a person: the edge must know who is active";
            return Err(Answer::No(text.to_owned()));
        }
        if runbook.step() == Some(Step::Database) {
            runbook.promoted_by = Some(by.to_owned());
        }
        runbook.state.finished = Some(format!("confirmed by {by}"));
        let then = if runbook.stopped { ". The runbook is stopped: `runbook resume` goes on" } else { "" };
        Ok(format!("E5: {step} is confirmed by {by}{then}"))
    }

    pub(crate) fn runbook_show(&self) -> Result<String, Answer> {
        self.runbook.as_ref().map_or_else(none, |runbook| Ok(format!("E5: {}", runbook.report())))
    }
}

/// Why a command is not simply done.
pub(crate) enum Answer {
    No(String),
    Ask(String),
}

fn none() -> Result<String, Answer> {
    Err(Answer::No("E5: no runbook is under way: `runbook start` begins one".to_owned()))
}
