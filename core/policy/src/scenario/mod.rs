//! Scenarios: what a policy does, as a transcript that a support engineer can read, check and bless.
//!
//! A header in TOML, a line `---`, then what happens and what the policy does about it:
//!
//! ```text
//! title = "The active side falls silent"
//! rules = ["T1"]
//! plugin = "telisca"
//!
//! [parameters]
//! failures_to_switch = 3
//! ---
//! # Lines like this one are for the reader.
//! 0s        start active a
//!           -> watch a every 30s, timeout 10s: GET /IPSCFG/admin/monitor.aspx?mod=NONE, 200
//! 1s        link a main up
//! 1s        agent b standby, fit
//! +30s      probe a silent x3
//!           -> x1: prepare b
//!           -> x3: switch to b, failover: T1: a failed 3 monitor probes in a row [31s 1m1s 1m31s]
//! ```
//!
//! A time is since the start, or with `+` since the line before. `->` lines are what the policy must do, in order; in
//! a repetition (`x3`) they say at which turn. Times in brackets are those of the events that a decision names as its
//! evidence. What happens by itself (a timer of the policy's is due; a probe of a simulated server is answered) is a
//! line with `~`, and shown when the policy does something then.
//!
//! | line | meaning |
//! |---|---|
//! | `start [active SIDE] [epoch N] [restored] [since TIME]` | the instance begins; so long ago the latest handover ended |
//! | `probe SIDE [WORD] good\|wrong\|silent\|refused [status N] [FACT=VALUE …] ["DETAIL"]` | an answer to the side's probe; WORD says which, when it has several |
//! | `server SIDE [WORD] answers\|errs\|silent\|refuses [status N] [FACT=VALUE …]` | from now on every probe of the side that WORD fits goes out and is answered so, by itself; the last such line that fits counts |
//! | `agent SIDE ROLE [serving] [fit] [epoch N] [release "R"], SERVICE [exclusive] STATE, …` | an agent's report |
//! | … `pid N`, `restarts N` after a service; `replication current\|behind\|stopped ["DETAIL"]`, `lan connected\|isolated`, `waiting "GATE"` | more of a report |
//! | `link SIDE main\|aux up\|down` | a connection to an agent |
//! | `traffic SIDE WINDOW [good N] [5xx N] [refused N] [resets N] [timeouts N] [slow N]` | what requests met |
//! | `order N to SIDE [confirmed] [by "WHO"] [rights "SOME"]` | an operator's order; without `rights` he has all |
//! | `command N NAME [side SIDE] [argument "TEXT"] [confirmed] [by "WHO"] [rights "SOME"]` | one of the policy's own commands |
//! | `config N KEY=VALUE …` | parameters change; a value is JSON, or a text |
//! | `sessions a N b N [moved N] [left N] [failed N] [ended] [names "SOME"]` | how the policy's latest share stands |
//! | `handover N to SIDE begun\|completed\|rolled-back\|no-active [active SIDE]` | the pair's handover |
//! | `result KIND done\|refused\|failed ["WHY"]` | of the last action of a kind: `switch`, `stand-down`, `restart`, … |
//! | `end` | nothing; time passes until here |
//!
//! A WORD is `http`, `tcp`, `icmp`, `agent`, `main`, `aux`, `xmpp`, `cti`, a part of the path, the name of the pinged
//! service, a pinged address, the user of an XMPP log-in, `gateways`, or `#N` for the side's Nth server; several joined by `+` must all fit.
//!
//! In the header `[servers]` and `[pools]` give each side's (`a = [...]`, `b = [...]`), `agents` says which side has one,
//! and `clock = "17:30"` is the local time at which the scenario starts. `show_timers = true` in the header shows the policy's timers too.

mod diff;
mod header;
mod moment;
mod render;
mod run;
mod script;
mod which;
mod words;

pub use run::ScenarioError;

use crate::host::{Instance, Library};
use crate::{Action, Event, Setup};
use header::Header;
use script::Line;
use std::path::Path;

/// A transcript, read.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Where it comes from, for messages.
    name: String,
    /// The text up to and with the line `---`.
    head: String,
    header: Header,
    lines: Vec<Line>,
}

impl Scenario {
    /// Reads a scenario's text; `name` is for messages.
    pub fn parse(name: &str, text: &str) -> Result<Scenario, ScenarioError> {
        let (head, header, body, first_line) = header::split(name, text)?;
        let lines = script::parse(name, body, first_line)?;
        Ok(Scenario { name: name.to_owned(), head: head.to_owned(), header, lines })
    }

    /// Reads a scenario's file.
    #[expect(clippy::disallowed_methods, reason = "scenarios are files; what runs them is as pure as a policy")]
    pub fn read(path: &Path) -> Result<Scenario, ScenarioError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ScenarioError::File { name: path.display().to_string(), source })?;
        Scenario::parse(&path.display().to_string(), &text)
    }

    /// What it shows, in a sentence.
    #[must_use]
    pub fn title(&self) -> &str {
        &self.header.title
    }

    /// The rules that it proves.
    #[must_use]
    pub fn rules(&self) -> &[String] {
        &self.header.rules
    }

    /// The plugin that it is for.
    #[must_use]
    pub fn plugin(&self) -> &str {
        &self.header.plugin
    }

    /// The pair that it plays in.
    #[must_use]
    pub fn setup(&self) -> &Setup {
        &self.header.setup
    }

    /// The policy's seed.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.header.seed
    }

    /// Plays it with anything that answers events, and returns the whole text as it should be.
    pub fn play(&self, step: impl FnMut(&Event) -> Result<Vec<Action>, String>) -> Result<String, ScenarioError> {
        let body = run::play(&self.name, &self.header, &self.lines, step)?;
        Ok(format!("{}{body}", self.head))
    }

    /// Plays it with an instance, and returns the whole text as it should be.
    pub fn run(&self, instance: &mut Instance) -> Result<String, ScenarioError> {
        self.play(|event| instance.step(event).map_err(|error| error.to_string()))
    }
}

/// Plays the scenario in a file with a plugin. A text that differs is an error that shows the difference, or with
/// `bless` is written to the file.
#[expect(clippy::disallowed_methods, reason = "scenarios are files; what runs them is as pure as a policy")]
pub fn check(path: &Path, library: &Library, bless: bool) -> Result<(), ScenarioError> {
    let name = path.display().to_string();
    let failed = |source| ScenarioError::File { name: name.clone(), source };
    let expected = std::fs::read_to_string(path).map_err(failed)?;
    let scenario = Scenario::parse(&name, &expected)?;
    let instance = library.instance(scenario.setup(), scenario.seed());
    let mut instance =
        instance.map_err(|error| ScenarioError::Instance { name: name.clone(), why: error.to_string() })?;
    let actual = scenario.run(&mut instance)?;
    if actual == expected {
        return Ok(());
    }
    if bless {
        return std::fs::write(path, actual).map_err(failed);
    }
    Err(ScenarioError::Different { name, diff: diff::diff(&expected, &actual) })
}

#[cfg(test)]
mod tests;
