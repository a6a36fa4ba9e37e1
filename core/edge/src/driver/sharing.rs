//! Sessions, where both sides may serve: shared out as the policy wants, moved as time passes, and told of.

use super::Driver;
use super::course::NO_ROLE;
use super::orders::ActionOf;
use crate::admin::api::{SessionsStatus, SwitchAnswer};
use lockstep_policy::action::Share;
use lockstep_policy::event::{Outcome, Sessions, What};
use lockstep_policy::{At, Sides};
use lockstep_wire::clock;
use std::time::Duration;

/// The policy is told of sessions no more often than this, but for the end of a move.
const AGAIN: Duration = Duration::from_millis(250);

/// Whether there is news is looked at this often where nothing was heard of requests.
const SELDOM: Duration = Duration::from_secs(5);

/// What the policy was told last.
#[derive(Debug, Default)]
pub(super) struct Told {
    sessions: Sessions,
    /// When it was looked at last whether there is news.
    looked: At,
    /// Requests were answered since.
    stale: bool,
    /// The share in force was given for this reason.
    reason: String,
}

impl Told {
    fn look(&mut self, now: At) {
        self.looked = now;
        self.stale = false;
    }

    fn next_look(&self) -> At {
        self.looked + if self.stale { AGAIN } else { SELDOM }
    }
}

impl Driver {
    pub(super) fn share(&mut self, of: ActionOf, share: Share) {
        let operator = Some(share.order).filter(|order| *order != 0);
        if operator.is_some_and(|order| self.orders.giver(order).is_none()) {
            return self.result(of, Outcome::Refused, "nobody waits for that order any more");
        }
        // A pause leaves things as they are; after the edge's start they are not yet anyhow.
        if let Some(pause) = self.pause.as_ref().filter(|_| operator.is_none() && self.coordinator.has_shared()) {
            let why = format!("paused by {}: {}", pause.by, pause.reason);
            return self.result(of, Outcome::Refused, &why);
        }
        let now = clock::now();
        match self.proxy.share(now, of.action, &share) {
            Err(why) => {
                if let Some(order) = operator {
                    self.answer(order, SwitchAnswer::Refused(why.clone()));
                }
                self.result(of, Outcome::Refused, &why);
            }
            Ok(stopped) => {
                self.coordinator.shares();
                if let Some(stopped) = stopped {
                    self.tell(What::Sessions(stopped));
                }
                let text =
                    sentence(&share, self.proxy.sessions().map(|sessions| sessions.report()).unwrap_or_default());
                tracing::info!(pair = self.config.name, reason = share.reason, "{text}");
                self.told.reason.clone_from(&share.reason);
                if let Some(order) = operator {
                    self.answer(order, SwitchAnswer::Accepted(text));
                }
                self.result(of, Outcome::Done, "");
                self.tell_sessions(now);
            }
        }
    }

    /// Turns come, sessions end, and the policy hears of it.
    pub(super) fn pass_sharing(&mut self, now: At) {
        let Some(sessions) = self.proxy.sessions() else { return };
        let due = sessions.deadline().is_some_and(|at| now >= at);
        if due {
            self.proxy.pass_sessions(now);
        }
        if due || now >= self.told.next_look() {
            self.tell_sessions(now);
        }
    }

    /// Requests were answered: sessions may have begun.
    pub(super) fn sessions_may_have_changed(&mut self) {
        self.told.stale = true;
    }

    fn tell_sessions(&mut self, now: At) {
        let Some(report) = self.proxy.sessions().map(|sessions| sessions.report()) else { return };
        let told = &self.told.sessions;
        let at_once = (report.share, report.ended) != (told.share, told.ended);
        if at_once || (now.since(self.told.looked) >= AGAIN && report != *told) {
            self.told.sessions = report.clone();
            self.told.look(now);
            self.tell(What::Sessions(report));
        } else if report == *told {
            self.told.look(now);
        } else {
            self.told.stale = true;
        }
    }

    pub(super) fn sharing_deadline(&self) -> Option<At> {
        let sessions = self.proxy.sessions()?.deadline();
        Some(sessions.map_or(self.told.next_look(), |at| at.min(self.told.next_look())))
    }

    /// A new instance of the policy has not been told of any session.
    pub(super) fn forget_what_was_told_of_sessions(&mut self) {
        self.told.sessions = Sessions::default();
    }

    pub(super) fn sessions_status(&self) -> Option<SessionsStatus> {
        let sessions = self.proxy.sessions()?;
        let Sessions { on, moved, left, failed, names, .. } = sessions.report();
        Some(SessionsStatus {
            on,
            parts: sessions.parts(),
            moving_from: sessions.moving_from(),
            moved,
            left,
            failed,
            names,
            reason: self.told.reason.clone(),
        })
    }

    /// Why a side cannot be prepared, where there is no role to prepare it for.
    pub(super) fn refuses_roles(&self) -> Option<&'static str> {
        self.coordinator.is_shared().then_some(NO_ROLE)
    }
}

/// What a share does, for a person to read.
fn sentence(share: &Share, sessions: Sessions) -> String {
    let Share { parts, from, window, .. } = share;
    let new = match parts {
        Sides { a: 0, b: 0 } => "no new sessions are let in".to_owned(),
        Sides { a: _, b: 0 } => "new sessions go to side a".to_owned(),
        Sides { a: 0, b: _ } => "new sessions go to side b".to_owned(),
        Sides { a, b } => format!("new sessions are shared {a}:{b} between a and b"),
    };
    match from {
        None => format!("{new}; all others stay where they are"),
        Some(from) => {
            let window = humantime::format_duration(*window);
            let many = sessions.left + sessions.moved;
            format!("{new}; the {many} sessions of side {from} are moved within {window}")
        }
    }
}
