//! What an agent and a guard say to each other: one JSON object a line, orders on the guard's stdin, events on its
//! stdout. Both ends are always of the same build.

use lockstep_policy::At;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// No line is longer than this, in bytes. A pipe holds as much, so the first order never waits.
pub(crate) const LINE_MAX: usize = 60 * 1024;

/// From the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    /// First, and once: start the service.
    Begin(Begin),
    /// The service may live until then, and no longer.
    Extend(Reach),
    /// The service may live for as long as it likes again.
    Release,
    /// TERM now, KILL at `kill_at`. A later order can only bring the end nearer.
    Stop {
        /// On the node's clock.
        kill_at: At,
    },
    /// What would be run last is not needed: nothing is to be taken back.
    Dismiss,
}

/// All that a guard needs to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Begin {
    /// The service's lock file.
    pub(crate) lock: PathBuf,
    /// Program and arguments. Empty: the guard has nothing to start, and stands by for `last`.
    pub(crate) command: Vec<String>,
    /// On Windows: the service that the service control manager runs, in the command's stead.
    #[serde(default)]
    pub(crate) service: Option<String>,
    /// The exit codes that mean that the command is done; none: it is a service, and goes on.
    #[serde(default)]
    pub(crate) expected: Vec<i32>,
    /// Run when all else is over, whatever has ended it: takes back what the command has done, or ends what nobody here can
    /// kill. It outlives the guard.
    #[serde(default)]
    pub(crate) last: Option<Vec<String>>,
    /// Where the service says `READY=1`, if it does.
    pub(crate) notify: Option<PathBuf>,
    /// How often it says `WATCHDOG=1` there, at least.
    #[serde(default)]
    pub(crate) watchdog: Option<Duration>,
    /// Whether it runs on the active side only.
    pub(crate) exclusive: bool,
    /// How long the service may live; none: for as long as it likes.
    pub(crate) reach: Option<Reach>,
    /// How long the service may take to stop when the agent has died.
    pub(crate) stop_max: Duration,
}

impl Begin {
    /// What a reach of all services means for this one.
    pub(crate) fn own(&self, reach: Reach) -> Reach {
        if self.last.is_some() { reach.with_time_for_last(self.stop_max) } else { reach }
    }
}

/// How long a service may live, on the node's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reach {
    /// Here the guard kills it.
    pub(crate) kill: At,
    /// Here the kernel kills the guard.
    pub(crate) end: At,
}

impl Reach {
    /// The reach that leaves nothing running at `deadman`, when stopping may take `stop_max` of the time before it.
    pub(crate) fn before(deadman: At, stop_max: Duration) -> Reach {
        let reserve = reserve(stop_max);
        Reach { kill: deadman - reserve, end: deadman - reserve / 4 }
    }

    /// For a guard that has a last program to run: half of `stop_max` is that program's.
    pub(crate) fn with_time_for_last(self, stop_max: Duration) -> Reach {
        let lead = (stop_max / 2).saturating_sub(reserve(stop_max));
        Reach { kill: self.kill - lead, ..self }
    }
}

/// The part of a stop's time that is left to KILL: dying takes a process a moment too, and more so when it is big.
pub(crate) fn reserve(stop: Duration) -> Duration {
    (stop * 15 / 100).max(Duration::from_millis(20))
}

/// From the guard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Event {
    /// The service's program runs, or it has named another process as its main one (`MAINPID=`).
    Started {
        /// Its process.
        pid: u32,
    },
    /// It said `READY=1`.
    Ready,
    /// It said `WATCHDOG=1`.
    Alive,
    /// Its program has ended; what it has started is being killed.
    Exited {
        /// For a person to read: `exit status 3`, `signal SIGKILL`.
        how: String,
    },
    /// Its program has ended, with one of the expected codes: what it has done stands.
    Done,
    /// It could not be started, and nothing runs.
    Failed {
        /// For a person to read.
        why: String,
    },
    /// What is run last has failed: what it was to end may go on. The guard goes.
    NotUndone {
        /// For a person to read.
        how: String,
    },
    /// Nothing of it runs any more, and its lock is free.
    Gone,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_one_line() {
        let begin = Begin {
            lock: "/state/cti.lock".into(),
            command: vec!["/opt/cti".into(), "two\nlines".into()],
            service: None,
            expected: vec![0],
            last: Some(vec!["/opt/undo".into()]),
            notify: None,
            watchdog: None,
            exclusive: true,
            reach: Some(Reach { kill: At(1), end: At(2) }),
            stop_max: Duration::from_millis(250),
        };
        let text = serde_json::to_string(&Order::Begin(begin.clone())).unwrap();
        assert!(!text.contains('\n'));
        assert_eq!(serde_json::from_str::<Order>(&text).unwrap(), Order::Begin(begin));
    }

    #[test]
    fn a_reach_ends_before_the_deadman_point() {
        let deadman = At::from_millis(10_000);
        let lan = Reach::before(deadman, Duration::from_millis(250));
        assert_eq!(lan.kill, deadman - Duration::from_micros(37_500));
        assert_eq!(lan.end, deadman - Duration::from_micros(9_375));
        let short = Reach::before(deadman, Duration::from_millis(50));
        assert_eq!(short.kill, deadman - Duration::from_millis(20));
        let last = lan.with_time_for_last(Duration::from_millis(250));
        assert_eq!((last.kill, last.end), (deadman - Duration::from_millis(125), lan.end));
    }
}
