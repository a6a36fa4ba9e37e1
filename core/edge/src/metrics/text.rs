//! The text format: families one after the other, each with its samples together.

use super::families::{Family, Kind};
use super::meter::BUCKETS_MS;
use crate::admin::api::Latencies;
use std::fmt::{Display, Write};

/// A text that grows.
#[derive(Debug, Default)]
pub struct Samples {
    text: String,
    name: &'static str,
    /// Its family has its head.
    headed: bool,
    help: &'static str,
    kind: &'static str,
}

impl Samples {
    pub(super) fn begin(&mut self, family: &Family) {
        self.name = family.name;
        self.help = family.help;
        self.kind = match family.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        self.headed = false;
    }

    /// A family without samples has no head either.
    fn head(&mut self) {
        if !self.headed {
            self.headed = true;
            let help = self.help.replace('\\', "\\\\").replace('\n', "\\n");
            // Writing to a String cannot fail.
            let _ = writeln!(self.text, "# HELP {} {help}\n# TYPE {} {}", self.name, self.name, self.kind);
        }
    }

    /// One sample.
    pub fn put(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.head();
        self.sample("", labels, None, value);
    }

    /// One histogram, in seconds.
    pub fn histogram(&mut self, labels: &[(&str, &str)], latencies: &Latencies) {
        self.head();
        let mut below = 0;
        for (count, bound) in latencies.counts.iter().zip(BUCKETS_MS) {
            below += count;
            let bound = seconds(bound as f64);
            self.sample("_bucket", labels, Some(&bound.to_string()), below);
        }
        let all: u64 = latencies.counts.iter().sum();
        self.sample("_bucket", labels, Some("+Inf"), all);
        self.sample("_sum", labels, None, seconds(latencies.sum_ms));
        self.sample("_count", labels, None, all);
    }

    fn sample(&mut self, suffix: &str, labels: &[(&str, &str)], below: Option<&str>, value: impl Display) {
        let text = &mut self.text;
        text.push_str(self.name);
        text.push_str(suffix);
        let labels = labels.iter().copied().chain(below.map(|below| ("le", below)));
        for (index, (name, value)) in labels.clone().enumerate() {
            text.push(if index == 0 { '{' } else { ',' });
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            // Writing to a String cannot fail.
            let _ = write!(text, "{name}=\"{value}\"");
        }
        if labels.count() > 0 {
            text.push('}');
        }
        let _ = writeln!(text, " {value}");
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }
}

/// Milliseconds as seconds, to the microsecond.
pub(super) fn seconds(ms: f64) -> f64 {
    (ms * 1e3).round() / 1e6
}
