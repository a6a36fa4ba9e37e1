//! The model, as the checker sees it: where it begins, what may follow, and what must hold in every state.

use crate::bounds::Bounds;
use crate::event::Event;
use crate::fair::PATIENCE;
use crate::pair::{NOW, Pair, Promise};
use lockstep_policy::Side;
use lockstep_policy::event::Role;
use stateright::{Model, Property};
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Mutex;

/// A pair within bounds.
pub struct Check {
    pub bounds: Bounds,
    /// States from which, without a fault, a side comes to serve, or does not.
    live: Mutex<HashMap<u64, bool>>,
}

pub const I1: &str = "I1: never do both sides' exclusive services run";
pub const I2: &str = "I2: the route names a side only while it is active, in that epoch, under a lease that runs";
pub const I3: &str = "I3: no node obeys an older epoch than its disk's";
pub const I4: &str = "I4: nothing is used before it is durable, and no epoch by two sides";
pub const I5: &str = "I5: whatever is under way ends within its bound";
pub const LIVE: &str = "Liveness: when nothing goes wrong any more, a side serves";
/// Not a promise: that the bounds are wide enough for a handover.
pub const EXAMPLE: &str = "the side that was not active at first serves";
pub const SOUND: &str = "the production code's own assertions hold";

impl Check {
    pub fn new(bounds: Bounds) -> Check {
        Check { bounds, live: Mutex::default() }
    }

    fn i1(&self, pair: &Pair) -> bool {
        !(pair.hosts.a.running && pair.hosts.b.running)
    }

    fn i2(&self, pair: &Pair) -> bool {
        let Some(side) = pair.served() else { return true };
        let link = &pair.links[side];
        // Of an agent that has died, unknown to the edge, nobody can say more than that its services end. And an agent's
        // shell passes on what comes over the newest connection only: that is what keeps a node from going astray for as
        // long as its word of it is under way.
        let Some(node) = pair.hosts[side].node.as_ref().filter(|_| link.attached && !link.misled) else { return true };
        let report = node.report(NOW);
        report.role == Role::Active && report.epoch == pair.edge.route.epoch && !report.lease_left.is_zero()
    }

    fn i5(&self, pair: &Pair) -> bool {
        pair.edge.under_way <= self.bounds.longest()
    }

    fn kept(pair: &Pair, promise: Promise) -> bool {
        pair.broken.as_ref().is_none_or(|broken| broken.promise != promise)
    }

    /// Follows the one fair run from here until a side serves, or until it meets a run that was followed before.
    fn comes_to_serve(&self, pair: &Pair) -> bool {
        if !self.bounds.liveness || pair.broken.is_some() {
            return true;
        }
        let mut followed = Vec::new();
        let mut state = Box::new(pair.without_faults());
        let ends_well = loop {
            let mark = mark(&state);
            if let Some(known) = self.live.lock().expect("no thread has panicked").get(&mark) {
                break *known;
            }
            followed.push(mark);
            if state.is_well() || followed.len() > PATIENCE || state.broken.is_some() {
                break state.is_well();
            }
            state = state.fair_step(&self.bounds);
        };
        let all = followed.into_iter().map(|mark| (mark, ends_well));
        self.live.lock().expect("no thread has panicked").extend(all);
        ends_well
    }
}

/// Words folded into one: quick, and good enough to tell some millions of states apart.
struct Fold(u64);

impl Hasher for Fold {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
    }

    fn write_u8(&mut self, byte: u8) {
        self.write_u64(u64::from(byte));
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}

fn mark(state: &Pair) -> u64 {
    let mut hasher = Fold(0);
    state.hash(&mut hasher);
    hasher.finish()
}

impl Model for Check {
    // Boxed: a state has some kilobytes, and is handed on often.
    type State = Box<Pair>;
    type Action = Event;

    fn init_states(&self) -> Vec<Box<Pair>> {
        vec![Box::new(Pair::at_rest(&self.bounds))]
    }

    fn actions(&self, pair: &Box<Pair>, events: &mut Vec<Event>) {
        if pair.broken.is_some() {
            return;
        }
        pair.urgent(&self.bounds, events);
        if events.is_empty() && pair.left.ticks != Some(0) {
            events.push(Event::Pass);
        }
        pair.possible(&self.bounds, events);
        pair.faults(&self.bounds, events);
    }

    fn next_state(&self, pair: &Box<Pair>, event: Event) -> Option<Box<Pair>> {
        pair.after(&self.bounds, event)
    }

    #[expect(clippy::borrowed_box, reason = "the checker keeps states as they are handed to it")]
    fn properties(&self) -> Vec<Property<Check>> {
        vec![
            Property::always(I1, |check: &Check, pair: &Box<Pair>| check.i1(pair)),
            Property::always(I2, |check: &Check, pair: &Box<Pair>| check.i2(pair)),
            Property::always(I3, |_, pair: &Box<Pair>| Check::kept(pair, Promise::I3)),
            Property::always(I4, |_, pair: &Box<Pair>| {
                Check::kept(pair, Promise::Undurable) && Check::kept(pair, Promise::OneOutcome)
            }),
            Property::always(I5, |check: &Check, pair: &Box<Pair>| check.i5(pair)),
            Property::always(SOUND, |_, pair: &Box<Pair>| Check::kept(pair, Promise::Assertion)),
            Property::always(LIVE, |check: &Check, pair: &Box<Pair>| check.comes_to_serve(pair)),
            Property::sometimes(EXAMPLE, |_, pair: &Box<Pair>| pair.served() == Some(Side::B)),
        ]
    }
}
