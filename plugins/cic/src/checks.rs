//! C5: what a diagnosis asks, and what its answers say of the backup's own network and of the primary.

use crate::config::Module;
use crate::monitor::Kind;
use crate::probes::{Ask, Via};
use crate::timing::SLACK;
use crate::{Cic, in_words};
use lockstep_policy::At;
use lockstep_policy::event::{ProbeResult, Verdict};
use lockstep_policy::sdk::Actions;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Questions of a diagnosis, and the answers so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Checks {
    /// Every answer is there by then, or it does not come.
    until: At,
    own: Answer,
    primary: Answer,
    module: Answer,
    /// Module pings that may still be sent.
    pings_left: u32,
    main: Answer,
    aux: Answer,
}

/// One question.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
enum Answer {
    #[default]
    NotAsked,
    Asked,
    Came {
        good: bool,
        detail: String,
        seq: u64,
    },
}

impl Answer {
    fn good(&self) -> Option<bool> {
        match self {
            Answer::Came { good, .. } => Some(*good),
            Answer::Asked => Some(false),
            Answer::NotAsked => None,
        }
    }

    fn seq(&self) -> Option<u64> {
        if let Answer::Came { seq, .. } = self { Some(*seq) } else { None }
    }
}

/// What a diagnosis wants to know beside the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Whether the module answers after all, on the main connection.
    pub(crate) module: bool,
    /// Whether the notifier answers on the main connection.
    pub(crate) main: bool,
    /// Whether it answers on the auxiliary one.
    pub(crate) aux: bool,
}

impl Wanted {
    /// Nothing: the network alone.
    pub(crate) const NETWORK: Wanted = Wanted { module: false, main: false, aux: false };

    /// What speaks for or against a suspicion.
    pub(crate) fn of(kind: Kind) -> Wanted {
        Wanted {
            module: kind == Kind::Module,
            main: matches!(kind, Kind::Silent),
            aux: matches!(kind, Kind::Silent | Kind::Notifier),
        }
    }
}

/// What a diagnosis has found.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Findings {
    /// The backup's own network is good, or there is nothing to tell it by.
    pub(crate) network: bool,
    /// The primary's address answers.
    pub(crate) primary: bool,
    /// The module answers after all.
    pub(crate) module: bool,
    /// The notifier answers on the main connection.
    pub(crate) main: bool,
    /// It answers on the auxiliary one.
    pub(crate) aux: bool,
    /// In the vendor's words.
    pub(crate) text: String,
    pub(crate) evidence: Vec<u64>,
}

impl Cic {
    /// Asks everything at once. `ping` is how long a ping of an agent may take.
    pub(crate) fn begin_checks(&mut self, wanted: Wanted, ping: Duration, at: At, out: &mut Actions) -> Option<Checks> {
        let primary = self.active?;
        let has_own = self.config.gateway_ping || !self.config.nettest(primary.other()).is_empty();
        let by_icmp = self.config.module == Module::Ip;
        let asked = |yes: bool| if yes { Answer::Asked } else { Answer::NotAsked };
        let pings = if wanted.module && !by_icmp { self.timing.module_max_failures } else { 0 };
        let slowest = ping.max(self.timing.icmp_timeout);
        let checks = Checks {
            until: at + slowest * pings.max(1) + SLACK,
            own: asked(has_own),
            primary: Answer::Asked,
            module: asked(pings > 0),
            pings_left: pings.saturating_sub(1),
            main: asked(wanted.main),
            aux: asked(wanted.aux),
        };
        let icmp = self.timing.icmp_timeout;
        if pings > 0 {
            self.ask(Ask::ModuleAgain(Via::Main), primary, ping, out);
        }
        if wanted.main {
            self.ask(Ask::NotifierAgain(Via::Main), primary, ping, out);
        }
        if wanted.aux {
            self.ask(Ask::NotifierAgain(Via::Aux), primary, ping, out);
        }
        if has_own {
            self.ask(Ask::Own, primary, icmp, out);
        }
        self.ask(Ask::Primary, primary, icmp, out);
        Some(checks)
    }

    /// Takes an answer of a diagnosis.
    pub(crate) fn on_check(&mut self, ask: Ask, result: &ProbeResult, seq: u64, out: &mut Actions) {
        let primary = self.active;
        let timeout = self.timing.notifier_timeout;
        let Some(checks) = self.monitor.checks_mut() else { return };
        let answer = match ask {
            Ask::Own => &mut checks.own,
            Ask::Primary => &mut checks.primary,
            Ask::ModuleAgain(Via::Main) => &mut checks.module,
            Ask::NotifierAgain(Via::Main) => &mut checks.main,
            Ask::NotifierAgain(Via::Aux) => &mut checks.aux,
            _ => return,
        };
        if *answer != Answer::Asked {
            return;
        }
        let good = result.verdict == Verdict::Good;
        if ask == Ask::ModuleAgain(Via::Main) && !good && checks.pings_left > 0 {
            checks.pings_left -= 1;
            if let Some(primary) = primary {
                self.ask(ask, primary, timeout, out);
            }
            return;
        }
        let detail = if result.detail.is_empty() { in_words(result.verdict).to_owned() } else { result.detail.clone() };
        *answer = Answer::Came { good, detail, seq };
    }

    /// What was found, when every answer is there or the time for them has passed.
    pub(crate) fn findings(&self, checks: &Checks, at: At) -> Option<Findings> {
        let Checks { until, own, primary, module, main, aux, .. } = checks;
        let answers = [own, primary, module, main, aux];
        let overdue = at >= *until;
        if !overdue && answers.into_iter().any(|answer| *answer == Answer::Asked) {
            return None;
        }
        let backup = self.active?.other();
        let isolated = self.sides[backup].word().is_some_and(|report| report.isolated);
        // A probe of which nothing was heard says that the edge itself cannot see.
        let blind = [own, primary].into_iter().any(|answer| *answer == Answer::Asked);
        let reached = primary.good() == Some(true);
        let network = !isolated && !blind && own.good() != Some(false);
        let kind = if self.config.gateway_ping { "Gateway" } else { "NetTest" };
        let first = match own.good() {
            None => "NetTestUnavailable".to_owned(),
            Some(true) => format!("{kind}Reached"),
            Some(false) => format!("{kind}Unreachable{}", self.detail(own)),
        };
        let second =
            if reached { "PrimaryReached".to_owned() } else { format!("PrimaryUnreachable{}", self.detail(primary)) };
        let isolated = if isolated { format!(", {backup} finds itself off the LAN") } else { String::new() };
        let blind = if blind { ", ping without a result" } else { "" };
        Some(Findings {
            network,
            primary: reached,
            module: module.good() == Some(true) || (self.config.module == Module::Ip && reached),
            main: main.good() == Some(true),
            aux: aux.good() == Some(true),
            text: format!("{first}, {second}{isolated}{blind}"),
            evidence: answers.into_iter().filter_map(Answer::seq).collect(),
        })
    }

    fn detail(&self, answer: &Answer) -> String {
        match answer {
            Answer::Came { detail, .. } if !detail.is_empty() => format!(" ({detail})"),
            _ => String::new(),
        }
    }

    /// The probes of a diagnosis are not needed any more.
    pub(crate) fn end_checks(&mut self, out: &mut Actions) {
        for ask in [
            Ask::ModuleAgain(Via::Main),
            Ask::NotifierAgain(Via::Main),
            Ask::NotifierAgain(Via::Aux),
            Ask::Own,
            Ask::Primary,
        ] {
            self.unwatch(ask, out);
        }
    }
}

impl Checks {
    pub(crate) fn deadline(&self) -> At {
        self.until
    }
}
