//! T5: the CTI service of the active side is started again when it has ended (section 6.3.4.1).

use crate::Telisca;
use lockstep_policy::action::{Action, Alert, Level, RestartService};
use lockstep_policy::event::{ActionResult, Outcome, Role};
use lockstep_policy::sdk::{Actions, Period};
use lockstep_policy::{At, Side};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Between two restarts of a service.
const PAUSE: Duration = Duration::from_secs(1);
/// From this many restarts on operators are told that restarts alone do not help.
const TOO_MANY: u32 = 3;
/// A service that has run for so long begins its count anew.
const FORGOTTEN: Duration = Duration::from_secs(3_600);

/// The restarts of the active side's exclusive services.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Watchdog {
    restarts: Vec<Restart>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Restart {
    service: String,
    count: u32,
    last: At,
    /// The action whose result has not come yet.
    asked: Option<u64>,
}

impl Watchdog {
    pub(crate) fn another_side(&mut self) {
        self.restarts.clear();
    }

    /// When a service that has ended again may be started again.
    pub(crate) fn deadline(&self) -> Option<At> {
        self.restarts.iter().filter(|restart| restart.asked.is_none()).map(|restart| restart.last + PAUSE).max()
    }

    /// The count of a service that is to be started now; `None` when it is too early.
    fn begin(&mut self, service: &str, at: At) -> Option<&mut Restart> {
        let index = match self.restarts.iter().position(|restart| restart.service == service) {
            Some(index) => {
                let restart = &mut self.restarts[index];
                if restart.asked.is_some() || at.since(restart.last) < PAUSE {
                    return None;
                }
                if at.since(restart.last) >= FORGOTTEN {
                    restart.count = 0;
                }
                index
            }
            None => {
                self.restarts.push(Restart { service: service.to_owned(), count: 0, last: at, asked: None });
                self.restarts.len() - 1
            }
        };
        let restart = &mut self.restarts[index];
        restart.count += 1;
        restart.last = at;
        Some(restart)
    }
}

impl Telisca {
    pub(crate) fn keep_services_running(&mut self, at: At, out: &mut Actions) {
        let Some(side) = self.active.filter(|_| !self.attempts.busy()) else { return };
        let report = self.sides[side].word().filter(|report| report.role == Role::Active);
        for service in report.map(|report| report.exited.clone()).unwrap_or_default() {
            if !self.daily.restarts(&service, at) {
                self.restart(side, service, at, out);
            }
        }
    }

    fn restart(&mut self, side: Side, service: String, at: At, out: &mut Actions) {
        let Some(restart) = self.watchdog.begin(&service, at) else { return };
        let count = restart.count;
        let reason = format!("T5: the service `{service}` of {side} has ended: restart {count}");
        restart.asked =
            Some(out.push(Action::RestartService(RestartService { side, service, reason: reason.clone() })));
        let (level, advice) = if count < TOO_MANY {
            (Level::Warning, "")
        } else {
            (Level::Critical, ". Restarts do not help: look at the service, or switch to the other side")
        };
        out.push(Action::Alert(Alert { level, text: format!("{reason}{advice}") }));
    }

    pub(crate) fn on_restart_result(&mut self, result: &ActionResult, at: At, out: &mut Actions) {
        let restarts = &mut self.watchdog.restarts;
        let Some(restart) = restarts.iter_mut().find(|restart| restart.asked == Some(result.action)) else { return };
        restart.asked = None;
        restart.last = at;
        if result.outcome != Outcome::Done {
            let (service, why, pause) = (&restart.service, &result.why, Period(PAUSE));
            let text = format!("T5: the service `{service}` could not be restarted: {why}; again in {pause}");
            out.push(Action::Alert(Alert { level: Level::Warning, text }));
        }
    }
}
