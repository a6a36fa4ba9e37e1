//! This process, and others by their number.

use winsafe::guard::CloseHandleGuard;
use winsafe::{HPROCESS, SysResult, co};

/// What stands for the exit code of a process that runs.
const STILL_ACTIVE: u32 = 259;

/// Windows does not say whether a process is stopped; that one has ended is heard from its guard.
pub(crate) fn fault(_: u32) -> Option<&'static str> {
    None
}

/// Ends this process without a word to anyone.
pub(crate) fn die() {
    let _ = HPROCESS::GetCurrentProcess().TerminateProcess(1);
}

/// Has this process run before those that work: it is small, and must be on time.
pub(crate) fn hurry() {
    let _ = HPROCESS::GetCurrentProcess().SetPriorityClass(co::PRIORITY_CLASS::HIGH);
}

/// Ends a process, and nothing that it has started. True: it is no more, or about to go.
pub(crate) fn terminate(pid: u32) -> SysResult<()> {
    match open(pid, co::PROCESS::TERMINATE) {
        // It has gone.
        Err(co::ERROR::INVALID_PARAMETER) => Ok(()),
        opened => opened?.TerminateProcess(1),
    }
}

/// Ends a process if it runs this very program.
pub(crate) fn terminate_own_kind(pid: u32) -> SysResult<()> {
    let process = open(pid, co::PROCESS::TERMINATE | co::PROCESS::QUERY_LIMITED_INFORMATION)?;
    let own = HPROCESS::GetCurrentProcess().QueryFullProcessImageName(co::PROCESS_NAME::WIN32)?;
    if process.QueryFullProcessImageName(co::PROCESS_NAME::WIN32)?.eq_ignore_ascii_case(&own) {
        process.TerminateProcess(1)?;
    }
    Ok(())
}

/// Whether a process has surely ended. One that may not be looked at has not.
pub(crate) fn has_ended(pid: u32) -> bool {
    match open(pid, co::PROCESS::QUERY_LIMITED_INFORMATION) {
        Ok(process) => process.GetExitCodeProcess().is_ok_and(|code| code != STILL_ACTIVE),
        Err(error) => error == co::ERROR::INVALID_PARAMETER,
    }
}

/// A process that may be put into a job.
pub(crate) fn for_job(pid: u32) -> SysResult<CloseHandleGuard<HPROCESS>> {
    open(pid, co::PROCESS::SET_QUOTA | co::PROCESS::TERMINATE)
}

fn open(pid: u32, access: co::PROCESS) -> SysResult<CloseHandleGuard<HPROCESS>> {
    HPROCESS::OpenProcess(access, false, pid)
}
