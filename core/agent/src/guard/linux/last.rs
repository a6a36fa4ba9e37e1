//! What a guard runs last: when all else of its service is over, whatever has ended it.

use nix::sys::wait::WaitStatus;

/// How far that has come.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Last {
    /// Nothing is run, or it has done its work.
    None,
    /// Not yet.
    Due(Vec<String>),
    Running,
    /// What it was to end may go on.
    Failed(String),
}

impl Last {
    pub(super) fn is_due(&self) -> bool {
        matches!(self, Last::Due(_))
    }

    pub(super) fn has_begun(&self) -> bool {
        matches!(self, Last::Running)
    }

    /// It is not needed; what has begun is let to its end.
    pub(super) fn dismiss(&mut self) {
        if self.is_due() {
            *self = Last::None;
        }
    }

    /// What is to be run now.
    pub(super) fn begin(&mut self) -> Option<Vec<String>> {
        match std::mem::replace(self, Last::Running) {
            Last::Due(command) => Some(command),
            other => {
                *self = other;
                None
            }
        }
    }

    pub(super) fn ended(&mut self, status: WaitStatus, launch_fault: &str) {
        *self = match status {
            _ if !launch_fault.is_empty() => Last::Failed(format!("it could not be started: {launch_fault}")),
            WaitStatus::Exited(_, 0) => Last::None,
            status => Last::Failed(in_words(status)),
        };
    }

    pub(super) fn failed(&mut self, why: String) {
        *self = Last::Failed(why);
    }

    pub(super) fn fault(&self) -> Option<String> {
        match self {
            Last::None => None,
            Last::Failed(how) => Some(how.clone()),
            Last::Due(_) | Last::Running => Some("its end was not seen".to_owned()),
        }
    }
}

/// For a person to read: `exit status 3`, `signal SIGKILL`.
pub(super) fn in_words(status: WaitStatus) -> String {
    match status {
        WaitStatus::Exited(_, code) => format!("exit status {code}"),
        WaitStatus::Signaled(_, signal, _) => format!("signal {signal}"),
        other => format!("{other:?}"),
    }
}
