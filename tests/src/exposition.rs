//! Prometheus' text format (version 0.0.4), read as strictly as its rules are: what a scraper would only tolerate is refused here.

use std::collections::{BTreeMap, BTreeSet};

/// A scrape: each sample by its name and its labels, as `name{a="b",c="d"}` with the labels in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scrape {
    samples: BTreeMap<String, f64>,
    counters: BTreeSet<String>,
}

impl Scrape {
    /// Reads a text; what is wrong with it otherwise.
    pub fn read(text: &str) -> Result<Scrape, String> {
        let mut reader = Reader::default();
        if !text.ends_with('\n') {
            return Err("the last line has no end".to_owned());
        }
        for (number, line) in text.lines().enumerate() {
            reader.line(line).map_err(|why| format!("line {}: {why}: {line}", number + 1))?;
        }
        reader.end()?;
        Ok(reader.scrape)
    }

    /// A sample's value.
    #[must_use]
    pub fn get(&self, sample: &str) -> Option<f64> {
        self.samples.get(sample).copied()
    }

    /// The sum of all samples whose text begins so.
    #[must_use]
    pub fn sum(&self, begin: &str) -> f64 {
        self.samples.iter().filter(|(sample, _)| sample.starts_with(begin)).map(|(_, value)| value).sum()
    }

    /// The names of all families' samples.
    #[must_use]
    pub fn samples(&self) -> &BTreeMap<String, f64> {
        &self.samples
    }

    /// What has gone down although it counts.
    #[must_use]
    pub fn fell(&self, before: &Scrape) -> Vec<String> {
        let fell = |sample: &&String| self.get(sample).unwrap_or(-1.0) < before.samples[*sample];
        before.counters.iter().filter(fell).cloned().collect()
    }
}

#[derive(Default)]
struct Reader {
    scrape: Scrape,
    /// Families that have begun; the last one is under way.
    families: BTreeSet<String>,
    family: String,
    kind: String,
    /// It has its help, and no sample yet.
    fresh: bool,
    /// Of a histogram: the buckets of each set of labels, and its count.
    buckets: BTreeMap<String, Vec<(f64, f64)>>,
    counts: BTreeMap<String, f64>,
    sums: BTreeSet<String>,
}

impl Reader {
    fn line(&mut self, line: &str) -> Result<(), String> {
        if let Some(help) = line.strip_prefix("# HELP ") {
            return self.help(help);
        }
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            return self.kind(kind);
        }
        if line.starts_with('#') || line.is_empty() {
            return Err("neither a sample, nor HELP, nor TYPE".to_owned());
        }
        self.sample(line)
    }

    fn help(&mut self, line: &str) -> Result<(), String> {
        self.end()?;
        let (name, help) = line.split_once(' ').ok_or("no text of help")?;
        named(name)?;
        if help.trim().is_empty() || !help.ends_with('.') {
            return Err("the help is no sentence".to_owned());
        }
        if !self.families.insert(name.to_owned()) {
            return Err("the family was there before".to_owned());
        }
        (self.family, self.kind, self.fresh) = (name.to_owned(), String::new(), true);
        Ok(())
    }

    fn kind(&mut self, line: &str) -> Result<(), String> {
        let (name, kind) = line.split_once(' ').ok_or("no type")?;
        if name != self.family || !self.fresh || !self.kind.is_empty() {
            return Err("TYPE follows its family's HELP, once".to_owned());
        }
        match kind {
            "counter" if !name.ends_with("_total") => return Err("a counter's name ends in _total".to_owned()),
            "gauge" | "histogram" if name.ends_with("_total") => return Err("only a counter ends in _total".to_owned()),
            "counter" | "gauge" | "histogram" => {}
            _ => return Err("an unknown type".to_owned()),
        }
        self.kind = kind.to_owned();
        Ok(())
    }

    fn sample(&mut self, line: &str) -> Result<(), String> {
        if self.kind.is_empty() {
            return Err("a sample before HELP and TYPE".to_owned());
        }
        self.fresh = false;
        let (name, mut labels, value) = taken_apart(line)?;
        let number: f64 = value.parse().map_err(|_| "the value is no number")?;
        if self.kind != "gauge" && (number.is_nan() || number < 0.0) {
            return Err("what counts is not negative".to_owned());
        }
        let key = format!("{name}{}", shown(&labels));
        if self.scrape.samples.insert(key.clone(), number).is_some() {
            return Err("the sample was there before".to_owned());
        }
        if self.kind != "gauge" {
            self.scrape.counters.insert(key);
        }
        if self.kind != "histogram" {
            return if name == self.family { Ok(()) } else { Err("a sample of another family".to_owned()) };
        }
        let below = labels.remove("le");
        let set = shown(&labels);
        match (name.strip_prefix(self.family.as_str()), below) {
            (Some("_bucket"), Some(below)) => {
                let bound: f64 = below.parse().map_err(|_| "the bound is no number")?;
                self.buckets.entry(set).or_default().push((bound, number));
                Ok(())
            }
            (Some("_sum"), None) => {
                self.sums.insert(set);
                Ok(())
            }
            (Some("_count"), None) => {
                self.counts.insert(set, number);
                Ok(())
            }
            _ => Err("no sample of a histogram".to_owned()),
        }
    }

    /// The family under way is over.
    fn end(&mut self) -> Result<(), String> {
        if self.fresh {
            return Err(format!("{} has no sample", self.family));
        }
        for (set, buckets) in std::mem::take(&mut self.buckets) {
            let whole = buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1)
                && buckets.last().is_some_and(|last| last.0 == f64::INFINITY && self.counts.get(&set) == Some(&last.1))
                && self.sums.contains(&set);
            if !whole {
                return Err(format!("{}{set}: its buckets do not grow up to +Inf and its count", self.family));
            }
            self.counts.remove(&set);
            self.sums.remove(&set);
        }
        let left = !self.counts.is_empty() || !self.sums.is_empty();
        if left { Err(format!("{}: a count without buckets", self.family)) } else { Ok(()) }
    }
}

fn named(name: &str) -> Result<(), String> {
    let begins = name.starts_with(|c: char| c.is_ascii_lowercase());
    let sound = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if begins && sound { Ok(()) } else { Err(format!("\"{name}\" is no name")) }
}

fn shown(labels: &BTreeMap<String, String>) -> String {
    let pairs: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
    if pairs.is_empty() { String::new() } else { format!("{{{}}}", pairs.join(",")) }
}

/// Name, labels and value.
fn taken_apart(line: &str) -> Result<(String, BTreeMap<String, String>, String), String> {
    let end = line.find(['{', ' ']).ok_or("no value")?;
    let (name, mut rest) = line.split_at(end);
    named(name)?;
    let mut labels = BTreeMap::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            let (label, after) = rest.split_once("=\"").ok_or("a label without value")?;
            named(label)?;
            let (value, after) = quoted(after)?;
            if labels.insert(label.to_owned(), value).is_some() {
                return Err(format!("the label {label} twice"));
            }
            match after.strip_prefix(',') {
                Some(more) => rest = more,
                None => break rest = after.strip_prefix('}').ok_or("labels without end")?,
            }
        }
    }
    let value = rest.strip_prefix(' ').ok_or("no value")?;
    if value.contains(' ') {
        return Err("more behind the value".to_owned());
    }
    Ok((name.to_owned(), labels, value.to_owned()))
}

/// A value up to its closing quote, and what follows.
fn quoted(text: &str) -> Result<(String, &str), String> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, same @ ('\\' | '"'))) => value.push(same),
                _ => return Err("an unknown escape".to_owned()),
            },
            other => value.push(other),
        }
    }
    Err("a value without end".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "\
# HELP a_total How many.
# TYPE a_total counter
a_total{x=\"1\",y=\"\\\"\\\\\\n\"} 2
a_total{x=\"2\"} 3
# HELP b_seconds How long.
# TYPE b_seconds histogram
b_seconds_bucket{x=\"1\",le=\"0.5\"} 1
b_seconds_bucket{x=\"1\",le=\"+Inf\"} 4
b_seconds_sum{x=\"1\"} 9.5
b_seconds_count{x=\"1\"} 4
# HELP c How warm.
# TYPE c gauge
c -1.5
";

    #[test]
    fn a_good_scrape_is_read() {
        let scrape = Scrape::read(GOOD).unwrap();
        assert_eq!(
            (scrape.get("a_total{x=\"2\"}"), scrape.get("c"), scrape.sum("a_total")),
            (Some(3.0), Some(-1.5), 5.0)
        );
        let less = Scrape::read(&GOOD.replace("{x=\"2\"} 3", "{x=\"2\"} 2")).unwrap();
        assert_eq!(less.fell(&scrape), ["a_total{x=\"2\"}"]);
        assert!(scrape.fell(&less).is_empty());
    }

    #[test]
    fn each_rule_is_kept() {
        let bad = [
            ("# HELP c How warm.\n", ""),
            ("# TYPE c gauge\n", ""),
            ("c -1.5\n", ""),
            ("c -1.5\n", "c -1.5\nc -1.5\n"),
            ("c -1.5\n", "c -1.5"),
            ("c -1.5", "c x"),
            ("c -1.5", "c -1.5 1700000000"),
            ("c -1.5", "d -1.5"),
            ("# TYPE a_total counter", "# TYPE a_total gauge"),
            ("# TYPE c gauge", "# TYPE c counter"),
            ("# HELP c ", "# HELP a_total "),
            ("y=\"", "x=\""),
            ("\\\\\\n", "\\q"),
            ("} 3", "} -3"),
            ("le=\"+Inf\"} 4", "le=\"+Inf\"} 0"),
            ("le=\"+Inf\"} 4", "le=\"9\"} 4"),
            ("b_seconds_count{x=\"1\"} 4", "b_seconds_count{x=\"1\"} 5"),
            ("b_seconds_sum{x=\"1\"} 9.5\n", ""),
            ("b_seconds_count{x=\"1\"} 4\n", ""),
            ("b_seconds_bucket{x=\"1\",le=\"0.5\"} 1\nb_seconds_bucket{x=\"1\",le=\"+Inf\"} 4\n", ""),
        ];
        for (what, instead) in bad {
            assert!(GOOD.contains(what), "{what}");
            let text = GOOD.replacen(what, instead, 1);
            assert!(Scrape::read(&text).is_err(), "it should be refused:\n{text}");
        }
    }
}
