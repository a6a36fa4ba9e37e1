//! Processes that a story starts and kills itself.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::OpenOptions;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// The points at which a process can be told to die.
const CRASH_AT: &str = "LOCKSTEP_CRASH_AT";

/// Nothing that is waited for takes nearly as long.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// From one look to the next.
const LOOK: Duration = Duration::from_millis(5);

/// Waits until there is something.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begin.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(LOOK);
    }
}

/// The binary, for a verb.
pub fn lockstep() -> Command {
    let mut command = Command::new(crate::lockstep());
    command.env_remove("LOCKSTEP_ADMIN").env_remove("LOCKSTEP_TOKEN_FILE");
    command
}

/// One life of the edge or of an agent.
#[derive(Debug)]
pub struct Life {
    child: Child,
}

impl Life {
    /// Starts it; what it says is added to a log.
    pub fn begin(mut command: Command, log: &Path, dies_at: Option<&str>) -> Life {
        let log = OpenOptions::new().append(true).create(true).open(log).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        if let Some(point) = dies_at {
            command.env(CRASH_AT, point);
        }
        Life { child: command.spawn().unwrap() }
    }

    /// Its number.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for its end.
    pub fn wait(mut self, what: &str) -> ExitStatus {
        until(&format!("the end of {what}"), || self.child.try_wait().unwrap())
    }

    /// Waits until it has been killed. That it ends in another way is not what the story is about.
    pub fn wait_killed(self, what: &str) {
        let status = self.wait(what);
        assert_eq!(status.signal(), Some(Signal::SIGKILL as i32), "{what} has ended by itself: {status}");
    }
}

/// The last lines of a text.
pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<_> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
