//! What is wrong with a configuration, in sentences that name file, line and key.

use std::fmt;
use std::path::{Path, PathBuf};

/// One thing that is wrong: where, what, and what would be valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The configuration's file.
    pub file: PathBuf,
    /// Line and column, from 1; `None` when the file could not be read at all.
    pub place: Option<(usize, usize)>,
    /// The key, with dots: `pair.lease.ttl`. Empty when no key is concerned.
    pub key: String,
    /// What is wrong.
    pub what: String,
    /// What would be valid, or what to do. May be empty.
    pub valid: String,
    /// For an unknown key: the known one that looks most like it.
    pub nearest: Option<String>,
}

/// `FILE:LINE:COL: KEY: what is wrong; what would be valid; nearest key`.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some((line, column)) = self.place {
            write!(f, "{line}:{column}:")?;
        }
        if !self.key.is_empty() {
            write!(f, " {}:", self.key)?;
        }
        write!(f, " {}", self.what)?;
        if !self.valid.is_empty() {
            write!(f, "; {}", self.valid)?;
        }
        if let Some(nearest) = &self.nearest {
            write!(f, "; did you mean `{nearest}`?")?;
        }
        Ok(())
    }
}

/// Collects problems of one file, and turns offsets into lines.
#[derive(Debug)]
pub(super) struct Problems<'a> {
    file: &'a Path,
    text: &'a str,
    found: Vec<Problem>,
}

/// A problem before it has a place: built up by what is known of it.
#[derive(Debug, Default)]
pub(super) struct Finding {
    pub key: String,
    pub what: String,
    pub valid: String,
    pub nearest: Option<String>,
}

impl Finding {
    pub fn new(key: impl Into<String>, what: impl Into<String>) -> Finding {
        Finding { key: key.into(), what: what.into(), ..Finding::default() }
    }

    pub fn valid(mut self, valid: impl Into<String>) -> Finding {
        self.valid = valid.into();
        self
    }

    pub fn nearest(mut self, nearest: Option<String>) -> Finding {
        self.nearest = nearest;
        self
    }
}

impl<'a> Problems<'a> {
    pub fn new(file: &'a Path, text: &'a str) -> Problems<'a> {
        Problems { file, text, found: Vec::new() }
    }

    /// Adds a problem at a byte offset.
    pub fn add(&mut self, offset: usize, finding: Finding) {
        let Finding { key, what, valid, nearest } = finding;
        let place = Some(place(self.text, offset));
        self.found.push(Problem { file: self.file.to_owned(), place, key, what, valid, nearest });
    }

    /// The line, from 1, of a byte offset.
    pub fn line(&self, offset: usize) -> usize {
        place(self.text, offset).0
    }

    /// All of them, in the order of the file.
    pub fn into_sorted(mut self) -> Vec<Problem> {
        self.found.sort_by_key(|problem| problem.place);
        self.found
    }
}

/// Line and column in characters, both from 1.
fn place(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.bytes().filter(|&byte| byte == b'\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    (line, before[start..].chars().count() + 1)
}
