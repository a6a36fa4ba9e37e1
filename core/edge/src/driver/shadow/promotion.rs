//! How the policy in force and the one in shadow change places, between two events.
//!
//! What happens meanwhile waits for the milliseconds that it takes to save the candidate's state for the journal, and
//! until the policy in force has answered what it was told. What either has asked for ends for the one that asked.

use super::{Beside, Driver, Reached, SAVE, Shadow, WAITING};
use crate::config::PolicyConfig;
use crate::driver::orders::ActionOf;
use crate::wall;
use lockstep_policy::event::{ActionResult, What};
use lockstep_policy::host::{LifeRecord, Snapshot};
use lockstep_policy::{At, Level};
use lockstep_wire::clock;

/// The two are changing places.
pub(in crate::driver) struct Promotion {
    by: String,
    until: At,
    /// The last event that the candidate was told: its state must be a later one.
    after: u64,
    saved: Option<Snapshot>,
    /// What is to be told afterwards; true: it is the shadow's own.
    waiting: Vec<(What, bool)>,
    reply: Reached,
}

impl Driver {
    /// The shadow takes the place of the policy in force; `back`: only if it was there before.
    pub(in crate::driver) fn promote(&mut self, back: bool, by: String, reply: Reached) {
        let now = clock::now();
        let refusal = match &self.shadow {
            _ if self.promotion.is_some() => Some("the policies of this pair are changing places already"),
            _ if self.changing.is_some() => Some("the pair's configuration is being reloaded: try again"),
            Shadow::None | Shadow::Beginning { .. } => {
                Some("this pair has no policy in shadow: `lockstep policy shadow` first")
            }
            Shadow::Beside(beside) if back && !beside.was_in_force => Some("the policy in shadow was never in force"),
            Shadow::Beside(beside) if !beside.seat.is_working(now) => Some("the policy in shadow does not work"),
            Shadow::Beside(beside) => {
                let after = beside.told;
                beside.seat.save();
                let waiting = Vec::new();
                self.promotion = Some(Promotion { by, until: now + SAVE, after, saved: None, waiting, reply });
                return;
            }
        };
        let _ = reply.send(Err(refusal.unwrap_or_default().to_owned()));
    }

    /// Keeps back what is to be told while the two change place; else it is to be told now, and comes back.
    pub(in crate::driver) fn waits_for_promotion(&mut self, what: What, its_own: bool) -> Option<What> {
        if self.promotion.as_ref().is_some_and(|promotion| promotion.waiting.len() >= WAITING) {
            self.abandon_promotion("too much has happened meanwhile");
        }
        match &mut self.promotion {
            None => Some(what),
            Some(promotion) => {
                promotion.waiting.push((what, its_own));
                None
            }
        }
    }

    /// The shadow's state was saved.
    pub(super) fn shadow_saved(&mut self, seq: u64, snapshot: Snapshot) {
        let Some(promotion) = &mut self.promotion else { return };
        if seq >= promotion.after {
            promotion.saved = Some(snapshot);
            self.change_places_when_both_are_ready();
        } else if let Shadow::Beside(beside) = &self.shadow {
            // It was asked for before the last event.
            beside.seat.save();
        }
    }

    /// All that either was told is answered, and done.
    pub(in crate::driver) fn change_places_when_both_are_ready(&mut self) {
        let saved = self.promotion.as_ref().is_some_and(|promotion| promotion.saved.is_some());
        if saved && (self.seat.has_answered() || !self.seat.is_working(clock::now())) {
            self.change_places();
        }
    }

    pub(super) fn watch_promotion(&mut self, now: At) {
        let Some(promotion) = self.promotion.as_ref().filter(|promotion| now >= promotion.until) else { return };
        if promotion.saved.is_some() {
            // The policy in force does not answer: all the more reason.
            self.change_places();
        } else {
            self.abandon_promotion(&format!("the policy in shadow has not saved its state within {SAVE:?}"));
        }
    }

    pub(super) fn promotion_deadline(&self) -> Option<At> {
        self.promotion.as_ref().map(|promotion| promotion.until)
    }

    pub(super) fn abandon_promotion(&mut self, why: &str) {
        let Some(Promotion { waiting, reply, .. }) = self.promotion.take() else { return };
        for (what, its_own) in waiting {
            if its_own { self.tell_shadow_alone(what) } else { self.tell(what) }
        }
        let _ = reply.send(Err(format!("{why}; nothing was changed")));
    }

    fn change_places(&mut self) {
        let Some(Promotion { by, saved: Some(snapshot), waiting, reply, .. }) = self.promotion.take() else { return };
        let Shadow::Beside(beside) = &mut self.shadow else { return };
        let Some(began) = beside.began.take() else { return };
        let now = clock::now();
        let former = self.seat.life();
        self.inherited = beside.exchange_actions(former);
        std::mem::swap(&mut self.seat, &mut beside.seat);
        std::mem::swap(&mut self.standing, &mut beside.standing);
        let promoted = if beside.configured { String::new() } else { format!("by {by}, {}", wall::now()) };
        beside.configured = std::mem::replace(&mut self.promoted, promoted).is_empty();
        beside.was_in_force = true;
        beside.comparison = super::Comparison::default();
        beside.began = self.began.take();
        beside.from = self.notes.last_seq() + 1;
        let before = beside.standing.clone();
        let record = LifeRecord { given: snapshot.given, restored: Some(snapshot), ..began };
        self.notes.life(now, &record);
        self.began = Some(record);
        self.takes_over(self.seat.config.clone());
        self.exchange_probes();
        self.clear_alarms();
        let life = self.seat.life();
        for action in self.standing.again(&before) {
            self.act(ActionOf { life, action: 0 }, action);
        }
        let PolicyConfig { plugin, .. } = &self.config.policy;
        let text = format!(
            "policy `{}` {} decides from now on, by {by}; the former one is told everything and can be taken back",
            plugin.id(),
            plugin.version(),
        );
        self.notes.alert(now, Level::Warning, "edge", &text);
        for (what, its_own) in waiting {
            self.tell_after_the_change(former, what, its_own);
        }
        let _ = reply.send(Ok(text));
    }

    /// What was kept back: what was the former policy's own is not for the one that decides now.
    fn tell_after_the_change(&mut self, former: u64, what: What, its_own: bool) {
        let Shadow::Beside(beside) = &self.shadow else { return self.tell(what) };
        match what {
            What::Result(ActionResult { action, outcome, why }) if !its_own => {
                self.result(ActionOf { life: former, action }, outcome, &why);
            }
            What::Probe(result) if !its_own && !beside.shares(result.probe, &self.standing) => {}
            what => self.tell(what),
        }
    }

    /// What is probed is what the policy in force declares; the shadow's own are those that it has alone.
    fn exchange_probes(&mut self) {
        let present: Vec<_> = self.probes.watches().cloned().collect();
        for watch in &present {
            if self.standing.watches.get(&watch.probe) != Some(watch) {
                self.probes.unwatch(watch.probe);
                self.sides[watch.side].probes.remove(&watch.probe);
            }
        }
        for watch in self.standing.watches.values().filter(|watch| !present.contains(watch)) {
            // It was declared before, so that it can be sent is known.
            let _ = self.probes.watch(watch.clone(), &self.config.sides[watch.side].servers);
        }
        if let Shadow::Beside(beside) = &mut self.shadow {
            beside.probes.clear();
        }
        self.share_probes();
    }
}

impl Beside {
    /// What the policy in force has asked for, and this one too, ends for both: by the other one's numbers from now on.
    fn exchange_actions(&mut self, former: u64) -> std::collections::BTreeMap<ActionOf, u64> {
        let same = std::mem::take(&mut self.same);
        self.same = same.iter().map(|(ours, its)| (*its, *ours)).collect();
        same.into_iter().map(|(action, its)| (ActionOf { life: former, action }, its)).collect()
    }
}
