//! Which servers of a pool are used, and what the edge itself answers, as the policy wants.

use super::Driver;
use super::orders::ActionOf;
use lockstep_policy::action::{Answer, Roster};
use lockstep_policy::event::Outcome;
use std::collections::BTreeMap;

/// The lives of the policy whose answers are given: those of an earlier life go when a later one has given its own.
#[derive(Debug, Default)]
pub(super) struct Declared {
    answers: BTreeMap<u32, u64>,
    /// A life has given its first answer: the earlier ones' are not needed any more.
    outdated_before: Option<u64>,
}

impl Driver {
    pub(super) fn roster(&mut self, of: ActionOf, roster: &Roster) {
        if let Err(why) = self.proxy.set_roster(roster) {
            self.result(of, Outcome::Refused, &why);
        }
    }

    pub(super) fn give_answer(&mut self, of: ActionOf, answer: &Answer) {
        if let Err(why) = self.proxy.set_answer(answer) {
            return self.result(of, Outcome::Refused, &why);
        }
        self.declared.answers.insert(answer.rule, of.life);
        self.declared.outdated_before = Some(of.life);
    }

    pub(super) fn forget_answer(&mut self, rule: u32) {
        self.declared.answers.remove(&rule);
        self.proxy.forget_answer(rule);
    }

    /// Forgets answers of lives that are over, once all actions of the step that gave new ones are done: in between a
    /// balancer must not be told that there is no answer.
    pub(super) fn forget_outdated_answers(&mut self) {
        let Some(life) = self.declared.outdated_before.take() else { return };
        let outdated: Vec<u32> =
            self.declared.answers.iter().filter(|(_, of)| **of < life).map(|(rule, _)| *rule).collect();
        outdated.into_iter().for_each(|rule| self.forget_answer(rule));
    }
}
