//! The files that trust rests on, read and written with care: a private key is nobody else's, and a file is there whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

/// No file of ours is so long.
const FILE_MAX: u64 = 1 << 20;

/// Where everything is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificates of the CAs whose word counts, in PEM.
    pub ca: PathBuf,
    /// The own certificate, in PEM.
    pub certificate: PathBuf,
    /// The own private key, in PEM; it may be the same file as the certificate's, and is where that is renewed by itself.
    pub key: PathBuf,
    /// The list of revoked certificates, in PEM.
    pub revoked: Option<PathBuf>,
    /// An edge's only: the CA's private key, with which it renews certificates.
    pub ca_key: Option<PathBuf>,
}

/// Why something cannot be trusted, or used to be trusted: a sentence with its remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {what}", file.display())]
pub struct TrustError {
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it, and what to do.
    pub what: String,
}

impl TrustError {
    pub(super) fn new(file: &Path, what: impl Into<String>) -> TrustError {
        TrustError { file: file.to_owned(), what: what.into() }
    }
}

/// What the files contain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Contents {
    pub(super) ca: Vec<u8>,
    pub(super) certificate: Vec<u8>,
    pub(super) key: Vec<u8>,
    pub(super) revoked: Vec<u8>,
}

impl TlsFiles {
    pub(super) fn read(&self) -> Result<Contents, TrustError> {
        let revoked = self.revoked.as_deref().map(read).transpose()?;
        Ok(Contents {
            ca: read(&self.ca)?,
            certificate: read(&self.certificate)?,
            key: read_private(&self.key)?,
            revoked: revoked.unwrap_or_default(),
        })
    }

    /// What a change of the files would change.
    pub(super) fn marks(&self) -> Marks {
        let files = [Some(&self.ca), Some(&self.certificate), Some(&self.key), self.revoked.as_ref()];
        Marks(files.map(|file| file.and_then(|file| fs::metadata(file).ok()).map(|file| mark(&file))))
    }

    /// Whether certificate and key are one file, which can be replaced as one.
    #[must_use]
    pub fn is_one(&self) -> bool {
        self.certificate == self.key
    }
}

/// What tells, without reading them, that files are as they were: none of one that is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Marks([Option<Mark>; 4]);

/// Which file it is, how long, and when it was last changed.
#[cfg(unix)]
type Mark = [i64; 6];
#[cfg(not(unix))]
type Mark = (u64, Option<std::time::SystemTime>);

#[cfg(unix)]
fn mark(file: &fs::Metadata) -> Mark {
    use std::os::unix::fs::MetadataExt as _;
    let [inode, size] = [file.ino(), file.size()].map(u64::cast_signed);
    [inode, size, file.mtime(), file.mtime_nsec(), file.ctime(), file.ctime_nsec()]
}

#[cfg(not(unix))]
fn mark(file: &fs::Metadata) -> Mark {
    (file.len(), file.modified().ok())
}

/// A file that anybody may read.
pub(super) fn read(file: &Path) -> Result<Vec<u8>, TrustError> {
    read_if(file, |_| Ok(()))
}

/// A private key: refused when others may read it.
pub(super) fn read_private(file: &Path) -> Result<Vec<u8>, TrustError> {
    read_if(file, keeps_to_itself)
}

fn read_if(file: &Path, sound: impl FnOnce(&fs::Metadata) -> Result<(), String>) -> Result<Vec<u8>, TrustError> {
    let wrong = |what: String| TrustError::new(file, what);
    let unreadable = |error: io::Error| wrong(unreadable(&error));
    let opened = File::open(file).map_err(unreadable)?;
    sound(&opened.metadata().map_err(unreadable)?).map_err(wrong)?;
    let mut bytes = Vec::new();
    opened.take(FILE_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(wrong(format!("is longer than {FILE_MAX} bytes: this is no file of certificates")));
    }
    Ok(bytes)
}

fn unreadable(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => {
            "is not there: make it with `lockstep pki init` and `lockstep pki issue`, and copy it here".to_owned()
        }
        _ => format!("cannot be read: {error}"),
    }
}

#[cfg(unix)]
fn keeps_to_itself(file: &fs::Metadata) -> Result<(), String> {
    use std::os::unix::fs::MetadataExt as _;
    match file.mode() & 0o7777 {
        mode if mode & 0o027 != 0 => Err(format!(
            "contains a private key and is open to others (mode {mode:04o}): say chmod 0600, and issue it anew"
        )),
        _ => Ok(()),
    }
}

/// On Windows the directory's access list decides: the installer makes it the administrators'.
#[cfg(not(unix))]
fn keeps_to_itself(_: &fs::Metadata) -> Result<(), String> {
    Ok(())
}

/// Writes a file that only its owner may read, as a whole or not at all. Where it replaces one, the owner stays.
pub(super) fn write_private(file: &Path, text: &str) -> Result<(), TrustError> {
    write(file, text, 0o600)
}

/// The same for a file that everybody may read.
pub(super) fn write_public(file: &Path, text: &str) -> Result<(), TrustError> {
    write(file, text, 0o644)
}

fn write(file: &Path, text: &str, mode: u32) -> Result<(), TrustError> {
    let wrong = |error: io::Error| {
        let what = format!("cannot be written: {error}: let its user write to {}", directory(file).display());
        TrustError::new(file, what)
    };
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let new = directory(file).join(format!(".{name}.{}.new", std::process::id()));
    let written = write_new(&new, text, mode, file).and_then(|()| fs::rename(&new, file));
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written.map_err(wrong)?;
    // A rename is on the disk when its directory is.
    #[cfg(unix)]
    File::open(directory(file)).and_then(|directory| directory.sync_all()).map_err(wrong)?;
    Ok(())
}

fn write_new(new: &Path, text: &str, mode: u32, replaces: &Path) -> io::Result<()> {
    // Of a life that ended while it wrote.
    let _ = fs::remove_file(new);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    let mut opened = options.open(new)?;
    opened.write_all(text.as_bytes())?;
    keep_owner(&opened, replaces)?;
    opened.sync_all()?;
    #[cfg(not(unix))]
    let _ = mode;
    Ok(())
}

/// What root renews is still the edge's.
#[cfg(unix)]
fn keep_owner(opened: &File, replaces: &Path) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt as _, fchown};
    let Ok(old) = fs::metadata(replaces) else { return Ok(()) };
    let new = opened.metadata()?;
    if (old.uid(), old.gid()) == (new.uid(), new.gid()) {
        return Ok(());
    }
    fchown(opened, Some(old.uid()), Some(old.gid()))
}

#[cfg(not(unix))]
fn keep_owner(_: &File, _: &Path) -> io::Result<()> {
    Ok(())
}

/// Where a file lies.
pub(super) fn directory(file: &Path) -> &Path {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_that_others_may_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("key.pem");
        write_private(&file, "secret").unwrap();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(read_private(&file).unwrap(), b"secret");
        for (mode, is_refused) in [(0o640, false), (0o644, true), (0o620, true), (0o604, true), (0o400, false)] {
            fs::set_permissions(&file, PermissionsExt::from_mode(mode)).unwrap();
            assert_eq!(read_private(&file).is_err(), is_refused, "{mode:o}");
        }
    }

    #[test]
    fn a_write_that_fails_leaves_the_old_file_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("key.pem");
        write_private(&file, "old").unwrap();
        // A directory in its place: the rename is refused.
        let blocked = dir.path().join("blocked");
        fs::create_dir_all(blocked.join("inside")).unwrap();
        assert!(write_private(&blocked, "new").unwrap_err().to_string().contains("cannot be written"));
        assert_eq!(fs::read_to_string(&file).unwrap(), "old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "no temporary file is left");
    }
}
