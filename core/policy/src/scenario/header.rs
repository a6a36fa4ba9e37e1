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
    /// Minutes after midnight, local time, at the start.
    pub(super) clock: u16,
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
    #[serde(default = "midnight")]
    clock: String,
    #[serde(default = "both")]
    agents: Sides<bool>,
    #[serde(default = "one_server_each")]
    servers: Sides<Vec<String>>,
    #[serde(default)]
    pools: Sides<Vec<String>>,
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

fn midnight() -> String {
    "00:00".to_owned()
}

fn one_server_each() -> Sides<Vec<String>> {
    Sides { a: vec!["192.0.2.1:80".to_owned()], b: vec!["192.0.2.2:80".to_owned()] }
}

fn minutes(clock: &str) -> Option<u16> {
    let (hours, minutes) = clock.split_once(':')?;
    let (hours, minutes): (u16, u16) = (hours.parse().ok()?, minutes.parse().ok()?);
    (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)
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
    let clock = minutes(&written.clock).ok_or_else(|| {
        let why = format!("`clock = \"{}\"` is not a time of day such as \"17:30\"", written.clock);
        ScenarioError::Line { name: name.to_owned(), line: 1, why }
    })?;
    let Sides { a: servers_a, b: servers_b } = written.servers;
    let Sides { a: pools_a, b: pools_b } = written.pools;
    let sides = Sides {
        a: SideSetup { servers: servers_a, pools: pools_a, agent: written.agents.a },
        b: SideSetup { servers: servers_b, pools: pools_b, agent: written.agents.b },
    };
    Ok(Header {
        title: written.title,
        rules: written.rules,
        plugin: written.plugin,
        seed: written.seed,
        show_timers: written.show_timers,
        clock,
        setup: Setup { pair: written.pair, parameters: written.parameters, detect: written.detect, sides },
    })
}
