//! A program and what it has started, ended together: a job object.

use std::io;
use std::os::windows::io::OwnedHandle;
use std::process::Stdio;
use tokio::io::AsyncRead;
use tokio::process::{Child, ChildStdout, Command};
use win32job::{ExtendedLimitInfo, Job};

/// No window of its own.
pub(crate) const CREATE_NO_WINDOW: u32 = 0x0800_0000;

/// A job: killed when dropped.
#[derive(Debug)]
pub(crate) struct Family(Option<Job>);

/// A job whose processes die when nobody has it any more.
pub(crate) fn job() -> io::Result<Job> {
    let mut limits = ExtendedLimitInfo::new();
    limits.limit_kill_on_job_close();
    Ok(Job::create_with_limit_info(&limits)?)
}

impl Family {
    /// Starts a program in a job of its own. The words that come back are those of both of its outputs, in their order.
    ///
    /// What the program starts in the moment before it is in its job stays outside.
    pub(crate) fn start(mut command: Command) -> io::Result<(Child, Family, impl AsyncRead + Unpin)> {
        let job = job()?;
        let (reader, writer) = io::pipe()?;
        command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer).kill_on_drop(true);
        command.creation_flags(CREATE_NO_WINDOW);
        let child = command.spawn()?;
        // It holds the writing end too.
        drop(command);
        if let Some(handle) = child.raw_handle() {
            // One that has ended already cannot be put anywhere.
            let _ = job.assign_process(handle as isize);
        }
        let words = ChildStdout::from_std(std::process::ChildStdout::from(OwnedHandle::from(reader)))?;
        Ok((child, Family(Some(job)), words))
    }

    /// Kills all of it.
    pub(crate) fn kill(&mut self) {
        self.0 = None;
    }

    /// What is left of it is its own business: it is not killed any more.
    pub(crate) fn leave(self) {
        if let Some(job) = &self.0 {
            let _ = job.set_extended_limit_info(&ExtendedLimitInfo::new());
        }
    }
}
