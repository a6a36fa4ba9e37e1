//! The watchdog: how long a worker is at one thing, by its own CPU time and by the wall's.

use super::Terms;
use super::body::Body;
use super::progress::Work;
use std::time::{Duration, Instant};

/// From one look at a worker to the next.
pub(super) const LOOK: Duration = Duration::from_millis(20);

/// A worker that is asleep at so many looks, one after the other, sleeps.
const ASLEEP: u32 = 5;

/// What a look has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Nothing to tell.
    Well,
    /// It takes long: told once for each thing that is done.
    Slow(Work, Duration),
    /// It takes too long, because.
    Stuck(Work, String),
}

/// Looks at one worker.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// What it was at, since when, and its CPU time then.
    at: Option<(Work, Instant, Duration)>,
    asleep: u32,
    told: bool,
}

impl Watch {
    pub fn look(&mut self, body: &Body, terms: &Terms) -> Seen {
        let Some(work) = body.work() else {
            self.at = None;
            return Seen::Well;
        };
        let (now, cpu) = (Instant::now(), body.cpu());
        let Some((_, since, before)) = self.at.filter(|(at, ..)| at.turn == work.turn) else {
            *self = Watch { at: Some((work, now, cpu)), asleep: 0, told: false };
            return Seen::Well;
        };
        let (wall, cpu) = (now - since, cpu.saturating_sub(before));
        if cpu >= terms.kill_cpu {
            return Seen::Stuck(work, format!("used {cpu:.1?} of CPU time, and {:?} is allowed", terms.kill_cpu));
        }
        if wall >= terms.kill_wall {
            // On a starved machine it waits for its turn, and that is not its fault.
            self.asleep = if body.is_asleep() { self.asleep + 1 } else { 0 };
            if self.asleep >= ASLEEP {
                return Seen::Stuck(work, format!("slept for {wall:.1?}, and {:?} is allowed", terms.kill_wall));
            }
        }
        if cpu >= terms.warn_cpu && !std::mem::replace(&mut self.told, true) {
            return Seen::Slow(work, cpu);
        }
        Seen::Well
    }
}
