//! A scenario's lines: what happens, and when.

use super::words::{Words, unquoted};
use super::{ScenarioError, moment};
use crate::event::{
    AgentReport, Command, Connection, Fact, Handover, Lan, Link, Order, Outcome, Replication, Role, Service,
    ServiceState, Sessions, Stage, Start, Traffic, Verdict, What,
};
use crate::{Epoch, Side};
use serde_json::{Map, Value};
use std::time::Duration;

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
    Probe { side: Side, word: Option<String>, answer: Answered },
    /// An action's result: which action is known when it runs.
    Result { kind: String, outcome: Outcome, why: String },
    /// A simulated server changes: for the probes that the word fits.
    Server { side: Side, word: Option<String>, answer: Answered },
    /// The configuration changes: the number of the change, and the new values.
    Config { change: u64, values: Map<String, Value> },
    /// How the latest share stands.
    Sessions(Sessions),
    /// Time passes.
    End,
}

/// What a probe is answered.
#[derive(Clone, Debug)]
pub(super) struct Answered {
    pub(super) verdict: Verdict,
    pub(super) status: u16,
    pub(super) detail: String,
    pub(super) facts: Vec<Fact>,
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
        "server" => server(words)?,
        "agent" => Happening::Event(What::Agent(agent(words)?)),
        "link" => Happening::Event(What::Link(link(words)?)),
        "traffic" => Happening::Event(What::Traffic(traffic(words)?)),
        "order" => Happening::Event(What::Order(order(words)?)),
        "command" => Happening::Event(What::Command(command(words)?)),
        "config" => config(words)?,
        "sessions" => Happening::Sessions(sessions(words)?),
        "handover" => Happening::Event(What::Handover(handover(words)?)),
        "result" => result(words)?,
        "end" => Happening::End,
        other => {
            return Err(format!(
                "`{other}` is not an event: say start, probe, server, agent, link, traffic, order, command, config, sessions, handover, result or end"
            ));
        }
    })
}

fn start(words: &mut Words) -> Result<Start, String> {
    let mut start = Start { active: None, epoch: Epoch::default(), restored: false, since_handover: None };
    while let Some(word) = words.next() {
        match word.as_str() {
            "active" => start.active = Some(words.side()?),
            "epoch" => start.epoch = Epoch(words.number()?),
            "restored" => start.restored = true,
            "since" => start.since_handover = Some(words.duration()?),
            other => {
                return Err(format!(
                    "`{other}` does not belong to a start: active SIDE, epoch N, restored, since TIME"
                ));
            }
        }
    }
    Ok(start)
}

fn probe(words: &mut Words) -> Result<Happening, String> {
    let side = words.side()?;
    let (word, verdict) = of_which(words, verdict, "good, wrong, silent or refused")?;
    Ok(Happening::Probe { side, word, answer: answered(verdict, words)? })
}

fn server(words: &mut Words) -> Result<Happening, String> {
    let side = words.side()?;
    let (word, verdict) = of_which(words, behaviour, "answers, errs, silent or refuses")?;
    Ok(Happening::Server { side, word, answer: answered(verdict, words)? })
}

/// `[WORD] VALUE`.
fn of_which(
    words: &mut Words,
    value: impl Fn(&str) -> Option<Verdict>,
    valid: &str,
) -> Result<(Option<String>, Verdict), String> {
    let first = words.need(valid)?;
    if let Some(verdict) = value(&first) {
        return Ok((None, verdict));
    }
    let second = words.need(valid)?;
    let verdict = value(&second).ok_or_else(|| format!("`{second}` is not {valid}"))?;
    Ok((Some(first), verdict))
}

fn answered(verdict: Verdict, words: &mut Words) -> Result<Answered, String> {
    let status = if verdict == Verdict::Good { 200 } else { 0 };
    let mut answer = Answered { verdict, status, detail: String::new(), facts: Vec::new() };
    while let Some(next) = words.next() {
        match next.as_str() {
            "status" => answer.status = words.number()?,
            quoted if quoted.starts_with('"') => answer.detail = unquoted(quoted),
            other => match other.split_once('=') {
                Some((name, value)) => {
                    answer.facts.push(Fact { name: name.to_owned(), value: unquoted(value) });
                }
                None => {
                    return Err(format!(
                        "`{other}` does not belong to a probe's answer: status N, FACT=VALUE, \"DETAIL\""
                    ));
                }
            },
        }
    }
    Ok(answer)
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

fn behaviour(word: &str) -> Option<Verdict> {
    Some(match word {
        "answers" => Verdict::Good,
        "errs" => Verdict::Wrong,
        "silent" => Verdict::Silent,
        "refuses" => Verdict::Refused,
        _ => return None,
    })
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
        replication: Replication::Unknown,
        replication_detail: String::new(),
        lan: Lan::Unknown,
        waiting: String::new(),
    };
    while let Some(word) = words.next() {
        match word.as_str() {
            "serving" => report.serving = true,
            "fit" => report.fit = true,
            "epoch" => report.epoch = Epoch(words.number()?),
            "release" => report.release = unquoted(&words.need("a release in quotes")?),
            "replication" => {
                report.replication = replication(&words.need("current, behind or stopped")?)?;
                report.replication_detail = words.quoted().unwrap_or_default();
            }
            "lan" => report.lan = lan(&words.need("connected or isolated")?)?,
            "waiting" => report.waiting = unquoted(&words.need("a gate in quotes")?),
            "pid" => last_service(&mut report)?.pid = words.number()?,
            "restarts" => last_service(&mut report)?.restarts = words.number()?,
            name => report.services.push(service(name, words)?),
        }
    }
    Ok(report)
}

fn replication(word: &str) -> Result<Replication, String> {
    match word {
        "current" => Ok(Replication::Current),
        "behind" => Ok(Replication::Behind),
        "stopped" => Ok(Replication::Stopped),
        other => Err(format!("`{other}` is not current, behind or stopped")),
    }
}

fn lan(word: &str) -> Result<Lan, String> {
    match word {
        "connected" => Ok(Lan::Connected),
        "isolated" => Ok(Lan::Isolated),
        other => Err(format!("`{other}` is not connected or isolated")),
    }
}

fn last_service(report: &mut AgentReport) -> Result<&mut Service, String> {
    report.services.last_mut().ok_or_else(|| "a service must come first".to_owned())
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
    let window = words.duration()?;
    let mut traffic = Traffic { side, window, good: 0, server_errors: 0, refused: 0, resets: 0, timeouts: 0, slow: 0 };
    while let Some(word) = words.next() {
        let count = match word.as_str() {
            "good" => &mut traffic.good,
            "5xx" => &mut traffic.server_errors,
            "refused" => &mut traffic.refused,
            "resets" => &mut traffic.resets,
            "timeouts" => &mut traffic.timeouts,
            "slow" => &mut traffic.slow,
            other => return Err(format!("`{other}` is not good, 5xx, refused, resets, timeouts or slow")),
        };
        *count = words.number()?;
    }
    Ok(traffic)
}

fn order(words: &mut Words) -> Result<Order, String> {
    let order = words.number()?;
    words.expect("to")?;
    let to = words.side()?;
    let mut order = Order { order, to, confirmed: false, by: "operator".to_owned(), rights: all_rights() };
    while let Some(word) = words.next() {
        match word.as_str() {
            "confirmed" => order.confirmed = true,
            "by" => order.by = unquoted(&words.need("who asks")?),
            "rights" => order.rights = rights(words)?,
            other => {
                return Err(format!("`{other}` does not belong to an order: confirmed, by \"WHO\", rights \"SOME\""));
            }
        }
    }
    Ok(order)
}

fn command(words: &mut Words) -> Result<Command, String> {
    let (order, name) = (words.number()?, words.need("the command's name")?);
    let (side, argument, by) = (None, String::new(), "operator".to_owned());
    let mut command = Command { order, name, side, argument, confirmed: false, by, rights: all_rights() };
    while let Some(word) = words.next() {
        match word.as_str() {
            "side" => command.side = Some(words.side()?),
            "argument" => command.argument = unquoted(&words.need("the argument in quotes")?),
            "confirmed" => command.confirmed = true,
            "by" => command.by = unquoted(&words.need("who asks")?),
            "rights" => command.rights = rights(words)?,
            other => {
                return Err(format!(
                    "`{other}` does not belong to a command: side SIDE, argument \"TEXT\", confirmed, by \"WHO\", rights \"SOME\""
                ));
            }
        }
    }
    Ok(command)
}

fn all_rights() -> Vec<String> {
    vec!["all".to_owned()]
}

fn rights(words: &mut Words) -> Result<Vec<String>, String> {
    let rights = unquoted(&words.need("rights in quotes")?);
    Ok(rights.split_whitespace().map(str::to_owned).collect())
}

fn config(words: &mut Words) -> Result<Happening, String> {
    let change = words.number()?;
    let mut values = Map::new();
    while let Some(word) = words.next() {
        let (key, value) = word.split_once('=').ok_or_else(|| format!("`{word}` is not KEY=VALUE"))?;
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
        values.insert(key.to_owned(), value);
    }
    Ok(Happening::Config { change, values })
}

fn sessions(words: &mut Words) -> Result<Sessions, String> {
    let mut sessions = Sessions::default();
    while let Some(word) = words.next() {
        match word.as_str() {
            "a" => sessions.on.a = words.number()?,
            "b" => sessions.on.b = words.number()?,
            "moved" => sessions.moved = words.number()?,
            "left" => sessions.left = words.number()?,
            "failed" => sessions.failed = words.number()?,
            "ended" => sessions.ended = true,
            "names" => {
                let names = unquoted(&words.need("names in quotes")?);
                sessions.names = names.split_whitespace().map(str::to_owned).collect();
            }
            other => return Err(format!("`{other}` is not a, b, moved, left, failed, ended or names")),
        }
    }
    Ok(sessions)
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
