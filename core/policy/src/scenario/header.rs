//! A scenario's header: the pair that it plays in.

use super::ScenarioError;
use crate::setup::{Detect, SideSetup};
use crate::{Setup, Sides};
use serde::Deserialize;

/// The header, with defaults in place.
#[derive(Clone, Debug)]
pub(super) struct Header {
    pub(super) title: String,
    pub(super) rules: Vec<String>,
    pub(super) plugin: String,
    pub(super) seed: u64,
    pub(super) show_timers: bool,
    pub(super) setup: Setup,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    title: String,
    rules: Vec<String>,
    plugin: String,
    #[serde(default = "default_pair")]
    pair: String,
    #[serde(default)]
    seed: u64,
    #[serde(default)]
    show_timers: bool,
    #[serde(default = "both")]
    agents: Sides<bool>,
    #[serde(default)]
    parameters: serde_json::Map<String, serde_json::Value>,
    #[serde(default = "default_detect")]
    detect: Detect,
}

fn default_pair() -> String {
    "phones".to_owned()
}

fn both() -> Sides<bool> {
    Sides { a: true, b: true }
}

fn default_detect() -> Detect {
    Detect { interval_ms: 100, timeout_ms: 200, failures: 3 }
}

/// The header's text with the line that ends it, the header, the rest, and the number of the rest's first line.
pub(super) fn split<'a>(name: &str, text: &'a str) -> Result<(&'a str, Header, &'a str, usize), ScenarioError> {
    let mut end = 0;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        if line.trim_end() == "---" {
            let (head, body) = text.split_at(end + line.len());
            return Ok((head, parse(name, &text[..end])?, body, index + 2));
        }
        end += line.len();
    }
    Err(ScenarioError::Line { name: name.to_owned(), line: 1, why: "a line `---` must end the header".to_owned() })
}

fn parse(name: &str, text: &str) -> Result<Header, ScenarioError> {
    let written: Written = toml::from_str(text).map_err(|error| {
        let before = error.span().map_or("", |span| text.get(..span.start).unwrap_or(""));
        let line = before.matches('\n').count() + 1;
        ScenarioError::Line { name: name.to_owned(), line, why: error.message().to_owned() }
    })?;
    let side = |agent, server: &str| SideSetup { servers: vec![server.to_owned()], agent };
    Ok(Header {
        title: written.title,
        rules: written.rules,
        plugin: written.plugin,
        seed: written.seed,
        show_timers: written.show_timers,
        setup: Setup {
            pair: written.pair,
            parameters: written.parameters,
            detect: written.detect,
            sides: Sides { a: side(written.agents.a, "192.0.2.1:80"), b: side(written.agents.b, "192.0.2.2:80") },
        },
    })
}
