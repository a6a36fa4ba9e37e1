//! A new configuration, while the pair works.

use crate::Finesse;
use crate::config::Config;
use crate::presence::Presence;
use crate::probes;
use crate::stand::Why;
use crate::timing::Timing;
use lockstep_policy::action::{Action, ConfigAnswer, Pending, Watch};
use lockstep_policy::event::ConfigChange;
use lockstep_policy::sdk::Actions;
use lockstep_policy::{Setup, Side, Sides};

/// A new configuration that can be put in force.
struct Taken {
    timing: Timing,
    watches: Vec<Watch>,
}

impl Finesse {
    pub(crate) fn on_config(&mut self, change: &ConfigChange, out: &mut Actions) {
        let answer =
            |refused: String, pending| Action::AnswerConfig(ConfigAnswer { change: change.change, refused, pending });
        match read(&change.setup) {
            Err(why) => {
                out.push(answer(why, Vec::new()));
            }
            Ok(taken) => {
                let pending = self.pending(&taken.timing);
                out.push(answer(String::new(), pending));
                self.put_in_force(taken, out);
            }
        }
    }

    /// A move that goes on keeps its pace.
    fn pending(&self, new: &Timing) -> Vec<Pending> {
        if self.stand.moving.is_none() {
            return Vec::new();
        }
        let old = &self.timing;
        let changed = [
            ("reload_window", old.reload_window != new.reload_window),
            ("maintenance_warning", old.maintenance_warning != new.maintenance_warning),
        ];
        let pending = changed.into_iter().filter(|(_, changed)| *changed);
        pending.map(|(key, _)| Pending { key: key.to_owned(), until: "the next move".to_owned() }).collect()
    }

    fn put_in_force(&mut self, new: Taken, out: &mut Actions) {
        let old = std::mem::replace(&mut self.watches, new.watches);
        self.timing = new.timing;
        if self.started.is_none() {
            return;
        }
        for watch in &old {
            if !self.watches.iter().any(|new| new.probe == watch.probe) {
                out.push(Action::Unwatch(watch.probe));
            }
        }
        let changed = self.watches.iter().filter(|watch| !old.contains(watch));
        changed.for_each(|watch| {
            out.push(Action::Watch(watch.clone()));
        });
        let heartbeats =
            |watches: &[Watch]| watches.iter().filter(|watch| probes::is_heartbeat(watch)).cloned().collect::<Vec<_>>();
        if heartbeats(&old) != heartbeats(&self.watches) {
            self.cti = Sides::default();
        }
        for side in Side::BOTH {
            // What another user may see is not known yet, and nobody watches any more what was seen.
            let log_in =
                |watches: &[Watch]| watches.iter().find(|watch| watch.probe == probes::presence(side)).cloned();
            if log_in(&old) != log_in(&self.watches) {
                self.sides[side].presence = Presence::default();
            }
        }
        let before = self.stand.clone();
        if self.share_as_configured() {
            let reason = "F10: `distribute` has changed: new sessions go to one side, and none moves".to_owned();
            self.stand.moving = None;
            self.share(before, None, Why::new(reason, Vec::new()), out);
        }
    }
}

fn read(setup: &str) -> Result<Taken, String> {
    let setup: Setup = serde_json::from_str(setup).map_err(|error| error.to_string())?;
    let parameters = serde_json::Value::Object(setup.parameters.clone());
    let config: Config = serde_json::from_value(parameters).map_err(|error| error.to_string())?;
    let timing = Timing::new(&setup, &config);
    let watches = probes::declared(&setup, &config, &timing)?;
    Ok(Taken { timing, watches })
}
