//! One move: whose turn is when, and who is still waited for.

use super::BACK;
use super::table::Key;
use lockstep_policy::{At, Side};
use std::collections::VecDeque;
use std::time::Duration;

#[derive(Clone, Debug)]
pub(super) struct Move {
    from: Side,
    /// The first turn.
    first: At,
    window: Duration,
    back: Duration,
    turns: Vec<Key>,
    /// Turns that have been taken.
    taken: usize,
    /// Sessions that still wait for their turn.
    pub planned: u32,
    /// Sessions that had theirs and have not come back.
    pub asked: u32,
    /// When each of them is given up; the earliest first, because all have the same time.
    late: VecDeque<(At, Key, u64)>,
}

impl Move {
    pub fn new(now: At, from: Side, turns: Vec<Key>, window: Duration, warning: Duration) -> Move {
        let planned = u32::try_from(turns.len()).unwrap_or(u32::MAX);
        let (first, back) = (now + warning, BACK.max(warning));
        Move { from, first, window, back, turns, taken: 0, planned, asked: 0, late: VecDeque::new() }
    }

    pub fn from(&self) -> Side {
        self.from
    }

    /// Sessions that are neither moved, nor failed, nor found to stay.
    pub fn left(&self) -> u32 {
        self.planned + self.asked
    }

    pub fn is_over(&self) -> bool {
        self.left() == 0
    }

    /// When the turn of that number is, counted from 0.
    fn turn_at(&self, number: usize) -> At {
        let share = self.window.as_nanos() * number as u128 / (self.turns.len() as u128).max(1);
        self.first + Duration::from_nanos(u64::try_from(share).unwrap_or(u64::MAX))
    }

    /// The next one whose turn has come.
    pub fn next_turn(&mut self, now: At) -> Option<Key> {
        let key = *self.turns.get(self.taken)?;
        (now >= self.turn_at(self.taken)).then(|| {
            self.taken += 1;
            key
        })
    }

    /// A session is asked to come back; until when.
    pub fn ask(&mut self, now: At, key: Key, number: u64) -> At {
        let until = now + self.back;
        self.asked += 1;
        self.late.push_back((until, key, number));
        until
    }

    /// One that was to come back by now. It may have.
    pub fn next_late(&mut self, now: At) -> Option<(Key, u64)> {
        let (until, key, number) = *self.late.front()?;
        (now >= until).then(|| {
            self.late.pop_front();
            (key, number)
        })
    }

    pub fn deadline(&self) -> Option<At> {
        let turn = (self.taken < self.turns.len()).then(|| self.turn_at(self.taken));
        let late = self.late.front().map(|(until, ..)| *until);
        turn.into_iter().chain(late).min()
    }
}
