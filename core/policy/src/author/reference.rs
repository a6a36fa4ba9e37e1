//! The reference of the ABI, generated from the header: what an author in any language looks things up in.

use crate::abi::layout::{LAYOUTS, Layout};
use crate::abi::{kind, stamp, table};
use std::fmt::Write;

const HEADER: &str = include_str!("../../include/lockstep_policy.h");

/// The page, in Markdown.
#[must_use]
pub fn reference() -> String {
    let mut page = String::from(
        "# The policy ABI\n\n<!-- Generated from core/policy/include/lockstep_policy.h; `make docs` writes it anew. -->\n\n",
    );
    page += &introduction();
    page += "\n## Kinds of record\n\n";
    page += "A kind's bit in a stamp's `needs` and `knows` is `LS_BIT(kind)`. Kinds 1 to 256 are events, those from 257 on \
             actions.\n\n";
    page += "| kind | name | since | a policy must know it |\n|---|---|---|---|\n";
    for (name, number) in kinds() {
        let since = if is_of_1_1(number) { "1.1" } else { "1.0" };
        let must = if kind::INDISPENSABLE.contains(&number) { "yes" } else { "" };
        // A string takes all that is written to it.
        let _ = writeln!(page, "| {number} | `{name}` | {since} | {must} |");
    }
    page += "\n## Values\n\n";
    for values in values() {
        let _ = writeln!(page, "- {values}");
    }
    page += "\n## Records\n\nOffsets and sizes in bytes. A field whose offset is at or beyond the record's `fixed` is absent.\n";
    for layout in LAYOUTS.iter().chain(table::LAYOUTS).chain([&stamp::LAYOUT]) {
        page += &one(layout);
    }
    page += "\n## The header\n\n```c\n";
    page += HEADER.trim_end();
    page += "\n```\n";
    page
}

/// The header's first comment, as prose.
fn introduction() -> String {
    let comment = HEADER.split("*/").next().unwrap_or_default().trim_start_matches("/*");
    let lines = comment.lines().map(|line| line.trim_start().trim_start_matches('*'));
    let mut prose = String::new();
    for line in lines.map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end()) {
        let is_heading = !line.is_empty() && !line.starts_with(' ') && !line.contains(['.', ',', ':']);
        if is_heading && !prose.trim().is_empty() {
            let _ = writeln!(prose, "\n**{line}.**");
        } else {
            let _ = writeln!(prose, "{}", line.trim_start());
        }
    }
    prose.trim().to_owned() + "\n"
}

/// `LS_EV_…` and `LS_DO_…` with their numbers.
fn kinds() -> Vec<(&'static str, u16)> {
    let lines = HEADER.lines().map(str::trim);
    let named = lines.filter(|line| line.starts_with("LS_EV_") || line.starts_with("LS_DO_"));
    named.filter_map(|line| line.trim_end_matches(',').split_once(" = ")).filter_map(kind_of).collect()
}

fn kind_of((name, number): (&'static str, &str)) -> Option<(&'static str, u16)> {
    Some((name, number.parse().ok()?))
}

fn is_of_1_1(number: u16) -> bool {
    (kind::CONFIG..=kind::SESSIONS).contains(&number) || (kind::WATCH_ICMP..=kind::RUN_HOOK).contains(&number)
}

/// Each enumeration but that of the kinds, in one line.
fn values() -> Vec<String> {
    let mut found = Vec::new();
    for part in HEADER.split("enum {").skip(1) {
        let body = part.split('}').next().unwrap_or_default();
        if body.contains("LS_EV_START") {
            continue;
        }
        let without_notes = body.split("/*").map(|part| part.split("*/").last().unwrap_or(part)).collect::<String>();
        let values: Vec<String> = without_notes
            .split(',')
            .map(|value| value.split_whitespace().collect::<Vec<_>>().join(" "))
            .filter(|value| !value.is_empty())
            .map(|value| format!("`{value}`"))
            .collect();
        found.push(values.join(", "));
    }
    found
}

/// One struct as a table.
fn one(layout: &Layout) -> String {
    let mut text =
        format!("\n### `{}`, {} bytes\n\n| offset | size | field |\n|---|---|---|\n", layout.name, layout.size);
    let ends = layout.fields.iter().skip(1).map(|(_, at)| *at).chain([layout.size]);
    for ((field, at), end) in layout.fields.iter().zip(ends) {
        let _ = writeln!(text, "| {at} | {} | `{field}` |", end - at);
    }
    text
}
