//! A journal for a person to read: one line for each thing that happened.

use super::{Answered, Entry, Gap, Header, Note, Skipped};
use crate::action::{StandDown, Switch, Watch};
use crate::event::{ActionResult, AgentReport, Link, ProbeResult, Service, What};
use crate::host::LifeRecord;
use crate::{Action, At, Event, Side};
use serde::Serialize;
use serde_json::Value;
use std::fmt::Write;
use std::time::Duration;

/// The longest line's text, in characters.
const LINE: usize = 400;

/// Turns a journal's entries into lines. It remembers the time of day and what the last line was about.
#[derive(Debug, Default)]
pub struct Transcript {
    header: Option<Header>,
    /// The day that was written last.
    day: String,
    /// The event of the last line.
    last: u64,
    /// What stands before `BEGINS` is known, unless the transcript starts there.
    preparing: bool,
    begun: bool,
}

/// A transcript of a journal from its beginning.
#[must_use]
pub fn transcript() -> Transcript {
    Transcript::default()
}

impl Transcript {
    /// The line or lines of one entry, each with its end; empty for what says nothing to a person.
    pub fn lines(&mut self, entry: &Entry) -> String {
        match entry {
            Entry::Segment(header) => self.header(header),
            Entry::Begins { .. } => {
                self.preparing = false;
                self.begun = true;
                String::new()
            }
            _ if self.preparing && self.begun => String::new(),
            Entry::Life(life) => self.life(life),
            Entry::Event(event) => {
                self.last = event.seq;
                self.line(Some(event.at), &format!("#{} {}", event.seq, event_text(event)))
            }
            Entry::Answer(answer) => self.answer(answer),
            Entry::Skipped(Skipped { seq, why }) => self.line(None, &format!("! #{seq} was not handed over: {why}")),
            Entry::Gap(Gap { from, to, lost, why }) => {
                self.line(None, &format!("! {lost} records about #{from} to #{to} were not written down: {why}"))
            }
            Entry::Note { at, note: Note { kind, what }, .. } => {
                self.line(Some(*at), &format!("* {kind}: {}", plain(what)))
            }
            Entry::Unknown { kind, seq } => {
                self.line(None, &format!("? #{seq} is of a kind ({kind}) that this lockstep does not know"))
            }
            Entry::Snapshot(_) => String::new(),
        }
    }

    fn header(&mut self, header: &Header) -> String {
        let news = self.header.as_ref().is_none_or(|last| (&last.edge, &last.pair) != (&header.edge, &header.pair));
        self.header = Some(header.clone());
        self.preparing = true;
        if news { format!("pair {}, edge {}\n", header.pair, header.edge) } else { String::new() }
    }

    fn life(&mut self, life: &LifeRecord) -> String {
        let from = match &life.restored {
            Some(snapshot) => format!("goes on after action {}", snapshot.given),
            None => "begins anew".to_owned(),
        };
        let LifeRecord { life: number, plugin, version, fingerprint, setup, .. } = life;
        let parameters = plain(&Value::Object(setup.parameters.clone()));
        let short: String = fingerprint.to_string().chars().take(12).collect();
        self.line(None, &format!("= policy {plugin} {version} ({short}), life {number}, {from}: {parameters}"))
    }

    fn answer(&mut self, answer: &Answered) -> String {
        let late = if answer.seq == self.last { String::new() } else { format!("(#{}) ", answer.seq) };
        answer.actions.iter().map(|action| self.line(None, &format!("  {late}-> {}", action_text(action)))).collect()
    }

    fn line(&mut self, at: Option<At>, text: &str) -> String {
        let mut line = String::new();
        let when = match (&self.header, at) {
            (Some(header), Some(at)) => {
                let (day, time) = day_and_time(header.unix_ms(at));
                if self.day != day {
                    line = format!("{day}\n");
                    self.day = day;
                }
                time
            }
            (None, Some(at)) => at.to_string(),
            (_, None) => String::new(),
        };
        let text = text.replace(['\n', '\r'], " ");
        let text = match text.char_indices().nth(LINE) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text,
        };
        // Writing to a String cannot fail.
        let _ = writeln!(line, "{when:<12}  {text}");
        line
    }
}

/// An event in some words.
#[must_use]
pub fn event_text(event: &Event) -> String {
    match &event.what {
        What::Start(start) => {
            let active = start.active.map_or_else(|| "no side active".to_owned(), |side| format!("{side} active"));
            let restored = if start.restored { ", restored" } else { "" };
            format!("start: {active}, epoch {}{restored}", start.epoch)
        }
        What::Probe(probe) => probe_text(probe),
        What::Agent(report) => report_text(report),
        What::Link(Link { side, connection, up }) => {
            format!("link {side}: {} connection {}", word(connection), if *up { "up" } else { "down" })
        }
        What::Traffic(traffic) => {
            let mut text = format!("traffic {}: {} good", traffic.side, traffic.good);
            let others = [
                (traffic.server_errors, "server errors"),
                (traffic.refused, "refused"),
                (traffic.resets, "resets"),
                (traffic.timeouts, "timeouts"),
                (traffic.slow, "slow"),
            ];
            for (count, what) in others.into_iter().filter(|(count, _)| *count > 0) {
                let _ = write!(text, ", {count} {what}");
            }
            let _ = write!(text, " in {}", moment(traffic.window));
            text
        }
        What::Timer(timer) => format!("timer {}", timer.0),
        What::Order(order) => {
            let confirmed = if order.confirmed { ", confirmed" } else { "" };
            format!("order {}: {} wants {} active{confirmed}", order.order, order.by, order.to)
        }
        What::Handover(handover) => {
            let active = handover.active.map_or_else(|| "none".to_owned(), |side| side.to_string());
            format!("handover {} to {}: {}, active: {active}", handover.epoch, handover.to, word(&handover.stage))
        }
        What::Result(ActionResult { action, outcome, why }) => {
            let because = if why.is_empty() { String::new() } else { format!(": {why}") };
            format!("result of action {action}: {}{because}", word(outcome))
        }
        other => plain(&serde_json::to_value(other).unwrap_or_default()),
    }
}

fn probe_text(probe: &ProbeResult) -> String {
    let mut text = format!("probe {} of {}: {}", probe.probe.0, probe.side, word(&probe.verdict));
    if probe.status != 0 {
        let _ = write!(text, " {}", probe.status);
    }
    let _ = write!(text, " after {}", moment(probe.latency));
    if !probe.detail.is_empty() {
        let _ = write!(text, ": {}", probe.detail);
    }
    text
}

fn report_text(report: &AgentReport) -> String {
    let mut text = format!("agent {}: {}, epoch {}", report.side, word(&report.role), report.epoch);
    for (is, what) in [(report.serving, "serving"), (report.fit, "fit")] {
        if is {
            let _ = write!(text, ", {what}");
        }
    }
    for Service { name, state, pid, .. } in &report.services {
        let _ = write!(text, ", {name} {}", word(state));
        if *pid != 0 {
            let _ = write!(text, " ({pid})");
        }
    }
    text
}

/// An action in some words.
#[must_use]
pub fn action_text(action: &Action) -> String {
    match action {
        Action::Watch(watch) => watch_text(watch),
        Action::SetTimer(timer, due) => format!("timer {} at {due}", timer.0),
        Action::Switch(Switch { to, urgency, reason, evidence, .. }) => {
            format!("switch to {to}, {}: {reason}{}", word(urgency), numbers(evidence))
        }
        Action::StandDown(StandDown { side, reason, evidence }) => {
            format!("stand {side} down: {reason}{}", numbers(evidence))
        }
        Action::Show(side, text) => format!("show beside {side}: {text}"),
        Action::Alert(alert) => format!("alert, {}: {}", word(&alert.level), alert.text),
        Action::RefuseOrder(answer) => format!("refuse order {}: {}", answer.order, answer.text),
        Action::AskConfirmation(answer) => format!("ask about order {}: {}", answer.order, answer.text),
        other => plain(&serde_json::to_value(other).unwrap_or_default()),
    }
}

fn watch_text(watch: &Watch) -> String {
    let kind = plain(&serde_json::to_value(&watch.kind).unwrap_or_default());
    let side: Side = watch.side;
    let (interval, timeout) = (moment(watch.interval), moment(watch.timeout));
    format!("watch {} of {side} every {interval}, timeout {timeout}: {kind}", watch.probe.0)
}

fn numbers(events: &[u64]) -> String {
    let numbers: Vec<_> = events.iter().map(|seq| format!("#{seq}")).collect();
    if numbers.is_empty() { String::new() } else { format!(" [{}]", numbers.join(" ")) }
}

/// The word for a value of an enumeration.
fn word(of: &impl Serialize) -> String {
    match serde_json::to_value(of) {
        Ok(Value::String(word)) => word.replace('_', " "),
        Ok(other) => plain(&other),
        Err(error) => error.to_string(),
    }
}

/// JSON without its quotes and outer braces.
fn plain(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let field = |(key, value): (&String, &Value)| match value {
                Value::Object(_) => format!("{key} {{{}}}", plain(value)),
                other => format!("{key} {}", plain(other)),
            };
            fields.iter().map(field).collect::<Vec<_>>().join(", ")
        }
        Value::Array(values) => format!("[{}]", values.iter().map(plain).collect::<Vec<_>>().join(", ")),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A length of time as people write it: `212ms`, `1.5s`, `2m40s`.
#[must_use]
pub fn moment(time: Duration) -> String {
    let micros = time.as_micros();
    if micros < 1_000_000 {
        let text = format!("{}.{:03}", micros / 1_000, micros % 1_000);
        return format!("{}ms", text.trim_end_matches('0').trim_end_matches('.'));
    }
    let (minutes, millis) = (micros / 60_000_000, micros / 1_000 % 60_000);
    let seconds = format!("{}.{:03}", millis / 1_000, millis % 1_000);
    let seconds = seconds.trim_end_matches('0').trim_end_matches('.');
    if minutes > 0 { format!("{minutes}m{seconds}s") } else { format!("{seconds}s") }
}

/// `2026-03-01` and `12:00:03.123`, in UTC.
fn day_and_time(unix_ms: u64) -> (String, String) {
    let (days, ms) = (unix_ms / 86_400_000, unix_ms % 86_400_000);
    let time = format!("{:02}:{:02}:{:02}.{:03}", ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60, ms % 1_000);
    // Days since 1970 to a date: H. Hinnant, "chrono-compatible low-level date algorithms", civil_from_days.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (format!("{year:04}-{month:02}-{day:02}"), time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_that_of_the_calendar() {
        for (unix_ms, day, time) in [
            (0, "1970-01-01", "00:00:00.000"),
            (951_827_696_001, "2000-02-29", "12:34:56.001"),
            (1_772_366_399_999, "2026-03-01", "11:59:59.999"),
        ] {
            assert_eq!(day_and_time(unix_ms), (day.to_owned(), time.to_owned()));
        }
    }

    #[test]
    fn a_length_of_time_is_short() {
        let text = |micros| moment(Duration::from_micros(micros));
        assert_eq!(
            [text(0), text(350), text(200_000), text(1_500_000), text(160_000_000)],
            ["0ms", "0.35ms", "200ms", "1.5s", "2m40s"]
        );
    }
}
