//! The words of a scenario's line.

use super::moment;
use crate::Side;
use std::time::Duration;

/// The most turns of one line.
const MAX_TURNS: u32 = 10_000;

pub(super) fn unquoted(word: &str) -> String {
    word.trim_matches('"').to_owned()
}

/// A line's words; a text in quotes is one. Commas and colons after words are for the reader.
pub(super) struct Words {
    words: std::collections::VecDeque<String>,
}

impl Words {
    pub(super) fn new(line: &str) -> Result<Words, String> {
        let mut words = std::collections::VecDeque::new();
        let mut rest = line.trim();
        while !rest.is_empty() {
            let end = if let Some(text) = rest.strip_prefix('"') {
                text.find('"').ok_or("a text in quotes has no end")? + 2
            } else {
                rest.find(char::is_whitespace).unwrap_or(rest.len())
            };
            let word = rest[..end].trim_end_matches([',', ':']);
            if !word.is_empty() {
                words.push_back(word.to_owned());
            }
            rest = rest[end..].trim_start_matches([',', ':']).trim_start();
        }
        Ok(Words { words })
    }

    /// Takes `x5` off the end.
    pub(super) fn turns(&mut self) -> Result<u32, String> {
        let last = self.words.back().and_then(|word| word.strip_prefix('x')).and_then(|turns| turns.parse().ok());
        match last {
            None => Ok(1),
            Some(turns @ 1..=MAX_TURNS) => {
                self.words.pop_back();
                Ok(turns)
            }
            Some(turns) => Err(format!("x{turns} is not a number of turns from 1 to {MAX_TURNS}")),
        }
    }

    pub(super) fn next(&mut self) -> Option<String> {
        self.words.pop_front()
    }

    pub(super) fn need(&mut self, what: &str) -> Result<String, String> {
        self.next().ok_or_else(|| format!("{what} is missing"))
    }

    /// A text in quotes, if one is next.
    pub(super) fn quoted(&mut self) -> Option<String> {
        let quoted = self.words.front().is_some_and(|word| word.starts_with('"'));
        if quoted { self.next().map(|word| unquoted(&word)) } else { None }
    }

    pub(super) fn duration(&mut self) -> Result<Duration, String> {
        let word = self.need("a length of time")?;
        moment::parse(&word).ok_or(format!("`{word}` is not a length of time such as `1s`"))
    }

    pub(super) fn expect(&mut self, word: &str) -> Result<(), String> {
        let found = self.need(&format!("`{word}`"))?;
        if found == word { Ok(()) } else { Err(format!("`{found}` stands where `{word}` should")) }
    }

    pub(super) fn side(&mut self) -> Result<Side, String> {
        self.need("a side")?.parse().map_err(|error: crate::side::UnknownSide| error.to_string())
    }

    pub(super) fn number<T: std::str::FromStr>(&mut self) -> Result<T, String> {
        let word = self.need("a number")?;
        word.parse().map_err(|_| format!("`{word}` is not a number that fits here"))
    }

    pub(super) fn end(&mut self) -> Result<(), String> {
        match self.next() {
            None => Ok(()),
            Some(word) => Err(format!("`{word}` is too much")),
        }
    }
}
