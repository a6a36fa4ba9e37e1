//! C2, C3: the module monitor, which pings the monitored module of the primary.
//!
//! While all is well the module is pinged once in `module_timeout`. A ping without an answer is repeated after
//! `module_retry_delay`; one that was rejected at once (the agent says that the process is not well) when the next would
//! have gone out anyway, as the vendor's log shows. What could not be asked is unknown, and counts as nothing.

use crate::config::Module;
use crate::monitor::{Kind, Suspicion};
use crate::probes::{Ask, Via};
use crate::{Cic, in_words, rounded};
use lockstep_policy::event::{Connection, ProbeResult, Verdict};
use lockstep_policy::sdk::{Actions, Period};
use lockstep_policy::{At, Side};
use serde::{Deserialize, Serialize};

/// The most observations that a decision names as its evidence.
const MAX_EVIDENCE: usize = 16;
/// The most changes of a process that are remembered.
const MAX_CHANGES: usize = 1_024;

/// The module monitor.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ModuleMonitor {
    step: Step,
    /// Failures in a row on the present connection.
    failures: u32,
    /// The events of all failures in a row.
    evidence: Vec<u64>,
    /// The first of them.
    since: Option<At>,
    last: Option<String>,
    /// The latest event of this monitor.
    heard: At,
    pids: Pids,
}

/// What the monitor does now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
enum Step {
    #[default]
    Stopped,
    /// Pings go out regularly.
    Regular,
    /// The next ping goes out then, over this connection; regular ones when there is none.
    Pause { until: At, via: Option<Via> },
    /// A ping is under way.
    Asked { since: At, via: Via },
}

/// C3: the process ids that came with the answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Pids {
    last: Option<String>,
    /// When it changed, and by which event.
    changes: Vec<(At, u64)>,
    sequential: u32,
}

impl ModuleMonitor {
    /// Pings fail.
    pub(crate) fn failing(&self) -> bool {
        !self.evidence.is_empty()
    }

    /// Another process is another side's: its ids say nothing of this one's.
    pub(crate) fn another_side(&mut self) {
        *self = ModuleMonitor::default();
    }
}

impl Cic {
    pub(crate) fn start_module_monitor(&mut self, primary: Side, at: At, out: &mut Actions) {
        self.stop_module_monitor(out);
        let pids = std::mem::take(&mut self.module.pids);
        self.module = ModuleMonitor { step: Step::Regular, heard: at, pids, ..ModuleMonitor::default() };
        self.watch(Ask::Module, primary, out);
    }

    pub(crate) fn stop_module_monitor(&mut self, out: &mut Actions) {
        self.module.step = Step::Stopped;
        self.module.evidence.clear();
        self.module.failures = 0;
        for ask in [Ask::Module, Ask::ModuleAgain(Via::Main), Ask::ModuleAgain(Via::Aux)] {
            self.unwatch(ask, out);
        }
    }

    /// Its timeout has changed: regular pings go on with the new one.
    pub(crate) fn retime_module_monitor(&mut self, at: At, out: &mut Actions) {
        if let (Step::Regular, Some(primary)) = (self.module.step, self.active) {
            self.module.heard = at;
            self.watch(Ask::Module, primary, out);
        }
    }

    /// An answer of the module. What comes late, to a ping that is not waited for any more, counts when it is good.
    pub(crate) fn on_module(&mut self, ask: Ask, result: &ProbeResult, seq: u64, at: At, out: &mut Actions) {
        let awaited = match (self.module.step, ask) {
            (Step::Regular, Ask::Module) => true,
            (Step::Asked { via, .. }, Ask::ModuleAgain(of)) => via == of,
            _ => false,
        };
        if self.module.step == Step::Stopped || !(awaited || result.verdict == Verdict::Good) {
            return;
        }
        self.module.heard = at;
        let sent = at - result.latency;
        let via = if let Ask::ModuleAgain(via) = ask { via } else { self.first_via() };
        match result.verdict {
            Verdict::Good => self.module_is_up(sent, at, out),
            Verdict::Refused if self.module.step == Step::Regular => {}
            Verdict::Refused => {
                let until = (sent + self.timing.module_interval).max(at + self.timing.module_retry_delay);
                self.module.step = Step::Pause { until, via: Some(via) };
            }
            verdict @ (Verdict::Wrong | Verdict::Silent) => {
                self.module_fails(via, verdict, result, (seq, sent), at, out)
            }
        }
        if result.verdict == Verdict::Good {
            self.told.silent = false;
            self.prepared &= self.notifier.failing();
            self.look_at_pid(result.fact("pid"), seq, at, out);
        }
    }

    fn module_is_up(&mut self, sent: At, at: At, out: &mut Actions) {
        if matches!(self.module.step, Step::Regular) {
            return;
        }
        self.unwatch(Ask::ModuleAgain(Via::Main), out);
        self.unwatch(Ask::ModuleAgain(Via::Aux), out);
        let module = &mut self.module;
        module.failures = 0;
        module.evidence.clear();
        module.since = None;
        let until = (sent + self.timing.module_interval).max(at);
        module.step = Step::Pause { until, via: None };
    }

    fn module_fails(
        &mut self,
        via: Via,
        verdict: Verdict,
        result: &ProbeResult,
        (seq, sent): (u64, At),
        at: At,
        out: &mut Actions,
    ) {
        self.unwatch(Ask::Module, out);
        let module = &mut self.module;
        module.failures += 1;
        module.since.get_or_insert(sent);
        if module.evidence.len() < MAX_EVIDENCE {
            module.evidence.push(seq);
        }
        let detail = if result.detail.is_empty() { String::new() } else { format!(": {}", result.detail) };
        module.last = Some(format!("{}{detail}", in_words(verdict)));
        let mut next = via;
        if module.failures >= self.timing.module_max_failures {
            let another = via == Via::Main && self.config.module == Module::TsServer;
            if !another {
                return self.module_is_down(at, out);
            }
            module.failures = 0;
            next = Via::Aux;
        }
        // The agent answers at once when it rejects: the next ping goes out when it would have gone out anyway.
        let until = match verdict {
            Verdict::Silent => at + self.timing.module_retry_delay,
            _ => (sent + self.timing.module_interval).max(at),
        };
        self.module.step = Step::Pause { until, via: Some(next) };
        self.warm_up(out);
    }

    fn module_is_down(&mut self, at: At, out: &mut Actions) {
        let Some(primary) = self.active else { return };
        let module = &self.module;
        let failed = module.evidence.len();
        let since = rounded(at.since(module.since.unwrap_or(at)));
        let last = module.last.as_deref().unwrap_or("had no answer");
        let what = self.module_name();
        let text = format!("{what} of {primary} failed {failed} pings in a row over {since}; the last {last}");
        let evidence = module.evidence.clone();
        self.suspect(Suspicion { kind: Kind::Module, text, evidence }, at, out);
    }

    /// The module, in words.
    pub(crate) fn module_name(&self) -> String {
        match self.config.module {
            Module::TsServer => format!("the module `{}`", self.config.service),
            Module::Ip => "the address".to_owned(),
        }
    }

    /// C3: a process that is started again and again is down.
    fn look_at_pid(&mut self, pid: Option<&str>, seq: u64, at: At, out: &mut Actions) {
        let Some(pid) = pid.filter(|pid| !pid.is_empty() && *pid != "0") else { return };
        let period = self.config.max_restarts_period.0;
        let pids = &mut self.module.pids;
        pids.changes.retain(|(when, _)| at.since(*when) <= period);
        let changed = pids.last.as_deref().is_some_and(|last| last != pid);
        pids.last = Some(pid.to_owned());
        if !changed {
            pids.sequential = 0;
            return;
        }
        pids.sequential = pids.sequential.saturating_add(1);
        if pids.changes.len() < MAX_CHANGES {
            pids.changes.push((at, seq));
        }
        let (count, sequential) = (pids.changes.len(), pids.sequential);
        let (most, in_a_row) = (self.config.max_restarts, self.config.max_sequential_restarts);
        let how = if count > most as usize {
            format!("{count} times in {}, more than {most}", self.config.max_restarts_period)
        } else if sequential > in_a_row {
            format!("at {sequential} pings in a row, more than {in_a_row}")
        } else {
            return;
        };
        let Some(primary) = self.active else { return };
        let evidence = pids.changes.iter().rev().take(MAX_EVIDENCE).rev().map(|(_, seq)| *seq).collect();
        pids.changes.clear();
        pids.sequential = 0;
        let text = format!("{} of {primary} has started again {how}", self.module_name());
        self.suspect(Suspicion { kind: Kind::Restarts, text, evidence }, at, out);
    }

    /// With `fast`: the primary's agent says that the module's process has ended. Nobody needs to ping it.
    pub(crate) fn believe_that_the_module_ended(&mut self, at: At, out: &mut Actions) {
        let (Some(primary), true) = (self.active, self.timing.fast && self.module.step != Step::Stopped) else {
            return;
        };
        let ended = self.sides[primary].word().and_then(|report| {
            let ended = report.services.iter().any(|service| service.name == self.config.service && service.exited);
            ended.then_some(report.seq)
        });
        let Some(seq) = ended.filter(|_| self.config.module == Module::TsServer) else { return };
        let text = format!("{} of {primary} has ended, by its agent's word", self.module_name());
        self.suspect(Suspicion { kind: Kind::Module, text, evidence: vec![seq] }, at, out);
    }

    /// What is due by itself.
    pub(crate) fn advance_module_monitor(&mut self, at: At, out: &mut Actions) {
        let Some(primary) = self.active else { return };
        match self.module.step {
            Step::Pause { until, via } if at >= until => match via {
                None => {
                    self.module.step = Step::Regular;
                    self.module.heard = at;
                    self.watch(Ask::Module, primary, out);
                }
                Some(via) => {
                    if via == Via::Aux && self.first_via() == Via::Main {
                        self.unwatch(Ask::ModuleAgain(Via::Main), out);
                    }
                    self.module.step = Step::Asked { since: at, via };
                    self.ask(Ask::ModuleAgain(via), primary, self.timing.module_timeout, out);
                }
            },
            // C4: a monitor that says nothing is a fault of its own.
            Step::Regular | Step::Asked { .. } if self.silent_since().is_some_and(|due| at >= due) => {
                let silence = Period(self.timing.module_silence());
                let text = format!("the module monitor of {primary} has said nothing for {silence}");
                self.suspect(Suspicion { kind: Kind::Silent, text, evidence: Vec::new() }, at, out);
            }
            _ => {}
        }
    }

    fn silent_since(&self) -> Option<At> {
        match self.module.step {
            Step::Regular => Some(self.module.heard + self.timing.module_silence()),
            Step::Asked { since, .. } => Some(since.max(self.module.heard) + self.timing.module_silence()),
            Step::Stopped | Step::Pause { .. } => None,
        }
    }

    pub(crate) fn module_deadline(&self) -> Option<At> {
        match self.module.step {
            Step::Pause { until, .. } => Some(until),
            _ => self.silent_since(),
        }
    }

    /// Both connections to the primary's agent, as far as is known.
    pub(crate) fn connections_up(&self, primary: Side) -> bool {
        let view = &self.sides[primary];
        view.connected() && !view.lost(Connection::Auxiliary)
    }
}
