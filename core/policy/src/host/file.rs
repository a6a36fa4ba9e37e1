//! A plugin's file: read once, and judged before any of its code runs.

use super::LoadError;
use super::elf::{self, Section};
use crate::abi::{BadStamp, MAJOR, STAMP_SECTION, Stamp, kind};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The most bytes of a plugin's file.
const MAX_FILE: u64 = 128 * 1024 * 1024;

/// How often memory is tried to be sealed, and how long it is let alone in between.
const SEALING: u32 = 50;
const SEALING_PAUSE: Duration = Duration::from_millis(20);

/// SHA-256 of a plugin's file, shown as hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// Of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Fingerprint {
        Fingerprint(Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A plugin's file in sealed memory: nobody can have changed it between judging and loading. None of its code has run.
/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct PluginFile {
    path: PathBuf,
    stamp: Stamp,
    fingerprint: Fingerprint,
    memory: Arc<File>,
    /// Owner and mode of the file as it was opened.
    pub(super) owner: u32,
    pub(super) mode: u32,
}

impl PluginFile {
    /// Reads the file once, and refuses what is no policy for this host.
    pub fn read(path: &Path) -> Result<PluginFile, LoadError> {
        let failed = |source| LoadError::Read { path: path.to_owned(), source };
        let opened = File::open(path).map_err(failed)?;
        let about = opened.metadata().map_err(failed)?;
        let bytes = bounded(path, &opened)?;
        let stamp = judge(path, &bytes)?;
        let no_memory =
            |error| LoadError::Load { path: path.to_owned(), why: format!("no sealed memory for it: {error}") };
        Ok(PluginFile {
            path: path.to_owned(),
            stamp,
            fingerprint: Fingerprint::of(&bytes),
            memory: Arc::new(sealed(&bytes).map_err(no_memory)?),
            owner: about.uid(),
            mode: about.mode(),
        })
    }

    /// None that could be loaded, for tests of what goes on around one.
    #[cfg(test)]
    pub(super) fn of_nothing() -> PluginFile {
        PluginFile {
            path: PathBuf::new(),
            stamp: Stamp::new("nothing", "1", 1, 0, true),
            fingerprint: Fingerprint::of(b""),
            memory: Arc::new(File::open("/dev/null").expect("it is on every machine")),
            owner: 0,
            mode: 0,
        }
    }

    /// What another process has read, judged and sealed.
    pub(super) fn inherited(memory: OwnedFd, path: PathBuf, fingerprint: Fingerprint) -> Result<PluginFile, LoadError> {
        let memory = File::from(memory);
        let failed = |source| LoadError::Read { path: path.clone(), source };
        let about = memory.metadata().map_err(failed)?;
        let mut bytes = vec![0; usize::try_from(about.len()).unwrap_or(usize::MAX)];
        memory.read_exact_at(&mut bytes, 0).map_err(failed)?;
        let stamp = judge(&path, &bytes)?;
        let (owner, mode) = (about.uid(), about.mode());
        Ok(PluginFile { path, stamp, fingerprint, memory: Arc::new(memory), owner, mode })
    }

    /// Where it was read.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The policy's name: `telisca`.
    #[must_use]
    pub fn id(&self) -> &str {
        self.stamp.id().unwrap_or_default()
    }

    /// The plugin's own version.
    #[must_use]
    pub fn version(&self) -> &str {
        self.stamp.version().unwrap_or_default()
    }

    /// The version of its snapshots' format.
    #[must_use]
    pub fn state_version(&self) -> u32 {
        self.stamp.state_version()
    }

    /// Of the bytes that are loaded.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    pub(super) fn stamp(&self) -> &Stamp {
        &self.stamp
    }

    pub(super) fn memory(&self) -> &File {
        &self.memory
    }
}

fn bounded(path: &Path, opened: &File) -> Result<Vec<u8>, LoadError> {
    let mut bytes = Vec::new();
    opened
        .take(MAX_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| LoadError::Read { path: path.to_owned(), source })?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(LoadError::TooLarge { path: path.to_owned(), limit: MAX_FILE });
    }
    Ok(bytes)
}

/// Everything that can be told from the file's bytes.
fn judge(path: &Path, file: &[u8]) -> Result<Stamp, LoadError> {
    let path = || path.to_owned();
    let section = match elf::section(file, STAMP_SECTION) {
        Ok(Section::Found(section)) => section,
        Ok(Section::Absent) => return Err(LoadError::NoStamp { path: path() }),
        Err(why) => return Err(LoadError::NotALibrary { path: path(), why }),
    };
    let stamp = match Stamp::read(section) {
        Ok(stamp) => stamp,
        Err(BadStamp::OtherMajor(found)) => return Err(LoadError::OtherMajor { path: path(), found, known: MAJOR }),
        Err(BadStamp::Damaged(why)) => return Err(LoadError::BadStamp { path: path(), why: why.to_owned() }),
    };
    if !stamp.unwinds() {
        return Err(LoadError::Aborts { path: path() });
    }
    let ours = kind::bits(&kind::EVENTS) | kind::bits(&kind::ACTIONS);
    let unknown_to_us = stamp.needs() & !ours;
    if unknown_to_us != 0 {
        let why = format!("it needs records that this lockstep does not know (bits {unknown_to_us:#x})");
        return Err(LoadError::Records { path: path(), why });
    }
    let unknown_to_it = kind::bits(&kind::INDISPENSABLE) & !stamp.knows();
    if unknown_to_it != 0 {
        let why = format!("it does not know records that every policy must know (bits {unknown_to_it:#x})");
        return Err(LoadError::Records { path: path(), why });
    }
    Ok(stamp)
}

fn sealed(file: &[u8]) -> io::Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Kernels before 6.3 do not know that executable memory must be asked for.
    let memory = memfd_create("lockstep-policy", flags | MemfdFlags::EXEC)
        .or_else(|_| memfd_create("lockstep-policy", flags))?;
    let mut memory = File::from(memory);
    memory.write_all(file)?;
    let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    // Linux refuses for as long as it holds a page itself, which it does when it looks for pages to reclaim or to move.
    let mut tries = SEALING;
    while let Err(error) = fcntl_add_seals(&memory, seals) {
        tries -= 1;
        if error != Errno::BUSY || tries == 0 {
            return Err(error.into());
        }
        std::thread::sleep(SEALING_PAUSE);
    }
    Ok(memory)
}
