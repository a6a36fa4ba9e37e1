//! How results are shown: tables that a page of the documentation can take as they are, and the machine that they are of.

use std::time::Duration;

/// A table of Markdown.
pub fn print(head: &[&str], rows: &[Vec<String>]) {
    println!("\n| {} |", head.join(" | "));
    println!("|{}", "---|".repeat(head.len()));
    for row in rows {
        println!("| {} |", row.join(" | "));
    }
    println!();
}

/// What the figures were measured on, and what else ran there.
pub fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let (processors, cpuinfo) = (std::thread::available_parallelism().map_or(0, usize::from), read("/proc/cpuinfo"));
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    format!(
        "{processors} processors, {}; Linux {}; load before {}",
        model.trim_start_matches([' ', '\t', ':']),
        read("/proc/sys/kernel/osrelease").trim(),
        load()
    )
}

/// The machine's load averages.
pub fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// The value that so many in a hundred do not exceed. The values are sorted here.
pub fn percentile(values: &mut [f64], percent: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let rank = (values.len() as f64 * percent / 100.0).ceil() as usize;
    values.get(rank.saturating_sub(1).min(values.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

pub fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

/// Nanoseconds of a clock in milliseconds.
pub fn nanos_ms(nanos: u64) -> f64 {
    nanos as f64 / 1e6
}

pub fn one(value: f64) -> String {
    format!("{value:.0}")
}

pub fn tenths(value: f64) -> String {
    format!("{value:.1}")
}
