//! A program under its guard. Windows has nothing that asks any program to end: what needs to be asked is a service.

use super::watch::{Charge, Heard};
use crate::guard::order::Begin;
use crate::platform::disk::Lock;
use crate::platform::family;
use crate::platform::process;
use std::io;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::SyncSender;
use std::thread;
use win32job::{ExtendedLimitInfo, Job};

/// A program that runs, with all that it has started.
#[derive(Debug)]
pub(super) struct Program {
    /// The guard is in it too.
    job: Job,
}

impl Program {
    /// Starts it in a job, its lock as its standard input.
    pub(super) fn start(begin: &Begin, lock: &Lock, tell: SyncSender<Heard>) -> Result<Program, String> {
        let job = family::job().map_err(|error| format!("no job object: {error}"))?;
        job.assign_current_process().map_err(|error| format!("not in a job object: {}", io::Error::from(error)))?;
        let (program, args) = begin.command.split_first().ok_or("no command")?;
        let stdin = lock.file().map_err(|error| format!("{}: {error}", begin.lock.display()))?;
        let mut command = Command::new(program);
        command.args(args).stdin(stdin).stdout(Stdio::null()).env_remove(crate::crash::VARIABLE);
        let child = command.spawn().map_err(|error| format!("it could not be started: {program}: {error}"))?;
        let _ = tell.send(Heard::Started { pid: child.id() });
        thread::spawn(move || wait(child, &tell));
        Ok(Program { job })
    }
}

fn wait(mut child: Child, tell: &SyncSender<Heard>) {
    let how = child.wait().map_or_else(|error| error.to_string(), in_words);
    let _ = tell.send(Heard::Ended { how });
}

fn in_words(status: ExitStatus) -> String {
    status.code().map_or_else(|| status.to_string(), |code| format!("exit status {code}"))
}

impl Charge for Program {
    fn ask(&mut self) -> bool {
        false
    }

    fn kill(&mut self) -> bool {
        let own = std::process::id() as usize;
        let Ok(members) = self.job.query_process_id_list() else {
            // More than the list takes: the guard goes, and the kernel ends them all.
            std::process::exit(0);
        };
        let others: Vec<u32> =
            members.into_iter().filter(|pid| *pid != own).filter_map(|pid| u32::try_from(pid).ok()).collect();
        for pid in &others {
            let _ = process::terminate(*pid);
        }
        if others.is_empty() {
            // What is left is the guard, which ends by itself.
            let _ = self.job.set_extended_limit_info(&ExtendedLimitInfo::new());
        }
        others.is_empty()
    }

    fn is_bound(&self) -> bool {
        true
    }
}
