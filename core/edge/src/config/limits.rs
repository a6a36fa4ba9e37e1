//! `[pair.limits]` and `[pair.listener.limits]`: what a listener takes from its clients, and from whom.

use super::journal::Size;
use super::listener;
use super::pair::HOUR;
use super::table::Table;
use crate::proxy::{ListenSettings, Networks};
use std::time::Duration;

/// The limits of a listener.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LimitsConfig {
    /// How much, and how long.
    pub settings: ListenSettings,
    /// From where.
    pub networks: Networks,
}

/// A table of limits; what it does not say is as in `base`.
pub(super) fn read(table: Option<Table<'_, '_>>, base: &LimitsConfig) -> LimitsConfig {
    let mut limits = base.clone();
    let Some(mut table) = table else { return limits };
    let LimitsConfig { settings, networks } = &mut limits;
    settings.connections = count(&mut table, "connections", settings.connections, 1..=1_000_000);
    settings.connections_per_source =
        count(&mut table, "connections_per_source", settings.connections_per_source, 0..=1_000_000);
    let small = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let rate = count(&mut table, "requests_per_source", settings.requests_per_source as usize, 0..=1_000_000);
    settings.requests_per_source = small(rate);
    let (burst_at, burst) =
        (table.place("burst"), count(&mut table, "burst", settings.request_burst as usize, 1..=1_000_000));
    settings.request_burst = small(burst);
    if let Some(at) = burst_at.filter(|_| rate == 0) {
        table.refuse(at, "burst", "says nothing without `requests_per_source`", "both, or none");
    }
    settings.head_bytes = size(&mut table, "head_bytes", settings.head_bytes as u64, 1024..=1_000_000)
        .try_into()
        .unwrap_or(settings.head_bytes);
    let second = Duration::from_secs(1);
    settings.head_timeout = table.duration("head_timeout", settings.head_timeout, second..=HOUR).value;
    settings.body_bytes = size(&mut table, "body_bytes", settings.body_bytes, 1..=1 << 50);
    settings.read_timeout = table.duration("body_timeout", settings.read_timeout, second..=HOUR).value;
    settings.body_rate = small(count(&mut table, "body_rate", settings.body_rate as usize, 0..=1_000_000_000));
    settings.idle_timeout = table.duration("idle_timeout", settings.idle_timeout, second..=24 * HOUR).value;
    settings.write_timeout = table.duration("write_timeout", settings.write_timeout, second..=HOUR).value;
    settings.answer_rate = small(count(&mut table, "answer_rate", settings.answer_rate as usize, 0..=1_000_000_000));
    let (allow, deny) = (listener::networks(&mut table, "allow"), listener::networks(&mut table, "deny"));
    if table.has("allow") {
        networks.allow = allow;
    }
    if table.has("deny") {
        networks.deny = deny;
    }
    table.finish();
    limits
}

fn count(table: &mut Table<'_, '_>, key: &'static str, default: usize, range: std::ops::RangeInclusive<u64>) -> usize {
    usize::try_from(table.number(key, default as u64, range)).unwrap_or(default)
}

/// A size with its unit; a default needs no check.
fn size(table: &mut Table<'_, '_>, key: &'static str, default: u64, range: std::ops::RangeInclusive<u64>) -> u64 {
    let valid = format!("a size with its unit from {} to {} bytes, such as \"64KiB\"", range.start(), range.end());
    match table.parsed::<Size>(key, &valid) {
        Some(size) if range.contains(&size.value.0) => size.value.0,
        Some(size) => {
            table.refuse(size.at, key, format!("{} bytes are out of range", size.value.0), valid);
            default
        }
        None => default,
    }
}
