//! `--set KEY=VALUE`: the same words for a candidate in shadow, a journal that is played again, and a plugin's trial.

use lockstep_policy::Setup;
use serde_json::Value;
use std::time::Duration;

/// One `--set KEY=VALUE`: a parameter that is to be another one.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    key: Vec<String>,
    value: Value,
}

impl Change {
    /// A value that is no JSON is a text: `true`, `5` and `"5"` are what they look like, `30s` is a text. `null` takes a
    /// parameter away. An error says what would be valid.
    pub fn parse(text: &str) -> Result<Change, String> {
        let (key, value) = text.split_once('=').ok_or_else(|| format!("--set {text}: say KEY=VALUE"))?;
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
        let change = Change { key: key.split('.').map(str::to_owned).collect(), value };
        change.check().map(|()| change)
    }

    fn check(&self) -> Result<(), String> {
        let wrong = |valid: &str| Err(format!("--set {}: valid: {valid}", self.key.join(".")));
        match self.key.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["detect", "failures"] if self.value.as_u64().is_none_or(|count| u32::try_from(count).is_err()) => {
                wrong("a number")
            }
            ["detect", "interval" | "timeout"] if self.milliseconds().is_none() => wrong("a duration such as 100ms"),
            ["detect", "failures" | "interval" | "timeout"] => Ok(()),
            ["detect", ..] => wrong("detect.interval, detect.timeout, detect.failures"),
            _ if self.key.iter().any(String::is_empty) => wrong("a key of [pair.policy], with dots between tables"),
            _ => Ok(()),
        }
    }

    fn milliseconds(&self) -> Option<u64> {
        let time: Duration = humantime::parse_duration(self.value.as_str()?).ok()?;
        u64::try_from(time.as_millis()).ok()
    }

    /// `detect.…` is of `[pair.detect]`, all else of `[pair.policy]`.
    pub fn apply(&self, setup: &mut Setup) {
        let detect = &mut setup.detect;
        match self.key.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["detect", "failures"] => {
                detect.failures =
                    self.value.as_u64().and_then(|count| u32::try_from(count).ok()).unwrap_or(detect.failures);
            }
            ["detect", "interval"] => detect.interval_ms = self.milliseconds().unwrap_or(detect.interval_ms),
            ["detect", "timeout"] => detect.timeout_ms = self.milliseconds().unwrap_or(detect.timeout_ms),
            _ => put(&mut setup.parameters, &self.key, &self.value),
        }
    }
}

fn put(table: &mut serde_json::Map<String, Value>, key: &[String], value: &Value) {
    match key {
        [] => {}
        [last] if value.is_null() => drop(table.remove(last)),
        [last] => drop(table.insert(last.clone(), value.clone())),
        [first, rest @ ..] => {
            let below = table.entry(first.clone()).or_insert_with(|| Value::Object(serde_json::Map::new()));
            if !below.is_object() {
                *below = Value::Object(serde_json::Map::new());
            }
            if let Value::Object(below) = below {
                put(below, rest, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_says_what_it_is_of() {
        let mut setup: Setup = serde_json::from_value(serde_json::json!({
            "pair": "phones", "parameters": {"fast": true, "restart_time": "9s", "balancer": {"interval": "30s"}},
            "detect": {"interval_ms": 100, "timeout_ms": 200, "failures": 2},
            "sides": {"a": {"servers": [], "agent": true}, "b": {"servers": [], "agent": true}},
        }))
        .unwrap();
        for text in [
            "fast=false",
            "failures_to_switch=3",
            "balancer.failures=5",
            "heartbeat_interval=10s",
            "detect.failures=4",
            "detect.interval=1s",
            "restart_time=null",
        ] {
            Change::parse(text).unwrap().apply(&mut setup);
        }
        assert_eq!(
            Value::Object(setup.parameters),
            serde_json::json!({"fast": false, "failures_to_switch": 3, "balancer": {"interval": "30s", "failures": 5}, "heartbeat_interval": "10s"})
        );
        assert_eq!((setup.detect.failures, setup.detect.interval_ms, setup.detect.timeout_ms), (4, 1000, 200));
    }

    #[test]
    fn what_is_no_change_is_refused_with_what_would_be() {
        for (text, valid) in [
            ("fast", "say KEY=VALUE"),
            ("=5", "a key of [pair.policy]"),
            ("detect.failures=many", "a number"),
            ("detect.interval=5", "a duration such as 100ms"),
            ("detect.speed=5", "detect.interval, detect.timeout, detect.failures"),
        ] {
            let said = Change::parse(text).unwrap_err();
            assert!(said.contains(valid), "{said}");
        }
    }
}
