//! C13: what a change of the configuration puts in force at once, and what waits for the next start of monitoring.

use crate::Cic;
use crate::config::Config;
use crate::timing::Timing;
use lockstep_policy::action::{Action, ConfigAnswer, Pending};
use lockstep_policy::event::ConfigChange;
use lockstep_policy::sdk::Actions;
use lockstep_policy::{At, Setup, Side};
use serde_json::Value;

/// Vendor: dynamic monitoring of system parameters.
pub(crate) const AT_ONCE: [&str; 4] = ["mirror.custom", "module_max_failures", "module_retry_delay", "module_timeout"];
/// What the others wait for.
const UNTIL: &str = "the next start of monitoring";

impl Cic {
    pub(crate) fn on_config(&mut self, change: &ConfigChange, at: At, out: &mut Actions) {
        let answer = |refused: String, pending: Vec<Pending>| {
            Action::AnswerConfig(ConfigAnswer { change: change.change, refused, pending })
        };
        let (setup, config) = match read(&change.setup) {
            Ok(read) => read,
            Err(why) => {
                out.push(answer(why, Vec::new()));
                return;
            }
        };
        let changed = changed_keys(&self.config, &config);
        self.detect_pending = (setup.detect != self.detect).then_some(setup.detect);
        let (now, later): (Vec<String>, Vec<String>) =
            changed.into_iter().partition(|key| AT_ONCE.contains(&key.as_str()));
        let pending = later.iter().map(|key| Pending { key: key.clone(), until: UNTIL.to_owned() }).collect();
        self.take_up_at_once(&config, &now, at, out);
        self.pending = (!later.is_empty()).then_some(config);
        out.push(answer(String::new(), pending));
    }

    fn take_up_at_once(&mut self, new: &Config, keys: &[String], at: At, out: &mut Actions) {
        let has = |key: &str| keys.iter().any(|changed| changed == key);
        self.config.module_max_failures = new.module_max_failures;
        self.config.module_retry_delay = new.module_retry_delay;
        self.config.module_timeout = new.module_timeout;
        self.timing = Timing::new(&self.detect, &self.config);
        if has("module_timeout") {
            self.retime_module_monitor(at, out);
        }
        if has("mirror.custom") {
            self.config.mirror.custom.clone_from(&new.mirror.custom);
            if let Some(backup) = self.active.map(Side::other) {
                let reason = format!("C13: mirror.custom is now `{}`", new.mirror.custom);
                let hook = self.config.mirror.hook.clone();
                self.resynchronise(backup, hook, reason, out);
            }
        }
    }

    /// Monitoring starts: what waited for it comes in force.
    pub(crate) fn take_up_pending(&mut self, out: &mut Actions) {
        let (config, detect) = (self.pending.take(), self.detect_pending.take());
        if config.is_none() && detect.is_none() {
            return;
        }
        let before = self.config.drill_minute();
        self.config = config.unwrap_or_else(|| self.config.clone());
        self.detect = detect.unwrap_or(self.detect);
        self.timing = Timing::new(&self.detect, &self.config);
        if self.config.drill_minute() != before {
            self.set_alarm(out);
        }
    }
}

fn read(setup: &str) -> Result<(Setup, Config), String> {
    let setup: Setup =
        serde_json::from_str(setup).map_err(|error| format!("the configuration is not readable: {error}"))?;
    let parameters = Value::Object(setup.parameters.clone());
    let config: Config = serde_json::from_value(parameters).map_err(|error| error.to_string())?;
    config.check(&setup)?;
    Ok((setup, config))
}

/// The keys in which two configurations differ, in order; those of tables with the table's name before them.
pub(crate) fn changed_keys(one: &Config, other: &Config) -> Vec<String> {
    let value = |config: &Config| serde_json::to_value(config).unwrap_or_default();
    let mut keys = Vec::new();
    differ("", &value(one), &value(other), &mut keys);
    keys
}

fn differ(key: &str, one: &Value, other: &Value, keys: &mut Vec<String>) {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            for (name, value) in one {
                let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                differ(&key, value, other.get(name).unwrap_or(&Value::Null), keys);
            }
        }
        (one, other) if one != other => keys.push(key.to_owned()),
        _ => {}
    }
}
