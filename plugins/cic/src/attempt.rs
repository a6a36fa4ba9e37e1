//! One switch at a time: what is under way, what came of it, and when to try again.

use crate::Cic;
use crate::timing::{HANDOVER_MAX, REFUSED_RETRY, RETRIES};
use lockstep_policy::action::{Action, Alert, Level, Switch, Urgency};
use lockstep_policy::event::{ActionResult, Outcome};
use lockstep_policy::sdk::{Actions, Period};
use lockstep_policy::{At, Side};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What is under way, and what came of the attempts before.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Attempts {
    asked: Option<Asked>,
    /// A handover that the edge says has begun.
    running: Option<At>,
    /// Attempts in a row that came to nothing.
    failed: u32,
    /// No further attempt of the policy's own before this.
    not_before: At,
    /// Where the last attempt went that came to nothing.
    failed_to: Option<Side>,
}

/// A switch without a result yet.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Asked {
    action: u64,
    to: Side,
    since: At,
    order: u64,
}

impl Attempts {
    /// A handover is under way, or asked for.
    pub(crate) fn busy(&self) -> bool {
        self.asked.is_some() || self.running.is_some()
    }

    /// The policy may try something of its own now.
    pub(crate) fn free(&self, at: At) -> bool {
        !self.busy() && at >= self.not_before
    }

    /// Where the last attempt went that came to nothing.
    pub(crate) fn failed_to(&self) -> Option<Side> {
        self.failed_to
    }

    pub(crate) fn begun(&mut self, at: At) {
        self.running = Some(at);
    }

    /// The handover has ended, well or not.
    pub(crate) fn ended(&mut self, well: bool) {
        self.running = None;
        if well {
            self.forget_failures();
        }
    }

    fn forget_failures(&mut self) {
        *self = Attempts { asked: self.asked, running: self.running, ..Attempts::default() };
    }

    /// When something must be looked at again.
    pub(crate) fn deadlines(&self) -> [Option<At>; 3] {
        let asked = self.asked.map(|asked| asked.since + HANDOVER_MAX);
        [asked, self.running.map(|since| since + HANDOVER_MAX), Some(self.not_before)]
    }
}

impl Cic {
    /// Asks for a switch. Only when nothing is under way.
    pub(crate) fn switch(&mut self, to: Side, urgency: Urgency, why: Why, at: At, out: &mut Actions) {
        let Why { reason, evidence, order } = why;
        let action = out.push(Action::Switch(Switch { to, urgency, reason, evidence, order }));
        self.attempts.asked = Some(Asked { action, to, since: at, order });
    }

    /// A result came; it may be that of the switch.
    pub(crate) fn on_switch_result(&mut self, result: &ActionResult, at: At, out: &mut Actions) {
        let Some(asked) = self.attempts.asked.filter(|asked| asked.action == result.action) else { return };
        self.attempts.asked = None;
        match result.outcome {
            Outcome::Done => {
                self.attempts.forget_failures();
                // Should the result come before the handover's end, that end is waited for.
                if self.active != Some(asked.to) && self.attempts.running.is_none() {
                    self.attempts.begun(at);
                }
            }
            Outcome::Refused => self.on_failed_attempt(asked, &result.why, Some(REFUSED_RETRY), at, out),
            Outcome::Failed => self.on_failed_attempt(asked, &result.why, None, at, out),
        }
    }

    /// An edge that never says what became of a switch must not leave the pair without a policy.
    pub(crate) fn give_up_waiting(&mut self, at: At, out: &mut Actions) {
        if self.attempts.running.is_some_and(|since| at.since(since) >= HANDOVER_MAX) {
            self.attempts.running = None;
        }
        if let Some(asked) = self.attempts.asked.filter(|asked| at.since(asked.since) >= HANDOVER_MAX) {
            self.attempts.asked = None;
            let why = format!("nothing was heard of it for {}", Period(HANDOVER_MAX));
            self.on_failed_attempt(asked, &why, None, at, out);
        }
    }

    fn on_failed_attempt(&mut self, asked: Asked, why: &str, at_most: Option<Duration>, at: At, out: &mut Actions) {
        let Asked { to, order, .. } = asked;
        if order != 0 {
            // The operator reads the answer to the order, and decides whether to try again.
            return;
        }
        self.drill_came_to_nothing(why, out);
        let attempts = &mut self.attempts;
        attempts.failed = attempts.failed.saturating_add(1);
        attempts.failed_to = Some(to);
        let pause = self.timing.pause(attempts.failed);
        let pause = at_most.map_or(pause, |most| pause.min(most));
        attempts.not_before = at + pause;
        let (failed, pause) = (attempts.failed, Period(pause));
        // A refusal is often short: an edge that has just started asks both agents first. It is told when it lasts.
        let refused = at_most.is_some();
        self.decide_again(at);
        if failed == 1 && !refused {
            let text = format!("the switch to {to} came to nothing: {why}; the next attempt is not before {pause}");
            out.push(Action::Alert(Alert { level: Level::Warning, text }));
        } else if failed == RETRIES {
            let text = format!(
                "{failed} attempts in a row came to nothing, the last to {to}: {why}; from now on one each {pause}. \
                 Look at the nodes' agents and services"
            );
            out.push(Action::Alert(Alert { level: Level::Critical, text }));
        }
    }

    /// The edge says that no side is active: no attempt in the same breath.
    pub(crate) fn pause_after_failure(&mut self, at: At) {
        let soonest = at + self.timing.first_retry;
        self.attempts.not_before = self.attempts.not_before.max(soonest);
    }
}

/// What a switch is for.
pub(crate) struct Why {
    pub(crate) reason: String,
    pub(crate) evidence: Vec<u64>,
    /// The operator's order; 0: none.
    pub(crate) order: u64,
}
