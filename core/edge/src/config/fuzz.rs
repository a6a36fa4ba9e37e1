//! Configurations that nobody would write: each is valid, or refused with sentences that have their lines.

use super::problem::Problems;
use lockstep_fuzz::{became, run};
use std::cell::RefCell;
use std::path::Path;

/// A plugin that is nowhere: to look for one that is somewhere takes longer than to read all else.
fn without_plugin(text: &str) -> String {
    let lines = text.lines().map(|line| if line.starts_with("plugin = ") { "plugin = \"/nowhere\"" } else { line });
    lines.collect::<Vec<_>>().join("\n")
}

/// Each table alone, below those that it is of.
fn tables(text: &str) -> Vec<String> {
    let tables = text.split("\n[").skip(1);
    let below = |table: &str| table.trim_start_matches('[').starts_with("pair.");
    tables.map(|table| format!("{}[{table}\n", if below(table) { "[[pair]]\n" } else { "" })).collect()
}

#[test]
fn configurations() {
    let files = [
        include_str!("../../../../config/telisca-edge.toml"),
        include_str!("../../../../config/finesse-edge.toml"),
        include_str!("../../../../config/eservices-edge.toml"),
        include_str!("../../../../config/cic-edge.toml"),
    ];
    let whole = files.map(without_plugin);
    // What is commented out is to be read, too; and in parts, which are read sooner than the whole.
    let all: Vec<String> = whole.iter().map(|text| text.replace("\n#", "\n")).collect();
    let parts: Vec<String> = all.iter().flat_map(|text| tables(text)).collect();
    let seeds: Vec<&[u8]> = parts.iter().chain(&whole[..1]).map(String::as_bytes).collect();
    let words: [&[u8]; 14] = [
        b"[[pair.listener]]\n",
        b"[pair.session]\nby = \"insert:X\"\n",
        b"\"",
        b"= ",
        b"[]",
        b"{}",
        b"true",
        b"-1",
        b"1e400",
        b"\"\"\"",
        b"0x7fffffffffffffff",
        b"\"10.0.0.1:0\"",
        b"[pair.upstream]\n",
        b"\"99999999999999999999h\"",
    ];
    run("configurations", &seeds, &words, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let path = Path::new("/nowhere/edge.toml");
        let problems = RefCell::new(Problems::new(path, &text));
        let config = super::parse(&text, path, &problems);
        let found = problems.into_inner().into_sorted();
        assert!(config.is_some() || !found.is_empty(), "it is refused without a word");
        let lines = text.lines().count().max(1);
        for problem in &found {
            assert!(!problem.to_string().is_empty());
            assert!(problem.place.is_none_or(|(line, _)| line >= 1 && line <= lines + 1), "{problem}");
        }
        became(found.iter().take(3).map(|problem| (problem.key.clone(), problem.valid.clone())).collect::<Vec<_>>())
    });
}
