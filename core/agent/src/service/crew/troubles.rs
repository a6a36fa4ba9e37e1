//! Services that have ended by themselves, hang, or do not become ready in time: what is tried, how often, and when the
//! node is told that it cannot go on.
//!
//! | what happens | while the node starts what is exclusive | while it is active | to what is not exclusive |
//! |---|---|---|---|
//! | it ends before it is ready, or is not ready in time | tried again by `retries`; then the start has failed | as below | by its budget |
//! | it ends later, or hangs | the same | by its budget; when that is used up the node is broken | by its budget; then left so |

use super::{Crew, Said, Sequence};
use crate::config::{Alive, Ready};
use crate::guard::order::reserve;
use crate::service::Post;
use crate::service::launch::Launch;
use lockstep_pair::node::Input;
use lockstep_policy::At;
use std::time::Duration;

impl<L: Launch> Crew<L> {
    pub(super) fn becomes_ready(&mut self, service: usize) {
        let slot = &mut self.slots[service];
        let Some(life) = &mut slot.life else { return };
        life.becomes_ready();
        // Nothing follows from a check where nothing may be done about it: then it is run when somebody asks.
        let alive = slot.config.alive.as_ref().filter(|alive| alive.check != Ready::Notify);
        if let Some(alive) = alive.filter(|_| slot.config.restarts.is_some() && life.ready && life.watch.is_none()) {
            let post = Post { service, life: life.number, to: self.happenings.clone() };
            life.watch = Some(self.launch.watch(alive, post));
        }
    }

    /// A service has ended, and nobody has ordered that.
    pub(super) fn has_ended(&mut self, now: At, service: usize, how: String) {
        let slot = &self.slots[service];
        tracing::warn!(service = slot.config.name, how, "a service has ended by itself");
        let returns = if !slot.config.exclusive {
            slot.config.restarts.is_some() && slot.budget.lasts(now)
        } else {
            match self.sequence {
                Sequence::Starting(_) => slot.tries <= slot.config.start.retries,
                Sequence::Up => slot.budget.lasts(now),
                Sequence::Rest | Sequence::Stopping(_) => false,
            }
        };
        let broken =
            slot.config.exclusive && self.sequence == Sequence::Up && slot.config.restarts.is_some() && !returns;
        if broken && slot.restart.is_none() {
            let why = format!("`{}` has used up its budget of {}: {how}", slot.config.name, slot.budget.text());
            tracing::error!(why, "the node gives its role up");
            self.said.push_back(Said::Node(Input::Broken { why }));
        }
        let slot = &mut self.slots[service];
        slot.returns = returns;
        slot.ended = Some(how);
    }

    /// Ends a life that is of no use, to begin another one.
    pub(super) fn give_up(&mut self, now: At, service: usize, why: String) {
        let useless = |life: &super::Life| !life.stopping && !life.exited;
        if !self.slots[service].life.as_ref().is_some_and(useless) {
            return;
        }
        let kill_at = now + self.stop_time(service);
        if let Some(life) = &mut self.slots[service].life {
            life.given_up = true;
            life.stop(kill_at);
            life.end_checks();
        }
        self.has_ended(now, service, why);
    }

    /// Nothing of a life is left.
    pub(super) fn gone(&mut self, now: At, service: usize) {
        let slot = &mut self.slots[service];
        let Some(life) = slot.life.take() else { return };
        let ordered = life.stopping && !life.given_up;
        if slot.config.exclusive {
            slot.retry_at = match self.sequence {
                Sequence::Starting(_) if slot.returns => Some(now + slot.config.start.pause),
                Sequence::Up if slot.returns => slot.budget.take(life.began, now),
                _ => None,
            };
            return;
        }
        slot.retry_at = if ordered || slot.restart.is_some() {
            Some(now)
        } else {
            let retry_at = slot.budget.take(life.began, now);
            if retry_at.is_none() {
                slot.returns = false;
                let (service, budget) = (slot.config.name.as_str(), slot.budget.text());
                tracing::error!(service, budget, "has used up its budget and is left so: an order restarts it");
            }
            retry_at
        };
    }

    /// How long a single service has when it is told to stop.
    pub(super) fn stop_time(&self, service: usize) -> Duration {
        let most = self.stop_max.saturating_sub(reserve(self.stop_max));
        self.slots[service].config.stop_timeout.unwrap_or(most)
    }

    pub(super) fn trouble_deadline(&self) -> Option<At> {
        self.slots.iter().filter_map(|slot| slot.trouble().map(|(at, _)| at)).min()
    }

    pub(super) fn look_for_troubles(&mut self, now: At) {
        for service in 0..self.slots.len() {
            if let Some((_, why)) = self.slots[service].trouble().filter(|(at, _)| *at <= now) {
                self.give_up(now, service, why.text());
            }
        }
    }
}

/// What will be wrong with a service, if it stays as it is.
enum Trouble {
    NotReady(Duration),
    Silent(Duration),
}

impl Trouble {
    fn text(&self) -> String {
        match self {
            Trouble::NotReady(timeout) => format!("it was not ready within {timeout:?}"),
            Trouble::Silent(timeout) => format!("it has not said WATCHDOG=1 for {timeout:?}"),
        }
    }
}

impl super::Slot {
    /// What is wrong with it from when on, unless it says something.
    fn trouble(&self) -> Option<(At, Trouble)> {
        let life = self.life.as_ref().filter(|life| !life.stopping && !life.exited)?;
        if !life.was_ready {
            return Some((life.start_by?, Trouble::NotReady(self.config.start.timeout?)));
        }
        match (&self.config.alive, life.heard, self.config.restarts) {
            (Some(Alive { check: Ready::Notify, timeout, .. }), Some(heard), Some(_)) => {
                Some((heard + *timeout, Trouble::Silent(*timeout)))
            }
            _ => None,
        }
    }
}
