//! On which terms plugins are run.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Where a plugin's code runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isolation {
    /// In a worker process of its own, which all pairs with this plugin share.
    #[default]
    Process,
    /// In this process, each pair on a thread of its own. What ends the plugin ends the edge.
    InProcess,
}

impl Isolation {
    /// As configurations and status say it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Isolation::Process => "process",
            Isolation::InProcess => "in-process",
        }
    }
}

/// How plugins are run, and what they may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Where.
    pub isolation: Isolation,
    /// What is started as a worker.
    pub program: Program,
    /// Bytes of memory that a worker may take over what it has once the plugin is loaded.
    pub memory: u64,
    /// CPU time of one event after which operators are told.
    pub warn_cpu: Duration,
    /// CPU time of one event after which the worker is killed.
    pub kill_cpu: Duration,
    /// Time of one event after which a worker that sleeps is killed.
    pub kill_wall: Duration,
}

impl Default for Terms {
    fn default() -> Terms {
        Terms {
            isolation: Isolation::Process,
            program: Program::default(),
            memory: 1 << 30,
            warn_cpu: Duration::from_millis(50),
            kill_cpu: Duration::from_secs(1),
            kill_wall: Duration::from_secs(5),
        }
    }
}

/// A program that calls [`super::worker::serve`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Its file.
    pub file: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
}

static STAND_IN: Mutex<Option<Program>> = Mutex::new(None);

impl Program {
    /// Takes this program in place of the running executable, for the whole process: tests are not `lockstep`.
    pub fn stand_in(self) {
        *STAND_IN.lock().unwrap_or_else(PoisonError::into_inner) = Some(self);
    }
}

/// The running executable with the verb `policy-worker`.
impl Default for Program {
    fn default() -> Program {
        let stand_in = STAND_IN.lock().unwrap_or_else(PoisonError::into_inner).clone();
        stand_in.unwrap_or_else(|| Program {
            file: PathBuf::from("/proc/self/exe"),
            arguments: vec![OsString::from("policy-worker")],
        })
    }
}
