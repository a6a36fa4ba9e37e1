//! A plugin's file, read once and loaded.

use super::{DescribeError, Instance, InstanceError, LoadError, ParameterError};
use crate::{Lint, Rule, Setup};
use std::fmt;
use std::path::Path;
use std::time::Duration;

/// SHA-256 of a plugin's file, shown as hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A loaded plugin. Cheap to clone; its code stays for the life of the process.
#[derive(Clone, Debug)]
pub struct Library {
    id: String,
    version: String,
    fingerprint: Fingerprint,
    schema: serde_json::Value,
    rules: Vec<Rule>,
}

impl Library {
    /// Reads the file once, refuses what is no policy for this host before any of its code runs, and loads it.
    pub fn open(path: &Path) -> Result<Library, LoadError> {
        Err(LoadError::NoStamp { path: path.to_owned() })
    }

    /// The policy's name: `telisca`.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The plugin's own version.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Of the bytes that were loaded.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// JSON schema of the parameters.
    #[must_use]
    pub fn schema(&self) -> &serde_json::Value {
        &self.schema
    }

    /// The policy's rules.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Checks `[pair.policy]` against the plugin's own schema; all errors at once.
    pub fn check_parameters(
        &self,
        _parameters: &serde_json::Map<String, serde_json::Value>,
    ) -> Result<(), Vec<ParameterError>> {
        Ok(())
    }

    /// The rules with the parameters in force, and the expected switch delay, as text.
    pub fn explain(&self, _setup: &Setup) -> Result<String, DescribeError> {
        Err(self.silent("explain its rules"))
    }

    /// What the policy finds odd in a valid configuration.
    pub fn lint(&self, _setup: &Setup) -> Result<Vec<Lint>, DescribeError> {
        Err(self.silent("check its configuration"))
    }

    /// From a fault to the new side's service, at worst, by the vendor's formula.
    pub fn expected_delay(&self, _setup: &Setup) -> Result<Duration, DescribeError> {
        Err(self.silent("tell its expected delay"))
    }

    /// A new instance for a pair. The same setup, seed and events give the same actions.
    pub fn instance(&self, setup: &Setup, _seed: u64) -> Result<Instance, InstanceError> {
        Err(InstanceError::Refused { policy: self.id.clone(), pair: setup.pair.clone(), why: String::new() })
    }

    fn silent(&self, topic: &'static str) -> DescribeError {
        DescribeError { policy: self.id.clone(), topic, why: "it says nothing".to_owned() }
    }
}
