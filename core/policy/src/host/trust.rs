//! Which plugins may be loaded: by the SHA-256 of their files, in a list that only who runs lockstep can write.

use super::{Fingerprint, LoadError, PluginFile};
use rustix::process::geteuid;
use std::fmt::Write as _;
use std::fs::{File, Metadata, Permissions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The most bytes of a list.
const MAX_LIST: u64 = 1 << 20;

/// What a new list begins with.
const HEAD: &str =
    "# The policy plugins that may be loaded, by the SHA-256 of their files: `lockstep policy trust FILE` adds one.\n";

/// A list of plugins, as it was read.
#[derive(Clone, Debug)]
pub struct TrustList {
    path: PathBuf,
    /// Whether there is such a file; where there is none, nothing is trusted.
    exists: bool,
    entries: Vec<Entry>,
}

/// One line of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    fingerprint: Fingerprint,
    /// The policy's name.
    name: String,
    version: String,
}

/// A plugin is not loaded, or not added to a list.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// Somebody else could change the file.
    #[error("{}: {why}; {remedy}", path.display())]
    Writable {
        /// The file.
        path: PathBuf,
        /// Who could.
        why: String,
        /// The command that takes it from them.
        remedy: String,
    },
    /// It is not in the list.
    #[error("{0}")]
    Unlisted(Box<Unlisted>),
    /// The list cannot be read, or not be written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The list.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line of the list is not as it should be.
    #[error("{}:{line}: `{text}` is not a line `SHA-256  NAME VERSION`, which `lockstep policy trust` writes", path.display())]
    Line {
        /// The list.
        path: PathBuf,
        /// The line's number.
        line: usize,
        /// What stands there, cut off.
        text: String,
    },
    /// A file that is to be trusted is no plugin.
    #[error("{0}")]
    Load(#[from] LoadError),
}

/// A plugin that is not in the list.
#[derive(Debug, thiserror::Error)]
#[error(
    "{}: policy `{name}` {version} is not trusted: {why} {}; if its SHA-256 {fingerprint} is what its author \
     states: lockstep policy trust {} --trust-file {}",
    path.display(), list.display(), path.display(), list.display()
)]
pub struct Unlisted {
    /// The plugin's file.
    pub path: PathBuf,
    /// The policy's name, by its stamp.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Of the file.
    pub fingerprint: Fingerprint,
    /// The list.
    pub list: PathBuf,
    /// Where it differs from what is in the list; ends before the list's path.
    why: String,
}

/// A plugin that is trusted now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trusted {
    /// Its file.
    pub path: PathBuf,
    /// The policy's name, by its stamp.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Of the file.
    pub fingerprint: Fingerprint,
    /// It was in the list before.
    pub already: bool,
}

impl TrustList {
    /// Reads a list that nobody else may write. A list that is not there trusts nothing.
    pub fn read(path: &Path) -> Result<TrustList, TrustError> {
        let (exists, text) = match text_of(path)? {
            Some(text) => (true, text),
            None => (false, String::new()),
        };
        Ok(TrustList { path: path.to_owned(), exists, entries: entries(path, &text)? })
    }

    /// Whether a plugin may be loaded: nobody else can write its file, and it is in the list.
    pub fn admit(&self, file: &PluginFile) -> Result<(), TrustError> {
        only_ours(file.path(), file.owner, file.mode)?;
        if self.entries.iter().any(|entry| entry.fingerprint == file.fingerprint()) {
            return Ok(());
        }
        let why = match self.entries.iter().rev().find(|entry| entry.name == file.id()) {
            Some(known) => format!(
                "the file has changed since it was trusted as {} with SHA-256 {} in",
                known.version, known.fingerprint
            ),
            None if self.exists => "it is not in".to_owned(),
            None => "there is no list".to_owned(),
        };
        Err(TrustError::Unlisted(Box::new(Unlisted {
            path: file.path().to_owned(),
            name: file.id().to_owned(),
            version: file.version().to_owned(),
            fingerprint: file.fingerprint(),
            list: self.path.clone(),
            why,
        })))
    }
}

/// Adds plugins to a list, which is made when it is not there. None of their code is run; either all are added or none.
pub fn trust(list: &Path, files: &[PathBuf]) -> Result<Vec<Trusted>, TrustError> {
    let before = text_of(list)?;
    let known = entries(list, before.as_deref().unwrap_or_default())?;
    let mut text = before.unwrap_or_else(|| HEAD.to_owned());
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    let mut trusted = Vec::<Trusted>::new();
    for path in files {
        let file = PluginFile::read(path)?;
        only_ours(path, file.owner, file.mode)?;
        let fingerprint = file.fingerprint();
        let already = known.iter().any(|entry| entry.fingerprint == fingerprint)
            || trusted.iter().any(|added| added.fingerprint == fingerprint);
        let added = Trusted {
            path: path.clone(),
            name: file.id().to_owned(),
            version: file.version().to_owned(),
            fingerprint,
            already,
        };
        if !already {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{fingerprint}  {} {}  # {}", added.name, added.version, shown(path));
        }
        trusted.push(added);
    }
    if trusted.iter().any(|added| !added.already) {
        replace(list, &text).map_err(|source| TrustError::Io { path: list.to_owned(), source })?;
    }
    Ok(trusted)
}

/// A path as a comment: on one line.
fn shown(path: &Path) -> String {
    path.display().to_string().replace(char::is_control, "?")
}

fn text_of(path: &Path) -> Result<Option<String>, TrustError> {
    let failed = |source| TrustError::Io { path: path.to_owned(), source };
    let opened = match File::open(path) {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let about: Metadata = opened.metadata().map_err(failed)?;
    only_ours(path, about.uid(), about.mode())?;
    let mut text = String::new();
    opened.take(MAX_LIST + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > MAX_LIST {
        return Err(failed(io::Error::other(format!("is larger than {MAX_LIST} bytes"))));
    }
    Ok(Some(text))
}

fn entries(path: &Path, text: &str) -> Result<Vec<Entry>, TrustError> {
    let mut entries = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let said = line.split('#').next().unwrap_or_default();
        let words: Vec<&str> = said.split_whitespace().collect();
        let entry = match words.as_slice() {
            [] => continue,
            [fingerprint, name, version] => fingerprint.parse().ok().map(|fingerprint| Entry {
                fingerprint,
                name: (*name).to_owned(),
                version: (*version).to_owned(),
            }),
            _ => None,
        };
        let text = || line.chars().take(80).collect();
        entries.push(entry.ok_or_else(|| TrustError::Line { path: path.to_owned(), line: index + 1, text: text() })?);
    }
    Ok(entries)
}

/// A file belongs to root or to who runs this process, and nobody else may write to it.
fn only_ours(path: &Path, owner: u32, mode: u32) -> Result<(), TrustError> {
    let me = geteuid().as_raw();
    if owner != 0 && owner != me {
        return Err(TrustError::Writable {
            path: path.to_owned(),
            why: format!("belongs to user {owner}, who is neither root nor the user {me} that runs lockstep"),
            remedy: format!("chown root {}", path.display()),
        });
    }
    if mode & 0o022 != 0 {
        return Err(TrustError::Writable {
            path: path.to_owned(),
            why: format!("others than its owner may write to it (mode {:04o})", mode & 0o7777),
            remedy: format!("chmod go-w {}", path.display()),
        });
    }
    Ok(())
}

/// Puts a whole new list in the old one's place.
fn replace(list: &Path, text: &str) -> io::Result<()> {
    let mut new = list.as_os_str().to_owned();
    new.push(format!(".{}", std::process::id()));
    let new = PathBuf::from(new);
    let written = File::create(&new).and_then(|mut file| {
        file.set_permissions(Permissions::from_mode(0o644))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    let moved = written.and_then(|()| std::fs::rename(&new, list));
    if moved.is_err() {
        // What is left of a try is nobody's list.
        let _ = std::fs::remove_file(&new);
    }
    moved
}
