//! The policy's seat: an instance on its own thread, its timers, and what is done when it fails.
//!
//! While nobody works in the seat the pair keeps its course: the coordinator renews leases and obeys operators, and
//! nothing switches by itself.

use super::feed::Reply;
use crate::config::PolicyConfig;
use lockstep_policy::event::TimerId;
use lockstep_policy::host::{Instance, PolicyThread, SendError, StepOutcome};
use lockstep_policy::{At, Event};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;

/// Timers that one policy may have set.
const TIMERS: usize = 256;

/// The first wait before a failed policy is made anew; it doubles with each failure.
const AGAIN_FIRST: Duration = Duration::from_secs(1);

/// The longest such wait.
const AGAIN_LONGEST: Duration = Duration::from_secs(60);

/// A policy that worked for so long starts with the first wait again.
const PROVEN: Duration = Duration::from_secs(300);

/// A step that takes longer makes the seat count as empty: operators' orders pass it by.
const STUCK: Duration = Duration::from_secs(5);

pub(super) struct Seat {
    pub config: PolicyConfig,
    pair: String,
    replies: UnboundedSender<Reply>,
    state: State,
    /// Grows with each instance: answers of an earlier one are not listened to.
    life: u64,
    /// Consecutive failures.
    failures: u32,
    timers: BTreeMap<TimerId, At>,
    /// When each event was handed over that is not answered yet.
    unanswered: VecDeque<At>,
    /// That it is stuck has been noticed.
    told_stuck: bool,
    /// Why the last instance failed; empty when it works.
    pub trouble: String,
    pub slowest: Duration,
    /// Events that were handed over.
    pub events: u64,
}

enum State {
    /// Being made, on a thread that may wait.
    Making,
    Working {
        thread: PolicyThread,
        since: At,
    },
    /// Empty until then.
    Empty {
        until: At,
    },
}

impl Seat {
    /// An empty seat; [`Seat::fill`] has an instance made.
    pub fn new(pair: &str, config: PolicyConfig, replies: UnboundedSender<Reply>) -> Seat {
        Seat {
            config,
            pair: pair.to_owned(),
            replies,
            state: State::Empty { until: At::ZERO },
            life: 0,
            failures: 0,
            timers: BTreeMap::new(),
            unanswered: VecDeque::new(),
            told_stuck: false,
            trouble: String::new(),
            slowest: Duration::ZERO,
            events: 0,
        }
    }

    /// Has a new instance made; the former one's thread ends by itself.
    pub fn fill(&mut self) {
        self.life += 1;
        self.state = State::Making;
        self.timers.clear();
        self.unanswered.clear();
        let (life, replies, config) = (self.life, self.replies.clone(), self.config.clone());
        tokio::task::spawn_blocking(move || {
            let made = config.library.instance(&config.setup, fastrand::u64(..)).map_err(|error| error.to_string());
            let _ = replies.send(Reply::Made(life, made));
        });
    }

    /// Puts a new instance to work. `Ok(true)`: it is to be told where the pair stands.
    pub fn seat(&mut self, now: At, life: u64, made: Result<Instance, String>) -> Result<bool, String> {
        if life != self.life {
            return Ok(false);
        }
        let replies = self.replies.clone();
        let deliver = move |outcome| drop(replies.send(Reply::Stepped(life, outcome)));
        let spawned = made.and_then(|instance| {
            PolicyThread::spawn(instance, &format!("policy {}", self.pair), deliver).map_err(|error| error.to_string())
        });
        match spawned {
            Ok(thread) => {
                self.state = State::Working { thread, since: now };
                self.trouble.clear();
                Ok(true)
            }
            Err(why) => {
                self.empty(now, &why);
                Err(why)
            }
        }
    }

    /// Hands an event over. An error is new trouble.
    pub fn tell(&mut self, now: At, event: &Event) -> Result<(), String> {
        let State::Working { thread, .. } = &self.state else { return Ok(()) };
        match thread.send(event.clone()) {
            Ok(()) => {
                self.events += 1;
                self.unanswered.push_back(now);
                Ok(())
            }
            // The oldest one is being worked on for too long: that is noticed by itself.
            Err(SendError::Full) => Ok(()),
            Err(error @ SendError::Ended) => {
                let why = error.to_string();
                self.empty(now, &why);
                Err(why)
            }
        }
    }

    /// Whether an answer is of the present instance; notes what it cost.
    pub fn answered(&mut self, now: At, life: u64, outcome: &StepOutcome) -> bool {
        if life != self.life {
            return false;
        }
        self.unanswered.pop_front();
        self.slowest = self.slowest.max(outcome.cpu);
        if let Some(oldest) = self.unanswered.front_mut() {
            // Work on the next one begins only now.
            *oldest = now;
        }
        self.told_stuck = false;
        true
    }

    /// Leaves the seat empty for a while.
    pub fn empty(&mut self, now: At, why: &str) {
        if let State::Working { since, .. } = self.state
            && now.since(since) >= PROVEN
        {
            self.failures = 0;
        }
        let wait = AGAIN_FIRST.saturating_mul(1 << self.failures.min(6)).min(AGAIN_LONGEST);
        self.failures += 1;
        self.life += 1;
        self.state = State::Empty { until: now + wait };
        self.timers.clear();
        self.unanswered.clear();
        why.clone_into(&mut self.trouble);
    }

    pub fn is_working(&self, now: At) -> bool {
        matches!(self.state, State::Working { .. }) && !self.is_stuck(now)
    }

    /// Whether a step takes longer than any step may.
    fn is_stuck(&self, now: At) -> bool {
        self.unanswered.front().is_some_and(|since| now.since(*since) >= STUCK)
    }

    /// Whether it got stuck since this was last asked.
    pub fn got_stuck(&mut self, now: At) -> bool {
        let stuck = self.is_stuck(now);
        stuck && !std::mem::replace(&mut self.told_stuck, stuck)
    }

    /// When the seat is to be filled again.
    pub fn refill_due(&self, now: At) -> bool {
        matches!(self.state, State::Empty { until } if now >= until)
    }

    pub fn set_timer(&mut self, timer: TimerId, at: At) -> Result<(), String> {
        if self.timers.len() >= TIMERS && !self.timers.contains_key(&timer) {
            return Err(format!("a policy may have set {TIMERS} timers"));
        }
        self.timers.insert(timer, at);
        Ok(())
    }

    pub fn cancel_timer(&mut self, timer: TimerId) {
        self.timers.remove(&timer);
    }

    /// A timer that is due, the earliest first; it is then set no more.
    pub fn due_timer(&mut self, now: At) -> Option<TimerId> {
        let (timer, at) =
            self.timers.iter().map(|(timer, at)| (*timer, *at)).min_by_key(|(timer, at)| (*at, *timer))?;
        (at <= now).then(|| {
            self.timers.remove(&timer);
            timer
        })
    }

    /// When there is something to do without any event.
    pub fn deadline(&self) -> Option<At> {
        let refill = match self.state {
            State::Empty { until } => Some(until),
            State::Making | State::Working { .. } => None,
        };
        let stuck = self.unanswered.front().filter(|_| !self.told_stuck).map(|since| *since + STUCK);
        self.timers.values().copied().chain(refill).chain(stuck).min()
    }

    pub fn life(&self) -> u64 {
        self.life
    }
}
