//! Sessions, in a pair in which both sides may serve: which side each belongs to, and how some are moved.
//!
//! I2 does not apply to such a pair: there is no lease and no epoch, and a request's side comes from here. What holds:
//!
//! - A session stays on its side until it is moved. A side whose part is zero gets no new session, and keeps those it has.
//! - A new session belongs to the side that the first fitting rule names; else the sides take turns by their parts.
//!   Both parts zero: nobody is let in who is not in already.
//! - A move takes the sessions that its side has when it begins, in the order in which they came, one by one. They are
//!   spread evenly: of `n` in a window `w` the `i`-th has its turn `i * w / n` after the warning, counted from 0.
//! - At its turn a session is put where it would be put if it were new. One that has no connection open has moved with
//!   that; one that has, when it asks for something next. If it does not within [`BACK`], or the warning if that is
//!   longer, it has failed.
//! - A share without a move ends a move: everyone stays where he is.
//!
//! The shell finds out what names a session, and calls [`Sharing::request`] for each request, [`Sharing::pass`] when
//! time has passed; of what was moved it closes the connections to the side before.

mod moving;
mod parts;
mod rule;
mod table;
#[cfg(test)]
mod tests;

pub use rule::{Attribute, Attributes};
pub use table::Key;

use lockstep_policy::action::Share;
use lockstep_policy::event::Sessions;
use lockstep_policy::{At, Side, Sides};
use moving::Move;
use parts::Parts;
use rule::Rule;
use std::time::Duration;
use table::{Phase, Slot, Table};

/// A session that had a connection open at its turn is given up when it has not asked for anything for so long.
pub const BACK: Duration = Duration::from_secs(10);

/// Names of failed sessions that are told.
const NAMES: usize = 100;

/// The bounds of a pair's sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// A session that asks for nothing for so long, with no connection open, has ended.
    pub idle: Duration,
    /// Sessions that are known at once; one more takes the place of the one that was used longest ago.
    pub max: usize,
}

/// Where a request belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The side.
    pub side: Side,
    /// Names the session, as long as it is known. Never used again.
    pub number: u64,
}

/// A session that had its turn and belongs to the other side now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// [`Placed::number`].
    pub number: u64,
    /// The side that it belonged to.
    pub from: Side,
}

/// The sessions of one pair.
#[derive(Clone, Debug)]
pub struct Sharing {
    settings: Settings,
    table: Table,
    /// Grows with each share: what a session was to do in an earlier one is over.
    generation: u64,
    /// The policy's number of the share.
    number: u64,
    parts: Parts,
    rules: Vec<Rule>,
    moving: Option<Move>,
    moved: u32,
    failed: u32,
    names: Vec<String>,
}

impl Sharing {
    /// No session, and no part for any side: nobody is let in before the first share.
    #[must_use]
    pub fn new(settings: Settings) -> Sharing {
        Sharing {
            settings,
            table: Table::new(settings.max),
            generation: 0,
            number: 0,
            parts: Parts::default(),
            rules: Vec::new(),
            moving: None,
            moved: 0,
            failed: 0,
            names: Vec::new(),
        }
    }

    /// Shares sessions out anew; `number` is the policy's for this share. Returns how the move stands that is ended by
    /// it, if one was under way.
    ///
    /// # Errors
    ///
    /// A rule that cannot be followed. Nothing has changed then.
    pub fn share(&mut self, now: At, number: u64, share: &Share) -> Result<Option<Sessions>, String> {
        let rules = rule::read(&share.rules)?;
        let stopped = self.moving.is_some().then(|| Sessions { ended: true, ..self.report() });
        self.generation += 1;
        self.number = number;
        self.parts.set(share.parts);
        self.rules = rules;
        (self.moved, self.failed, self.names) = (0, 0, Vec::new());
        self.moving = share.from.map(|from| {
            let planned = self.table.plan(from, self.generation);
            Move::new(now, from, planned, share.window, share.warning)
        });
        self.end_if_over();
        Ok(stopped)
    }

    /// Where a request belongs that carries this key. `None`: it is of no session, and none is let in.
    pub fn request(
        &mut self,
        now: At,
        key: Key,
        attributes: &impl Attributes,
        name: impl FnOnce() -> String,
    ) -> Option<Placed> {
        self.forget_if_idle(now, key);
        if self.table.touch(now, key) {
            self.comes_back(key, attributes);
            return self.table.slot(key).map(placed);
        }
        let side = rule::side(&self.rules, attributes).or_else(|| self.parts.next())?;
        Some(self.put(now, key, name(), side))
    }

    /// A server of that side has named a session with that key. One that is known already stays where it is.
    pub fn learn(&mut self, now: At, key: Key, name: impl FnOnce() -> String, side: Side) {
        self.forget_if_idle(now, key);
        if !self.table.touch(now, key) {
            self.put(now, key, name(), side);
        }
    }

    /// A client's connection carries the session from now on.
    pub fn opened(&mut self, key: Key, number: u64) {
        if let Some(slot) = self.table.slot_of(key, number) {
            slot.open = slot.open.saturating_add(1);
        }
    }

    /// A client's connection carries it no more.
    pub fn closed(&mut self, now: At, key: Key, number: u64) {
        if let Some(slot) = self.table.slot_of(key, number) {
            slot.open = slot.open.saturating_sub(1);
            slot.last = now;
        }
    }

    /// Lets time pass: turns come, sessions end. At most `limit` of each; the rest is due at once again.
    /// Returns what was moved.
    pub fn pass(&mut self, now: At, limit: usize) -> Vec<Moved> {
        for _ in 0..limit {
            let Some(ended) = self.table.ended(now, self.settings.idle) else { break };
            self.forget(ended);
        }
        let mut moved = Vec::new();
        for _ in 0..limit {
            let Some(key) = self.moving.as_mut().and_then(|moving| moving.next_turn(now)) else { break };
            moved.extend(self.turn(now, key));
        }
        self.give_up(now, limit);
        self.end_if_over();
        moved
    }

    /// When [`Sharing::pass`] has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<At> {
        let idle = self.table.oldest().map(|used| used + self.settings.idle);
        let turn = self.moving.as_ref().and_then(Move::deadline);
        idle.into_iter().chain(turn).min()
    }

    /// How the sessions are shared out now, as the policy is told.
    #[must_use]
    pub fn report(&self) -> Sessions {
        Sessions {
            share: self.number,
            on: self.table.on,
            moved: self.moved,
            left: self.moving.as_ref().map_or(0, Move::left),
            failed: self.failed,
            ended: self.moving.is_none(),
            names: self.names.clone(),
        }
    }

    /// The side whose sessions are being moved.
    #[must_use]
    pub fn moving_from(&self) -> Option<Side> {
        self.moving.as_ref().map(Move::from)
    }

    /// The parts of new sessions that each side gets.
    #[must_use]
    pub fn parts(&self) -> Sides<u32> {
        self.parts.of()
    }

    /// The side of the session with that key, if there is one.
    #[must_use]
    pub fn knows(&self, key: Key) -> Option<Side> {
        self.table.slot(key).map(|slot| slot.side)
    }

    /// The side that a session belongs to now, if it is known.
    #[must_use]
    pub fn side_of(&self, key: Key, number: u64) -> Option<Side> {
        self.table.slot(key).filter(|slot| slot.number == number).map(|slot| slot.side)
    }
}

/// The moves.
impl Sharing {
    fn turn(&mut self, now: At, key: Key) -> Option<Moved> {
        let generation = self.generation;
        let moving = self.moving.as_mut()?;
        let slot = self.table.slot_mut(key).filter(|slot| slot.is_planned(generation))?;
        let (Phase::Planned { ruled }, from, number, open) = (slot.phase, slot.side, slot.number, slot.open) else {
            return None;
        };
        moving.planned -= 1;
        // What rules say of one that has not been seen since they are in force, its next request will tell.
        let unsure = ruled.is_none() && !self.rules.is_empty();
        let to = ruled.flatten().or_else(|| self.parts.next()).unwrap_or(from);
        if to != from && open > 0 {
            let until = moving.ask(now, key, number);
            slot.phase = Phase::Asked { until, unsure };
        } else {
            slot.phase = if unsure { Phase::Unsure { moved: to != from } } else { Phase::Settled };
            self.moved += u32::from(to != from);
        }
        self.table.set_side(key, to);
        (to != from).then_some(Moved { number, from })
    }

    /// A known session asks for something: what its turn has left open is known now.
    fn comes_back(&mut self, key: Key, attributes: &impl Attributes) {
        let Some(moving_from) = self.moving.as_ref().map(Move::from).or_else(|| self.unsure_from(key)) else { return };
        let ruled = |rules: &[Rule]| rule::side(rules, attributes);
        let Some(slot) = self.table.slot_mut(key).filter(|slot| slot.generation == self.generation) else { return };
        let (unsure, counted) = match slot.phase {
            Phase::Settled => return,
            Phase::Planned { ruled: ref mut known } => {
                *known = Some(ruled(&self.rules));
                return;
            }
            Phase::Asked { unsure, .. } => {
                if let Some(moving) = &mut self.moving {
                    moving.asked -= 1;
                }
                (unsure, false)
            }
            Phase::Unsure { moved } => (true, moved),
        };
        slot.phase = Phase::Settled;
        let side = slot.side;
        let to = if unsure { ruled(&self.rules).unwrap_or(side) } else { side };
        self.table.set_side(key, to);
        let moved = to != moving_from;
        self.moved = self.moved + u32::from(moved) - u32::from(counted);
        self.end_if_over();
    }

    /// The side that an unsure session was moved from, or has stayed on.
    fn unsure_from(&self, key: Key) -> Option<Side> {
        let slot = self.table.slot(key).filter(|slot| slot.generation == self.generation)?;
        match slot.phase {
            Phase::Unsure { moved: true } => Some(slot.side.other()),
            Phase::Unsure { moved: false } => Some(slot.side),
            Phase::Settled | Phase::Planned { .. } | Phase::Asked { .. } => None,
        }
    }

    /// Sessions that were asked to move and have not come back in time have failed.
    fn give_up(&mut self, now: At, limit: usize) {
        for _ in 0..limit {
            let Some((key, number)) = self.moving.as_mut().and_then(|moving| moving.next_late(now)) else { return };
            let Some(slot) = self.table.slot_of(key, number) else { continue };
            if matches!(slot.phase, Phase::Asked { until, .. } if until <= now) {
                slot.phase = Phase::Settled;
                let name = slot.name.clone();
                self.has_failed(name);
            }
        }
    }

    fn has_failed(&mut self, name: String) {
        if let Some(moving) = &mut self.moving {
            moving.asked -= 1;
        }
        self.failed += 1;
        if self.names.len() < NAMES {
            self.names.push(name);
        }
    }

    fn end_if_over(&mut self) {
        if self.moving.as_ref().is_some_and(Move::is_over) {
            self.moving = None;
        }
    }
}

/// The table.
impl Sharing {
    fn put(&mut self, now: At, key: Key, name: String, side: Side) -> Placed {
        if let Some(oldest) = self.table.to_make_room() {
            self.forget(oldest);
        }
        placed(self.table.insert(now, key, name, side))
    }

    fn forget_if_idle(&mut self, now: At, key: Key) {
        let idle = |slot: &Slot| slot.open == 0 && now >= slot.last + self.settings.idle;
        if self.table.slot(key).is_some_and(idle) {
            self.forget(key);
        }
    }

    fn forget(&mut self, key: Key) {
        let Some(slot) = self.table.remove(key).filter(|slot| slot.generation == self.generation) else { return };
        match slot.phase {
            Phase::Planned { .. } => {
                if let Some(moving) = &mut self.moving {
                    moving.planned -= 1;
                }
            }
            Phase::Asked { .. } => self.has_failed(slot.name),
            Phase::Settled | Phase::Unsure { .. } => {}
        }
        self.end_if_over();
    }
}

fn placed(slot: &Slot) -> Placed {
    Placed { side: slot.side, number: slot.number }
}
