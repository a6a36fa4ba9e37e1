//! `[secrets]`: names that a policy's parameters may use, and the files that the secrets are in.
//!
//! A secret is read when it is used: a new one is in force as soon as its file has it.

use super::edge::beside;
use super::problem::{Finding, Problems};
use super::table::Table;
use arc_swap::ArcSwap;
use serde_json::Value;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The longest secret, in bytes.
const SECRET_MAX: u64 = 4096;

/// `[secrets]`: in which file each is. Clones are the same: what one takes over all have.
#[derive(Clone, Debug, Default)]
pub struct SecretFiles(Arc<ArcSwap<BTreeMap<String, PathBuf>>>);

impl SecretFiles {
    /// Takes over the files of a new configuration.
    pub(crate) fn take_over(&self, new: &SecretFiles) {
        self.0.store(new.0.load_full());
    }

    /// Whether a secret has this name.
    pub(crate) fn check(&self, name: &str) -> Result<(), String> {
        self.file(name).map(|_| ())
    }

    /// What the file of this name contains now, without the end of its line.
    pub(crate) fn read(&self, name: &str) -> Result<String, String> {
        let file = self.file(name)?;
        let wrong = |why: String| format!("the secret \"{name}\": {} {why}", file.display());
        let unreadable = |error: std::io::Error| wrong(format!("cannot be read: {error}"));
        let opened = File::open(&file).map_err(unreadable)?;
        keeps_to_itself(&opened.metadata().map_err(unreadable)?).map_err(wrong)?;
        let mut text = String::new();
        opened.take(SECRET_MAX + 1).read_to_string(&mut text).map_err(unreadable)?;
        let secret = text.trim_end_matches(['\r', '\n']);
        if secret.is_empty() || secret.len() as u64 > SECRET_MAX || secret.contains(char::is_control) {
            return Err(wrong(format!("must contain one line of 1 to {SECRET_MAX} bytes")));
        }
        Ok(secret.to_owned())
    }

    fn file(&self, name: &str) -> Result<PathBuf, String> {
        let files = self.0.load();
        files.get(name).cloned().ok_or_else(|| {
            let known: Vec<&str> = files.keys().map(String::as_str).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            format!("no secret has the name \"{name}\" (known: {known}): add `{name} = \"FILE\"` under [secrets]")
        })
    }
}

impl From<BTreeMap<String, PathBuf>> for SecretFiles {
    fn from(files: BTreeMap<String, PathBuf>) -> SecretFiles {
        SecretFiles(Arc::new(ArcSwap::from_pointee(files)))
    }
}

impl PartialEq for SecretFiles {
    fn eq(&self, other: &SecretFiles) -> bool {
        *self.0.load() == *other.0.load()
    }
}

/// What others may read is no secret; what others own is not ours to trust.
fn keeps_to_itself(file: &Metadata) -> Result<(), String> {
    if !file.is_file() {
        return Err("is not a file".to_owned());
    }
    if file.mode() & 0o007 != 0 {
        return Err(format!(
            "is open to everybody (mode {:04o}): take that away with chmod o= and change the secret",
            file.mode() & 0o7777
        ));
    }
    let own = rustix::process::geteuid().as_raw();
    if file.uid() != 0 && file.uid() != own {
        return Err(format!("belongs to user {}: it must belong to root or to the edge's own user {own}", file.uid()));
    }
    Ok(())
}

const VALID: &str = "the path of a file that only the edge's user and root may read";

/// `[secrets]`; each value is a file, beside the configuration where its path is relative.
pub(super) fn read(table: Option<Table<'_, '_>>, config: &Path, problems: &RefCell<Problems<'_>>) -> SecretFiles {
    let Some(table) = table else { return SecretFiles::default() };
    let (given, places) = table.rest();
    let mut files = BTreeMap::new();
    for (name, value) in given {
        let refuse = |what: String| {
            let finding = Finding::new(format!("secrets.{name}"), what).valid(VALID);
            problems.borrow_mut().add(places.of(&name), finding);
        };
        let Value::String(file) = value else {
            refuse("is not a text".to_owned());
            continue;
        };
        let file = beside(config).join(file);
        match std::fs::metadata(&file) {
            Ok(found) if found.is_dir() => refuse(format!("{} is a directory", file.display())),
            Ok(found) if found.mode() & 0o007 != 0 => {
                refuse(format!("{} is open to everybody (mode {:04o})", file.display(), found.mode() & 0o7777));
            }
            Ok(_) => drop(files.insert(name, file)),
            Err(error) => refuse(format!("{}: {error}", file.display())),
        }
    }
    files.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn with(content: &[u8], mode: u32) -> (tempfile::TempDir, SecretFiles) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("word");
        std::fs::write(&file, content).unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(mode)).unwrap();
        (dir, BTreeMap::from([("word".to_owned(), file)]).into())
    }

    #[test]
    fn a_secret_is_what_its_file_has_now() {
        let (dir, secrets) = with(b"sesame\n", 0o640);
        assert_eq!(secrets.read("word").unwrap(), "sesame");
        std::fs::write(dir.path().join("word"), "another").unwrap();
        assert_eq!(secrets.read("word").unwrap(), "another");
    }

    #[test]
    fn what_everybody_may_read_is_no_secret() {
        let (_dir, secrets) = with(b"sesame\n", 0o644);
        let why = secrets.read("word").unwrap_err();
        assert!(why.contains("is open to everybody (mode 0644)"), "{why}");
    }

    #[test]
    fn an_empty_a_long_or_a_missing_one_is_refused() {
        for content in [&b"\n"[..], &[b'x'; 5000], b"a\nb", b"\xff\xfe"] {
            assert!(with(content, 0o600).1.read("word").is_err());
        }
        let (dir, secrets) = with(b"x", 0o600);
        assert!(secrets.read("other").unwrap_err().contains("known: word"));
        drop(dir);
        assert!(secrets.read("word").unwrap_err().contains("cannot be read"));
    }
}
