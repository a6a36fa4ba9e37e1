//! The active role of a pair whose core may run once: it moves by handover, and only when it is told to (E3).

use crate::Eservices;
use lockstep_policy::action::{Action, Alert, Level, Switch, Urgency};
use lockstep_policy::event::{ActionResult, Handover, Outcome, Role, Stage};
use lockstep_policy::sdk::{Actions, Period};
use lockstep_policy::{At, Side};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A handover that has not ended after this is counted as failed: every phase has a deadline far below.
pub(crate) const HANDOVER_MAX: Duration = Duration::from_secs(3_600);
/// The pause before a site is activated anew; it doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// At the start sides that have not been heard are waited for at least so long.
const SHORTEST_GRACE: Duration = Duration::from_millis(1_500);
/// A report that comes sooner after a handover may have been sent before it.
pub(crate) const STALE_REPORT: Duration = Duration::from_secs(2);

/// One switch at a time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Moves {
    asked: Option<Asked>,
    /// A handover that the edge says has begun.
    running: Option<At>,
    /// Attempts of the policy's own in a row that came to nothing.
    failed: u32,
    not_before: At,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Asked {
    action: u64,
    to: Side,
    since: At,
    /// An operator asked, or the runbook did: it is not tried again by itself.
    told: bool,
    order: u64,
}

/// What a switch is for.
pub(crate) struct Why {
    pub(crate) reason: String,
    pub(crate) evidence: Vec<u64>,
    pub(crate) order: u64,
    pub(crate) told: bool,
}

impl Moves {
    pub(crate) fn busy(&self) -> bool {
        self.asked.is_some() || self.running.is_some()
    }

    fn free(&self, at: At) -> bool {
        !self.busy() && at >= self.not_before
    }

    pub(crate) fn deadlines(&self) -> [Option<At>; 3] {
        let asked = self.asked.map(|asked| asked.since + HANDOVER_MAX);
        [asked, self.running.map(|since| since + HANDOVER_MAX), Some(self.not_before)]
    }
}

impl Eservices {
    pub(crate) fn switch(&mut self, to: Side, why: Why, at: At, out: &mut Actions) -> u64 {
        let Why { reason, evidence, order, told } = why;
        let works = self.active.is_some_and(|active| active != to && self.works(active));
        let urgency = if works { Urgency::Planned } else { Urgency::Failover };
        let action = out.push(Action::Switch(Switch { to, urgency, reason, evidence, order }));
        self.moves.asked = Some(Asked { action, to, since: at, told, order });
        action
    }

    /// The active site works, as far as is known.
    pub(crate) fn works(&self, side: Side) -> bool {
        let site = &self.sites[side];
        site.word().is_some_and(|report| report.role == Role::Active) && !self.broken(side)
    }

    pub(crate) fn on_switch_result(&mut self, result: &ActionResult, at: At, out: &mut Actions) {
        let Some(asked) = self.moves.asked.filter(|asked| asked.action == result.action) else { return };
        self.moves.asked = None;
        match result.outcome {
            // Should the result come before the handover's end, that end is waited for.
            Outcome::Done if self.active != Some(asked.to) && self.moves.running.is_none() => {
                self.moves.running = Some(at);
            }
            Outcome::Done => {}
            Outcome::Refused | Outcome::Failed => self.on_failed_switch(asked, &result.why, at, out),
        }
    }

    fn on_failed_switch(&mut self, asked: Asked, why: &str, at: At, out: &mut Actions) {
        // The operator reads the answer to his order, or of the runbook's step.
        if self.core_came_to_nothing(asked.action, why, at, out) || asked.order != 0 {
            return;
        }
        if asked.told {
            let text =
                format!("E3: the move to {} came to nothing: {why}. It is not tried again", self.site_name(asked.to));
            out.push(Action::Alert(Alert { level: Level::Critical, text }));
            return;
        }
        let pause = (FIRST_PAUSE * 2_u32.pow(self.moves.failed.min(10))).min(LONGEST_PAUSE);
        self.moves.failed = self.moves.failed.saturating_add(1);
        self.moves.not_before = at + pause;
        let (to, pause) = (self.site_name(asked.to), Period(pause));
        let text = format!("E3: the activation of {to} came to nothing: {why}; the next attempt is not before {pause}");
        out.push(Action::Alert(Alert { level: Level::Critical, text }));
    }

    /// An edge that never says what became of a switch must not leave the pair without a policy.
    pub(crate) fn give_up_waiting(&mut self, at: At, out: &mut Actions) {
        if self.moves.running.is_some_and(|since| at.since(since) >= HANDOVER_MAX) {
            self.moves.running = None;
        }
        if let Some(asked) = self.moves.asked.filter(|asked| at.since(asked.since) >= HANDOVER_MAX) {
            self.moves.asked = None;
            self.on_failed_switch(asked, &format!("nothing was heard of it for {}", Period(HANDOVER_MAX)), at, out);
        }
    }

    pub(crate) fn on_handover(&mut self, handover: &Handover, at: At, out: &mut Actions) {
        self.epoch = handover.epoch;
        if handover.stage == Stage::Begun {
            self.moves.running = Some(at);
            return;
        }
        self.moves.running = None;
        if handover.stage == Stage::Completed {
            (self.moves.failed, self.moves.not_before) = (0, At::ZERO);
        }
        self.becomes_active(handover.active, at, out);
    }

    pub(crate) fn becomes_active(&mut self, active: Option<Side>, at: At, out: &mut Actions) {
        self.since = at;
        if self.active == active {
            return;
        }
        self.active = active;
        self.told_of_none = false;
        self.armed.begin_anew();
        // What refused is expected to answer now, and the other way round.
        Side::BOTH.into_iter().for_each(|side| self.look_afresh(side, out));
    }

    /// The role has to be somewhere: at the very start, and anew at the same site. It never goes to the other one here.
    pub(crate) fn keep_a_site_active(&mut self, at: At, out: &mut Actions) {
        if self.settings.both || self.runbook_runs() || !self.moves.free(at) {
            return;
        }
        match self.active {
            Some(active) => self.activate_anew(active, at, out),
            None => self.find_an_active_site(at, out),
        }
    }

    fn find_an_active_site(&mut self, at: At, out: &mut Actions) {
        let has_the_role = |side: &Side| {
            let word = self.sites[*side].word();
            word.is_some_and(|report| report.role == Role::Active && report.at >= self.since)
        };
        if let Some(side) = Side::BOTH.into_iter().find(has_the_role) {
            let reason = format!("E3: {} is active by its agent's word, and keeps the role", self.site_name(side));
            let evidence = self.sites[side].word().map(|report| report.seq).into_iter().collect();
            self.switch(side, Why { reason, evidence, order: 0, told: false }, at, out);
        } else if self.epoch.0 == 0 {
            self.activate_the_first(at, out);
        } else if !self.told_of_none && self.grace_end().is_some_and(|end| at >= end) {
            self.told_of_none = true;
            let text = "E3: no site is active, and only an operator makes one active: give the command `site` or \
                        `runbook start`"
                .to_owned();
            out.push(Action::Alert(Alert { level: Level::Critical, text }));
        }
    }

    fn activate_anew(&mut self, active: Side, at: At, out: &mut Actions) {
        let Some(report) = self.sites[active].word() else { return };
        let lost = matches!(report.role, Role::Standby | Role::Failed) && report.fit;
        if !lost || report.at.since(self.since) < STALE_REPORT {
            return;
        }
        let reason = format!(
            "E3: {} is to be active, and its agent says that it is not: it is activated anew, at the same site",
            self.site_name(active)
        );
        let evidence = vec![report.seq];
        self.switch(active, Why { reason, evidence, order: 0, told: false }, at, out);
    }

    /// E2: nothing was ever active: the configured site, or the first of the list that is available.
    fn activate_the_first(&mut self, at: At, out: &mut Actions) {
        let ready = |side: Side| self.sites[side].can_take_over().is_ok();
        let waiting = self.grace_end().is_some_and(|end| at < end);
        let (side, reason) = match self.settings.site {
            Some(side) if ready(side) => (side, "is the configured site"),
            None if ready(Side::A) => (Side::A, "is the first site that is available"),
            None if ready(Side::B) && !waiting => (Side::B, "is the first site that is available"),
            _ if waiting || self.told_of_none => return,
            _ => {
                self.told_of_none = true;
                return self.tell_why_none(out);
            }
        };
        let reason = format!("E2: no site was ever active, and {} {reason}", self.site_name(side));
        let evidence = self.sites[side].word().map(|report| report.seq).into_iter().collect();
        self.switch(side, Why { reason, evidence, order: 0, told: false }, at, out);
    }

    fn tell_why_none(&self, out: &mut Actions) {
        let sides = self.settings.site.map_or(Side::BOTH.to_vec(), |site| vec![site]);
        let whys = sides.into_iter().filter_map(|side| {
            let why_not = self.sites[side].can_take_over().err()?;
            Some(format!("{}: {why_not}", self.site_name(side)))
        });
        let whys = whys.collect::<Vec<_>>().join(". ");
        let text = format!("E2: no site was ever active, and the one that should be cannot. {whys}");
        out.push(Action::Alert(Alert { level: Level::Critical, text }));
    }

    pub(crate) fn grace_end(&self) -> Option<At> {
        let grace = (self.settings.interval + self.settings.timeout).max(SHORTEST_GRACE);
        self.started.map(|started| started + grace)
    }
}
