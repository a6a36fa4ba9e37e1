//! What the program is told.

use std::path::PathBuf;

pub const USAGE: &str = "\
bench [--rounds N] [--seconds N] [--page FILE] [--force] [--parts work,two,switch,checks]

--rounds   how often each contender does each work, in an order that is another one in each round (default 5)
--seconds  for how long (default 3)
--page     the page whose measured part is put anew; not given: it is printed
--force    although the machine is busy
--parts    only these: what one worker does, what two do, switches, the checks of 1,000 pairs";

/// What to do: all of it, or what belongs in one world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    All,
    WorkWorld,
    SwitchWorld,
    HaproxySwitchWorld,
    ChecksWorld,
}

const VERBS: [(&str, Verb); 4] = [
    ("work-world", Verb::WorkWorld),
    ("switch-world", Verb::SwitchWorld),
    ("haproxy-switch-world", Verb::HaproxySwitchWorld),
    ("checks-world", Verb::ChecksWorld),
];

/// Parts that can be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Work,
    Two,
    Switch,
    Checks,
}

const PARTS: [(&str, Part); 4] =
    [("work", Part::Work), ("two", Part::Two), ("switch", Part::Switch), ("checks", Part::Checks)];

/// All that can be said; each has a default.
#[derive(Clone, Debug)]
pub struct Options {
    pub verb: Verb,
    pub rounds: usize,
    pub seconds: u32,
    pub page: Option<PathBuf>,
    pub force: bool,
    pub parts: Vec<Part>,
    /// Of a world of work: how many workers each contender has.
    pub workers: usize,
}

impl Options {
    pub fn parse(words: impl Iterator<Item = String>) -> Result<Options, String> {
        let mut words = words.peekable();
        let verb = words.peek().and_then(|word| VERBS.iter().find(|(name, _)| name == word)).map(|(_, verb)| *verb);
        if verb.is_some() {
            words.next();
        }
        let mut options = Options {
            verb: verb.unwrap_or(Verb::All),
            rounds: 5,
            seconds: 3,
            page: None,
            force: false,
            parts: PARTS.map(|(_, part)| part).to_vec(),
            workers: 1,
        };
        while let Some(key) = words.next() {
            if key == "--force" {
                options.force = true;
                continue;
            }
            let value = words.next().ok_or_else(|| format!("`{key}` needs a value, or is nothing that can be said"))?;
            options.set(&key, &value).ok_or_else(|| format!("`{key} {value}` is not understood"))?;
        }
        Ok(options)
    }

    fn set(&mut self, key: &str, value: &str) -> Option<()> {
        match key {
            "--rounds" => self.rounds = value.parse().ok().filter(|rounds| (1..=100).contains(rounds))?,
            "--seconds" => self.seconds = value.parse().ok().filter(|seconds| (1..=600).contains(seconds))?,
            "--workers" => self.workers = value.parse().ok().filter(|workers| (1..=64).contains(workers))?,
            "--page" => self.page = Some(PathBuf::from(value)),
            "--parts" => self.parts = value.split(',').map(part).collect::<Option<_>>()?,
            _ => return None,
        }
        Some(())
    }
}

fn part(word: &str) -> Option<Part> {
    PARTS.iter().find(|(name, _)| *name == word).map(|(_, part)| *part)
}
