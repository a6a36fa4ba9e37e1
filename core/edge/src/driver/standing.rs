//! What a policy has declared, and what holds until it says otherwise: another policy that takes its place is given the
//! same probes without a gap, and its own words come in force at once.

use lockstep_policy::action::{Answer, Roster, Share, Watch};
use lockstep_policy::event::{ProbeId, TimerId};
use lockstep_policy::{Action, Side};
use std::collections::BTreeMap;

/// The latest declaration of each kind and number. Hosts bound these numbers, so this is bounded.
#[derive(Clone, Debug, Default)]
pub(super) struct Standing {
    pub watches: BTreeMap<ProbeId, Watch>,
    shown: BTreeMap<Side, String>,
    answers: BTreeMap<u32, Answer>,
    rosters: BTreeMap<(Side, String), Roster>,
    alarms: BTreeMap<TimerId, u16>,
    share: Option<Share>,
}

/// A policy that declares more than any host takes is not followed any further.
const MOST: usize = 4096;

impl Standing {
    /// Takes note of an action that holds.
    pub fn note(&mut self, action: &Action) {
        let held = self.watches.len() + self.answers.len() + self.rosters.len() + self.alarms.len();
        match action {
            Action::Unwatch(probe) => drop(self.watches.remove(probe)),
            Action::Unanswer(rule) => drop(self.answers.remove(rule)),
            Action::CancelTimer(timer) => drop(self.alarms.remove(timer)),
            _ if held >= MOST => {}
            Action::Watch(watch) => drop(self.watches.insert(watch.probe, watch.clone())),
            Action::Answer(answer) => drop(self.answers.insert(answer.rule, answer.clone())),
            Action::Roster(roster) => drop(self.rosters.insert((roster.side, roster.pool.clone()), roster.clone())),
            Action::SetAlarm(timer, minute) => drop(self.alarms.insert(*timer, *minute)),
            Action::SetTimer(timer, _) => drop(self.alarms.remove(timer)),
            Action::Show(side, text) => drop(self.shown.insert(*side, text.clone())),
            Action::Share(share) => self.share = Some(share.clone()),
            _ => {}
        }
    }

    /// The actions that put in force what holds, but for probes; of the share only when it is another than `before`'s.
    pub fn again(&self, before: &Standing) -> Vec<Action> {
        let gone = before.answers.keys().filter(|rule| !self.answers.contains_key(rule));
        let gone = gone.map(|rule| Action::Unanswer(*rule));
        let answers = self.answers.values().cloned().map(Action::Answer);
        let rosters = self.rosters.values().cloned().map(Action::Roster);
        let shown = Side::BOTH.map(|side| Action::Show(side, self.shown.get(&side).cloned().unwrap_or_default()));
        let alarms = self.alarms.iter().map(|(timer, minute)| Action::SetAlarm(*timer, *minute));
        // An operator's order is answered once.
        let another = self.share != before.share;
        let share = self.share.clone().filter(|_| another).map(|share| Action::Share(Share { order: 0, ..share }));
        answers.chain(gone).chain(rosters).chain(shown).chain(alarms).chain(share).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_word_of_each_kind_holds() {
        let roster =
            |servers| Roster { side: Side::A, pool: String::new(), pick: lockstep_policy::action::Pick::Turn, servers };
        let (mut before, mut after) = (Standing::default(), Standing::default());
        before.note(&Action::Show(Side::A, "well".into()));
        for action in [
            Action::Roster(roster(vec![1, 2])),
            Action::Roster(roster(vec![2])),
            Action::SetAlarm(TimerId(1), 60),
            Action::SetAlarm(TimerId(2), 61),
            Action::SetTimer(TimerId(2), lockstep_policy::At::ZERO),
            Action::Show(Side::B, "ill".into()),
        ] {
            after.note(&action);
        }
        let expected = vec![
            Action::Roster(roster(vec![2])),
            Action::Show(Side::A, String::new()),
            Action::Show(Side::B, "ill".into()),
            Action::SetAlarm(TimerId(1), 60),
        ];
        assert_eq!(after.again(&before), expected);
    }
}
