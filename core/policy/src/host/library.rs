//! A plugin loaded into this process: for tools that judge it, and for tests. An edge runs a [`super::Plugin`].

use super::about::{self, About};
use super::code::Code;
use super::{DescribeError, Fingerprint, Instance, InstanceError, LoadError, ParameterError, PluginFile};
use crate::{CommandInfo, Lint, Rule, Setup, Traits};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A loaded plugin. Cheap to clone; its code stays for the life of the process.
#[derive(Clone, Debug)]
pub struct Library {
    code: Code,
    about: Arc<About>,
}

/// What is loaded already: the same bytes are loaded once.
static LOADED: Mutex<BTreeMap<Fingerprint, Library>> = Mutex::new(BTreeMap::new());

impl Library {
    /// Reads the file once, refuses what is no policy for this host before any of its code runs, and loads it.
    pub fn open(path: &Path) -> Result<Library, LoadError> {
        let file = PluginFile::read(path)?;
        // A panic while the lock was held left the map as it was: it is changed by one insertion.
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(library) = loaded.get(&file.fingerprint()) {
            return Ok(library.clone());
        }
        let code = Code::load(&file)?;
        let about = About::ask(file.id(), |topic| code.describe(topic, &[]));
        let about = about.map_err(|why| LoadError::Unsound { path: path.to_owned(), why })?;
        let library = Library { code, about: Arc::new(about) };
        loaded.insert(file.fingerprint(), library.clone());
        Ok(library)
    }

    /// The policy's name: `telisca`.
    #[must_use]
    pub fn id(&self) -> &str {
        self.code.file.id()
    }

    /// The plugin's own version.
    #[must_use]
    pub fn version(&self) -> &str {
        self.code.file.version()
    }

    /// The version of its snapshots' format.
    #[must_use]
    pub fn state_version(&self) -> u32 {
        self.code.file.state_version()
    }

    /// Of the bytes that were loaded.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.code.file.fingerprint()
    }

    /// JSON schema of the parameters.
    #[must_use]
    pub fn schema(&self) -> &Value {
        self.about.checker.schema()
    }

    /// The policy's rules.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.about.rules
    }

    /// The commands that it takes from operators.
    #[must_use]
    pub fn commands(&self) -> &[CommandInfo] {
        &self.about.commands
    }

    /// Whether an event's record is one that hosts hand to it: of a kind that it knows, or may not skip.
    #[cfg(feature = "author")]
    #[must_use]
    pub fn hears(&self, record: &[u8]) -> bool {
        super::instance::is_known(self.code.file.stamp(), record)
    }

    /// Checks `[pair.policy]` against the plugin's own schema; all errors at once.
    pub fn check_parameters(&self, parameters: &Map<String, Value>) -> Result<(), Vec<ParameterError>> {
        self.about.checker.check(parameters)
    }

    /// What sets its pairs apart.
    pub fn traits(&self, setup: &Setup) -> Result<Traits, DescribeError> {
        about::traits(self.id(), setup, |topic, config| self.code.describe(topic, config))
    }

    /// The rules with the parameters in force, and the expected switch delay, as text.
    pub fn explain(&self, setup: &Setup) -> Result<String, DescribeError> {
        about::explain(self.id(), setup, |topic, config| self.code.describe(topic, config))
    }

    /// What the policy finds odd in a valid configuration.
    pub fn lint(&self, setup: &Setup) -> Result<Vec<Lint>, DescribeError> {
        about::lint(self.id(), setup, |topic, config| self.code.describe(topic, config))
    }

    /// From a fault to the new side's service, at worst, by the vendor's formula.
    pub fn expected_delay(&self, setup: &Setup) -> Result<Duration, DescribeError> {
        about::expected_delay(self.id(), setup, |topic, config| self.code.describe(topic, config))
    }

    /// A new instance for a pair, its parameters checked. The same setup, seed and events give the same actions.
    pub fn instance(&self, setup: &Setup, seed: u64) -> Result<Instance, InstanceError> {
        self.check_parameters(&setup.parameters).map_err(InstanceError::Parameters)?;
        Instance::create(self.code.clone(), setup, seed)
    }
}
