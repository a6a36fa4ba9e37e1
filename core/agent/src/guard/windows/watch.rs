//! The guard's own loop: it hears what the agent, the service and the clock say, and waits for nothing else.

use super::leftovers::pid_file;
use super::managed::Managed;
use super::program::Program;
use crate::guard::order::{Begin, Event, LINE_MAX, Order, Reach};
use crate::guard::{ORPHAN_GRACE, ORPHAN_LEAD};
use crate::platform::disk::Lock;
use crate::platform::process;
use lockstep_policy::At;
use lockstep_wire::clock;
use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read as _, Write as _, stdin, stdout};
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// A wait is never longer while there is a deadline: waits of Windows stand still while the machine sleeps, and the clock
/// does not.
const STEP: Duration = Duration::from_millis(20);
/// Without a deadline.
const IDLE: Duration = Duration::from_secs(1);
/// How soon what is left is killed again.
const KILL_AGAIN: Duration = Duration::from_millis(2);
/// What may wait to be heard.
const WAITING: usize = 256;

/// Guards one service from its start to its end.
pub(super) fn run(name: &OsStr) -> ExitCode {
    process::hurry();
    match guard() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            say(&Event::Failed { why: why.clone() });
            eprintln!("lockstep guard {}: {why}", name.display());
            ExitCode::FAILURE
        }
    }
}

/// What a guard hears.
#[derive(Debug)]
pub(super) enum Heard {
    Order(Order),
    /// The agent has gone, or breaks the rules.
    Left,
    /// The service runs, as that process.
    Started {
        pid: u32,
    },
    /// It has ended; something that it has started may still run.
    Ended {
        how: String,
    },
    /// It could not be started.
    Failed {
        why: String,
    },
}

/// What is guarded.
pub(super) trait Charge {
    /// Asks it to end by itself, without waiting; false: it cannot be asked.
    fn ask(&mut self) -> bool;

    /// Ends by force what is left, without waiting; true: nothing is. Called again and again until then.
    fn kill(&mut self) -> bool;

    /// Whether its guard's own end, whatever has brought that, is its end too.
    fn is_bound(&self) -> bool;
}

fn guard() -> Result<(), String> {
    let (tell, heard) = mpsc::sync_channel(WAITING);
    let orders = tell.clone();
    thread::spawn(move || listen(&orders));
    let Ok(Heard::Order(Order::Begin(mut begin))) = heard.recv() else { return Ok(()) };
    if catch_up(&heard, &mut begin) {
        say(&Event::Gone);
        return Ok(());
    }
    let lock = begin.lock.clone();
    let taken = Lock::take(&lock).map_err(|error| format!("{}: {error}", lock.display()))?;
    let taken =
        taken.ok_or_else(|| format!("{} is held: something of an earlier life of the service runs", lock.display()))?;
    let pid = pid_file(&lock);
    std::fs::write(&pid, std::process::id().to_string()).map_err(|error| format!("{}: {error}", pid.display()))?;
    let charge: Box<dyn Charge> = match &begin.service {
        Some(service) => Box::new(Managed::start(service, begin.exclusive, tell)?),
        None => Box::new(Program::start(&begin, &taken, tell)?),
    };
    let mut guard = Guard::new(&begin, charge, heard);
    while guard.step() {}
    // The lock first: who hears that nothing runs may start the next one at once.
    drop(taken);
    if !guard.leaves {
        say(&Event::Gone);
    }
    Ok(())
}

/// Reads orders until the agent has gone.
fn listen(tell: &mpsc::SyncSender<Heard>) {
    let mut orders = BufReader::new(stdin());
    loop {
        let mut line = Vec::new();
        let read = orders.by_ref().take(LINE_MAX as u64).read_until(b'\n', &mut line);
        // An agent that cannot be understood is a dead one.
        let heard = match read.ok().and_then(|_| serde_json::from_slice(&line).ok()) {
            Some(order) => Heard::Order(order),
            None => Heard::Left,
        };
        let last = matches!(heard, Heard::Left);
        if tell.send(heard).is_err() || last {
            return;
        }
    }
}

/// A guard may have taken long to be loaded: what its agent has said since counts. True: the service is not wanted any
/// more.
fn catch_up(heard: &Receiver<Heard>, begin: &mut Begin) -> bool {
    while let Ok(heard) = heard.try_recv() {
        match heard {
            Heard::Order(Order::Extend(reach)) => begin.reach = Some(reach),
            Heard::Order(Order::Release) => begin.reach = None,
            _ => return true,
        }
    }
    false
}

/// How far the service's end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Live,
    /// The agent has died.
    Orphan {
        stop_at: At,
    },
    Ending {
        kill_at: At,
    },
    Killing,
}

struct Guard {
    charge: Box<dyn Charge>,
    heard: Receiver<Heard>,
    reach: Option<Reach>,
    stop_max: Duration,
    orphan_grace: Duration,
    fate: Fate,
    ended: bool,
    /// The service goes on without it.
    leaves: bool,
}

impl Guard {
    fn new(begin: &Begin, charge: Box<dyn Charge>, heard: Receiver<Heard>) -> Guard {
        Guard {
            charge,
            heard,
            reach: begin.reach,
            stop_max: begin.stop_max,
            // What serves goes before what makes it right that it serves.
            orphan_grace: if begin.exclusive { ORPHAN_GRACE + ORPHAN_LEAD } else { ORPHAN_GRACE },
            fate: Fate::Live,
            ended: false,
            leaves: false,
        }
    }

    /// One turn. False: nothing is left to guard.
    fn step(&mut self) -> bool {
        let pause = self.deadline().map_or(IDLE, |at| at.since(clock::now()).min(STEP));
        match self.heard.recv_timeout(pause) {
            Ok(heard) => self.hear(heard),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => self.fate = Fate::Killing,
        }
        while let Ok(heard) = self.heard.try_recv() {
            self.hear(heard);
        }
        self.move_on(clock::now());
        if self.leaves {
            return false;
        }
        if self.fate != Fate::Killing || !self.charge.kill() {
            return true;
        }
        // What was killed says so itself, in a moment.
        while !self.ended {
            match self.heard.recv_timeout(STEP) {
                Ok(heard) => self.hear(heard),
                Err(_) => self.hear(Heard::Ended { how: "killed".to_owned() }),
            }
        }
        false
    }

    fn deadline(&self) -> Option<At> {
        let own = match self.fate {
            Fate::Live => None,
            Fate::Orphan { stop_at } => Some(stop_at),
            Fate::Ending { kill_at } => Some(kill_at),
            Fate::Killing => return Some(clock::now() + KILL_AGAIN),
        };
        own.into_iter().chain(self.reach.map(|reach| reach.kill)).min()
    }

    fn hear(&mut self, heard: Heard) {
        match heard {
            // What is being killed gets no more time.
            Heard::Order(Order::Extend(reach)) if self.fate != Fate::Killing => self.reach = Some(reach),
            Heard::Order(Order::Release) if self.fate != Fate::Killing => self.reach = None,
            Heard::Order(Order::Stop { kill_at }) => self.end(kill_at),
            Heard::Order(Order::Begin(_)) | Heard::Left => self.orphan(),
            Heard::Order(_) => {}
            Heard::Started { pid } => say(&Event::Started { pid }),
            Heard::Ended { how } => self.over(&Event::Exited { how }),
            Heard::Failed { why } => self.over(&Event::Failed { why }),
        }
    }

    fn orphan(&mut self) {
        if self.fate != Fate::Live {
            return;
        }
        self.leaves = !self.charge.is_bound();
        self.fate = Fate::Orphan { stop_at: clock::now() + self.orphan_grace };
    }

    /// Asks once, and kills at the earlier of what was ever ordered. What cannot be asked is killed at once; so is what is
    /// to be killed at once: it must not be woken up first.
    fn end(&mut self, kill_at: At) {
        match &mut self.fate {
            Fate::Live | Fate::Orphan { .. } if kill_at <= clock::now() || !self.charge.ask() => {
                self.fate = Fate::Killing;
            }
            Fate::Live | Fate::Orphan { .. } => self.fate = Fate::Ending { kill_at },
            Fate::Ending { kill_at: earlier } => *earlier = (*earlier).min(kill_at),
            Fate::Killing => {}
        }
    }

    fn move_on(&mut self, now: At) {
        if self.reach.is_some_and(|reach| reach.kill <= now) {
            self.fate = Fate::Killing;
        }
        match self.fate {
            Fate::Orphan { stop_at } if stop_at <= now => self.end(now + self.stop_max),
            Fate::Ending { kill_at } if kill_at <= now => self.fate = Fate::Killing,
            _ => {}
        }
    }

    /// What it has started does not outlive it.
    fn over(&mut self, event: &Event) {
        if !self.ended {
            self.ended = true;
            say(event);
        }
        self.fate = Fate::Killing;
    }
}

fn say(event: &Event) {
    // An agent that has gone hears nothing.
    if let Ok(mut line) = serde_json::to_vec(event) {
        line.push(b'\n');
        let _ = stdout().lock().write_all(&line).and_then(|()| stdout().flush());
    }
}
