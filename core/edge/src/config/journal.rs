//! `[edge.journal]`: how much of the past is kept.

use super::JournalConfig;
use super::table::Table;
use std::str::FromStr;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);

/// Less would not hold a minute of a few pairs.
const LEAST: u64 = 1 << 20;
const MOST: u64 = 1 << 40;

impl Default for JournalConfig {
    fn default() -> JournalConfig {
        JournalConfig { max_size: 256 * 1000 * 1000, max_age: 30 * DAY }
    }
}

/// `[edge.journal]`; all of it has a default.
pub(super) fn read(table: Option<Table<'_, '_>>) -> JournalConfig {
    let mut journal = JournalConfig::default();
    let Some(mut table) = table else { return journal };
    let valid = "a size with its unit from 1MiB to 1TiB, such as \"256MB\" (kB, MB, GB, KiB, MiB, GiB)";
    if let Some(size) = table.parsed::<Size>("max_size", valid) {
        if (LEAST..=MOST).contains(&size.value.0) {
            journal.max_size = size.value.0;
        } else {
            table.refuse(size.at, "max_size", format!("{} bytes are out of range", size.value.0), valid);
        }
    }
    journal.max_age = table.duration("max_age", journal.max_age, Duration::from_secs(3600)..=3650 * DAY).value;
    table.finish();
    journal
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size(pub u64);

/// A text that is no size.
#[derive(Debug, thiserror::Error)]
#[error("it is not a number with a unit of bytes")]
pub(super) struct NotASize;

impl FromStr for Size {
    type Err = NotASize;

    fn from_str(text: &str) -> Result<Size, NotASize> {
        let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or(NotASize)?;
        let (number, unit) = text.split_at(digits);
        let unit: u64 = match unit.trim_start() {
            "kB" | "KB" => 1_000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            "TB" => 1_000_000_000_000,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            "TiB" => 1 << 40,
            _ => return Err(NotASize),
        };
        let number: u64 = number.parse().map_err(|_| NotASize)?;
        number.checked_mul(unit).map(Size).ok_or(NotASize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_carries_its_unit() {
        let size = |text: &str| text.parse::<Size>().ok().map(|size| size.0);
        assert_eq!([size("256MB"), size("1 GiB"), size("16kB")], [Some(256_000_000), Some(1 << 30), Some(16_000)]);
        assert_eq!([size("256"), size("MB"), size("1.5GB"), size("-1MB"), size("99999999999TB"), size("")], [None; 6]);
    }
}
