//! The timers that a policy has set. They are the seat's: an instance that is made again finds them as it left them.

use lockstep_policy::At;
use lockstep_policy::event::TimerId;
use std::collections::BTreeMap;

/// Timers that one policy may have set.
const TIMERS: usize = 256;

/// All of them.
#[derive(Debug, Default)]
pub struct Timers {
    set: BTreeMap<TimerId, At>,
}

impl Timers {
    /// Sets one, anew if it was set before.
    ///
    /// # Errors
    ///
    /// There are too many.
    pub fn set(&mut self, timer: TimerId, at: At) -> Result<(), String> {
        if self.set.len() >= TIMERS && !self.set.contains_key(&timer) {
            return Err(format!("a policy may have set {TIMERS} timers"));
        }
        self.set.insert(timer, at);
        Ok(())
    }

    /// Forgets one.
    pub fn cancel(&mut self, timer: TimerId) {
        self.set.remove(&timer);
    }

    /// A timer that is due, the earliest first; it is then set no more.
    pub fn due(&mut self, now: At) -> Option<TimerId> {
        let (timer, at) = self.set.iter().map(|(timer, at)| (*timer, *at)).min_by_key(|(timer, at)| (*at, *timer))?;
        (at <= now).then(|| {
            self.set.remove(&timer);
            timer
        })
    }

    /// When the next one is due.
    #[must_use]
    pub fn earliest(&self) -> Option<At> {
        self.set.values().copied().min()
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.set.clear();
    }
}
