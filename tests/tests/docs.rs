//! Pages that are generated are as their sources are. `BLESS=1` (`make docs`) writes them anew.

use lockstep_edge::metrics::{BUCKETS_MS, Family, Kind, SECTIONS};
use lockstep_policy::Setup;
use lockstep_policy::author::page::page;
use lockstep_policy::author::reference::reference;
use lockstep_policy::host::Library;
use lockstep_policy::scenario::Scenario;
use lockstep_tests::{PLUGINS, plugin, root};
use std::collections::BTreeSet;
use std::path::Path;

/// The page's file, which must say this.
fn compare(file: &Path, expected: &str) {
    if std::env::var_os("BLESS").is_some() {
        std::fs::create_dir_all(file.parent().expect("it is in a directory")).expect("it can be made");
        return std::fs::write(file, expected).expect("it can be written");
    }
    let there = std::fs::read_to_string(file).unwrap_or_default();
    assert!(there == expected, "{} is not as its source is: say `make docs`", file.display());
}

/// A pair as one of the policy's own scenarios has it: some policies have parameters without a default.
fn setup(name: &str) -> Setup {
    let scenarios = root().join("tests/scenarios").join(name);
    let mut files: Vec<_> =
        std::fs::read_dir(scenarios).expect("it has scenarios").map(|file| file.expect("readable").path()).collect();
    files.sort();
    let mut pairs = files.iter().map(|file| Scenario::read(file).expect("it is well formed").setup().clone());
    let library = Library::open(&plugin(name)).expect("it loads");
    let plain = Setup { parameters: serde_json::Map::new(), ..pairs.clone().next().expect("there is one") };
    if library.instance(&plain, 0).is_ok() { plain } else { pairs.next_back().expect("there is one") }
}

#[test]
fn each_policy_has_its_page() {
    for name in PLUGINS {
        let library = Library::open(&plugin(name)).expect("it loads");
        let page = page(&library, &setup(name)).expect("it describes itself");
        compare(&root().join(format!("docs/policies/{name}.md")), &page);
    }
}

#[test]
fn the_metrics_have_their_page() {
    let kind = |kind| match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    };
    let row = |family: &Family| {
        let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        let labels = if labels.is_empty() { "–".to_owned() } else { labels.join(", ") };
        format!("| `{}` | {} | {labels} | {} | {} |\n", family.name, kind(family.kind), family.unit, family.help)
    };
    let buckets: Vec<String> = BUCKETS_MS.iter().map(|ms| (*ms as f64 / 1e3).to_string()).collect();
    let mut page = "# Metrics\n\n*Generated from the edge itself (`make docs`): do not edit.*\n\n\
        `GET /metrics` on the admin API, with a token; or, without one, on the address that `[edge] metrics` names: see\n\
        [Seeing it](operating.md#seeing-it). Prometheus' text format, version 0.0.4. No label has a value that a client could\n\
        choose. Counters begin at 0 when the edge starts.\n\n"
        .to_owned();
    page += &format!("Histograms have the buckets {} and `+Inf` seconds.\n", buckets.join(", "));
    for (section, families) in SECTIONS {
        page += &format!("\n## {section}\n\n| name | type | labels | unit | meaning |\n|---|---|---|---|---|\n");
        page.extend(families.iter().map(row));
    }
    compare(&root().join("docs/metrics.md"), &page);
}

#[test]
fn the_abi_has_its_page() {
    compare(&root().join("docs/policy-abi.md"), &reference());
}

/// The rules of the four vendors' systems, by their specification.
const RULES: [(&str, char, u32); 4] =
    [("telisca", 'T', 11), ("finesse", 'F', 11), ("cic", 'C', 16), ("eservices", 'E', 7)];

#[test]
fn every_rule_of_the_specification_has_a_scenario_of_its_name() {
    for (name, letter, count) in RULES {
        let specified: BTreeSet<String> = (1..=count).map(|number| format!("{letter}{number}")).collect();
        let library = Library::open(&plugin(name)).expect("it loads");
        let told: BTreeSet<String> = library.rules().iter().map(|rule| rule.id.to_string()).collect();
        assert_eq!(told, specified, "{name}: the policy's own rules");
        let files = std::fs::read_dir(root().join("tests/scenarios").join(name)).expect("it has scenarios");
        let named: BTreeSet<String> = files
            .map(|file| file.expect("readable").file_name().to_string_lossy().into_owned())
            .filter_map(|file| Some(file.split_once('-')?.0.to_owned()))
            .collect();
        let without: Vec<&String> = specified.difference(&named).collect();
        assert!(without.is_empty(), "{name}: no scenario is named after {without:?}");
        let unknown: Vec<&String> = named.difference(&specified).collect();
        assert!(unknown.is_empty(), "{name}: scenarios named after no rule: {unknown:?}");
    }
}

/// A guarantee is worth as much as the test that is named for it: each of those still has its name.
#[test]
fn every_test_that_the_guarantees_name_is_there() {
    let rows = last_column("docs/guarantees.md", "| broken | found by |");
    are_there(
        "docs/guarantees.md",
        &rows,
        &["core/pair/tests/model", "tests/tests/simulation", "tests/tests/faults", "core/cli/tests"],
    );
}

/// So is a promise to those who replace another balancer.
#[test]
fn every_test_that_is_named_to_who_replaces_a_balancer_is_there() {
    let rows = last_column("docs/replacing.md", "| shown by |");
    are_there("docs/replacing.md", &rows, &OF_THE_DATA_PLANE);
}

/// And to those who ask what becomes of their connections.
#[test]
fn every_test_that_says_what_becomes_of_connections_is_there() {
    let rows = last_column("docs/operating.md", "| failover, or a lease that is over | shown by |");
    are_there("docs/operating.md", &rows, &OF_THE_DATA_PLANE);
}

const OF_THE_DATA_PLANE: [&str; 5] = [
    "core/edge/tests/secure",
    "core/edge/tests/proxy",
    "core/edge/tests/proxy/streams",
    "tests/tests/end_to_end",
    "tests/tests/end_to_end/mixed",
];

/// The last column of the table with this head.
fn last_column(page: &str, head: &str) -> Vec<String> {
    let text = std::fs::read_to_string(root().join(page)).expect("it is there");
    let table = text.split(head).nth(1).and_then(|rest| rest.split("\n\n").next()).expect("the table is there");
    table.lines().filter_map(|row| row.rsplit('|').nth(1)).map(str::to_owned).collect()
}

/// Whether tests of these names are in these directories; commands are somebody else's to show.
fn are_there(page: &str, rows: &[String], directories: &[&str]) {
    let words: Vec<&str> = rows.iter().flat_map(|found_by| found_by.split('`').skip(1).step_by(2)).collect();
    let named: Vec<&str> = words.into_iter().filter(|word| !word.contains(' ')).collect();
    assert!(named.len() > 10, "{named:?}");
    let sources: String = directories
        .iter()
        .flat_map(|directory| std::fs::read_dir(root().join(directory)).expect("it is there"))
        .filter_map(|file| std::fs::read_to_string(file.expect("readable").path()).ok())
        .collect();
    for test in named {
        assert!(sources.contains(&format!("fn {test}()")), "{page} names `{test}`, and there is no such test");
    }
}
