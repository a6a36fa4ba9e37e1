//! What must be right on the disk: what nobody else may open, and what survives a crash.
//!
//! Who may look into a directory is inherited from the one above it: `lockstep agent install` gives the state directory to
//! the system and its administrators alone.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::windows::fs::OpenOptionsExt as _;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

/// Somebody has the file open and does not share it.
const SHARING_VIOLATION: i32 = 32;
const ACCESS_DENIED: i32 = 5;
/// What a virus scanner holds for a moment is tried again so often.
const ATTEMPTS: u32 = 50;
const NEXT_ATTEMPT: Duration = Duration::from_millis(10);

/// Makes a directory where it is missing.
pub(crate) fn private_directory(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

/// To write a file, made where it is missing.
pub(crate) fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.create(true).write(true);
    options
}

/// A file that nobody else can open as long as this process, or one that has inherited it, lives.
#[derive(Debug)]
pub(crate) struct Lock(File);

impl Lock {
    /// None: somebody else has it.
    pub(crate) fn take(path: &Path) -> io::Result<Option<Lock>> {
        match private_file().truncate(false).read(true).share_mode(0).open(path) {
            Ok(file) => Ok(Some(Lock(file))),
            Err(error) if error.raw_os_error() == Some(SHARING_VIOLATION) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether nobody has it.
    pub(crate) fn is_free(path: &Path) -> io::Result<bool> {
        match OpenOptions::new().read(true).share_mode(0).open(path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(error) if error.raw_os_error() == Some(SHARING_VIOLATION) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The same lock once more, for one that is to inherit it.
    pub(crate) fn file(&self) -> io::Result<File> {
        self.0.try_clone()
    }
}

/// Gives a file, which is on the disk already, the name of another. Returns when the name is on the disk too: a flush of a
/// file takes its name along, and a directory cannot be flushed here.
pub(crate) fn replace(from: &Path, to: &Path) -> io::Result<()> {
    let mut attempt = 1;
    loop {
        match fs::rename(from, to) {
            Err(error)
                if attempt < ATTEMPTS && matches!(error.raw_os_error(), Some(SHARING_VIOLATION | ACCESS_DENIED)) =>
            {
                attempt += 1;
                sleep(NEXT_ATTEMPT);
            }
            result => break result?,
        }
    }
    OpenOptions::new().write(true).open(to)?.sync_all()
}
