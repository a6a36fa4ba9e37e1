//! What is wrong with a configuration, where, and what would be right.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// What is wrong with a configuration. Its text is `FILE:LINE:COLUMN: what; remedy`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    file: PathBuf,
    place: Option<(usize, usize)>,
    what: String,
}

impl ConfigError {
    pub(super) fn unreadable(file: &Path, error: &std::io::Error) -> ConfigError {
        ConfigError { file: file.to_owned(), place: None, what: format!("cannot be read: {error}") }
    }

    pub(super) fn at(file: &Path, text: &str, span: Range<usize>, what: impl Into<String>) -> ConfigError {
        ConfigError { file: file.to_owned(), place: Some(place(text, span.start)), what: what.into() }
    }

    pub(super) fn parse(file: &Path, text: &str, error: &toml::de::Error) -> ConfigError {
        let place = error.span().map(|span| place(text, span.start));
        ConfigError { file: file.to_owned(), place, what: explain(error.message()) }
    }

    /// Line and column, from 1; none when the file could not be read.
    #[must_use]
    pub fn place(&self) -> Option<(usize, usize)> {
        self.place
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some((line, column)) = self.place {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", self.what)
    }
}

impl std::error::Error for ConfigError {}

fn place(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    (line, column)
}

/// Adds the nearest valid word to the parser's own sentence about an unknown one.
fn explain(message: &str) -> String {
    let Some((head, valid)) = message.split_once(", expected ") else { return message.to_owned() };
    let Some(unknown) = quoted(head).next() else { return message.to_owned() };
    let kind = if head.starts_with("unknown field") { "no key here" } else { "no valid value" };
    let nearest = quoted(valid).map(|word| (strsim::damerau_levenshtein(unknown, word), word)).min();
    match nearest {
        Some((distance, word)) if distance <= 1 + unknown.len() / 3 => {
            format!("`{unknown}` is {kind}; did you mean `{word}`? Valid: {valid}")
        }
        Some(_) => format!("`{unknown}` is {kind}; valid: {valid}"),
        None => message.to_owned(),
    }
}

fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}
