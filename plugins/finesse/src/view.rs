//! What is known of one side: whether it is out of service (F2), and whether it may be given sessions (F1).

use crate::presence::Presence;
use crate::timing::Timing;
use lockstep_policy::At;
use lockstep_policy::event::{ProbeResult, Verdict};
use serde::{Deserialize, Serialize};

/// The most observations that a decision names as its evidence, of each probe.
const MAX_EVIDENCE: usize = 8;

/// What is known of one side.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct View {
    pub(crate) info: Info,
    pub(crate) notification: Notification,
    pub(crate) presence: Presence,
    /// How many sessions the edge has counted on it.
    pub(crate) sessions: Option<u32>,
}

/// What its SystemInfo says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Info {
    word: Word,
    /// Polls in a row that did not say `IN_SERVICE`.
    failed: u32,
    /// Whether its last CTI heartbeat succeeded, when it tells.
    heartbeat: Option<bool>,
    /// It is in the vendor's own maintenance mode.
    maintenance: bool,
    /// When the latest poll that has ended was sent.
    sent: Option<At>,
    /// The latest polls that said the same.
    evidence: Vec<u64>,
}

/// The latest SystemInfo answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
enum Word {
    /// None came yet.
    #[default]
    Unknown,
    /// `IN_SERVICE`.
    InService,
    /// Another status, by its own word.
    Says(String),
    /// No answer, or none that tells a status: why.
    Nothing(String),
}

/// How its Notification Service answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Notification {
    answers: Option<bool>,
    /// Attempts in a row that came to nothing.
    failed: u32,
    detail: String,
    sent: Option<At>,
    evidence: Vec<u64>,
}

/// Why a side is out of service.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Cause {
    /// What it is, as long as it lasts.
    pub(crate) short: String,
    /// And how often.
    pub(crate) reason: String,
    pub(crate) evidence: Vec<u64>,
}

impl Cause {
    pub(crate) fn new(short: String, count: &str, evidence: Vec<u64>) -> Cause {
        let reason = format!("{short}{count}");
        Cause { short, reason, evidence }
    }

    fn and(self, other: Cause) -> Cause {
        let evidence = self.evidence.into_iter().chain(other.evidence).collect();
        let both = |one: &str, other: &str| format!("{one}, and {other}");
        Cause { short: both(&self.short, &other.short), reason: both(&self.reason, &other.reason), evidence }
    }
}

impl View {
    pub(crate) fn on_poll(&mut self, result: &ProbeResult, seq: u64, at: At) {
        let info = &mut self.info;
        if older(info.sent, result, at) {
            return;
        }
        let word = word(result);
        let well = word == Word::InService;
        remember(&mut info.evidence, seq, (info.word == Word::InService) == well);
        info.failed = if well { 0 } else { info.failed.saturating_add(1) };
        info.heartbeat = result.fact("lastCTIHeartbeatStatus").map(|status| status.eq_ignore_ascii_case("success"));
        info.maintenance = result.fact("finesseMMode").is_some_and(in_maintenance);
        info.sent = Some(at - result.latency);
        info.word = word;
    }

    pub(crate) fn on_attempt(&mut self, result: &ProbeResult, seq: u64, at: At) {
        let service = &mut self.notification;
        if older(service.sent, result, at) {
            return;
        }
        let well = result.verdict == Verdict::Good;
        remember(&mut service.evidence, seq, service.answers == Some(well));
        service.failed = if well { 0 } else { service.failed.saturating_add(1) };
        service.detail = in_words(result);
        service.sent = Some(at - result.latency);
        service.answers = Some(well);
    }

    /// F2: why it is out of service, by what was heard last.
    pub(crate) fn out(&self, timing: &Timing) -> Option<Cause> {
        self.confirmed(timing, At::ZERO)
    }

    /// F2, as far as it is confirmed by something that was asked since `since`.
    pub(crate) fn confirmed(&self, timing: &Timing, since: At) -> Option<Cause> {
        let info = self.info.out(timing).filter(|_| asked_since(self.info.sent, since));
        let service = self.notification.out(timing).filter(|_| asked_since(self.notification.sent, since));
        let presence = self.presence.out().filter(|_| self.presence.asked_since(since) && !timing.ippa());
        info.into_iter().chain(service).chain(presence).reduce(Cause::and)
    }

    /// F1: whether it may be given sessions; if not, why not.
    pub(crate) fn eligible(&self) -> Result<(), String> {
        match &self.info.word {
            Word::Unknown => return Err("its SystemInfo was not heard yet".to_owned()),
            Word::Says(status) => return Err(format!("its SystemInfo says {status}")),
            Word::Nothing(why) => return Err(format!("its SystemInfo {why}")),
            Word::InService => {}
        }
        match self.notification.answers {
            None => return Err("its Notification Service was not heard yet".to_owned()),
            Some(false) => return Err(format!("its Notification Service {}", self.notification.detail)),
            Some(true) => {}
        }
        if self.presence.unavailable() {
            return Err("its user `finesse` is unavailable".to_owned());
        }
        if self.info.maintenance {
            return Err("it is in maintenance mode by its own word".to_owned());
        }
        match self.info.heartbeat {
            Some(true) => Ok(()),
            Some(false) => Err("its last CTI heartbeat failed".to_owned()),
            None => Err("its SystemInfo does not tell the last CTI heartbeat".to_owned()),
        }
    }

    /// F4: by answers to what was asked since then.
    pub(crate) fn eligible_since(&self, since: At) -> Result<(), String> {
        self.eligible()?;
        if self.asked_since(since) { Ok(()) } else { Err("it has not answered the second look in time".to_owned()) }
    }

    /// All that is watched was asked since then, and the asking has ended.
    pub(crate) fn asked_since(&self, since: At) -> bool {
        asked_since(self.info.sent, since)
            && asked_since(self.notification.sent, since)
            && self.presence.asked_since(since)
    }

    /// Something was heard of both its services.
    pub(crate) fn known(&self) -> bool {
        self.info.word != Word::Unknown && self.notification.answers.is_some()
    }

    /// The latest observations.
    pub(crate) fn evidence(&self) -> Vec<u64> {
        self.info.evidence.last().into_iter().chain(self.notification.evidence.last()).copied().collect()
    }
}

impl Info {
    fn out(&self, timing: &Timing) -> Option<Cause> {
        let enough = self.failed >= timing.poll.failures;
        let (said, count) = match &self.word {
            // A phone makes three attempts whatever it is told; a desktop believes at once.
            Word::Says(status) if enough || !timing.ippa() => (format!("says {status}"), 1),
            Word::Nothing(why) if enough => (why.clone(), self.failed),
            _ => return None,
        };
        let count = if count > 1 { format!(", {count} polls in a row") } else { String::new() };
        Some(Cause::new(format!("its SystemInfo {said}"), &count, self.evidence.clone()))
    }
}

impl Notification {
    fn out(&self, timing: &Timing) -> Option<Cause> {
        let evidence = self.evidence.clone();
        if self.failed >= timing.notification.failures {
            let count = format!(", {} attempts in a row, the last {}", self.failed, self.detail);
            return Some(Cause::new("its Notification Service is disconnected".to_owned(), &count, evidence));
        }
        None
    }
}

fn asked_since(sent: Option<At>, since: At) -> bool {
    sent.is_some_and(|sent| sent >= since)
}

/// A later probe was answered already: what is silent from before it says nothing of now.
fn older(latest: Option<At>, result: &ProbeResult, at: At) -> bool {
    latest.is_some_and(|latest| at - result.latency < latest)
}

fn remember(evidence: &mut Vec<u64>, seq: u64, same: bool) {
    if !same {
        evidence.clear();
    }
    if evidence.len() == MAX_EVIDENCE {
        evidence.remove(0);
    }
    evidence.push(seq);
}

fn word(result: &ProbeResult) -> Word {
    match (result.fact("status"), result.verdict) {
        (Some("IN_SERVICE"), Verdict::Good) => Word::InService,
        (Some(status), _) if status != "IN_SERVICE" => {
            let reason = result.fact("statusReason").filter(|reason| !reason.is_empty());
            Word::Says(reason.map_or_else(|| status.to_owned(), |reason| format!("{status} ({reason})")))
        }
        // A server that is not in service answers requests so, with an error in place of a status.
        (None, Verdict::Wrong) if result.status == 503 => {
            let kind = result.fact("ErrorType").map(|kind| format!(" ({kind})")).unwrap_or_default();
            Word::Says(format!("503 Service Unavailable{kind}"))
        }
        (_, Verdict::Good) => Word::Nothing("tells no status".to_owned()),
        _ => Word::Nothing(in_words(result)),
    }
}

/// The vendor's states of a maintenance mode that goes on; it also has `FAILED`.
fn in_maintenance(state: &str) -> bool {
    ["INITIATING", "IN_PROGRESS", "COMPLETED", "true"].iter().any(|word| word.eq_ignore_ascii_case(state))
}

/// What came of asking, after the name of what was asked.
pub(crate) fn in_words(result: &ProbeResult) -> String {
    let what = match result.verdict {
        Verdict::Good => "answered".to_owned(),
        Verdict::Wrong if result.status != 0 => format!("answered with status {}", result.status),
        Verdict::Wrong => "had a wrong answer".to_owned(),
        Verdict::Silent => "did not answer in time".to_owned(),
        Verdict::Refused => "refused the connection".to_owned(),
    };
    match result.detail.as_str() {
        "" => what,
        _ if result.verdict == Verdict::Good => what,
        detail => format!("{what}: {detail}"),
    }
}
