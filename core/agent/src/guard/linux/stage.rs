//! The step between guard and service: the same program once more, which sets what must be set in the service's own
//! process, and then becomes the service.

use nix::sys::signal::SigSet;
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal, setpriority_process};
use std::ffi::OsString;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

/// What tells a stage from a guard on the command line.
pub(super) const FLAG: &str = "--exec";

/// `GUARD NICE PROGRAM ARG…`: the guard's process, or 0 for what may outlive it; the service's priority, its command. Stdout is a pipe to the guard:
/// it closes without a word when the service's program runs, or brings the reason why it does not.
pub(super) fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    let why = match become_service(args) {
        Ok(never) => match never {},
        Err(why) => why,
    };
    let _ = std::io::stdout().write_all(why.as_bytes());
    ExitCode::from(127)
}

enum Never {}

fn become_service(mut args: impl Iterator<Item = OsString>) -> Result<Never, String> {
    let mut number = || args.next()?.to_str()?.parse::<i32>().ok();
    let (Some(guard), Some(nice)) = (number(), number()) else { return Err("called by hand".to_owned()) };
    let program = args.next().ok_or("no command")?;

    if guard != 0 {
        set_parent_process_death_signal(Some(Signal::KILL)).map_err(|error| format!("no death signal: {error}"))?;
        // A guard that died before that line was no parent any more when it took effect.
        if getppid() != Pid::from_raw(guard) {
            return Err("the guard has gone".to_owned());
        }
    }
    let _ = setpriority_process(None, nice);
    SigSet::all().thread_unblock().map_err(|error| format!("signals: {error}"))?;

    let fault = |error: std::io::Error| error.to_string();
    let stdout = rustix::stdio::stdout();
    let mut report = File::from(rustix::io::fcntl_dupfd_cloexec(stdout, 3).map_err(|error| fault(error.into()))?);
    rustix::stdio::dup2_stdout(rustix::stdio::stderr()).map_err(|error| fault(error.into()))?;
    let error = Command::new(&program).args(args).exec();
    let _ = write!(report, "{}: {error}", program.display());
    std::process::exit(127)
}
