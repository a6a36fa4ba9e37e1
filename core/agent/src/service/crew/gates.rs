//! Gates: steps in the order of the services at which the start waits for a person.
//!
//! A confirmation holds for the epoch in which it was given, so that what is tried again in it does not ask again; one of a
//! gate that is not exclusive holds for the agent's life.

use super::{Crew, Slot};
use crate::config::Driver;
use crate::service::launch::Launch;
use lockstep_policy::At;
use lockstep_policy::event::Outcome;

impl Slot {
    pub(super) fn is_gate(&self) -> bool {
        self.config.driver == Driver::Gate
    }

    /// Whether the start waits here.
    fn is_waited_at(&self) -> bool {
        self.is_gate() && self.life.as_ref().is_some_and(|life| !life.ready && !life.stopping)
    }
}

impl<L: Launch> Crew<L> {
    /// The gate that the start waits at.
    pub(super) fn waits_at(&self) -> Option<&str> {
        self.slots.iter().find(|slot| slot.is_waited_at()).map(|slot| slot.config.name.as_str())
    }

    /// A person has confirmed a gate.
    pub(crate) fn confirm(&mut self, now: At, gate: &str, by: &str) -> (Outcome, String) {
        if by.trim().is_empty() {
            return (Outcome::Refused, "a gate is opened by a named person, and no name was given".to_owned());
        }
        let Some(service) = self.slots.iter().position(|slot| slot.config.name == gate && slot.is_gate()) else {
            return (Outcome::Refused, format!("the agent's configuration has no gate `{gate}`"));
        };
        let slot = &self.slots[service];
        if let (true, Some((_, opener))) = (slot.is_ready(), &slot.opened) {
            return (Outcome::Done, format!("`{gate}` is open already: {opener} has confirmed it"));
        }
        if !slot.is_waited_at() {
            let elsewhere = self.waits_at().map(|other| format!(", but at `{other}`")).unwrap_or_default();
            return (Outcome::Refused, format!("the node's start does not wait at `{gate}` now{elsewhere}"));
        }
        tracing::info!(gate, by, epoch = self.epoch.0, "a gate is confirmed");
        self.slots[service].opened = Some((self.epoch, by.to_owned()));
        self.open_if_confirmed(service);
        self.advance(now);
        (Outcome::Done, String::new())
    }

    /// Opens a gate that was confirmed for what is being started.
    pub(super) fn open_if_confirmed(&mut self, service: usize) {
        let slot = &mut self.slots[service];
        let holds = slot.opened.as_ref().is_some_and(|(epoch, _)| !slot.config.exclusive || *epoch == self.epoch);
        if let Some(life) = slot.life.as_mut().filter(|_| holds) {
            life.becomes_ready();
        }
    }
}
