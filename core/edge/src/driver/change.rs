//! A changed configuration: told to the policy as an event, so that it says itself what is in force now and what waits.
//! A policy that does not know such events is made again, with its state.

use super::Driver;
use crate::config::PolicyConfig;
use lockstep_policy::abi::kind;
use lockstep_policy::action::ConfigAnswer;
use lockstep_policy::event::{ConfigChange, What};
use lockstep_policy::host::Snapshot;
use lockstep_policy::{At, Level};
use lockstep_wire::clock;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// A policy that works answers, or saves its state, at once.
const ANSWER: Duration = Duration::from_secs(5);

/// A change that is under way.
pub(super) struct Changing {
    change: u64,
    wanted: PolicyConfig,
    until: At,
    /// The policy answers itself; else its state is waited for.
    told: bool,
    reply: oneshot::Sender<Vec<String>>,
}

impl Driver {
    /// Takes over another configuration of the policy.
    pub(super) fn change_policy(&mut self, wanted: PolicyConfig, reply: oneshot::Sender<Vec<String>>) {
        let now = clock::now();
        if self.changing.is_some() || self.promotion.is_some() {
            let _ = reply.send(vec!["another change is under way: reload again".to_owned()]);
            return;
        }
        self.notes.edge(now, json!({ "policy": wanted.setup.parameters, "why": "configuration reloaded" }));
        self.changes += 1;
        let change = self.changes;
        let same_plugin = wanted.plugin.fingerprint() == self.seat.config.plugin.fingerprint();
        let told = same_plugin && wanted.plugin.knows(kind::CONFIG);
        let setup = serde_json::to_string(&wanted.setup).unwrap_or_default();
        let until = now + ANSWER;
        self.changing = Some(Changing { change, wanted, until, told, reply });
        if !self.seat.is_working(now) {
            return self.make_again(None);
        }
        if told { self.tell(What::Config(ConfigChange { change, setup })) } else { self.seat.save() }
    }

    pub(super) fn config_answered(&mut self, answer: ConfigAnswer) {
        let Some(changing) = self.changing.take_if(|changing| changing.change == answer.change) else { return };
        if !answer.refused.is_empty() {
            let text = format!("refused by the policy, and the running parameters were kept: {}", answer.refused);
            let _ = changing.reply.send(vec![text]);
            return;
        }
        self.takes_over(changing.wanted.clone());
        self.promoted.clear();
        self.seat.reconfigure(changing.wanted);
        let pending = answer.pending.iter().map(|pending| format!("{}: from {} on", pending.key, pending.until));
        let _ = changing.reply.send(std::iter::once("in force".to_owned()).chain(pending).collect());
    }

    /// The state was saved with which the policy is to be made again.
    pub(super) fn saved_for_change(&mut self, snapshot: Snapshot) {
        if self.changing.as_ref().is_some_and(|changing| !changing.told) {
            self.make_again(Some(snapshot));
        }
    }

    fn make_again(&mut self, snapshot: Option<Snapshot>) {
        let Some(Changing { wanted, reply, .. }) = self.changing.take() else { return };
        let snapshot = snapshot.filter(|snapshot| snapshot.policy == wanted.plugin.id());
        let from = if snapshot.is_some() { "with its state" } else { "without a state" };
        self.takes_over(wanted.clone());
        self.promoted.clear();
        self.seat.config = wanted;
        let filled = self.seat.fill(clock::now(), snapshot);
        if let Err(why) = &filled {
            self.notes.alert(clock::now(), Level::Critical, "edge", &format!("{why}; the pair keeps its course"));
        }
        let said = filled.map_or_else(|why| why, |()| format!("in force: the policy was made again {from}"));
        let _ = reply.send(vec![said]);
    }

    /// This is the policy in force now.
    pub(super) fn takes_over(&mut self, policy: PolicyConfig) {
        self.in_force.store(Arc::new(policy.clone()));
        self.config.policy = policy;
    }

    /// A policy that does not answer has not taken the change.
    pub(super) fn watch_change(&mut self, now: At) {
        if self.changing.as_ref().is_none_or(|changing| now < changing.until) {
            return;
        }
        if self.changing.as_ref().is_some_and(|changing| !changing.told) {
            return self.make_again(None);
        }
        if let Some(changing) = self.changing.take() {
            let text =
                format!("not applied: the policy has not answered within {ANSWER:?}; the running parameters were kept");
            let _ = changing.reply.send(vec![text]);
        }
    }

    pub(super) fn change_deadline(&self) -> Option<At> {
        self.changing.as_ref().map(|changing| changing.until)
    }
}
