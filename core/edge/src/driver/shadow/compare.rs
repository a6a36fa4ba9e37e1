//! Two policies that are told the same: where they answer otherwise.

use crate::admin::api::ShadowDifference;
use lockstep_policy::Action;
use lockstep_policy::journal::action_text;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Events whose answers may be waited for.
const WAITING: usize = 4096;

/// Differences that are shown.
const SHOWN: usize = 50;

/// Actions of one policy's answer: the number of the first, and all of them.
type Answer = (u64, Vec<Action>);

/// The comparison, since the shadow began.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    told: BTreeSet<u64>,
    ours: BTreeMap<u64, Answer>,
    its: BTreeMap<u64, Answer>,
    pub compared: u64,
    pub otherwise: u64,
    pub decided_otherwise: u64,
    pub latest: VecDeque<ShadowDifference>,
}

/// Both have answered an event.
pub(super) struct Both {
    /// Pairs of numbers of actions that are the same: ours, its.
    pub same: Vec<(u64, u64)>,
    /// Its actions that we have not given, with their numbers.
    pub alone: Vec<(u64, Action)>,
}

impl Comparison {
    /// Both were told an event.
    pub fn told(&mut self, seq: u64) {
        self.told.insert(seq);
        if self.told.len() > WAITING
            && let Some(oldest) = self.told.pop_first()
        {
            self.forget(oldest);
        }
    }

    /// An event will not be answered by one of them.
    pub fn forget(&mut self, seq: u64) {
        self.told.remove(&seq);
        self.ours.remove(&seq);
        self.its.remove(&seq);
    }

    /// What both were told until now will not be answered by one of them.
    pub fn forget_all(&mut self) {
        self.told.clear();
        self.ours.clear();
        self.its.clear();
    }

    pub fn ours(&mut self, seq: u64, when: &str, first: u64, actions: &[Action]) -> Option<Both> {
        if self.told.contains(&seq) {
            self.ours.insert(seq, (first, actions.to_vec()));
        }
        self.both(seq, when)
    }

    pub fn its(&mut self, seq: u64, when: &str, first: u64, actions: &[Action]) -> Option<Both> {
        if self.told.contains(&seq) {
            self.its.insert(seq, (first, actions.to_vec()));
        }
        self.both(seq, when)
    }

    fn both(&mut self, seq: u64, when: &str) -> Option<Both> {
        if !(self.ours.contains_key(&seq) && self.its.contains_key(&seq)) {
            return None;
        }
        self.told.remove(&seq);
        let (ours, its) = (self.ours.remove(&seq)?, self.its.remove(&seq)?);
        self.compared += 1;
        Some(self.compare(seq, when, ours, its))
    }

    /// We have decided something at an event that the other one was not told: it was our own, such as a timer.
    pub fn ours_alone(&mut self, seq: u64, when: &str, actions: &[Action]) {
        let decisions: Vec<_> = actions.iter().filter(|action| is_act(action)).cloned().collect();
        if !self.told.contains(&seq) && !decisions.is_empty() {
            self.compare(seq, when, (0, decisions), (0, Vec::new()));
        }
    }

    /// The same of the other one's own events.
    pub fn its_alone(&mut self, seq: u64, when: &str, first: u64, actions: &[Action]) -> Option<Both> {
        let decides = !self.told.contains(&seq) && actions.iter().any(is_act);
        decides.then(|| self.compare(seq, when, (0, Vec::new()), (first, actions.to_vec())))
    }

    fn compare(&mut self, seq: u64, when: &str, (first, ours): Answer, (its_first, its): Answer) -> Both {
        let (mut same, mut alone) = (Vec::new(), Vec::new());
        let mut left: Vec<(u64, &Action)> = (first..).zip(&ours).collect();
        for (number, action) in (its_first..).zip(&its) {
            match left.iter().position(|(_, ours)| *ours == action) {
                Some(at) => same.push((left.remove(at).0, number)),
                None => alone.push((number, action.clone())),
            }
        }
        if !(left.is_empty() && alone.is_empty()) {
            self.otherwise += 1;
            let decision = left.iter().map(|(_, action)| *action).chain(alone.iter().map(|(_, action)| action));
            let decision = decision.into_iter().any(is_decision);
            self.decided_otherwise += u64::from(decision);
            let text = |action: &Action| action_text(action);
            self.latest.push_front(ShadowDifference {
                seq,
                when: when.to_owned(),
                decision,
                present: left.iter().map(|(_, action)| text(action)).collect(),
                candidate: alone.iter().map(|(_, action)| text(action)).collect(),
            });
            self.latest.truncate(SHOWN);
        }
        Both { same, alone }
    }
}

/// Whether the policy waits for what becomes of it.
pub(super) fn has_a_result(action: &Action) -> bool {
    matches!(
        action,
        Action::Prepare(_)
            | Action::Switch(_)
            | Action::StandDown(_)
            | Action::Share(_)
            | Action::RestartService(_)
            | Action::ConfirmGate(_)
            | Action::RunHook(_)
    )
}

/// Whether it is a decision of this moment, and no declaration.
fn is_act(action: &Action) -> bool {
    is_decision(action) && !matches!(action, Action::Answer(_) | Action::Unanswer(_) | Action::Roster(_))
}

/// Whether it changes anything beyond what is watched and shown.
fn is_decision(action: &Action) -> bool {
    !matches!(
        action,
        Action::Watch(_)
            | Action::Unwatch(_)
            | Action::ProbeNow(_)
            | Action::SetTimer(..)
            | Action::SetAlarm(..)
            | Action::CancelTimer(_)
            | Action::Show(..)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_policy::Side;

    #[test]
    fn what_is_the_same_is_paired_and_what_is_not_is_told() {
        let mut comparison = Comparison::default();
        let (prepare, show) = (Action::Prepare(Side::B), Action::Show(Side::A, "ill".into()));
        comparison.told(7);
        assert!(comparison.ours(7, "now", 10, &[show.clone(), prepare.clone()]).is_none());
        let both = comparison.its(7, "now", 3, std::slice::from_ref(&prepare)).expect("both have answered");
        assert_eq!((both.same, both.alone.len()), (vec![(11, 3)], 0));
        assert_eq!((comparison.compared, comparison.otherwise, comparison.decided_otherwise), (1, 1, 0));
        comparison.told(8);
        assert!(comparison.its(8, "now", 4, std::slice::from_ref(&prepare)).is_none());
        let both = comparison.ours(8, "now", 12, &[]).expect("both have answered");
        assert_eq!((both.same.len(), both.alone), (0, vec![(4, prepare)]));
        assert_eq!((comparison.otherwise, comparison.decided_otherwise), (2, 1));
        assert!(comparison.latest[0].decision && comparison.latest[0].present.is_empty());
        // At an event that only one of them was told only decisions count.
        comparison.ours_alone(9, "now", std::slice::from_ref(&show));
        assert!(comparison.its_alone(9, "now", 5, &[show]).is_none());
        assert_eq!((comparison.otherwise, comparison.decided_otherwise), (2, 1));
        comparison.ours_alone(10, "now", &[Action::Prepare(Side::A)]);
        let its = comparison.its_alone(11, "now", 6, &[Action::Prepare(Side::A)]).expect("it decides");
        assert_eq!((its.alone[0].0, comparison.decided_otherwise, comparison.compared), (6, 3, 2));
        comparison.told(10);
        comparison.forget(10);
        assert_eq!((comparison.ours.len(), comparison.its.len(), comparison.told.len()), (0, 0, 0));
    }
}
