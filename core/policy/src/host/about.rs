//! What a plugin says of itself, whoever asks it: in this process or through a worker.

use super::DescribeError;
use super::parameters::Checker;
use crate::{CommandInfo, Lint, Rule, Setup, Traits};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// What does not depend on a pair.
#[derive(Debug)]
pub(super) struct About {
    pub checker: Checker,
    pub rules: Vec<Rule>,
    pub commands: Vec<CommandInfo>,
}

impl About {
    pub fn ask(id: &str, mut ask: impl FnMut(&str) -> Result<String, String>) -> Result<About, String> {
        let schema = ask("schema").map_err(|why| format!("it gives no schema: {why}"))?;
        let schema = serde_json::from_str(&schema).map_err(|error| format!("its schema is no JSON: {error}"))?;
        let rules = ask("rules").map_err(|why| format!("it gives no rules: {why}"))?;
        let rules = serde_json::from_str(&rules).map_err(|error| format!("its rules are not as expected: {error}"))?;
        // Since 1.1: an older plugin refuses the topic.
        let commands = match ask("commands") {
            Ok(commands) => {
                serde_json::from_str(&commands).map_err(|error| format!("its commands are not as expected: {error}"))?
            }
            Err(_) => Vec::new(),
        };
        Ok(About { checker: Checker::new(id, schema)?, rules, commands })
    }
}

/// What sets a pair of the policy apart. Since 1.1: a plugin that refuses the topic is exclusive.
pub(super) fn traits(id: &str, setup: &Setup, ask: impl Ask) -> Result<Traits, DescribeError> {
    let about = Topic { id, topic: "tell what sets its pairs apart" };
    match about.text("traits", setup, ask) {
        Ok(told) => about.read(&told),
        Err(_) => Ok(Traits::default()),
    }
}

pub(super) fn explain(id: &str, setup: &Setup, ask: impl Ask) -> Result<String, DescribeError> {
    Topic { id, topic: "explain its rules" }.text("explain", setup, ask)
}

pub(super) fn lint(id: &str, setup: &Setup, ask: impl Ask) -> Result<Vec<Lint>, DescribeError> {
    let about = Topic { id, topic: "check its configuration" };
    about.read(&about.text("lint", setup, ask)?)
}

pub(super) fn expected_delay(id: &str, setup: &Setup, ask: impl Ask) -> Result<Duration, DescribeError> {
    #[derive(Deserialize)]
    struct Delay {
        expected_ns: u64,
    }
    let about = Topic { id, topic: "tell its expected delay" };
    let delay: Delay = about.read(&about.text("delay", setup, ask)?)?;
    Ok(Duration::from_nanos(delay.expected_ns))
}

/// Puts a topic and a setup to the plugin.
pub(super) trait Ask: FnOnce(&str, &[u8]) -> Result<String, String> {}

impl<F: FnOnce(&str, &[u8]) -> Result<String, String>> Ask for F {}

struct Topic<'a> {
    id: &'a str,
    topic: &'static str,
}

impl Topic<'_> {
    fn text(&self, topic: &str, setup: &Setup, ask: impl Ask) -> Result<String, DescribeError> {
        let setup = serde_json::to_vec(setup).map_err(|error| self.mute(error.to_string()))?;
        ask(topic, &setup).map_err(|why| self.mute(why))
    }

    fn read<T: DeserializeOwned>(&self, told: &str) -> Result<T, DescribeError> {
        serde_json::from_str(told).map_err(|error| self.mute(error.to_string()))
    }

    fn mute(&self, why: String) -> DescribeError {
        DescribeError { policy: self.id.to_owned(), topic: self.topic, why }
    }
}
