//! One switch at a time: what is under way, what came of it, and when to try again.

use super::{Actions, Period};
use crate::action::{Action, Alert, Level, Switch};
use crate::event::{ActionResult, Outcome};
use crate::{At, Side};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A switch that nothing is heard of for so long has come to nothing, and a handover has ended.
pub const HANDOVER_MAX: Duration = Duration::from_secs(300);

/// Attempts at doubling distances; then one each [`SLOW_RETRY`].
pub const RETRIES: u32 = 6;

/// The longest pause between two attempts.
pub const SLOW_RETRY: Duration = Duration::from_secs(60);

/// The longest pause after a refusal: nothing was begun, and what was in the way may be gone soon.
pub const REFUSED_RETRY: Duration = Duration::from_secs(5);

/// What is under way, and what came of the attempts before.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Attempts {
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

/// An attempt of the policy's own has come to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CameToNothing {
    /// Where it went.
    pub to: Side,
    /// Why, by the edge's word.
    pub why: String,
    /// What operators are to be told: at the first failure, and when attempts become rare.
    pub alert: Option<Alert>,
}

impl Attempts {
    /// A handover is under way, or asked for.
    #[must_use]
    pub fn busy(&self) -> bool {
        self.asked.is_some() || self.running.is_some()
    }

    /// The policy may try something of its own now.
    #[must_use]
    pub fn free(&self, at: At) -> bool {
        !self.busy() && at >= self.not_before
    }

    /// Where the last attempt went that came to nothing.
    #[must_use]
    pub fn failed_to(&self) -> Option<Side> {
        self.failed_to
    }

    /// Asks for a switch. Only when nothing is under way.
    pub fn switch(&mut self, switch: Switch, at: At, out: &mut Actions) {
        let Switch { to, order, .. } = switch;
        let action = out.push(Action::Switch(switch));
        self.asked = Some(Asked { action, to, since: at, order });
    }

    /// The edge says that a handover has begun.
    pub fn begun(&mut self, at: At) {
        self.running = Some(at);
    }

    /// The handover has ended, well or not.
    pub fn ended(&mut self, well: bool) {
        self.running = None;
        if well {
            self.forget_failures();
        }
    }

    /// A result came; it may be that of the switch. After the first failure the next attempt is `first_retry` away.
    pub fn on_result(
        &mut self,
        result: &ActionResult,
        active: Option<Side>,
        first_retry: Duration,
        at: At,
    ) -> Option<CameToNothing> {
        let asked = self.asked.take_if(|asked| asked.action == result.action)?;
        match result.outcome {
            Outcome::Done => {
                self.forget_failures();
                // Should the result come before the handover's end, that end is waited for.
                if active != Some(asked.to) && self.running.is_none() {
                    self.begun(at);
                }
                None
            }
            Outcome::Refused => self.came_to_nothing(asked, &result.why, true, first_retry, at),
            Outcome::Failed => self.came_to_nothing(asked, &result.why, false, first_retry, at),
        }
    }

    /// An edge that never says what became of a switch must not leave the pair without a policy.
    pub fn give_up_waiting(&mut self, first_retry: Duration, at: At) -> Option<CameToNothing> {
        if self.running.is_some_and(|since| at.since(since) >= HANDOVER_MAX) {
            self.running = None;
        }
        let asked = self.asked.take_if(|asked| at.since(asked.since) >= HANDOVER_MAX)?;
        let why = format!("nothing was heard of it for {}", Period(HANDOVER_MAX));
        self.came_to_nothing(asked, &why, false, first_retry, at)
    }

    /// The edge says that no side is active: no attempt in the same breath.
    pub fn pause_after_failure(&mut self, first_retry: Duration, at: At) {
        self.not_before = self.not_before.max(at + first_retry);
    }

    /// When something must be looked at again.
    #[must_use]
    pub fn deadlines(&self) -> [Option<At>; 3] {
        let asked = self.asked.map(|asked| asked.since + HANDOVER_MAX);
        [asked, self.running.map(|since| since + HANDOVER_MAX), Some(self.not_before)]
    }

    fn forget_failures(&mut self) {
        *self = Attempts { asked: self.asked, running: self.running, ..Attempts::default() };
    }

    fn came_to_nothing(
        &mut self,
        asked: Asked,
        why: &str,
        refused: bool,
        first_retry: Duration,
        at: At,
    ) -> Option<CameToNothing> {
        let Asked { to, order, .. } = asked;
        if order != 0 {
            // The operator reads the answer to the order, and decides whether to try again.
            return None;
        }
        self.failed = self.failed.saturating_add(1);
        self.failed_to = Some(to);
        let pause = pause(self.failed, first_retry);
        let pause = if refused { pause.min(REFUSED_RETRY) } else { pause };
        self.not_before = at + pause;
        let (failed, pause) = (self.failed, Period(pause));
        // A refusal is often short: an edge that has just started asks both agents first. It is told when it lasts.
        let alert = if failed == 1 && !refused {
            let text = format!("the switch to {to} came to nothing: {why}; the next attempt is not before {pause}");
            Some(Alert { level: Level::Warning, text })
        } else if failed == RETRIES {
            let text = format!(
                "{failed} attempts in a row came to nothing, the last to {to}: {why}; from now on one each {pause}. \
                 Look at the nodes' agents and services"
            );
            Some(Alert { level: Level::Critical, text })
        } else {
            None
        };
        Some(CameToNothing { to, why: why.to_owned(), alert })
    }
}

/// The pause after so many failures in a row.
fn pause(failed: u32, first_retry: Duration) -> Duration {
    if failed >= RETRIES {
        return SLOW_RETRY;
    }
    (first_retry * 2_u32.pow(failed.saturating_sub(1))).min(SLOW_RETRY)
}
