//! A policy's seat: one instance of a plugin, its timers, and who stands in while nobody works in it.
//!
//! While nobody works in the seat the pair keeps its course: the coordinator renews leases and obeys operators, and
//! nothing switches by itself. That the instance is made again after a failure is its [`Occupant`]'s business; timers
//! are the seat's, so they survive it.
//!
//! A pair may have a second seat, whose actions are recorded and not done: a seat does nothing by itself, and what its
//! occupant reports goes where the seat is told.

mod timers;

use crate::config::PolicyConfig;
use lockstep_policy::host::{Haste, LifeRecord, Occupant, Report, Sent, Snapshot, StepOutcome, Unheard};
use lockstep_policy::{At, Event};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
pub use timers::Timers;

/// A step that takes longer makes the seat count as empty: operators' orders pass it by.
const STUCK: Duration = Duration::from_secs(5);

/// An instance that is being made again as it was is back long before this.
const BACK_SOON: Duration = Duration::from_secs(1);

/// When no occupant could be had at all, another one is tried after this.
const AGAIN: Duration = Duration::from_secs(5);

/// No seat sees so many lives.
const LIVES: u64 = 1_000_000;

/// The built-in policy that stands in while the configured one stays away: it keeps the route, obeys operators, and
/// never switches by itself.
pub(crate) const HOLD_COURSE: &str = "hold-course";

/// Takes what an occupant reports, with the occupant's number in the seat.
pub(super) type Tell = Arc<dyn Fn(u64, Report) + Send + Sync>;

pub(super) struct Seat {
    pub config: PolicyConfig,
    pub timers: Timers,
    tell: Tell,
    occupant: Option<Occupant>,
    /// Grows with each occupant: reports of an earlier one are not listened to.
    number: u64,
    /// The life that is present, or was last.
    life: u64,
    presence: Presence,
    /// Events that are not answered yet, and since when the policy works on them.
    unanswered: VecDeque<(u64, At)>,
    told_stuck: bool,
    /// Since when nobody has worked here.
    vacant: Option<At>,
    standing_in: bool,
    /// Why the last instance failed; empty when it works.
    pub trouble: String,
    pub slowest: Duration,
    /// Events that were handed over.
    pub events: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    /// The first instance is being made, or nobody is here; the occupant tries again by itself.
    Nobody,
    /// No occupant could be had: the seat tries again then.
    Unmanned(At),
    Working,
    /// Being made again as it was.
    Away(At),
}

/// The occupant.
impl Seat {
    /// An empty seat; [`Seat::fill`] puts an instance to work.
    pub fn new(config: PolicyConfig, tell: Tell) -> Seat {
        Seat {
            config,
            timers: Timers::default(),
            tell,
            occupant: None,
            number: 0,
            life: 0,
            presence: Presence::Nobody,
            unanswered: VecDeque::new(),
            told_stuck: false,
            vacant: None,
            standing_in: false,
            trouble: String::new(),
            slowest: Duration::ZERO,
            events: 0,
        }
    }

    /// The pair's seat of this number: neither its occupants nor their lives have numbers that another seat's have.
    pub fn of_number(self, seat: u64) -> Seat {
        Seat { number: seat * LIVES, life: seat * LIVES, ..self }
    }

    /// Has an instance made of the configured plugin, from a snapshot if one is given; the former one ends. An error is
    /// new trouble; it is then tried again.
    pub fn fill(&mut self, now: At, restored: Option<Snapshot>) -> Result<(), String> {
        self.number += 1;
        self.leave(now);
        self.occupant = None;
        let (tell, number) = (Arc::clone(&self.tell), self.number);
        let deliver = move |report| tell(number, report);
        let PolicyConfig { plugin, setup, .. } = &self.config;
        // Until that life has begun nothing is handed to it: the first thing that it is told is where the pair stands.
        let life = self.life + 1;
        match Occupant::new(plugin, setup, life, fastrand::u64(..), restored, deliver) {
            Ok(occupant) => {
                self.occupant = Some(occupant);
                self.presence = Presence::Nobody;
                Ok(())
            }
            Err(error) => {
                self.trouble = format!("no thread for policy `{}`: {error}", plugin.id());
                self.presence = Presence::Unmanned(now + AGAIN);
                Err(self.trouble.clone())
            }
        }
    }

    /// Whether a report is of the present occupant.
    pub fn is_of(&self, number: u64) -> bool {
        number == self.number
    }

    /// A life has begun; `true`: somebody else stood in until now.
    pub fn began(&mut self, record: &LifeRecord) -> bool {
        self.life = record.life;
        if record.restored.is_none() {
            self.timers.clear();
        }
        self.works()
    }

    /// The instance is back as it was; `true`: somebody else stood in until now.
    pub fn back(&mut self) -> bool {
        self.works()
    }

    fn works(&mut self) -> bool {
        self.presence = Presence::Working;
        self.vacant = None;
        self.trouble.clear();
        std::mem::take(&mut self.standing_in)
    }

    /// The instance is being made again as it was.
    pub fn away(&mut self, now: At) {
        self.presence = Presence::Away(now);
        self.vacant.get_or_insert(now);
    }

    /// Nobody is here, because.
    pub fn gone(&mut self, now: At, why: &str) {
        self.leave(now);
        self.presence = Presence::Nobody;
        why.clone_into(&mut self.trouble);
    }

    fn leave(&mut self, now: At) {
        self.vacant.get_or_insert(now);
        self.timers.clear();
        self.unanswered.clear();
        self.told_stuck = false;
    }

    /// Hands an event over. An error: the policy never sees it.
    pub fn send(&mut self, now: At, event: &Event, haste: Haste) -> Result<Sent, Unheard> {
        let occupant = self.occupant.as_ref().ok_or(Unheard::Gone)?;
        let sent = occupant.send_with(haste, self.life, event)?;
        if sent == Sent::Told {
            self.events += 1;
            self.unanswered.push_back((event.seq, now));
        }
        Ok(sent)
    }

    /// Asks for the instance's state now.
    pub fn save(&self) {
        if let Some(occupant) = &self.occupant {
            occupant.save();
        }
    }

    /// New lives without a state are made from this configuration; the present one goes on.
    pub fn reconfigure(&mut self, config: PolicyConfig) {
        if let Some(occupant) = &self.occupant {
            occupant.reconfigure(&config.setup);
        }
        self.config = config;
    }

    /// An event is answered; what it cost.
    pub fn answered(&mut self, now: At, outcome: &StepOutcome) {
        self.slowest = self.slowest.max(outcome.cpu);
        self.settled(now, outcome.seq);
    }

    /// An event will not be waited for any more.
    pub fn settled(&mut self, now: At, seq: u64) {
        while self.unanswered.front().is_some_and(|(first, _)| *first <= seq) {
            self.unanswered.pop_front();
        }
        if let Some((_, since)) = self.unanswered.front_mut() {
            // Work on the next one begins only now.
            *since = now;
        }
        if std::mem::take(&mut self.told_stuck) && !self.standing_in {
            self.vacant = None;
        }
    }

    /// Whether all that was handed over is answered.
    pub fn has_answered(&self) -> bool {
        self.unanswered.is_empty()
    }

    pub fn life(&self) -> u64 {
        self.life
    }

    /// The worker's process, and how often it was started again.
    pub fn worker(&self) -> (Option<u32>, u64) {
        self.occupant.as_ref().map_or((None, 0), |occupant| (occupant.worker_pid(), occupant.restarts()))
    }
}

/// Who decides.
impl Seat {
    pub fn is_working(&self, now: At) -> bool {
        let present = match self.presence {
            Presence::Working => true,
            Presence::Away(since) => now.since(since) < BACK_SOON,
            Presence::Nobody | Presence::Unmanned(_) => false,
        };
        present && !self.is_stuck(now)
    }

    /// Whether a step takes longer than any step may.
    fn is_stuck(&self, now: At) -> bool {
        self.unanswered.front().is_some_and(|(_, since)| now.since(*since) >= STUCK)
    }

    /// Whether it got stuck since this was last asked.
    pub fn got_stuck(&mut self, now: At) -> bool {
        let stuck = self.is_stuck(now);
        if stuck {
            self.vacant.get_or_insert(now);
        }
        stuck && !std::mem::replace(&mut self.told_stuck, stuck)
    }

    /// The policy that is in force, when it is not the configured one.
    pub fn stand_in(&self) -> Option<&'static str> {
        self.standing_in.then_some(HOLD_COURSE)
    }

    /// Whether, since this was last asked, nobody has worked here for so long that another policy stands in.
    pub fn must_stand_in(&mut self, now: At) -> bool {
        let due = self.stand_in_at().is_some_and(|at| now >= at);
        due && !std::mem::replace(&mut self.standing_in, true)
    }

    /// Whether, since this was last asked, the policy works again after somebody stood in.
    pub fn resumed(&mut self, now: At) -> bool {
        if !self.standing_in || !self.is_working(now) {
            return false;
        }
        self.works()
    }

    fn stand_in_at(&self) -> Option<At> {
        self.vacant.filter(|_| !self.standing_in).map(|since| since + self.config.absent_max)
    }

    /// When no occupant could be had, and it is time to try again.
    pub fn refill_due(&self, now: At) -> bool {
        matches!(self.presence, Presence::Unmanned(until) if now >= until)
    }

    /// When there is something to do without any event, with or without its timers.
    pub fn deadline(&self, timers: bool) -> Option<At> {
        let refill = match self.presence {
            Presence::Unmanned(until) => Some(until),
            Presence::Nobody | Presence::Working | Presence::Away(_) => None,
        };
        let stuck = self.unanswered.front().filter(|_| !self.told_stuck).map(|(_, since)| *since + STUCK);
        let timer = if timers { self.timers.earliest() } else { None };
        [timer, refill, stuck, self.stand_in_at()].into_iter().flatten().min()
    }
}
