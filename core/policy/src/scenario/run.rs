//! Plays a script in virtual time.

use super::header::Header;
use super::script::{Answered, Happening, Line};
use super::{moment, render, which};
use crate::action::Watch;
use crate::event::{ActionResult, ConfigChange, ProbeId, ProbeResult, Sessions, TimerId, Verdict, What};
use crate::{Action, At, Event, Setup, Side};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a simulated server takes to answer.
const ANSWER: Duration = Duration::from_millis(20);
/// The most events of one scenario: a policy whose timer is always due at once ends here.
const MAX_EVENTS: u64 = 200_000;
/// When a probe goes out that is only sent when it is asked for.
const NEVER: At = At(u64::MAX);

/// A scenario cannot be played, or does not give what it says.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The file cannot be read or written.
    #[error("{name}: {source}")]
    File {
        /// The file.
        name: String,
        /// Why.
        source: std::io::Error,
    },
    /// A line cannot be understood.
    #[error("{name}:{line}: {why}")]
    Line {
        /// The file.
        name: String,
        /// The line's number.
        line: usize,
        /// What is wrong, and what would be valid.
        why: String,
    },
    /// The plugin makes no instance for it.
    #[error("{name}: {why}")]
    Instance {
        /// The file.
        name: String,
        /// Why.
        why: String,
    },
    /// The policy fails.
    #[error("{name}: at {at}: {why}")]
    Step {
        /// The file.
        name: String,
        /// The time in the scenario.
        at: String,
        /// Why.
        why: String,
    },
    /// The policy does something else.
    #[error("{name}: the policy does otherwise (- expected, + done):\n{diff}")]
    Different {
        /// The file.
        name: String,
        /// The difference, line by line.
        diff: String,
    },
}

/// The script again, with what the policy did.
pub(super) fn play(
    name: &str,
    header: &Header,
    lines: &[Line],
    step: impl FnMut(&Event) -> Result<Vec<Action>, String>,
) -> Result<String, ScenarioError> {
    let mut stage = Play {
        name,
        header,
        step,
        now: At::ZERO,
        seq: 0,
        given: 0,
        times: BTreeMap::new(),
        last_of_kind: BTreeMap::new(),
        timers: BTreeMap::new(),
        watches: BTreeMap::new(),
        servers: Vec::new(),
        setup: header.setup.clone(),
        transcript: String::new(),
    };
    // What happens by itself before a line stands before the remarks above that line.
    let mut remarks = String::new();
    for line in lines {
        match line {
            Line::Remark(text) => remarks = remarks + text + "\n",
            Line::Happens { text, number, relative, time, turns, what } => {
                let mut due = if *relative { stage.now + *time } else { At::ZERO + *time };
                if due < stage.now {
                    let why = format!("it is {} already", moment::at(stage.now));
                    return Err(ScenarioError::Line { name: name.to_owned(), line: *number, why });
                }
                stage.pass(due)?;
                stage.transcript += &remarks;
                stage.transcript += text.trim_end();
                stage.transcript.push('\n');
                remarks.clear();
                for turn in 1..=*turns {
                    if turn > 1 {
                        due = due + *time;
                        stage.pass(due)?;
                    }
                    stage.happen(what, *number, (*turns > 1).then_some(turn))?;
                }
            }
        }
    }
    Ok(stage.transcript + &remarks)
}

/// A scenario being played.
struct Play<'a, F> {
    name: &'a str,
    header: &'a Header,
    step: F,
    now: At,
    seq: u64,
    given: u64,
    times: BTreeMap<u64, At>,
    last_of_kind: BTreeMap<&'static str, u64>,
    timers: BTreeMap<TimerId, At>,
    watches: BTreeMap<ProbeId, Watched>,
    /// What simulated servers answer, to which of their probes.
    servers: Vec<(Side, Option<String>, Answered)>,
    /// As the configuration has changed by now.
    setup: Setup,
    transcript: String,
}

/// A declared probe, and the times of what it does by itself.
struct Watched {
    watch: Watch,
    next: At,
    /// Answers that are under way: when, and what.
    answers: BTreeMap<At, Answered>,
}

impl<F: FnMut(&Event) -> Result<Vec<Action>, String>> Play<'_, F> {
    /// Lets time pass, and happen what happens by itself.
    fn pass(&mut self, until: At) -> Result<(), ScenarioError> {
        loop {
            let timer = self.timers.iter().map(|(timer, due)| (*due, *timer)).min();
            let probe = self.watches.iter().map(|(probe, watched)| (watched.soonest(), *probe)).min();
            let timer_is_next = match (timer, probe) {
                (Some((due, _)), Some((soonest, _))) => due <= soonest,
                (timer, _) => timer.is_some(),
            };
            match (timer, probe) {
                (Some((due, timer)), _) if timer_is_next && due <= until => {
                    self.now = self.now.max(due);
                    self.timers.remove(&timer);
                    let actions = self.feed(What::Timer(timer))?;
                    self.write_by_itself("time passes", &actions);
                }
                (_, Some((soonest, probe))) if !timer_is_next && soonest <= until => {
                    self.now = self.now.max(soonest);
                    self.probe_moves(probe)?;
                }
                _ => break,
            }
        }
        self.now = until;
        Ok(())
    }

    /// A declared probe goes out, or is answered.
    fn probe_moves(&mut self, probe: ProbeId) -> Result<(), ScenarioError> {
        let now = self.now;
        let Some(watched) = self.watches.get_mut(&probe) else { return Ok(()) };
        let side = watched.watch.side;
        if let Some(answer) = watched.answers.remove(&now) {
            let what = format!("probe {side} {}", in_words(answer.verdict));
            let result = watched.result(&answer);
            let actions = self.feed(What::Probe(result))?;
            self.write_by_itself(&what, &actions);
            return Ok(());
        }
        watched.next = watched.after(now);
        let fits = |word: &Option<String>| word.as_ref().is_none_or(|word| which::fits(&watched.watch, word));
        let answer = self.servers.iter().rfind(|(of, word, _)| *of == side && fits(word));
        if let Some((_, _, answer)) = answer {
            watched.answers.insert(now + watched.delay(answer.verdict), answer.clone());
        }
        Ok(())
    }

    fn happen(&mut self, what: &Happening, number: usize, turn: Option<u32>) -> Result<(), ScenarioError> {
        let wrong = |why: String| ScenarioError::Line { name: self.name.to_owned(), line: number, why };
        let event = match what {
            Happening::Event(event) => event.clone(),
            Happening::Probe { side, word, answer } => {
                let mut fitting = self.watches.values().filter(|watched| {
                    watched.watch.side == *side && word.as_ref().is_none_or(|word| which::fits(&watched.watch, word))
                });
                let watched = fitting.next();
                let watched =
                    watched.ok_or_else(|| wrong(format!("the policy has declared no such probe of {side}")))?;
                if fitting.next().is_some() {
                    return Err(wrong(format!("several probes of {side} fit: say which, by a part of its path")));
                }
                What::Probe(ProbeResult { latency: ANSWER, ..watched.result(answer) })
            }
            Happening::Config { change, values } => {
                self.setup.parameters.extend(values.clone());
                let setup = serde_json::to_string(&self.setup).map_err(|error| wrong(error.to_string()))?;
                What::Config(ConfigChange { change: *change, setup })
            }
            Happening::Sessions(sessions) => {
                let share = self.last_of_kind.get("share").copied().unwrap_or_default();
                What::Sessions(Sessions { share, ..sessions.clone() })
            }
            Happening::Result { kind, outcome, why } => {
                let action = self.last_of_kind.get(kind.as_str());
                let action = action.ok_or_else(|| wrong(format!("the policy has given no action `{kind}`")))?;
                What::Result(ActionResult { action: *action, outcome: *outcome, why: why.clone() })
            }
            Happening::Server { side, word, answer } => {
                self.servers.retain(|(of, before, _)| (of, before) != (side, word));
                self.servers.push((*side, word.clone(), answer.clone()));
                return Ok(());
            }
            Happening::End => return Ok(()),
        };
        let actions = self.feed(event)?;
        self.write(&actions, turn);
        Ok(())
    }

    /// Hands the policy an event, and does what it asks for.
    fn feed(&mut self, what: What) -> Result<Vec<Action>, ScenarioError> {
        self.seq += 1;
        let failed = |why| ScenarioError::Step { name: self.name.to_owned(), at: moment::at(self.now), why };
        if self.seq > MAX_EVENTS {
            return Err(failed(format!("more than {MAX_EVENTS} events: is a timer always due at once?")));
        }
        self.times.insert(self.seq, self.now);
        let actions = (self.step)(&Event { seq: self.seq, at: self.now, what }).map_err(failed)?;
        for action in &actions {
            self.given += 1;
            self.last_of_kind.insert(render::kind(action), self.given);
            self.obey(action);
        }
        Ok(actions)
    }

    fn obey(&mut self, action: &Action) {
        match action {
            Action::Watch(watch) => {
                let next = if watch.repeats() { self.now } else { NEVER };
                let watched = Watched { watch: watch.clone(), next, answers: BTreeMap::new() };
                self.watches.insert(watch.probe, watched);
            }
            Action::Unwatch(probe) => {
                self.watches.remove(probe);
            }
            Action::ProbeNow(probe) => {
                if let Some(watched) = self.watches.get_mut(probe) {
                    watched.next = self.now;
                }
            }
            Action::SetTimer(timer, due) => {
                self.timers.insert(*timer, *due);
            }
            Action::SetAlarm(timer, minute) => {
                self.timers.insert(*timer, self.next_time_of_day(*minute));
            }
            Action::CancelTimer(timer) => {
                self.timers.remove(timer);
            }
            _ => {}
        }
    }

    /// When it is next so many minutes after midnight.
    fn next_time_of_day(&self, minute: u16) -> At {
        const DAY: u64 = 24 * 60 * 60 * 1_000_000_000;
        let of = |minutes: u16| u64::from(minutes) * 60 * 1_000_000_000;
        let now = (of(self.header.clock) + self.now.0) % DAY;
        let wait = (of(minute) + DAY - now) % DAY;
        self.now + Duration::from_nanos(if wait == 0 { DAY } else { wait })
    }

    fn write_by_itself(&mut self, what: &str, actions: &[Action]) {
        let shown = actions.iter().any(|action| self.is_shown(action));
        if shown {
            self.transcript += &format!("~ {:<7} {what}\n", moment::at(self.now));
            self.write(actions, None);
        }
    }

    fn write(&mut self, actions: &[Action], turn: Option<u32>) {
        let turn = turn.map_or(String::new(), |turn| format!("x{turn}: "));
        for action in actions {
            if self.is_shown(action) {
                self.transcript += &format!("          -> {turn}{}\n", render::action(action, &self.times));
            }
        }
    }

    fn is_shown(&self, action: &Action) -> bool {
        self.header.show_timers || !render::is_timer(action)
    }
}

impl Watched {
    /// When it goes out by itself after it has gone out.
    fn after(&self, now: At) -> At {
        if self.watch.repeats() { now + self.watch.interval.max(Duration::from_millis(1)) } else { NEVER }
    }

    fn delay(&self, verdict: Verdict) -> Duration {
        if verdict == Verdict::Silent { self.watch.timeout } else { ANSWER }
    }

    fn result(&self, answer: &Answered) -> ProbeResult {
        let Answered { verdict, status, detail, facts } = answer.clone();
        let (probe, side, server) = (self.watch.probe, self.watch.side, self.watch.server);
        ProbeResult { probe, side, server, verdict, latency: self.delay(verdict), status, detail, facts }
    }

    fn soonest(&self) -> At {
        self.answers.keys().next().map_or(self.next, |answer| self.next.min(*answer))
    }
}

fn in_words(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Good => "good",
        Verdict::Wrong => "wrong",
        Verdict::Silent => "silent",
        Verdict::Refused => "refused",
    }
}
