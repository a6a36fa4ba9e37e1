//! Services that are not exclusive: up for as long as the agent is. And restarts of single services.

use super::{Crew, STOP_MAX, Said, Sequence};
use crate::service::launch::Launch;
use lockstep_policy::At;
use lockstep_policy::event::Outcome;
use std::time::Duration;

/// How long a restart may take before it is called failed. The service goes on starting.
const RESTART_MAX: Duration = Duration::from_secs(60);

/// An order to restart a service, on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Restart {
    id: u64,
    until: At,
    /// The life that it has begun.
    life: Option<u64>,
}

/// The agent is ending: nothing is started any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Closing {
    kill_at: At,
}

impl<L: Launch> Crew<L> {
    /// Stops and starts one service. The answer is [`Said::Restarted`].
    pub(crate) fn restart(&mut self, now: At, id: u64, name: &str) {
        let found = self.slots.iter().position(|slot| slot.config.name == name);
        let refusal = match found.map(|service| &self.slots[service]) {
            None => Some(format!("no service of this node is named `{name}`")),
            Some(slot) if slot.is_gate() => {
                Some(format!("`{name}` is a gate: it is confirmed, and there is nothing to restart"))
            }
            Some(_) if self.closing.is_some() => Some("the agent is ending".to_owned()),
            Some(slot) if slot.restart.is_some() => Some(format!("`{name}` is being restarted already")),
            Some(slot) if slot.config.exclusive && self.sequence != Sequence::Up => {
                Some(format!("`{name}` runs on the active side only, and this node is not active"))
            }
            Some(_) => None,
        };
        if let (Some(service), None) = (found, &refusal) {
            self.begin_restart(now, id, service);
        } else {
            self.answer_restart(id, Outcome::Refused, refusal.unwrap_or_default());
        }
    }

    fn begin_restart(&mut self, now: At, id: u64, service: usize) {
        let kill_at = now + self.stop_time(service);
        let slot = &mut self.slots[service];
        slot.budget.forget();
        slot.retry_at = Some(now);
        slot.restart = Some(Restart { id, until: now + RESTART_MAX, life: None });
        self.stop_life(service, kill_at);
        self.advance(now);
    }

    pub(super) fn advance_restarts(&mut self, now: At) {
        for service in 0..self.slots.len() {
            let Some(restart) = self.slots[service].restart else { continue };
            let slot = &self.slots[service];
            let exclusive = slot.config.exclusive;
            let end = match &slot.life {
                _ if exclusive && self.sequence != Sequence::Up => {
                    Some((Outcome::Failed, "the node is active no more".to_owned()))
                }
                Some(life) if restart.life == Some(life.number) && life.ready => Some((Outcome::Done, String::new())),
                _ if restart.life.is_some() && slot.ended.is_some() => {
                    Some((Outcome::Failed, format!("it has ended: {}", slot.ended.as_deref().unwrap_or_default())))
                }
                _ if now >= restart.until => {
                    Some((Outcome::Failed, format!("not ready within {}s", RESTART_MAX.as_secs())))
                }
                None if exclusive => {
                    self.slots[service].starts += 1;
                    self.start_life(service, now);
                    None
                }
                _ => None,
            };
            let slot = &mut self.slots[service];
            if let Some((outcome, why)) = end {
                slot.restart = None;
                self.answer_restart(restart.id, outcome, why);
            } else if let (Some(restart), Some(life)) = (&mut slot.restart, &slot.life)
                && !life.stopping
                && restart.life.is_none()
            {
                restart.life = Some(life.number);
            }
        }
    }

    fn answer_restart(&mut self, id: u64, outcome: Outcome, why: String) {
        self.said.push_back(Said::Restarted { id, outcome, why });
    }

    pub(super) fn upkeep_deadline(&self) -> Option<At> {
        let retries = self.indices(false).filter(|service| self.may_start(*service)).filter_map(|service| {
            let slot = &self.slots[service];
            slot.retry_at.filter(|_| slot.life.is_none())
        });
        let restarts = self.slots.iter().filter_map(|slot| Some(slot.restart?.until));
        retries.chain(restarts).min()
    }

    pub(super) fn advance_upkeep(&mut self, now: At) {
        if let Some(closing) = self.closing {
            return self.go_on_closing(now, closing);
        }
        for service in self.indices(false) {
            let slot = &self.slots[service];
            let due = slot.life.is_none() && slot.retry_at.is_some_and(|at| at <= now);
            if due && self.may_start(service) {
                self.slots[service].starts += 1;
                self.start_life(service, now);
            }
        }
    }

    /// The first time, a service waits for those before it.
    fn may_start(&self, service: usize) -> bool {
        self.closing.is_none()
            && (self.slots[service].starts > 0
                || self.slots[..service].iter().filter(|slot| !slot.config.exclusive).all(super::Slot::is_ready))
    }

    /// Stops what is not exclusive, in the reverse order; nothing is started any more.
    pub(crate) fn close(&mut self, now: At) {
        self.closing = Some(Closing { kill_at: now + STOP_MAX });
        self.advance(now);
    }

    /// Nothing runs any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.closing.is_some() && self.slots.iter().all(|slot| slot.life.is_none())
    }

    fn go_on_closing(&mut self, now: At, closing: Closing) {
        let left: Vec<usize> = (0..self.slots.len()).filter(|service| self.slots[*service].life.is_some()).collect();
        let Some(last) = left.last().copied() else { return };
        if self.slots[last].life.as_ref().is_some_and(|life| life.kill_at.is_none()) {
            self.stop_life(last, now + self.share(&left, closing.kill_at.since(now)));
        }
    }
}
