//! What requests show about the sides, counted for the policy and told at once where a probe should follow.
//!
//! That something was counted is told once between two looks: nobody has to look who was not told.

use super::shelter::TurnedAway;
use super::table::Target;
use lockstep_policy::{At, Epoch, Side, Sides};
use lockstep_wire::clock;
use pingora_core::{Error, ErrorType};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64};
use std::time::Duration;

/// What the requests of one side showed since they were last asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrafficCounts {
    /// Answers below 500.
    pub good: u32,
    /// Answers of 500 and above, and answers that are no HTTP.
    pub server_errors: u32,
    /// Connects that were refused or found no way.
    pub refused: u32,
    /// Connections that ended before their answer had.
    pub resets: u32,
    /// Connects or answers that did not come in time.
    pub timeouts: u32,
    /// Answers that came late; they are counted above, too.
    pub slow: u32,
}

/// What kind of trouble a request met at a side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trouble {
    /// A connect was refused or found no way.
    Refused,
    /// A connection ended before its answer had.
    Reset,
    /// A connect or an answer did not come in time.
    Timeout,
    /// An answer of 500 or above, or one that is no HTTP.
    ServerError,
    /// An answer came late.
    Slow,
}

/// Kinds of trouble.
const TROUBLES: usize = 5;

/// What the proxy says of itself. Told on the request's own task: the receiver must not block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyEvent {
    /// The first request under a new epoch is about to be written to its side.
    FirstSent {
        /// The epoch.
        epoch: Epoch,
        /// When.
        at: At,
    },
    /// The first answer below 500 under a new epoch has come.
    FirstAnswer {
        /// The epoch.
        epoch: Epoch,
        /// When.
        at: At,
    },
    /// Something was counted: the first since the counts were last taken.
    Counted {
        /// When.
        at: At,
    },
    /// A request met trouble at a side. It is told of when it is the first since the counts were last taken, or worth an
    /// immediate probe; the counts have them all.
    Trouble {
        /// The side.
        side: Side,
        /// The epoch under which the request was given to it.
        epoch: Epoch,
        /// What it was.
        kind: Trouble,
        /// When.
        at: At,
        /// Worth a probe: at most one in `trouble_interval` for each side, and one in `answer_interval` by what it answered.
        probe: bool,
    },
}

/// Where events go.
pub(super) type Events = Arc<dyn Fn(ProxyEvent) + Send + Sync>;

/// How far the counts have been told of since they were last taken.
const NOTHING: u8 = 0;
const COUNTED: u8 = 1;
const TROUBLE: u8 = 2;

/// The counts while they grow.
pub(super) struct Traffic {
    sides: Sides<Counters>,
    told: AtomicU8,
    /// From which on an answer is late, in nanoseconds; 0: none is.
    slow: AtomicU64,
    pace: Pace,
    events: Events,
}

/// How often a side's trouble is worth a probe.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// That of its connections.
    pub connections: Duration,
    /// That of its answers.
    pub answers: Duration,
}

#[derive(Debug, Default)]
struct Counters {
    good: AtomicU32,
    server_errors: AtomicU32,
    refused: AtomicU32,
    resets: AtomicU32,
    timeouts: AtomicU32,
    slow: AtomicU32,
    /// Troubles since the start, by kind; never taken.
    troubles: [AtomicU64; TROUBLES],
    /// No probe before, for trouble with connections and with answers.
    quiet_until: [AtomicU64; 2],
}

impl Traffic {
    pub(super) fn new(pace: Pace, events: Events) -> Traffic {
        Traffic { sides: Sides::default(), told: AtomicU8::new(NOTHING), slow: AtomicU64::new(0), pace, events }
    }

    /// An answer that takes so long is late; none: none is.
    pub(super) fn set_slow(&self, slow: Option<Duration>) {
        let nanos = slow.map_or(0, |slow| u64::try_from(slow.as_nanos()).unwrap_or(u64::MAX));
        self.slow.store(nanos, Relaxed);
    }

    /// Whether anybody wants to know how long answers take.
    pub(super) fn is_timed(&self) -> bool {
        self.slow.load(Relaxed) != 0
    }

    /// A side has answered; after so long, where that is known and says something.
    pub(super) fn answered(&self, target: &Target, good: bool, after: Option<Duration>) {
        let counters = &self.sides[target.side];
        let slow = self.slow.load(Relaxed);
        let late = slow != 0 && after.is_some_and(|after| after.as_nanos() >= slow.into());
        if good {
            counters.good.fetch_add(1, Relaxed);
            self.tell(COUNTED, || ProxyEvent::Counted { at: clock::now() });
        } else {
            self.trouble(target, Trouble::ServerError);
        }
        if late {
            self.trouble(target, Trouble::Slow);
        }
    }

    /// A request met trouble at a side.
    pub(super) fn trouble(&self, target: &Target, kind: Trouble) {
        self.trouble_at(target.side, target.epoch, kind, clock::now());
    }

    fn trouble_at(&self, side: Side, epoch: Epoch, kind: Trouble, at: At) {
        let counters = &self.sides[side];
        counters.troubles[kind as usize].fetch_add(1, Relaxed);
        let (count, pace, quiet) = match kind {
            Trouble::Refused => (&counters.refused, self.pace.connections, 0),
            Trouble::Reset => (&counters.resets, self.pace.connections, 0),
            Trouble::Timeout => (&counters.timeouts, self.pace.connections, 0),
            Trouble::ServerError => (&counters.server_errors, self.pace.answers, 1),
            Trouble::Slow => (&counters.slow, self.pace.answers, 1),
        };
        count.fetch_add(1, Relaxed);
        let quiet = &counters.quiet_until[quiet];
        let until = quiet.load(Relaxed);
        let probe = at.0 >= until && quiet.compare_exchange(until, (at + pace).0, Relaxed, Relaxed).is_ok();
        let event = ProxyEvent::Trouble { side, epoch, kind, at, probe };
        if probe {
            self.told.fetch_max(TROUBLE, AcqRel);
            (self.events)(event);
        } else {
            self.tell(TROUBLE, || event);
        }
    }

    /// Tells, unless that much was told since the counts were last taken.
    fn tell(&self, news: u8, event: impl FnOnce() -> ProxyEvent) {
        if self.told.load(Relaxed) < news && self.told.fetch_max(news, AcqRel) < news {
            (self.events)(event());
        }
    }

    /// Refused, reset, timed out, answered badly, answered late: so many since the start.
    pub(super) fn troubles(&self, side: Side) -> [u64; TROUBLES] {
        self.sides[side].troubles.each_ref().map(|count| count.load(Relaxed))
    }

    /// Whether something was counted since the counts were last taken.
    pub(super) fn has_counted(&self) -> bool {
        self.told.load(Acquire) != NOTHING
    }

    pub(super) fn take(&self) -> Sides<TrafficCounts> {
        // First: what is counted from now on is told of again, be it taken already or not.
        self.told.store(NOTHING, Release);
        Sides::from_fn(|side| {
            let counters = &self.sides[side];
            TrafficCounts {
                good: counters.good.swap(0, Relaxed),
                server_errors: counters.server_errors.swap(0, Relaxed),
                refused: counters.refused.swap(0, Relaxed),
                resets: counters.resets.swap(0, Relaxed),
                timeouts: counters.timeouts.swap(0, Relaxed),
                slow: counters.slow.swap(0, Relaxed),
            }
        })
    }
}

impl fmt::Debug for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Traffic").field("sides", &self.sides).finish_non_exhaustive()
    }
}

/// What an error says about the side; `None` when it says nothing.
pub(super) fn trouble_of(error: &Error) -> Option<Trouble> {
    match error.etype() {
        ErrorType::ConnectRefused | ErrorType::ConnectNoRoute => Some(Trouble::Refused),
        ErrorType::ConnectTimedout | ErrorType::ReadTimedout | ErrorType::WriteTimedout => Some(Trouble::Timeout),
        ErrorType::ConnectionClosed
        | ErrorType::ReadError
        | ErrorType::WriteError
        | ErrorType::TLSHandshakeFailure
        | ErrorType::HandshakeError
        | ErrorType::H2Error => Some(Trouble::Reset),
        _ => None,
    }
}

/// What the proxy has done since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProxyTotals {
    /// Requests taken from clients.
    pub requests: u64,
    /// Requests waiting now.
    pub held_now: u64,
    /// Waits begun.
    pub held: u64,
    /// Waits that ended with a server.
    pub released: u64,
    /// Requests answered 503 by the edge itself.
    pub refused: u64,
    /// Requests whose client left while they waited.
    pub abandoned: u64,
    /// Attempts after the first one.
    pub retried: u64,
    /// Requests answered 502 or 504 by the edge itself.
    pub failed: u64,
    /// The longest wait that has ended.
    pub longest_hold: Duration,
    /// Connections to servers, idle ones included.
    pub links: u64,
    /// Answers that were to be rewritten and passed as they were: too large, or coded.
    pub unwritten: u64,
    /// Requests that wait for a place at a server now.
    pub queued: u64,
    /// What listeners have turned away.
    pub turned_away: TurnedAway,
    /// Streams taken from clients.
    pub streams: u64,
    /// Streams that have a server now.
    pub streams_open: u64,
    /// Streams that the edge closed because no server could be had, or that asked for a name that it does not know.
    pub streams_refused: u64,
    /// Bytes of streams, from clients.
    pub stream_bytes_in: u64,
    /// Bytes of streams, from servers.
    pub stream_bytes_out: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    const EPOCH: Epoch = Epoch(1);

    fn collecting() -> (Traffic, Arc<Mutex<Vec<ProxyEvent>>>) {
        let events = Arc::<Mutex<Vec<ProxyEvent>>>::default();
        let told = Arc::clone(&events);
        let pace = Pace { connections: Duration::from_millis(20), answers: Duration::from_millis(250) };
        (Traffic::new(pace, Arc::new(move |event| told.lock().unwrap().push(event))), events)
    }

    #[test]
    fn trouble_is_counted_always_and_worth_a_probe_at_intervals() {
        let (traffic, events) = collecting();
        let probed = |kind, ms| {
            traffic.trouble_at(Side::A, EPOCH, kind, At::from_millis(ms));
            matches!(events.lock().unwrap().pop(), Some(ProxyEvent::Trouble { probe: true, .. }))
        };
        assert_eq!([5, 10, 25, 26, 45].map(|ms| probed(Trouble::Reset, ms)), [true, false, true, false, true]);
        assert_eq!([46, 295, 296].map(|ms| probed(Trouble::ServerError, ms)), [true, false, true]);
        assert!(!probed(Trouble::Slow, 300), "by what it answers");
        let counts = traffic.take();
        assert_eq!(counts.a, TrafficCounts { resets: 5, server_errors: 3, slow: 1, ..TrafficCounts::default() });
        assert_eq!(traffic.take(), Sides::default());
        assert_eq!((traffic.troubles(Side::A), traffic.troubles(Side::B)), ([0, 5, 0, 3, 1], [0; 5]), "these stay");
    }

    #[test]
    fn what_is_counted_is_told_once_between_two_looks_and_trouble_once_more() {
        let (traffic, events) = collecting();
        let told = || std::mem::take(&mut *events.lock().unwrap()).len();
        let good = || traffic.tell(COUNTED, || ProxyEvent::Counted { at: At::ZERO });
        let reset = |ms| traffic.trouble_at(Side::B, EPOCH, Trouble::Reset, At::from_millis(ms));
        good();
        good();
        assert_eq!((told(), traffic.has_counted()), (1, true));
        reset(100);
        reset(101);
        good();
        assert_eq!(told(), 1, "the second one is not worth another probe, and told already");
        traffic.take();
        assert!(!traffic.has_counted());
        reset(102);
        assert_eq!(told(), 1, "nobody has looked since");
        good();
        assert_eq!(told(), 0, "trouble says more");
    }
}
