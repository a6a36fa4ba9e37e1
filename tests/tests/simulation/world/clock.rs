//! A host's own clock: it drifts, and begins anew when the host is started anew.

use lockstep_policy::At;

/// A clock that does not stop while its host sleeps.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// How much faster than the world it runs, in millionths.
    ppm: i64,
    /// When the host was booted, in world time.
    boot: u64,
    /// What it showed then.
    start: u64,
}

impl Clock {
    pub fn new(ppm: i64, start: u64) -> Clock {
        Clock { ppm, boot: 0, start }
    }

    /// The host boots: from zero on.
    pub fn reboot(&mut self, now: u64) {
        *self = Clock { boot: now, start: 0, ..*self };
    }

    /// What it shows.
    pub fn now(&self, world: u64) -> At {
        let passed = i128::from(world.saturating_sub(self.boot));
        let shown = passed + passed * i128::from(self.ppm) / 1_000_000;
        At(self.start + u64::try_from(shown).expect("time goes forward"))
    }

    /// When it will show that, in world time: not before.
    pub fn world(&self, at: At) -> u64 {
        let shown = i128::from(at.0.saturating_sub(self.start));
        let passed = shown * 1_000_000 / (1_000_000 + i128::from(self.ppm)) + 1;
        self.boot.saturating_add(u64::try_from(passed).unwrap_or(u64::MAX))
    }
}
