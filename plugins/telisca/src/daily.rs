//! T5, by the clock: the CTI service of the active side is restarted once a day (section 6.3.4.1, `CTI Server Restart
//! time`).
//!
//! An operator picks an hour at which a short gap hurts nobody, and wants a fresh service in the morning; above all he
//! does not want to be called at that hour. So it waits for a better moment for a while, is content with a handover as
//! well (the new side's service has just been started), and gives up until tomorrow rather than risk the pair.

use crate::Telisca;
use lockstep_policy::action::{Action, Alert, Level, RestartService};
use lockstep_policy::event::{ActionResult, Outcome, Role, TimerId};
use lockstep_policy::sdk::attempts::HANDOVER_MAX;
use lockstep_policy::sdk::{Actions, Period};
use lockstep_policy::{At, Side};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Wakes the policy at the time of day.
pub(crate) const ALARM: TimerId = TimerId(2);

/// For so long the restart waits until it is safe.
pub(crate) const WINDOW: Duration = Duration::from_secs(30 * 60);

/// A service that was started with a handover so recently needs no restart.
pub(crate) const FRESH: Duration = Duration::from_secs(60 * 60);

/// Today's restart.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Daily {
    /// Since when it is due, until it is done or given up.
    due: Option<At>,
    /// Why it waits, as was told.
    waits: Option<String>,
    /// Restarts without a result.
    asked: Vec<Asked>,
    /// Until then the active side's services are as fresh as the latest handover.
    fresh_until: At,
}

/// A restart that is under way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Asked {
    action: u64,
    service: String,
    since: At,
}

impl Daily {
    /// The service is being restarted: that it does not run is no surprise.
    pub(crate) fn restarts(&self, service: &str, at: At) -> bool {
        self.asked.iter().any(|asked| asked.service == service && at.since(asked.since) < HANDOVER_MAX)
    }

    pub(crate) fn deadline(&self) -> Option<At> {
        self.due.map(|due| due + WINDOW)
    }

    /// The latest handover, which ended so long ago, has started the services.
    pub(crate) fn started(&mut self, at: At, ago: Duration) {
        self.fresh_until = at + FRESH.saturating_sub(ago);
    }

    /// Another side is active, or none: what was asked of the one before is over.
    pub(crate) fn another_side(&mut self) {
        self.asked.clear();
    }
}

impl Telisca {
    pub(crate) fn set_alarm(&self, out: &mut Actions) {
        if let Some(minute) = self.restart_at {
            out.push(Action::SetAlarm(ALARM, minute));
        }
    }

    pub(crate) fn on_alarm(&mut self, at: At, out: &mut Actions) {
        if self.restart_at.is_some() {
            self.daily.due = Some(at);
            self.set_alarm(out);
        }
    }

    pub(crate) fn restart_daily(&mut self, at: At, out: &mut Actions) {
        let Some(due) = self.daily.due else { return };
        if self.active.is_some() && at < self.daily.fresh_until {
            let text = format!(
                "T5: today's restart of the CTI service is left out: a handover within the last {} has started it",
                Period(FRESH)
            );
            return self.end_daily(Level::Info, text, out);
        }
        match self.may_restart() {
            Ok((side, services)) => {
                self.daily.asked.clear();
                for service in services {
                    let reason = "T5: the daily restart at `cti_restart_at`".to_owned();
                    let restart = RestartService { side, service: service.clone(), reason };
                    let action = out.push(Action::RestartService(restart));
                    self.daily.asked.push(Asked { action, service, since: at });
                }
                self.daily.due = None;
                self.daily.waits = None;
            }
            Err(why) if at.since(due) >= WINDOW => {
                let text =
                    format!("T5: today's restart of the CTI service is left out: {why}. The next one is tomorrow");
                self.end_daily(Level::Warning, text, out);
            }
            Err(why) if self.daily.waits.is_none() => {
                let window = Period(WINDOW);
                let text = format!("T5: the restart of the CTI service waits, for at most {window}: {why}");
                out.push(Action::Alert(Alert { level: Level::Info, text }));
                self.daily.waits = Some(why);
            }
            Err(_) => {}
        }
    }

    fn end_daily(&mut self, level: Level, text: String, out: &mut Actions) {
        self.daily.due = None;
        self.daily.waits = None;
        out.push(Action::Alert(Alert { level, text }));
    }

    /// What to restart now, or why not now.
    fn may_restart(&self) -> Result<(Side, Vec<String>), String> {
        if self.attempts.busy() {
            return Err("a handover is under way".to_owned());
        }
        let Some(side) = self.active else { return Err("no side is active".to_owned()) };
        let view = &self.sides[side];
        if !view.works() {
            return Err(format!("{side} does not work as it should"));
        }
        let report = view.word().filter(|report| report.role == Role::Active && report.serving);
        let Some(report) = report else {
            return Err(format!("the agent of {side} does not say that it is active and serves"));
        };
        if report.exclusive.is_empty() {
            return Err(format!("the agent of {side} reports no exclusive service"));
        }
        let other = side.other();
        let view = &self.sides[other];
        if let Err(why_not) = view.can_take_over() {
            return Err(format!("{other} could not take over should it fail: {why_not}"));
        }
        if !view.fit() {
            return Err(format!("{other} could not take over should it fail: its agent does not say that it is fit"));
        }
        Ok((side, report.exclusive.clone()))
    }

    pub(crate) fn on_daily_result(&mut self, result: &ActionResult, out: &mut Actions) {
        let asked = &mut self.daily.asked;
        let Some(index) = asked.iter().position(|asked| asked.action == result.action) else { return };
        let Asked { service, .. } = asked.remove(index);
        if result.outcome != Outcome::Done {
            let why = &result.why;
            let text = format!("T5: the daily restart of the service `{service}` came to nothing: {why}");
            out.push(Action::Alert(Alert { level: Level::Critical, text }));
        }
    }
}
