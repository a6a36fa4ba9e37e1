//! A disk: writes are done in their order, take time, fail, and are done or not when their process dies.

use super::{MS, World};
use std::collections::VecDeque;

/// How a disk is now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    #[default]
    Well,
    Slow,
    Full,
    /// Every other write fails.
    Failing,
}

/// What is durable, and what is on its way.
#[derive(Clone, Debug, Default)]
pub struct Disk<T> {
    durable: T,
    under_way: VecDeque<(u64, T)>,
    pub health: Health,
    /// The process dies at its next write: just before it is durable, or just after, before it can be heard of.
    pub crash: Option<bool>,
    /// Broken on purpose: it says that it has written, and has not.
    pub lies: bool,
}

impl<T: Clone> Disk<T> {
    pub fn durable(&self) -> &T {
        &self.durable
    }

    pub fn write(&mut self, ticket: u64, value: T) {
        self.under_way.push_back((ticket, value));
    }

    /// The write is over, and with it those before it: what became of each.
    pub fn done(&mut self, ticket: u64, well: bool) -> Vec<u64> {
        let mut over = Vec::new();
        if !self.under_way.iter().any(|(pending, _)| *pending == ticket) {
            return over;
        }
        while let Some((pending, value)) = self.under_way.pop_front() {
            if well && !self.lies {
                self.durable = value;
            }
            over.push(pending);
            if pending == ticket {
                break;
            }
        }
        over
    }

    /// The process dies. The first so many writes that were under way are done, the others are lost.
    pub fn crash(&mut self, done: usize) {
        let durable = self.under_way.drain(..).take(done).last();
        if let Some((_, value)) = durable.filter(|_| !self.lies) {
            self.durable = value;
        }
        self.crash = None;
    }

    pub fn pending(&self) -> usize {
        self.under_way.len()
    }
}

impl World {
    /// How long a write takes, and whether it is done.
    pub(super) fn fate_of_write(&mut self, health: Health) -> (u64, bool) {
        match health {
            Health::Well => (self.rng.u64(MS / 10..20 * MS), !self.has_faults() || self.rng.u32(0..100) > 0),
            Health::Slow => (self.rng.u64(100 * MS..3_000 * MS), true),
            Health::Full => (self.rng.u64(MS / 10..5 * MS), false),
            Health::Failing => (self.rng.u64(MS..50 * MS), self.rng.bool()),
        }
    }
}
