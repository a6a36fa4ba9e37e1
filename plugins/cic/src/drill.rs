//! C16: planned switches that prove that a switch works.

use crate::Cic;
use crate::attempt::Why;
use crate::monitor::Monitor;
use crate::rounded;
use lockstep_policy::action::{Action, Alert, Level, Urgency};
use lockstep_policy::event::{Handover, Stage, Start, TimerId};
use lockstep_policy::sdk::{Actions, Period};
use lockstep_policy::{At, Side};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The alarm of drills.
pub(crate) const ALARM: TimerId = TimerId(2);
/// The alarm comes at the same time of day; a handover has its own length.
const TOLERANCE: Duration = Duration::from_secs(12 * 60 * 60);

/// Drills.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Drill {
    /// The latest handover ended so long before this time on the edge's clock.
    last: Option<(At, Duration)>,
    running: Option<Running>,
}

/// A drill that is under way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Running {
    from: Side,
    to: Side,
    asked: At,
    begun: Option<At>,
    why: String,
    replication: String,
}

impl Drill {
    /// How long ago the latest handover ended, if there was one.
    fn since(&self, at: At) -> Option<Duration> {
        self.last.map(|(when, before)| at.since(when) + before)
    }
}

impl Cic {
    pub(crate) fn start_drills(&mut self, start: &Start, at: At, out: &mut Actions) {
        self.drill = Drill { last: start.since_handover.map(|since| (at, since)), running: None };
        if self.config.drill_minute().is_some() {
            self.set_alarm(out);
        }
    }

    pub(crate) fn set_alarm(&self, out: &mut Actions) {
        match self.config.drill_minute() {
            Some(minute) => out.push(Action::SetAlarm(ALARM, minute)),
            None => out.push(Action::CancelTimer(ALARM)),
        };
    }

    pub(crate) fn on_alarm(&mut self, at: At, out: &mut Actions) {
        let Some(period) = self.config.drill_period() else { return };
        self.set_alarm(out);
        let since = self.drill.since(at);
        if since.is_some_and(|since| since + TOLERANCE < period) {
            return;
        }
        let why = match since {
            Some(since) => {
                let days = since.as_secs().saturating_add(TOLERANCE.as_secs()) / (24 * 60 * 60);
                format!("the last handover was {days} days ago")
            }
            None => "no handover is known yet".to_owned(),
        };
        let tried = if self.config.manual_switch_only {
            Err("C16: `manual_switch_only` is on".to_owned())
        } else {
            self.drill_now(&why, at, out)
        };
        if let Err(why_not) = tried {
            let text = format!("{why_not}: no drill today, although {why}. It is tried again tomorrow");
            out.push(Action::Alert(Alert { level: Level::Warning, text }));
        }
    }

    /// Begins a drill, if all is well.
    pub(crate) fn drill_now(&mut self, why: &str, at: At, out: &mut Actions) -> Result<Side, String> {
        let refused = |why: String| Err(format!("C16: {why}"));
        let Some(from) = self.active else { return refused("no side is primary".to_owned()) };
        let to = from.other();
        if let Err(why) = self.possible(to).and_then(|()| self.backup_in_place(to)) {
            return refused(why);
        }
        if let Some((_, ours, theirs)) = self.upgrade() {
            return refused(format!("{to} runs release {ours} and {from} runs {theirs}"));
        }
        if let Some((trouble, _)) = self.replication_trouble(to) {
            return refused(trouble);
        }
        if self.monitor != Monitor::Watching || self.module.failing() || self.notifier.failing() {
            return refused(format!("{from} is not known to be well"));
        }
        if !self.attempts.free(at) {
            return refused("the last attempt of a switch has only just come to nothing".to_owned());
        }
        let detail = self.sides[to].word().map(|report| report.replication_detail.clone()).unwrap_or_default();
        let replication = if detail.is_empty() { "current".to_owned() } else { format!("current ({detail})") };
        self.drill.running = Some(Running { from, to, asked: at, begun: None, why: why.to_owned(), replication });
        self.stop_monitoring(out);
        let evidence = self.sides[to].word().map(|report| report.seq).into_iter().collect();
        let why = Why { reason: format!("C16: drill: {why}"), evidence, order: 0 };
        self.switch(to, Urgency::Planned, why, at, out);
        Ok(to)
    }

    /// A drill moves on with its handover; its report is written from what was seen.
    pub(crate) fn on_drill_handover(&mut self, handover: &Handover, at: At, out: &mut Actions) {
        if handover.stage == Stage::Completed {
            self.drill.last = Some((at, Duration::ZERO));
        }
        let Some(running) = &mut self.drill.running else { return };
        if handover.stage == Stage::Begun {
            running.begun.get_or_insert(at);
            return;
        }
        let Some(Running { from, to, asked, begun, why, replication }) = self.drill.running.take() else { return };
        let begun = begun.unwrap_or(asked);
        let (level, text) = match handover.stage {
            Stage::Completed => {
                let back = if self.config.restart_stale {
                    format!("{from} is started anew to be the backup")
                } else {
                    format!("start `{}` of {from} anew: there is no backup before", self.config.backup_service)
                };
                let text = format!(
                    "C16: drill report: {to} took over from {from} in {}: begun after {}, active {} after that, in epoch \
                     {}. Replication was {replication}. Reason: {why}. {back}",
                    rounded(at.since(asked)),
                    rounded(begun.since(asked)),
                    rounded(at.since(begun)),
                    handover.epoch,
                );
                (Level::Info, text)
            }
            _ => {
                let who = handover.active.map_or("no side is active".to_owned(), |side| format!("{side} is active"));
                let text = format!(
                    "C16: drill report: the drill failed after {}, {} after it had begun: {to} did not take over from \
                     {from}, and {who}. A failover might have failed as well: look at `lockstep why`",
                    rounded(at.since(asked)),
                    rounded(at.since(begun)),
                );
                (Level::Critical, text)
            }
        };
        out.push(Action::Alert(Alert { level, text }));
    }

    /// A drill that was not even begun.
    pub(crate) fn drill_came_to_nothing(&mut self, why: &str, out: &mut Actions) {
        if self.drill.running.take_if(|running| running.begun.is_none()).is_some() {
            let text = format!("C16: drill report: the drill was not begun: {why}");
            out.push(Action::Alert(Alert { level: Level::Warning, text }));
        }
    }

    /// How often, for people.
    pub(crate) fn drills_in_words(days: Option<u32>, time: &str) -> String {
        days.map_or("off".to_owned(), |days| {
            format!("each {} at {time}", Period(Duration::from_secs(24 * 60 * 60) * days))
        })
    }
}
