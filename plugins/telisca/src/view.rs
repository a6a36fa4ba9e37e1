//! What is known of one side, from its probes, its agent's connection and its agent's word.

use lockstep_policy::event::{AgentReport, Connection, Lan, Link, ProbeResult, Role, ServiceState, Verdict};
use lockstep_policy::{At, Epoch};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The most observations that a switch names as its evidence.
pub(crate) const MAX_EVIDENCE: usize = 16;

/// What is known of one side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct View {
    /// Whether an agent runs on its node.
    pub(crate) agent: bool,
    pub(crate) probes: Streak,
    /// The agent's main connection.
    pub(crate) link: Option<LinkView>,
    pub(crate) report: Option<Report>,
    /// When its agent last said that it is fit after having said that it is not.
    pub(crate) started: Option<At>,
    /// When a probe of it last had any answer, good or not.
    #[serde(default)]
    pub(crate) heard: Option<At>,
    /// When its probes last had none: the first answer after it ends that time.
    #[serde(default)]
    pub(crate) silent: Option<At>,
    #[serde(default)]
    pub(crate) silence: Silence,
}

/// Probes without any answer, since the last one that had one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Silence {
    pub(crate) count: u32,
    /// When the first of them was sent.
    pub(crate) since: Option<At>,
}

/// The last probe's answer, and how many before it were the same.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Streak {
    pub(crate) last: Option<Verdict>,
    pub(crate) detail: String,
    pub(crate) bad: u32,
    pub(crate) good: u32,
    /// Since when no answer was bad.
    pub(crate) good_since: Option<At>,
    /// The event numbers of the last answers, all good or all bad.
    pub(crate) evidence: Vec<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct LinkView {
    pub(crate) up: bool,
    pub(crate) since: At,
    pub(crate) seq: u64,
}

/// An agent's report, as far as this policy looks at it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) role: Role,
    pub(crate) epoch: Epoch,
    pub(crate) serving: bool,
    pub(crate) fit: bool,
    pub(crate) at: At,
    pub(crate) seq: u64,
    /// Exclusive services that have ended without an order.
    pub(crate) exited: Vec<String>,
    /// The first of the other services that has.
    pub(crate) needed_exited: Option<String>,
    /// The node finds itself off the LAN.
    #[serde(default)]
    pub(crate) isolated: bool,
    /// All its exclusive services.
    #[serde(default)]
    pub(crate) exclusive: Vec<String>,
}

impl View {
    pub(crate) fn new(agent: bool) -> View {
        View {
            agent,
            probes: Streak::default(),
            link: None,
            report: None,
            started: None,
            heard: None,
            silent: None,
            silence: Silence::default(),
        }
    }

    /// When it has answered well: how often it had not before.
    pub(crate) fn on_probe(&mut self, result: &ProbeResult, seq: u64, at: At) -> Option<u32> {
        let good = result.verdict == Verdict::Good;
        let silent = result.verdict == Verdict::Silent;
        if silent || self.probes.last == Some(Verdict::Silent) {
            self.silent = Some(at);
        }
        let ended = if silent {
            self.silence.count = self.silence.count.saturating_add(1);
            let sent = At(at.0.saturating_sub(u64::try_from(result.latency.as_nanos()).unwrap_or(u64::MAX)));
            self.silence.since = self.silence.since.or(Some(sent));
            None
        } else {
            self.heard = Some(at);
            // One that ends otherwise was no delay.
            Some(std::mem::take(&mut self.silence).count).filter(|_| good)
        };
        let streak = &mut self.probes;
        if streak.last.is_some_and(|last| (last == Verdict::Good) != good) {
            streak.evidence.clear();
        }
        streak.last = Some(result.verdict);
        streak.detail.clone_from(&result.detail);
        if good {
            streak.good = streak.good.saturating_add(1);
            streak.bad = 0;
            streak.good_since = streak.good_since.or(Some(at));
        } else {
            streak.bad = streak.bad.saturating_add(1);
            streak.good = 0;
            streak.good_since = None;
        }
        if streak.evidence.len() == MAX_EVIDENCE {
            streak.evidence.remove(0);
        }
        streak.evidence.push(seq);
        ended
    }

    pub(crate) fn on_link(&mut self, link: Link, seq: u64, at: At) {
        let changed = self.link.is_none_or(|known| known.up != link.up);
        if link.connection != Connection::Main || !changed {
            return;
        }
        if !link.up {
            // What it said before it went away is no word of the agent that comes back.
            self.report = None;
        }
        self.link = Some(LinkView { up: link.up, since: at, seq });
    }

    pub(crate) fn on_report(&mut self, report: &AgentReport, seq: u64, at: At) {
        let was_unfit = self.report.as_ref().is_some_and(|before| !before.fit);
        if report.fit && was_unfit {
            self.started = Some(at);
        }
        let ended = |exclusive| {
            report
                .services
                .iter()
                .filter(move |service| service.exclusive == exclusive && service.state == ServiceState::Exited)
        };
        self.report = Some(Report {
            role: report.role,
            epoch: report.epoch,
            serving: report.serving,
            fit: report.fit,
            at,
            seq,
            exited: ended(true).map(|service| service.name.clone()).collect(),
            needed_exited: ended(false).map(|service| service.name.clone()).next(),
            isolated: report.lan == Lan::Isolated,
            exclusive: report
                .services
                .iter()
                .filter(|service| service.exclusive)
                .map(|service| service.name.clone())
                .collect(),
        });
    }

    /// Counting begins anew: another side is active now.
    pub(crate) fn reset_counts(&mut self) {
        let last = self.probes.last;
        self.probes = Streak { last, ..Streak::default() };
        self.started = None;
    }

    /// Its agent is there, or it has none.
    pub(crate) fn connected(&self) -> bool {
        !self.agent || self.link.is_some_and(|link| link.up)
    }

    /// How long its agent has been away.
    pub(crate) fn away_since(&self) -> Option<LinkView> {
        self.link.filter(|link| self.agent && !link.up)
    }

    /// The agent's last report, as long as the agent is there to take it back.
    pub(crate) fn word(&self) -> Option<&Report> {
        self.report.as_ref().filter(|_| self.agent && self.connected())
    }

    /// Its agent says that the node is off the LAN.
    pub(crate) fn isolated(&self) -> bool {
        self.word().is_some_and(|report| report.isolated)
    }

    /// The last probe failed.
    pub(crate) fn failing(&self) -> bool {
        self.probes.bad > 0
    }

    /// The last probe was good.
    pub(crate) fn answering(&self) -> bool {
        self.probes.last == Some(Verdict::Good)
    }

    /// By its agent's word it could take over now; without an agent: its last probe was good.
    pub(crate) fn fit(&self) -> bool {
        if self.agent { self.word().is_some_and(|report| report.fit) } else { self.answering() }
    }

    /// It could become active; if not, why not.
    pub(crate) fn can_take_over(&self) -> Result<(), String> {
        if !self.connected() {
            return Err("its agent is not connected".to_owned());
        }
        if self.isolated() {
            return Err("its agent finds the node off the LAN".to_owned());
        }
        if self.answering() || self.fit() {
            return Ok(());
        }
        let probe = match self.probes.last {
            None => "no probe of it was answered yet".to_owned(),
            Some(verdict) => format!("its last monitor probe {}", in_words(verdict)),
        };
        Err(if self.agent { format!("its agent does not say that it is fit, and {probe}") } else { probe })
    }

    /// It works, as far as is known.
    pub(crate) fn works(&self) -> bool {
        self.connected() && !self.failing() && self.word().is_none_or(|report| report.serving)
    }

    /// How long no probe of it has failed.
    pub(crate) fn well_for(&self, at: At) -> Duration {
        self.probes.good_since.map_or(Duration::ZERO, |since| at.since(since))
    }
}

/// A probe's verdict, after `the probe`.
pub(crate) fn in_words(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Good => "was answered",
        Verdict::Wrong => "had a wrong answer",
        Verdict::Silent => "had no answer in time",
        Verdict::Refused => "was refused",
    }
}

/// So many monitor probes.
pub(crate) fn counted(probes: u32) -> String {
    if probes == 1 { "1 monitor probe".to_owned() } else { format!("{probes} monitor probes") }
}
