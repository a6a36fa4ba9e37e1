//! How an application knows that its own CTI service is active: a lock on a file that the CTI holds while it is.
//!
//! The kernel drops the lock with the process, however that dies, so the answer is never stale. Testing it takes no
//! lock (one system call, `F_OFD_GETLK`), so that a test never stands in the way of a CTI that is becoming active.

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

/// The lock's file, opened by whoever holds the lock or asks for it.
#[derive(Debug)]
pub struct ActiveLock {
    file: File,
}

impl ActiveLock {
    /// Opens the file; makes it when it is missing.
    ///
    /// # Errors
    /// The file can be neither opened nor made.
    pub fn open(path: &Path) -> io::Result<ActiveLock> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        Ok(ActiveLock { file })
    }

    /// Takes the lock; false when another process has it.
    ///
    /// # Errors
    /// The file system knows no such locks.
    pub fn take(&self) -> io::Result<bool> {
        match fcntl(&self.file, FcntlArg::F_OFD_SETLK(&whole_file(libc::F_WRLCK))) {
            Ok(_) => Ok(true),
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EACCES) => Ok(false),
            Err(other) => Err(other.into()),
        }
    }

    /// Gives the lock back.
    ///
    /// # Errors
    /// The file system knows no such locks.
    pub fn release(&self) -> io::Result<()> {
        fcntl(&self.file, FcntlArg::F_OFD_SETLK(&whole_file(libc::F_UNLCK)))?;
        Ok(())
    }

    /// Whether some other holder has the lock at this instant.
    ///
    /// # Errors
    /// The file system knows no such locks.
    pub fn held_by_another(&self) -> io::Result<bool> {
        let mut found = whole_file(libc::F_WRLCK);
        fcntl(&self.file, FcntlArg::F_OFD_GETLK(&mut found))?;
        Ok(i32::from(found.l_type) != libc::F_UNLCK)
    }
}

fn whole_file(kind: i32) -> libc::flock {
    // F_RDLCK, F_WRLCK and F_UNLCK are 0, 1 and 2.
    #[expect(clippy::cast_possible_truncation, reason = "the three kinds of lock fit")]
    let l_type = kind as i16;
    libc::flock { l_type, l_whence: 0, l_start: 0, l_len: 0, l_pid: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_seen_while_held_and_only_then() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cti.lock");
        let (cti, app) = (ActiveLock::open(&path).unwrap(), ActiveLock::open(&path).unwrap());
        assert!(!app.held_by_another().unwrap());
        assert!(cti.take().unwrap());
        assert!(app.held_by_another().unwrap());
        assert!(!app.take().unwrap());
        cti.release().unwrap();
        assert!(!app.held_by_another().unwrap());
        assert!(cti.take().unwrap());
        drop(cti);
        assert!(!app.held_by_another().unwrap(), "the lock must go with its holder");
    }
}
