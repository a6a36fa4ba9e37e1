//! C4, first half: the primary monitor, which pings the notifier of the primary (the agent itself) all the time.

use crate::monitor::{Kind, Suspicion};
use crate::probes::{Ask, Via};
use crate::{Cic, in_words};
use lockstep_policy::event::{ProbeResult, Verdict};
use lockstep_policy::sdk::Actions;
use lockstep_policy::{At, Side};
use serde::{Deserialize, Serialize};

/// The most observations that a decision names as its evidence.
const MAX_EVIDENCE: usize = 16;

/// The pings of the notifier.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct NotifierMonitor {
    step: Step,
    /// Retries in a row that failed.
    retries: u32,
    evidence: Vec<u64>,
    last: String,
    heard: At,
}

/// What the monitor does now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
enum Step {
    #[default]
    Stopped,
    Regular,
    Pause {
        until: At,
        /// A retry; else the regular pings begin again.
        retry: bool,
    },
    Asked {
        since: At,
        via: Via,
    },
}

impl NotifierMonitor {
    /// Pings fail.
    pub(crate) fn failing(&self) -> bool {
        !self.evidence.is_empty()
    }
}

impl Cic {
    pub(crate) fn start_notifier_monitor(&mut self, primary: Side, at: At, out: &mut Actions) {
        self.stop_notifier_monitor(out);
        self.notifier = NotifierMonitor { step: Step::Regular, heard: at, ..NotifierMonitor::default() };
        self.watch(Ask::Notifier, primary, out);
    }

    pub(crate) fn stop_notifier_monitor(&mut self, out: &mut Actions) {
        self.notifier = NotifierMonitor::default();
        for ask in [Ask::Notifier, Ask::NotifierAgain(Via::Main), Ask::NotifierAgain(Via::Aux)] {
            self.unwatch(ask, out);
        }
    }

    pub(crate) fn on_notifier(&mut self, ask: Ask, result: &ProbeResult, seq: u64, at: At, out: &mut Actions) {
        let awaited = match (self.notifier.step, ask) {
            (Step::Regular, Ask::Notifier) => true,
            (Step::Asked { via, .. }, Ask::NotifierAgain(of)) => via == of,
            _ => false,
        };
        if !awaited {
            return;
        }
        self.notifier.heard = at;
        if result.verdict != Verdict::Good {
            return self.notifier_fails(result.verdict, Some(seq), at, out);
        }
        if self.notifier.step != Step::Regular {
            self.unwatch(Ask::NotifierAgain(Via::Main), out);
            self.unwatch(Ask::NotifierAgain(Via::Aux), out);
            let until = at + self.timing.notifier_retry_delay;
            self.notifier =
                NotifierMonitor { step: Step::Pause { until, retry: false }, heard: at, ..NotifierMonitor::default() };
        }
    }

    /// The primary's main connection has gone down: nobody needs to wait for the next ping.
    pub(crate) fn on_connection_lost(&mut self, seq: u64, at: At, out: &mut Actions) {
        if self.notifier.step == Step::Regular {
            self.notifier_fails(Verdict::Refused, Some(seq), at, out);
        }
    }

    fn notifier_fails(&mut self, verdict: Verdict, seq: Option<u64>, at: At, out: &mut Actions) {
        let Some(primary) = self.active else { return };
        self.unwatch(Ask::Notifier, out);
        let notifier = &mut self.notifier;
        if notifier.step != Step::Regular {
            notifier.retries += 1;
        }
        notifier.evidence.extend(seq.filter(|_| notifier.evidence.len() < MAX_EVIDENCE));
        notifier.last = in_words(verdict).to_owned();
        if notifier.retries < self.timing.notifier_retries {
            notifier.step = Step::Pause { until: at + self.timing.notifier_retry_delay, retry: true };
            self.warm_up(out);
            return;
        }
        let (retries, last, evidence) = (notifier.retries, notifier.last.clone(), notifier.evidence.clone());
        let times = if retries == 1 { "1 retry".to_owned() } else { format!("{retries} retries") };
        let text = format!("the notifier of {primary} failed a ping and {times}; the last {last}");
        self.suspect(Suspicion { kind: Kind::Notifier, text, evidence }, at, out);
    }

    /// What is due by itself.
    pub(crate) fn advance_notifier_monitor(&mut self, at: At, out: &mut Actions) {
        let Some(primary) = self.active else { return };
        match self.notifier.step {
            Step::Pause { until, retry: false } if at >= until => {
                self.notifier.step = Step::Regular;
                self.notifier.heard = at;
                self.watch(Ask::Notifier, primary, out);
            }
            Step::Pause { until, retry: true } if at >= until => {
                // The auxiliary connection is used when the main one cannot be.
                let view = &self.sides[primary];
                let aux = !view.connected() && view.aux.is_some_and(|link| link.up);
                let via = if aux { Via::Aux } else { Via::Main };
                self.notifier.step = Step::Asked { since: at, via };
                self.ask(Ask::NotifierAgain(via), primary, self.timing.notifier_timeout, out);
            }
            // An answer that never comes, not even that there is none, is none.
            Step::Regular | Step::Asked { .. } if self.notifier_overdue().is_some_and(|due| at >= due) => {
                self.notifier.heard = at;
                self.notifier_fails(Verdict::Silent, None, at, out);
            }
            _ => {}
        }
    }

    fn notifier_overdue(&self) -> Option<At> {
        let silence = self.timing.notifier_silence();
        match self.notifier.step {
            Step::Regular => Some(self.notifier.heard + silence),
            Step::Asked { since, .. } => Some(since + silence),
            Step::Stopped | Step::Pause { .. } => None,
        }
    }

    pub(crate) fn notifier_deadline(&self) -> Option<At> {
        match self.notifier.step {
            Step::Pause { until, .. } => Some(until),
            _ => self.notifier_overdue(),
        }
    }
}
