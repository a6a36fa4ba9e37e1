//! Other parameters, while the pair is at work: all of them take effect at once, and what was counted stays counted.

use crate::Telisca;
use crate::daily::ALARM;
use crate::view::View;
use crate::vip::{VIP_PROBE, Vip};
use lockstep_policy::action::{Action, ConfigAnswer};
use lockstep_policy::event::ConfigChange;
use lockstep_policy::sdk::{Actions, Policy};
use lockstep_policy::{Setup, Sides};

impl Telisca {
    pub(crate) fn on_config(&mut self, change: &ConfigChange, out: &mut Actions) {
        let fresh = fresh(&change.setup);
        let refused = fresh.as_ref().err().cloned().unwrap_or_default();
        out.push(Action::AnswerConfig(ConfigAnswer { change: change.change, refused, pending: Vec::new() }));
        let Ok(fresh) = fresh else { return };
        let before = self.clone();
        *self = fresh.with_state_of(before.clone());
        if self.started.is_none() {
            return;
        }
        if (self.timing.interval, self.timing.timeout) != (before.timing.interval, before.timing.timeout)
            || self.monitor != before.monitor
        {
            self.watch_sides(out);
        }
        self.change_vip_test(&before, out);
        self.page.declare_anew(&before.page, out);
        if self.restart_at != before.restart_at {
            match self.restart_at {
                Some(_) => self.set_alarm(out),
                None => drop(out.push(Action::CancelTimer(ALARM))),
            }
        }
    }

    fn change_vip_test(&mut self, before: &Telisca, out: &mut Actions) {
        if self.vip_test != before.vip_test {
            self.vip = Vip::default();
        }
        let timing = |of: &Telisca| (of.vip_test.clone(), of.timing.interval, of.timing.timeout);
        match &self.vip_test {
            Some(_) if timing(self) != timing(before) => self.watch_vip(out),
            None if before.vip_test.is_some() => drop(out.push(Action::Unwatch(VIP_PROBE))),
            _ => {}
        }
    }

    /// These parameters with the state of before.
    pub(crate) fn with_state_of(self, before: Telisca) -> Telisca {
        let agents: Sides<bool> = self.sides.map(|_, view| view.agent);
        let sides = before.sides.map(|side, view| View { agent: agents[side], ..view });
        let Telisca { timing, monitor, rolls_back, vip_test, page, restart_at, .. } = self;
        Telisca { timing, monitor, rolls_back, vip_test, page, restart_at, sides, ..before }
    }
}

fn fresh(setup: &str) -> Result<Telisca, String> {
    let setup: Setup = serde_json::from_str(setup).map_err(|error| error.to_string())?;
    let parameters = serde_json::Value::Object(setup.parameters.clone());
    let config = serde_json::from_value(parameters).map_err(|error| error.to_string())?;
    Telisca::create(&setup, config, 0)
}
