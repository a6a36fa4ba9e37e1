//! What the program is told.

use lockstep_policy::Side;
use std::path::PathBuf;
use std::time::Duration;

pub const USAGE: &str = "\
figures soak   [--minutes N] [--forms loss,load,stalls] [--seed N]   failovers that nobody needed
figures unplug [--runs N] [--profile lan|rapid] [--seed N]           an active node's cable is pulled
figures rapid  [--runs N] [--minutes N] [--seed N]                   the rapid profile, beside an HAProxy, and under load
figures agent  [--seconds N]                                         what an agent costs";

/// Which measurement, or which part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Soak,
    SoakWorld,
    Unplug,
    UnplugWorld,
    Rapid,
    RapidWorld,
    BalancerWorld,
    Daemon,
    Agent,
    AgentWorld,
    Burn,
}

const VERBS: [(&str, Verb); 11] = [
    ("soak", Verb::Soak),
    ("soak-world", Verb::SoakWorld),
    ("unplug", Verb::Unplug),
    ("unplug-world", Verb::UnplugWorld),
    ("rapid", Verb::Rapid),
    ("rapid-world", Verb::RapidWorld),
    ("balancer-world", Verb::BalancerWorld),
    ("daemon", Verb::Daemon),
    ("agent", Verb::Agent),
    ("agent-world", Verb::AgentWorld),
    ("burn", Verb::Burn),
];

/// All that can be said; each has a default.
#[derive(Clone, Debug)]
pub struct Options {
    pub verb: Verb,
    pub minutes: f64,
    pub runs: usize,
    pub seconds: u64,
    pub seed: u64,
    /// Of a soak: what disturbs the pair, one world for each.
    pub forms: Vec<String>,
    /// Of an unplugging: the lease's.
    pub profile: String,
    /// More lines of `[pair.lease]`.
    pub lease: String,
    /// Of an agent's cost: whether it is `lockstep-agent`, not `lockstep agent`.
    pub lean: bool,
    /// Whether edge and agents keep the real-time priority that they are given.
    pub priority: bool,
    /// Processes that want a processor all the time, or a part of it.
    pub busy: usize,
    pub percent: u32,
    /// Of a daemon that watches the other side: its own, and what it starts.
    pub side: Side,
    pub dir: PathBuf,
}

impl Options {
    pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Options, String> {
        let verb = words.next().ok_or("say what to measure")?;
        let found = VERBS.iter().find(|(name, _)| *name == verb);
        let (_, verb) = *found.ok_or_else(|| format!("`{verb}` is nothing to measure"))?;
        let mut options = Options {
            verb,
            minutes: 20.0,
            runs: 200,
            seconds: 60,
            seed: 1,
            forms: ["loss", "load", "stalls"].map(str::to_owned).to_vec(),
            profile: "lan".to_owned(),
            lease: String::new(),
            lean: false,
            priority: true,
            busy: 0,
            percent: 100,
            side: Side::B,
            dir: PathBuf::new(),
        };
        while let Some(key) = words.next() {
            let value = words.next().ok_or_else(|| format!("`{key}` needs a value"))?;
            options.set(&key, &value).ok_or_else(|| format!("`{key} {value}` is not understood"))?;
        }
        Ok(options)
    }

    fn set(&mut self, key: &str, value: &str) -> Option<()> {
        match key {
            "--minutes" => self.minutes = value.parse().ok().filter(|minutes| (0.0..=10_000.0).contains(minutes))?,
            "--runs" => self.runs = value.parse().ok()?,
            "--seconds" => self.seconds = value.parse().ok()?,
            "--seed" => self.seed = value.parse().ok()?,
            "--forms" => self.forms = value.split(',').map(str::to_owned).collect(),
            "--profile" => value.clone_into(&mut self.profile),
            "--lease" => value.clone_into(&mut self.lease),
            "--lean" => self.lean = value.parse().ok()?,
            "--priority" => self.priority = value.parse().ok()?,
            "--busy" => self.busy = value.parse().ok()?,
            "--percent" => self.percent = value.parse().ok().filter(|percent| *percent <= 100)?,
            "--side" => self.side = value.parse().ok()?,
            "--dir" => self.dir = PathBuf::from(value),
            _ => return None,
        }
        Some(())
    }

    pub fn time(&self) -> Duration {
        Duration::from_secs_f64(self.minutes * 60.0)
    }
}
