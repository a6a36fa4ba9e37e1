//! A handover as a record: what `lockstep why` prints.

use lockstep_policy::action::Urgency;
use lockstep_policy::{At, Epoch, Side};
use serde::{Deserialize, Serialize};

/// One attempt to move the active role, from its order to its end.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HandoverRecord {
    /// The attempt's epoch.
    pub epoch: Epoch,
    /// Who was active before.
    pub from: Option<Side>,
    /// Who shall be.
    pub to: Side,
    /// Planned or failover.
    pub urgency: Urgency,
    /// Why, by who asked.
    pub reason: String,
    /// Who asked: `policy`, `operator NAME` or `recovery`.
    pub by: String,
    /// Sequence numbers of the journal's events that led to it.
    pub evidence: Vec<u64>,
    /// When it was ordered, on the edge's clock.
    pub began: At,
    /// The phases that it went through, in order; a phase of a roll-back carries the roll-back's epoch.
    pub phases: Vec<PhaseRecord>,
    /// Why the other side counted as stopped when the new one was activated; none before.
    #[serde(default)]
    pub fenced: Option<Fenced>,
    /// How it ended; none while it runs.
    pub outcome: Option<Outcome>,
    /// Why it ended so; empty when completed.
    pub why: String,
    /// When the edge heard that the new side is active.
    pub activated_at: Option<At>,
    /// When the first request was given to it. Minus `activated_at`: the skew.
    pub first_sent_at: Option<At>,
    /// When the first good answer came from it.
    pub first_answer_at: Option<At>,
}

impl HandoverRecord {
    /// A handover that begins now.
    pub(crate) fn new(
        now: At,
        epoch: Epoch,
        from: Option<Side>,
        to: Side,
        urgency: Urgency,
        why: Motive,
    ) -> HandoverRecord {
        let Motive { reason, by, evidence } = why;
        HandoverRecord {
            epoch,
            from,
            to,
            urgency,
            reason,
            by,
            evidence,
            began: now,
            phases: Vec::new(),
            fenced: None,
            outcome: None,
            why: String::new(),
            activated_at: None,
            first_sent_at: None,
            first_answer_at: None,
        }
    }

    pub(crate) fn begin_phase(&mut self, now: At, epoch: Epoch, phase: Phase) {
        self.end_phase(now, "");
        self.phases.push(PhaseRecord { phase, epoch, began: now, ended: None, note: String::new() });
    }

    pub(crate) fn end_phase(&mut self, now: At, note: &str) {
        if let Some(last) = self.phases.last_mut().filter(|last| last.ended.is_none()) {
            last.ended = Some(now);
            last.note = note.to_owned();
        }
    }

    /// Leaves out what is there for people only: times, texts, and the phases before the present one.
    pub(crate) fn forget_past(&mut self) {
        let present = self.phases.pop();
        self.phases.clear();
        self.phases.extend(present.map(|last| PhaseRecord {
            began: At::ZERO,
            ended: last.ended.map(|_| At::ZERO),
            note: String::new(),
            ..last
        }));
        self.reason.clear();
        self.why.clear();
        self.by.clear();
        self.began = At::ZERO;
        self.fenced = None;
        self.activated_at = None;
        self.first_sent_at = None;
        self.first_answer_at = None;
    }

    /// Whether requests under this epoch's route are the first ones after this handover.
    pub(crate) fn settles_in(&self, epoch: Epoch) -> bool {
        self.phases.last().is_some_and(|last| last.phase == Phase::Settle && last.epoch == epoch)
    }
}

/// Why a handover was ordered, and by whom.
pub(crate) struct Motive {
    pub(crate) reason: String,
    pub(crate) by: String,
    pub(crate) evidence: Vec<u64>,
}

/// One phase of a handover.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PhaseRecord {
    /// Which.
    pub phase: Phase,
    /// In which epoch: a roll-back has its own.
    pub epoch: Epoch,
    /// When it began, on the edge's clock.
    pub began: At,
    /// When it ended; none while it runs.
    pub ended: Option<At>,
    /// How it ended, for a person to read.
    pub note: String,
}

/// The phases of `docs/handover.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The intent is made durable, and the new side warms up. The old side still serves.
    Prepare,
    /// New requests wait from here on.
    Hold,
    /// Requests in flight at the old side finish.
    Drain,
    /// The old side's exclusive services stop, or its lease runs out.
    Fence,
    /// The new side's exclusive services start.
    Activate,
    /// The new side gets the route, and the held requests go.
    Commit,
    /// The first requests are watched.
    Settle,
}

/// Why a side counts as stopped.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fenced {
    /// It said so.
    Confirmed,
    /// Its lease is surely over, and with it what ran under it.
    LeaseOver,
    /// Its fencing hook confirmed that the node is off.
    Hook,
    /// Nothing confirms it: it has no lease, and its delay has passed. Both sides may be active.
    Unfenced,
    /// A person said so. Both sides may be active.
    Unsafe {
        /// Why, as that person wrote.
        reason: String,
    },
}

/// How a handover ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The new side is active.
    Completed,
    /// Given up; who was active is so again, or still.
    RolledBack,
    /// No side is active.
    NoActive,
}
