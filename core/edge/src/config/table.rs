//! Reading a TOML table by its known keys: each value with its place, each fault with its line.

use super::problem::{Finding, Problems};
use serde_json::Value;
use std::cell::RefCell;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A value, and where in the file it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placed<T> {
    pub value: T,
    /// Byte offset in the file.
    pub at: usize,
}

/// A list as it was given.
pub(super) struct Listed<T> {
    /// Where it stands.
    pub at: usize,
    /// Nothing is in it.
    pub is_empty: bool,
    /// What could be read of it; the rest is refused already.
    pub items: Vec<Placed<T>>,
}

/// A table that is being read. Every key that is asked for is known; [`Table::finish`] refuses the others.
pub(super) struct Table<'t, 'i> {
    items: &'t DeTable<'i>,
    path: &'static str,
    at: usize,
    known: Vec<&'static str>,
    problems: &'t RefCell<Problems<'i>>,
}

impl<'t, 'i> Table<'t, 'i> {
    pub fn new(
        items: &'t DeTable<'i>,
        path: &'static str,
        at: usize,
        problems: &'t RefCell<Problems<'i>>,
    ) -> Table<'t, 'i> {
        Table { items, path, at, known: Vec::new(), problems }
    }

    /// Where the table's header stands.
    pub fn at(&self) -> usize {
        self.at
    }

    /// The key with the table's own before it.
    pub fn key(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Where the value of a key stands, if it is there.
    pub fn place(&self, key: &str) -> Option<usize> {
        self.items.get(key).map(|value| value.span().start)
    }

    /// Whether a key is there, whatever its value.
    pub fn has(&self, key: &str) -> bool {
        self.items.contains_key(key)
    }

    /// Says what is wrong with one of the table's keys.
    pub fn refuse(&self, at: usize, key: &str, what: impl Into<String>, valid: impl Into<String>) {
        self.problems.borrow_mut().add(at, Finding::new(self.key(key), what).valid(valid));
    }

    /// Says that a key must be there.
    pub fn missing(&self, key: &str, valid: &str) {
        self.refuse(self.at, key, "is missing", valid);
    }

    pub fn text(&mut self, key: &'static str) -> Option<Placed<String>> {
        self.text_that_is(key, "a text in quotes")
    }

    fn text_that_is(&mut self, key: &'static str, valid: &str) -> Option<Placed<String>> {
        let (value, at) = self.take(key)?;
        match value {
            DeValue::String(text) => Some(Placed { value: text.to_string(), at }),
            other => self.wrong_type(at, key, other, valid),
        }
    }

    /// Yes or no.
    pub fn truth(&mut self, key: &'static str) -> Option<bool> {
        let (value, at) = self.take(key)?;
        match value {
            DeValue::Boolean(truth) => Some(*truth),
            other => self.wrong_type(at, key, other, "true or false"),
        }
    }

    /// A text that means something; `valid` says what.
    pub fn parsed<T: FromStr>(&mut self, key: &'static str, valid: &str) -> Option<Placed<T>>
    where
        T::Err: Display,
    {
        let text = self.text_that_is(key, valid)?;
        self.parse(key, &text.value, text.at, valid)
    }

    /// A list of texts that mean something. Those that do not are refused one by one.
    pub fn list<T: FromStr>(&mut self, key: &'static str, valid: &str) -> Option<Listed<T>>
    where
        T::Err: Display,
    {
        let (value, at) = self.take(key)?;
        Some(self.listed(key, value, at, valid))
    }

    /// All keys, each of which is to be a list of texts that mean something. The keys are the user's own.
    pub fn lists<T: FromStr>(&self, valid: &str) -> Vec<(Placed<String>, Listed<T>)>
    where
        T::Err: Display,
    {
        let read = self.items.iter().map(|(key, value)| {
            let name = Placed { value: key.get_ref().to_string(), at: key.span().start };
            let listed = self.listed(&name.value, value.get_ref(), value.span().start, valid);
            (name, listed)
        });
        read.collect()
    }

    /// All keys, each of which is to be a text. The keys are the user's own.
    pub fn texts(&self) -> Vec<(Placed<String>, String)> {
        let read = self.items.iter().filter_map(|(key, value)| {
            let name = Placed { value: key.get_ref().to_string(), at: key.span().start };
            match value.get_ref() {
                DeValue::String(text) => Some((name, text.to_string())),
                other => self.wrong_type(value.span().start, &name.value, other, "a text in quotes"),
            }
        });
        read.collect()
    }

    fn listed<T: FromStr>(&self, key: &str, value: &DeValue<'i>, at: usize, valid: &str) -> Listed<T>
    where
        T::Err: Display,
    {
        let DeValue::Array(given) = value else {
            self.refuse(at, key, wrong_type(value), format!("a list; in it: {valid}"));
            return Listed { at, is_empty: false, items: Vec::new() };
        };
        let read = given.iter().filter_map(|item| {
            let at = item.span().start;
            match item.get_ref() {
                DeValue::String(text) => self.parse(key, text, at, valid),
                other => self.wrong_type(at, key, other, valid),
            }
        });
        Listed { at, is_empty: given.is_empty(), items: read.collect() }
    }

    /// A duration with its unit. A default needs no check: it is ours.
    pub fn duration(
        &mut self,
        key: &'static str,
        default: Duration,
        range: RangeInclusive<Duration>,
    ) -> Placed<Duration> {
        self.duration_given(key, &range).unwrap_or(Placed { value: default, at: self.at })
    }

    fn duration_given(&mut self, key: &'static str, range: &RangeInclusive<Duration>) -> Option<Placed<Duration>> {
        let valid =
            format!("a duration with its unit from {:?} to {:?}, such as \"500ms\"", range.start(), range.end());
        let (value, at) = self.take(key)?;
        let DeValue::String(text) = value else { return self.wrong_type(at, key, value, &valid) };
        match humantime::parse_duration(text) {
            Ok(value) if range.contains(&value) => Some(Placed { value, at }),
            Ok(_) => {
                self.refuse(at, key, format!("\"{text}\" is out of range"), valid);
                None
            }
            Err(error) => {
                self.refuse(at, key, format!("\"{text}\" is not a duration ({error})"), valid);
                None
            }
        }
    }

    pub fn number(&mut self, key: &'static str, default: u64, range: RangeInclusive<u64>) -> u64 {
        let valid = format!("a whole number from {} to {}", range.start(), range.end());
        let Some((value, at)) = self.take(key) else { return default };
        let DeValue::Integer(integer) = value else {
            return self.wrong_type(at, key, value, &valid).unwrap_or(default);
        };
        match u64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(number) if range.contains(&number) => number,
            _ => {
                self.refuse(at, key, format!("{integer} is out of range"), valid);
                default
            }
        }
    }

    /// One of a few words.
    pub fn word<T: Copy>(&mut self, key: &'static str, words: &[(&'static str, T)]) -> Option<T> {
        let text = self.text(key)?;
        if let Some((_, meaning)) = words.iter().find(|(word, _)| *word == text.value) {
            return Some(*meaning);
        }
        let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let valid = names.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(" or ");
        let finding = Finding::new(self.key(key), format!("\"{}\" is not known", text.value))
            .valid(valid)
            .nearest(nearest(&text.value, &names));
        self.problems.borrow_mut().add(text.at, finding);
        None
    }

    /// A table below this one.
    pub fn table(&mut self, key: &'static str, path: &'static str) -> Option<Table<'t, 'i>> {
        let (value, at) = self.take(key)?;
        match value {
            DeValue::Table(items) => Some(Table::new(items, path, at, self.problems)),
            other => self.wrong_type(at, key, other, &format!("a table `[{path}]`")),
        }
    }

    /// Tables below this one, as `[[path]]`.
    pub fn tables(&mut self, key: &'static str, path: &'static str) -> Vec<Table<'t, 'i>> {
        let valid = format!("tables, each begun by `[[{path}]]`");
        let Some((value, at)) = self.take(key) else { return Vec::new() };
        let DeValue::Array(items) = value else {
            return self.wrong_type(at, key, value, &valid).unwrap_or_default();
        };
        let read = items.iter().filter_map(|item| match item.get_ref() {
            DeValue::Table(items) => Some(Table::new(items, path, item.span().start, self.problems)),
            other => self.wrong_type(item.span().start, key, other, &valid),
        });
        read.collect()
    }

    /// All keys that were not asked for so far, as JSON: they belong to somebody else, who checks them.
    pub fn rest(self) -> (serde_json::Map<String, Value>, Places<'t, 'i>) {
        let foreign = self.items.iter().filter(|(key, _)| !self.known.contains(&key.get_ref().as_ref()));
        let values = foreign.map(|(key, value)| (key.get_ref().to_string(), json(value.get_ref()))).collect();
        (values, Places { items: self.items, at: self.at })
    }

    /// Refuses every key that nobody asked for.
    pub fn finish(self) {
        for (key, _) in self.items.iter() {
            let name = key.get_ref().as_ref();
            if !self.known.contains(&name) {
                let finding = Finding::new(self.key(name), "is not a known key")
                    .valid(format!("known: {}", self.known.join(", ")))
                    .nearest(nearest(name, &self.known));
                self.problems.borrow_mut().add(key.span().start, finding);
            }
        }
    }

    fn take(&mut self, key: &'static str) -> Option<(&'t DeValue<'i>, usize)> {
        self.known.push(key);
        let value = self.items.get(key)?;
        Some((value.get_ref(), value.span().start))
    }

    fn parse<T: FromStr>(&self, key: &str, text: &str, at: usize, valid: &str) -> Option<Placed<T>>
    where
        T::Err: Display,
    {
        match text.parse() {
            Ok(value) => Some(Placed { value, at }),
            Err(error) => {
                self.refuse(at, key, format!("\"{text}\" is refused ({error})"), valid);
                None
            }
        }
    }

    fn wrong_type<T>(&self, at: usize, key: &str, found: &DeValue<'_>, valid: &str) -> Option<T> {
        self.refuse(at, key, wrong_type(found), valid);
        None
    }
}

fn wrong_type(found: &DeValue<'_>) -> String {
    format!("is of the wrong type ({})", found.type_str())
}

/// Where the keys of a table stand, for those who check them by their own rules.
pub(super) struct Places<'t, 'i> {
    items: &'t DeTable<'i>,
    at: usize,
}

impl Places<'_, '_> {
    /// Where a key with dots stands, or the nearest table or list around it.
    pub fn of(&self, key: &str) -> usize {
        let mut segments = key.split('.');
        let first = segments.next().unwrap_or_default();
        let Some((name, value)) = self.items.get_key_value(first) else { return self.at };
        let mut at = name.span().start;
        let mut value: &Spanned<DeValue<'_>> = value;
        for segment in segments {
            let below = match value.get_ref() {
                DeValue::Table(items) => items.get_key_value(segment).map(|(name, value)| (name.span().start, value)),
                DeValue::Array(items) => segment
                    .parse::<usize>()
                    .ok()
                    .and_then(|index| items.get(index))
                    .map(|value| (value.span().start, value)),
                _ => None,
            };
            let Some(found) = below else { break };
            (at, value) = found;
        }
        at
    }
}

/// The known word that looks most like a misspelt one, if any does.
pub(super) fn nearest(word: &str, known: &[&str]) -> Option<String> {
    let scored = known.iter().map(|name| (strsim::damerau_levenshtein(word, name), *name));
    let (distance, name) = scored.min_by_key(|(distance, _)| *distance)?;
    (distance <= word.len().max(name.len()) / 2).then(|| name.to_owned())
}

fn json(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Integer(number) => {
            i64::from_str_radix(number.as_str(), number.radix()).map_or(Value::Null, Value::from)
        }
        DeValue::Float(number) => number.as_str().parse::<f64>().map_or(Value::Null, Value::from),
        DeValue::Boolean(truth) => Value::from(*truth),
        DeValue::Datetime(datetime) => Value::from(datetime.to_string()),
        DeValue::Array(items) => items.iter().map(|item| json(item.get_ref())).collect(),
        DeValue::Table(items) => items
            .iter()
            .map(|(key, value)| (key.get_ref().to_string(), json(value.get_ref())))
            .collect::<serde_json::Map<_, _>>()
            .into(),
    }
}
