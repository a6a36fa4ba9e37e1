//! The sessions that are known: by key, by side, and by when they were last used.

use lockstep_policy::{At, Side, Sides};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What a session is known by: a digest, made by the shell of what the request carries, so large that no two are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub u128);

/// A session's place in the order of use is brought up to date no more often than this: most requests find it as it is.
const AGE: Duration = Duration::from_secs(1);

/// One session.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub number: u64,
    pub name: String,
    pub side: Side,
    /// Client connections that carry it.
    pub open: u32,
    /// When it was last used.
    pub last: At,
    /// Its place in the order of use.
    age: At,
    /// The share that `phase` belongs to.
    pub generation: u64,
    pub phase: Phase,
}

/// What a session has to do with the move of its generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing, or nothing any more.
    Settled,
    /// It has not had its turn. What rules say of it, once it has asked for something since.
    Planned { ruled: Option<Option<Side>> },
    /// It had its turn and has a connection open: it must ask for something before that time. Unsure: rules are asked then.
    Asked { until: At, unsure: bool },
    /// It had its turn, and rules are asked when it asks for something next. Whether it counts as moved.
    Unsure { moved: bool },
}

impl Slot {
    pub fn is_planned(&self, generation: u64) -> bool {
        self.generation == generation && matches!(self.phase, Phase::Planned { .. })
    }
}

#[derive(Clone, Debug)]
pub(super) struct Table {
    max: usize,
    slots: BTreeMap<Key, Slot>,
    ages: BTreeSet<(At, Key)>,
    last_number: u64,
    /// Sessions on each side.
    pub on: Sides<u32>,
}

impl Table {
    pub fn new(max: usize) -> Table {
        Table { max, slots: BTreeMap::new(), ages: BTreeSet::new(), last_number: 0, on: Sides::default() }
    }

    pub fn slot(&self, key: Key) -> Option<&Slot> {
        self.slots.get(&key)
    }

    pub fn slot_mut(&mut self, key: Key) -> Option<&mut Slot> {
        self.slots.get_mut(&key)
    }

    /// The session of that key, if it is still the one of that number.
    pub fn slot_of(&mut self, key: Key, number: u64) -> Option<&mut Slot> {
        self.slot_mut(key).filter(|slot| slot.number == number)
    }

    /// It is used now. False: it is not known.
    pub fn touch(&mut self, now: At, key: Key) -> bool {
        let Some(slot) = self.slots.get_mut(&key) else { return false };
        slot.last = slot.last.max(now);
        if now.since(slot.age) >= AGE {
            self.ages.remove(&(slot.age, key));
            slot.age = now;
            self.ages.insert((now, key));
        }
        true
    }

    /// Puts in a session that is not known.
    pub fn insert(&mut self, now: At, key: Key, name: String, side: Side) -> &Slot {
        self.last_number += 1;
        let (number, phase) = (self.last_number, Phase::Settled);
        let slot = Slot { number, name, side, open: 0, last: now, age: now, generation: 0, phase };
        self.on[side] += 1;
        self.ages.insert((now, key));
        self.slots.entry(key).or_insert(slot)
    }

    pub fn remove(&mut self, key: Key) -> Option<Slot> {
        let slot = self.slots.remove(&key)?;
        self.ages.remove(&(slot.age, key));
        self.on[slot.side] -= 1;
        Some(slot)
    }

    pub fn set_side(&mut self, key: Key, side: Side) {
        let Some(slot) = self.slots.get_mut(&key) else { return };
        self.on[slot.side] -= 1;
        slot.side = side;
        self.on[side] += 1;
    }

    /// The one that must go before another can be put in.
    pub fn to_make_room(&self) -> Option<Key> {
        (self.slots.len() >= self.max).then(|| self.ages.first().map(|(_, key)| *key)).flatten()
    }

    /// The place in the order of use of the one that was used longest ago.
    pub fn oldest(&self) -> Option<At> {
        self.ages.first().map(|(age, _)| *age)
    }

    /// One that was not used for so long and has no connection open. Those that have are put in their place on the way.
    pub fn ended(&mut self, now: At, idle: Duration) -> Option<Key> {
        while let Some((age, key)) = self.ages.first().copied().filter(|(age, _)| now >= *age + idle) {
            let slot = self.slots.get_mut(&key)?;
            let used = if slot.open > 0 { now } else { slot.last };
            if now >= used + idle {
                return Some(key);
            }
            self.ages.remove(&(age, key));
            slot.age = used;
            self.ages.insert((used, key));
        }
        None
    }

    /// The sessions of a side, in the order in which they came; they have their turns in that generation.
    pub fn plan(&mut self, side: Side, generation: u64) -> Vec<Key> {
        let mut planned = Vec::new();
        for (key, slot) in self.slots.iter_mut().filter(|(_, slot)| slot.side == side) {
            slot.generation = generation;
            slot.phase = Phase::Planned { ruled: None };
            planned.push((slot.number, *key));
        }
        planned.sort_unstable();
        planned.into_iter().map(|(_, key)| key).collect()
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        debug_assert_eq!(self.slots.len(), self.ages.len());
        self.slots.len()
    }

    #[cfg(test)]
    pub fn sides(&self) -> BTreeMap<Key, Side> {
        self.slots.iter().map(|(key, slot)| (*key, slot.side)).collect()
    }
}
