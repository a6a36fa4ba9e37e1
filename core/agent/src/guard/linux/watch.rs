//! The guard's own loop: one thread, one poll, no waiting anywhere else.

use super::deadman::Switch;
use super::descendants::{kill_children, kill_group, reap, signal_group};
use super::last::{self, Last};
use super::lines::{self, Lines};
use super::{MARK, alarm, stage};
use crate::guard::order::{Begin, Event, Order, Reach};
use crate::guard::{ORPHAN_GRACE, ORPHAN_LEAD};
use lockstep_policy::At;
use lockstep_wire::clock;
use nix::sys::signal::{SigSet, Signal as NixSignal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FlockOperation, flock};
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::process::{Signal, getpriority_process, set_child_subreaper, setpriority_process};
use rustix::stdio::{stdin, stdout};
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{PipeReader, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

/// A guard is small and must be on time.
const PRIORITY: i32 = -10;

/// How soon children that have just become ours are killed too.
const KILL_AGAIN: Duration = Duration::from_millis(2);

/// Guards one service from its start to its end.
pub(super) fn run(name: &OsStr) -> ExitCode {
    match guard() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            let _ = lines::write(stdout(), &Event::Failed { why: why.clone() });
            eprintln!("lockstep guard {}: {why}", name.display());
            ExitCode::FAILURE
        }
    }
}

fn guard() -> Result<(), String> {
    let _ = rustix::thread::set_name(super::NAME);
    let signals = signals().map_err(|error| format!("signals cannot be watched: {error}"))?;
    lines::never_wait(stdin()).map_err(|error| format!("stdin: {error}"))?;
    lines::never_wait(stdout()).map_err(|error| format!("stdout: {error}"))?;
    let mut orders = Lines::default();
    let Some(mut begin) = first_order(&mut orders) else { return Ok(()) };
    let ended = match catch_up(&mut orders, &mut begin) {
        Since::Nothing => None,
        Since::Ended(kill_at) if begin.command.is_empty() => Some(kill_at),
        Since::Ended(_) | Since::Dismissed => {
            let _ = lines::write(stdout(), &Event::Gone);
            return Ok(());
        }
    };
    let mut guard = Guard::begin(begin, orders, signals)?;
    if let Some(kill_at) = ended {
        // What has nothing to start has something to end all the same.
        guard.end(kill_at);
    }
    while guard.turn() {
        guard.wait();
    }
    Ok(())
}

/// Waits for the one order that must come first; none when the agent has gone before it.
fn first_order(orders: &mut Lines) -> Option<Begin> {
    loop {
        match orders.next() {
            Some(Order::Begin(begin)) => return Some(begin),
            Some(_) => return None,
            None if orders.closed => return None,
            None => {}
        }
        let _ = poll(&mut [PollFd::from_borrowed_fd(stdin(), PollFlags::IN)], None);
        orders.fill(stdin());
    }
}

/// What an agent has said since it said the first order.
enum Since {
    /// That it goes on.
    Nothing,
    Ended(At),
    Dismissed,
}

/// A guard may have taken long to be loaded: what its agent has said since counts.
fn catch_up(orders: &mut Lines, begin: &mut Begin) -> Since {
    orders.fill(stdin());
    let mut since = Since::Nothing;
    while let Some(order) = orders.next() {
        match order {
            Order::Extend(reach) => begin.reach = Some(reach),
            Order::Release => begin.reach = None,
            Order::Stop { kill_at } => since = Since::Ended(kill_at),
            Order::Dismiss => return Since::Dismissed,
            Order::Begin(_) => orders.closed = true,
        }
    }
    since
}

fn signals() -> nix::Result<SignalFd> {
    let mut set = SigSet::empty();
    for signal in [NixSignal::SIGCHLD, NixSignal::SIGTERM, NixSignal::SIGINT, NixSignal::SIGHUP] {
        set.add(signal);
    }
    set.thread_block()?;
    SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
}

/// How far the service's end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Live,
    /// The agent has died.
    Orphan {
        term_at: At,
    },
    Ending {
        kill_at: At,
    },
    Killing,
    /// The deadline has passed, and what is run last has whatever the kernel's own deadline leaves it.
    Overtime,
}

struct Guard {
    orders: Lines,
    signals: SignalFd,
    /// Readable when the deadline is there.
    alarm: OwnedFd,
    lock: Option<File>,
    begin: Begin,
    nice: i32,
    /// The service's own program, or what is run last; meaningless once that has `exited`.
    main: Pid,
    /// Open until the service's program runs.
    launch: Option<PipeReader>,
    launch_fault: String,
    notify: Option<UnixDatagram>,
    switch: Option<Switch>,
    reach: Option<Reach>,
    orphan_grace: Duration,
    fate: Fate,
    exited: bool,
    /// The command's work is done, and stands until the end.
    done: bool,
    last: Last,
    /// Its end has been ordered, or its time is over.
    over: bool,
    /// By when, as far as it was ordered.
    end_by: Option<At>,
}

impl Guard {
    fn begin(begin: Begin, orders: Lines, signals: SignalFd) -> Result<Guard, String> {
        set_child_subreaper(Some(rustix::process::getpid())).map_err(|error| format!("no subreaper: {error}"))?;
        let lock = lock(&begin.lock)?;
        let switch = arm(begin.reach)?;
        let alarm = alarm::new().map_err(|error| format!("no timer: {error}"))?;
        let nice = getpriority_process(None).unwrap_or(0);
        let _ = setpriority_process(None, PRIORITY);
        let notify = begin.notify.as_deref().map(listen).transpose()?;
        let mut guard = Guard {
            orders,
            signals,
            alarm,
            lock: Some(lock),
            nice,
            main: Pid::from_raw(0),
            launch: None,
            launch_fault: String::new(),
            notify,
            switch,
            reach: begin.reach,
            // What serves goes before what makes it right that it serves.
            orphan_grace: if begin.exclusive { ORPHAN_GRACE + ORPHAN_LEAD } else { ORPHAN_GRACE },
            fate: Fate::Live,
            exited: true,
            done: begin.command.is_empty(),
            last: begin.last.clone().map_or(Last::None, Last::Due),
            over: false,
            end_by: None,
            begin,
        };
        if !guard.done {
            let bound_to = std::process::id();
            guard.spawn(&guard.begin.command.clone(), bound_to)?;
        }
        Ok(guard)
    }

    /// Starts a program, which dies with `bound_to`, a process of the guard's own; 0: it may outlive the guard.
    fn spawn(&mut self, words: &[String], bound_to: u32) -> Result<(), String> {
        let (launch, writer) = std::io::pipe().map_err(|error| format!("no pipe: {error}"))?;
        lines::never_wait(launch.as_fd()).map_err(|error| format!("no pipe: {error}"))?;
        let mut command = Command::new("/proc/self/exe");
        command.arg0("lockstep").args(["guard", stage::FLAG]);
        command.arg(bound_to.to_string()).arg(self.nice.to_string()).args(words);
        command.stdin(Stdio::null()).stdout(writer).process_group(0).env(MARK, &self.begin.lock);
        for private in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", crate::crash::VARIABLE] {
            command.env_remove(private);
        }
        if let Some(path) = &self.begin.notify {
            command.env("NOTIFY_SOCKET", path);
        }
        let child = command.spawn().map_err(|error| format!("no process: {error}"))?;
        self.main = Pid::from_raw(i32::try_from(child.id()).map_err(|error| error.to_string())?);
        self.exited = false;
        self.launch = Some(launch);
        self.launch_fault.clear();
        Ok(())
    }

    /// One turn. False: nothing is left to guard.
    fn turn(&mut self) -> bool {
        self.hear_agent();
        self.hear_signals();
        self.hear_service();
        self.move_on(clock::now());
        if self.fate == Fate::Killing {
            if !self.exited {
                kill_group(self.main);
            }
            kill_children();
        }
        let reaped = reap(self.main);
        if let Some(status) = reaped.main {
            self.main_ended(status);
        }
        !reaped.none_left || self.goes_on_alone()
    }

    fn wait(&self) {
        let readable = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
        let mut inputs = vec![readable(self.signals.as_fd())];
        if !self.orders.closed {
            inputs.push(readable(stdin()));
        }
        inputs.extend(self.launch.as_ref().map(|launch| readable(launch.as_fd())));
        inputs.extend(self.notify.as_ref().map(|notify| readable(notify.as_fd())));
        inputs.push(readable(self.alarm.as_fd()));
        // A failure can only be one of time beyond the clock's end; what else wakes the guard still does.
        let _ = alarm::set(&self.alarm, self.deadline());
        let _ = poll(&mut inputs, None);
    }

    fn deadline(&self) -> Option<At> {
        let own = match self.fate {
            Fate::Live | Fate::Overtime => None,
            Fate::Orphan { term_at } => Some(term_at),
            Fate::Ending { kill_at } => Some(kill_at),
            Fate::Killing => return Some(clock::now() + KILL_AGAIN),
        };
        own.into_iter().chain(self.reach.map(|reach| reach.kill)).min()
    }

    fn hear_agent(&mut self) {
        self.orders.fill(stdin());
        while let Some(order) = self.orders.next() {
            match order {
                Order::Extend(reach) => self.extend(reach),
                Order::Release => self.release(),
                Order::Stop { kill_at } => self.end(kill_at),
                Order::Dismiss => {
                    self.last.dismiss();
                    self.end(clock::now() + self.begin.stop_max);
                }
                Order::Begin(_) => self.orders.closed = true,
            }
        }
        self.look_for_agent();
    }

    fn look_for_agent(&mut self) {
        // Perhaps it had gone before the service was started.
        if self.orders.closed && self.fate == Fate::Live {
            self.fate = Fate::Orphan { term_at: clock::now() + self.orphan_grace };
        }
    }

    fn extend(&mut self, reach: Reach) {
        // What is being killed gets no more time, and what is run last needs none.
        if self.fate == Fate::Killing || self.last.has_begun() {
            return;
        }
        let moved = match &mut self.switch {
            Some(switch) => switch.arm(reach),
            None => Switch::new().and_then(|mut switch| {
                switch.arm(reach)?;
                self.switch = Some(switch);
                Ok(())
            }),
        };
        match moved {
            Ok(()) => self.reach = Some(reach),
            Err(error) => eprintln!("lockstep guard: the dead-man's switch cannot be moved: {error}"),
        }
    }

    fn release(&mut self) {
        let Some(switch) = self.switch.as_mut().filter(|_| self.fate != Fate::Killing) else { return };
        match switch.disarm() {
            Ok(()) => self.reach = None,
            Err(error) => eprintln!("lockstep guard: the dead-man's switch cannot be disarmed: {error}"),
        }
    }

    fn hear_signals(&mut self) {
        while let Ok(Some(signal)) = self.signals.read_signal() {
            // Somebody ends all that runs, as at a shutdown of the machine: no less orderly than the agent would.
            if signal.ssi_signo == NixSignal::SIGTERM as u32 {
                self.end(clock::now() + self.begin.stop_max);
            }
        }
    }

    fn hear_service(&mut self) {
        if let Some(launch) = &mut self.launch {
            let mut text = [0; 512];
            match launch.read(&mut text) {
                Ok(0) => {
                    self.launch = None;
                    if self.launch_fault.is_empty() && !self.last.has_begun() {
                        self.say(&Event::Started { pid: self.main.as_raw().unsigned_abs() });
                    }
                }
                Ok(count) => self.launch_fault.push_str(&String::from_utf8_lossy(&text[..count])),
                Err(_) => {}
            }
        }
        if let Some(notify) = &self.notify {
            let mut text = [0; 1024];
            while let Ok(count) = notify.recv(&mut text) {
                for line in text[..count].split(|byte| *byte == b'\n') {
                    match line {
                        b"READY=1" => self.say(&Event::Ready),
                        b"WATCHDOG=1" => self.say(&Event::Alive),
                        // One that watches over the process that matters, and starts it again.
                        other => drop(named_main(other).map(|pid| self.say(&Event::Started { pid }))),
                    }
                }
            }
        }
    }

    /// TERM once, then KILL at the earlier of what was ever asked for. With no time in between, TERM is left out: a
    /// service that is to be killed must not be woken up first.
    fn end(&mut self, kill_at: At) {
        self.over = true;
        let end_by = *self.end_by.insert(self.end_by.map_or(kill_at, |earlier| earlier.min(kill_at)));
        let now = clock::now();
        match &mut self.fate {
            Fate::Live | Fate::Orphan { .. } if kill_at <= now => self.fate = Fate::Killing,
            Fate::Live | Fate::Orphan { .. } => {
                // What is to be run last has the other half.
                let own = if self.last.is_due() { end_by.since(now) / 2 } else { end_by.since(now) };
                self.fate = Fate::Ending { kill_at: now + own };
                if !self.exited {
                    // One that is stopped must be able to hear it.
                    signal_group(self.main, Signal::TERM);
                    signal_group(self.main, Signal::CONT);
                }
            }
            Fate::Ending { kill_at: earlier } => *earlier = (*earlier).min(kill_at),
            Fate::Killing => {}
            Fate::Overtime => self.fate = Fate::Ending { kill_at },
        }
    }

    fn move_on(&mut self, now: At) {
        if self.reach.is_some_and(|reach| reach.kill <= now) {
            self.over = true;
            self.fate = Fate::Killing;
        }
        match self.fate {
            Fate::Orphan { term_at } if term_at <= now => self.end(now + self.begin.stop_max),
            Fate::Ending { kill_at } if kill_at <= now => self.fate = Fate::Killing,
            _ => {}
        }
    }

    fn main_ended(&mut self, status: WaitStatus) {
        // What it has started does not outlive it.
        self.exited = true;
        self.fate = Fate::Killing;
        kill_children();
        if self.launch.is_some() {
            // Its last words may still be in the pipe.
            self.hear_service();
        }
        if self.last.has_begun() {
            return self.last.ended(status, &self.launch_fault);
        }
        let event = match status {
            _ if !self.launch_fault.is_empty() => {
                // Nothing was done, so there is nothing to take back.
                self.last.dismiss();
                Event::Failed { why: format!("it could not be started: {}", self.launch_fault) }
            }
            WaitStatus::Exited(_, code) if self.begin.expected.contains(&code) => {
                self.done = true;
                Event::Done
            }
            status => Event::Exited { how: last::in_words(status) },
        };
        self.say(&event);
    }

    /// Nothing runs. Whether something is left to guard: what was done, until that is taken back.
    fn goes_on_alone(&mut self) -> bool {
        if self.done && !self.over && self.last.is_due() {
            if self.fate == Fate::Killing {
                self.fate = Fate::Live;
                self.look_for_agent();
            }
            return true;
        }
        if let Some(command) = self.last.begin() {
            // The kernel's own deadline is the only one that is left, unless an end was ordered.
            self.reach = None;
            let least = clock::now() + self.begin.stop_max / 2;
            self.fate = self.end_by.map_or(Fate::Overtime, |by| Fate::Ending { kill_at: by.max(least) });
            match self.spawn(&command, 0) {
                Ok(()) => return true,
                Err(why) => self.last.failed(why),
            }
        }
        // The lock first: who hears that nothing runs may start the next one at once.
        self.lock = None;
        self.say(&match self.last.fault() {
            None => Event::Gone,
            Some(how) => Event::NotUndone { how },
        });
        false
    }

    fn say(&self, event: &Event) {
        // An agent that has gone hears nothing.
        let _ = lines::write(stdout(), event);
    }
}

/// The process that a service names as its main one, `MAINPID=` (`sd_notify(3)`).
fn named_main(line: &[u8]) -> Option<u32> {
    let pid = std::str::from_utf8(line.strip_prefix(b"MAINPID=")?).ok()?;
    pid.parse().ok().filter(|pid| *pid != 0)
}

/// Takes the lock, and lets it be inherited.
fn lock(path: &Path) -> Result<File, String> {
    let fault = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true).mode(0o600);
    let file = options.open(path).map_err(fault)?;
    flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|error| match error {
        Errno::WOULDBLOCK => format!("{} is held: something of an earlier life of the service runs", path.display()),
        other => fault(other.into()),
    })?;
    fcntl_setfd(&file, FdFlags::empty()).map_err(|error| fault(error.into()))?;
    Ok(file)
}

fn arm(reach: Option<Reach>) -> Result<Option<Switch>, String> {
    let Some(reach) = reach else { return Ok(None) };
    let fault = |error: nix::Error| format!("no dead-man's switch, so no service: {error}");
    let mut switch = Switch::new().map_err(fault)?;
    switch.arm(reach).map_err(fault)?;
    Ok(Some(switch))
}

fn listen(path: &Path) -> Result<UnixDatagram, String> {
    let fault = |error: std::io::Error| format!("{}: {error}", path.display());
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(fault(error)),
        _ => {}
    }
    let socket = UnixDatagram::bind(path).map_err(fault)?;
    socket.set_nonblocking(true).map_err(fault)?;
    Ok(socket)
}
