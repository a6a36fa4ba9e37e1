//! A scenario's lines: what happens, and when.

use super::{ScenarioError, moment};
use crate::event::{
    AgentReport, Connection, Handover, Link, Order, Outcome, Role, Service, ServiceState, Stage, Start, Traffic,
    Verdict, What,
};
use crate::{Epoch, Side};
use std::time::Duration;

/// The most turns of one line.
const MAX_TURNS: u32 = 10_000;

/// One line of the script; the lines that are expected are not kept.
#[derive(Clone, Debug)]
pub(super) enum Line {
    /// Blank, or a comment: kept as it is.
    Remark(String),
    /// Something happens.
    Happens {
        /// The line as it is written.
        text: String,
        /// Its number in the file.
        number: usize,
        /// After the line before, rather than after the start.
        relative: bool,
        /// When.
        time: Duration,
        /// How often.
        turns: u32,
        /// What.
        what: Happening,
    },
}

/// What a line makes happen.
#[derive(Clone, Debug)]
pub(super) enum Happening {
    /// An event that is complete.
    Event(What),
    /// A probe's answer: which probe is known when it runs.
    Probe { side: Side, word: Option<String>, verdict: Verdict, status: u16, detail: String },
    /// An action's result: which action is known when it runs.
    Result { kind: String, outcome: Outcome, why: String },
    /// A simulated server changes.
    Server { side: Side, verdict: Verdict },
    /// Time passes.
    End,
}

pub(super) fn parse(name: &str, body: &str, first_line: usize) -> Result<Vec<Line>, ScenarioError> {
    let mut lines = Vec::new();
    for (index, text) in body.lines().enumerate() {
        let trimmed = text.trim();
        if trimmed.starts_with("->") || trimmed.starts_with('~') {
            continue;
        }
        if trimmed.is_empty() || trimmed.starts_with('#') {
            lines.push(Line::Remark(text.to_owned()));
            continue;
        }
        let number = first_line + index;
        let line = happens(text, number);
        lines.push(line.map_err(|why| ScenarioError::Line { name: name.to_owned(), line: number, why })?);
    }
    Ok(lines)
}

fn happens(text: &str, number: usize) -> Result<Line, String> {
    let mut words = Words::new(text)?;
    let time = words.need("a time such as `1m40s` or `+30s`")?;
    let (relative, length) = match time.strip_prefix('+') {
        Some(length) => (true, length),
        None => (false, time.as_str()),
    };
    let time = moment::parse(length).ok_or(format!("`{time}` is not a time such as `1m40s` or `+30s`"))?;
    let turns = words.turns()?;
    if turns > 1 && !relative {
        return Err("a repetition needs a time with `+`".to_owned());
    }
    let what = happening(&mut words)?;
    words.end()?;
    Ok(Line::Happens { text: text.to_owned(), number, relative, time, turns, what })
}

fn happening(words: &mut Words) -> Result<Happening, String> {
    let kind = words.need("what happens")?;
    Ok(match kind.as_str() {
        "start" => Happening::Event(What::Start(start(words)?)),
        "probe" => probe(words)?,
        "server" => Happening::Server { side: words.side()?, verdict: server(words)? },
        "agent" => Happening::Event(What::Agent(agent(words)?)),
        "link" => Happening::Event(What::Link(link(words)?)),
        "traffic" => Happening::Event(What::Traffic(traffic(words)?)),
        "order" => Happening::Event(What::Order(order(words)?)),
        "handover" => Happening::Event(What::Handover(handover(words)?)),
        "result" => result(words)?,
        "end" => Happening::End,
        other => {
            return Err(format!(
                "`{other}` is not an event: say start, probe, server, agent, link, traffic, order, handover, result or end"
            ));
        }
    })
}

fn start(words: &mut Words) -> Result<Start, String> {
    let mut start = Start { active: None, epoch: Epoch::default(), restored: false };
    while let Some(word) = words.next() {
        match word.as_str() {
            "active" => start.active = Some(words.side()?),
            "epoch" => start.epoch = Epoch(words.number()?),
            "restored" => start.restored = true,
            other => return Err(format!("`{other}` does not belong to a start: active SIDE, epoch N, restored")),
        }
    }
    Ok(start)
}

fn probe(words: &mut Words) -> Result<Happening, String> {
    let side = words.side()?;
    let first = words.need("good, wrong, silent or refused")?;
    let (word, verdict) = match verdict(&first) {
        Some(verdict) => (None, verdict),
        None => {
            let second = words.need("good, wrong, silent or refused")?;
            let verdict = verdict(&second).ok_or(format!("`{second}` is not good, wrong, silent or refused"))?;
            (Some(first), verdict)
        }
    };
    let mut status = if verdict == Verdict::Good { 200 } else { 0 };
    let mut detail = String::new();
    while let Some(next) = words.next() {
        match next.as_str() {
            "status" => status = words.number()?,
            quoted if quoted.starts_with('"') => detail = unquoted(quoted),
            other => return Err(format!("`{other}` does not belong to a probe's answer: status N, \"DETAIL\"")),
        }
    }
    Ok(Happening::Probe { side, word, verdict, status, detail })
}

fn verdict(word: &str) -> Option<Verdict> {
    Some(match word {
        "good" => Verdict::Good,
        "wrong" => Verdict::Wrong,
        "silent" => Verdict::Silent,
        "refused" => Verdict::Refused,
        _ => return None,
    })
}

fn server(words: &mut Words) -> Result<Verdict, String> {
    let word = words.need("answers, errs, silent or refuses")?;
    match word.as_str() {
        "answers" => Ok(Verdict::Good),
        "errs" => Ok(Verdict::Wrong),
        "silent" => Ok(Verdict::Silent),
        "refuses" => Ok(Verdict::Refused),
        other => Err(format!("`{other}` is not answers, errs, silent or refuses")),
    }
}

fn agent(words: &mut Words) -> Result<AgentReport, String> {
    let side = words.side()?;
    let role = words.need("a role")?;
    let role = match role.as_str() {
        "unknown" => Role::Unknown,
        "standby" => Role::Standby,
        "activating" => Role::Activating,
        "active" => Role::Active,
        "standing-down" => Role::StandingDown,
        "failed" => Role::Failed,
        other => {
            return Err(format!(
                "`{other}` is not a role: unknown, standby, activating, active, standing-down or failed"
            ));
        }
    };
    let mut report = AgentReport {
        side,
        role,
        epoch: Epoch::default(),
        serving: false,
        fit: false,
        services: Vec::new(),
        release: String::new(),
    };
    while let Some(word) = words.next() {
        match word.as_str() {
            "serving" => report.serving = true,
            "fit" => report.fit = true,
            "epoch" => report.epoch = Epoch(words.number()?),
            "release" => report.release = unquoted(&words.need("a release in quotes")?),
            name => report.services.push(service(name, words)?),
        }
    }
    Ok(report)
}

fn service(name: &str, words: &mut Words) -> Result<Service, String> {
    let mut state = words.need("a service's state")?;
    let exclusive = state == "exclusive";
    if exclusive {
        state = words.need("a service's state")?;
    }
    let state = match state.as_str() {
        "stopped" => ServiceState::Stopped,
        "starting" => ServiceState::Starting,
        "running" => ServiceState::Running,
        "stopping" => ServiceState::Stopping,
        "exited" => ServiceState::Exited,
        "unready" => ServiceState::Unready,
        other => {
            return Err(format!(
                "`{other}` is not the state of service `{name}`: stopped, starting, running, stopping, exited or unready"
            ));
        }
    };
    let pid = if state == ServiceState::Running { 100 } else { 0 };
    Ok(Service { name: name.to_owned(), exclusive, state, pid, restarts: 0 })
}

fn link(words: &mut Words) -> Result<Link, String> {
    let side = words.side()?;
    let connection = match words.need("main or aux")?.as_str() {
        "main" => Connection::Main,
        "aux" => Connection::Auxiliary,
        other => return Err(format!("`{other}` is not a connection: main or aux")),
    };
    let up = match words.need("up or down")?.as_str() {
        "up" => true,
        "down" => false,
        other => return Err(format!("`{other}` is not up or down")),
    };
    Ok(Link { side, connection, up })
}

fn traffic(words: &mut Words) -> Result<Traffic, String> {
    let side = words.side()?;
    let window = words.need("the window's length")?;
    let window = moment::parse(&window).ok_or(format!("`{window}` is not a length of time such as `1s`"))?;
    let mut traffic = Traffic { side, window, good: 0, server_errors: 0, refused: 0, resets: 0, timeouts: 0 };
    while let Some(word) = words.next() {
        let count = match word.as_str() {
            "good" => &mut traffic.good,
            "5xx" => &mut traffic.server_errors,
            "refused" => &mut traffic.refused,
            "resets" => &mut traffic.resets,
            "timeouts" => &mut traffic.timeouts,
            other => return Err(format!("`{other}` is not good, 5xx, refused, resets or timeouts")),
        };
        *count = words.number()?;
    }
    Ok(traffic)
}

fn order(words: &mut Words) -> Result<Order, String> {
    let order = words.number()?;
    words.expect("to")?;
    let mut order = Order { order, to: words.side()?, confirmed: false, by: "operator".to_owned() };
    while let Some(word) = words.next() {
        match word.as_str() {
            "confirmed" => order.confirmed = true,
            "by" => order.by = unquoted(&words.need("who asks")?),
            other => return Err(format!("`{other}` does not belong to an order: confirmed, by \"WHO\"")),
        }
    }
    Ok(order)
}

fn handover(words: &mut Words) -> Result<Handover, String> {
    let epoch = Epoch(words.number()?);
    words.expect("to")?;
    let to = words.side()?;
    let (stage, mut active) = match words.need("a stage")?.as_str() {
        "begun" => (Stage::Begun, None),
        "completed" => (Stage::Completed, Some(to)),
        "rolled-back" => (Stage::RolledBack, Some(to.other())),
        "no-active" => (Stage::NoActive, None),
        other => return Err(format!("`{other}` is not a stage: begun, completed, rolled-back or no-active")),
    };
    if let Some(word) = words.next() {
        match word.as_str() {
            "active" => active = Some(words.side()?),
            other => return Err(format!("`{other}` does not belong to a handover: active SIDE")),
        }
    }
    Ok(Handover { epoch, to, stage, active })
}

fn result(words: &mut Words) -> Result<Happening, String> {
    let kind = words.need("the kind of an action")?;
    let outcome = match words.need("done, refused or failed")?.as_str() {
        "done" => Outcome::Done,
        "refused" => Outcome::Refused,
        "failed" => Outcome::Failed,
        other => return Err(format!("`{other}` is not an outcome: done, refused or failed")),
    };
    let why = words.next().map(|quoted| unquoted(&quoted)).unwrap_or_default();
    Ok(Happening::Result { kind, outcome, why })
}

fn unquoted(word: &str) -> String {
    word.trim_matches('"').to_owned()
}

/// A line's words; a text in quotes is one. Commas and colons after words are for the reader.
struct Words {
    words: std::collections::VecDeque<String>,
}

impl Words {
    fn new(line: &str) -> Result<Words, String> {
        let mut words = std::collections::VecDeque::new();
        let mut rest = line.trim();
        while !rest.is_empty() {
            let end = if let Some(text) = rest.strip_prefix('"') {
                text.find('"').ok_or("a text in quotes has no end")? + 2
            } else {
                rest.find(char::is_whitespace).unwrap_or(rest.len())
            };
            let word = rest[..end].trim_end_matches([',', ':']);
            if !word.is_empty() {
                words.push_back(word.to_owned());
            }
            rest = rest[end..].trim_start_matches([',', ':']).trim_start();
        }
        Ok(Words { words })
    }

    /// Takes `x5` off the end.
    fn turns(&mut self) -> Result<u32, String> {
        let last = self.words.back().and_then(|word| word.strip_prefix('x')).and_then(|turns| turns.parse().ok());
        match last {
            None => Ok(1),
            Some(turns @ 1..=MAX_TURNS) => {
                self.words.pop_back();
                Ok(turns)
            }
            Some(turns) => Err(format!("x{turns} is not a number of turns from 1 to {MAX_TURNS}")),
        }
    }

    fn next(&mut self) -> Option<String> {
        self.words.pop_front()
    }

    fn need(&mut self, what: &str) -> Result<String, String> {
        self.next().ok_or_else(|| format!("{what} is missing"))
    }

    fn expect(&mut self, word: &str) -> Result<(), String> {
        let found = self.need(&format!("`{word}`"))?;
        if found == word { Ok(()) } else { Err(format!("`{found}` stands where `{word}` should")) }
    }

    fn side(&mut self) -> Result<Side, String> {
        self.need("a side")?.parse().map_err(|error: crate::side::UnknownSide| error.to_string())
    }

    fn number<T: std::str::FromStr>(&mut self) -> Result<T, String> {
        let word = self.need("a number")?;
        word.parse().map_err(|_| format!("`{word}` is not a number that fits here"))
    }

    fn end(&mut self) -> Result<(), String> {
        match self.next() {
            None => Ok(()),
            Some(word) => Err(format!("`{word}` is too much")),
        }
    }
}
