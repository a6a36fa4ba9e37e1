//! A plugin as an edge has it: judged, described, and run by workers. Its code is not in this process, unless asked for.

use super::about::{self, About};
use super::talk::Talk;
use super::{DescribeError, Fingerprint, InstanceError, LoadError, ParameterError, PluginFile, Terms};
use crate::{CommandInfo, Lint, Rule, Setup, Traits};
use serde_json::{Map, Value};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A plugin and the terms on which it is run. Cheap to clone. [`super::Occupant::new`] puts an instance of it to work.
#[derive(Clone, Debug)]
pub struct Plugin {
    file: PluginFile,
    terms: Arc<Terms>,
    about: Arc<About>,
    /// A worker that answers questions, until [`Plugin::dismiss`]; afterwards each question has one of its own.
    talk: Arc<Mutex<Option<Talk>>>,
}

impl Plugin {
    /// Has a worker load a judged file and describe it.
    pub fn open(file: PluginFile, terms: Terms) -> Result<Plugin, LoadError> {
        let mut talk = Talk::begin(&file, &terms)?;
        let about = About::ask(file.id(), |topic| talk.ask(topic, &[]));
        let about = about.map_err(|why| LoadError::Unsound { path: file.path().to_owned(), why })?;
        let talk = Arc::new(Mutex::new(Some(talk)));
        Ok(Plugin { file, terms: Arc::new(terms), about: Arc::new(about), talk })
    }

    /// Ends the worker that answered questions since [`Plugin::open`], as the thread that opened it must before it ends.
    /// Each further question starts a worker of its own.
    pub fn dismiss(&self) {
        drop(self.talk.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Whether it says that it knows a kind of record ([`crate::abi::kind`]).
    #[must_use]
    pub fn knows(&self, kind: u16) -> bool {
        self.file.stamp().knows() & crate::abi::kind::bit(kind) != 0
    }

    /// The policy's name: `telisca`.
    #[must_use]
    pub fn id(&self) -> &str {
        self.file.id()
    }

    /// The plugin's own version.
    #[must_use]
    pub fn version(&self) -> &str {
        self.file.version()
    }

    /// The version of its snapshots' format.
    #[must_use]
    pub fn state_version(&self) -> u32 {
        self.file.state_version()
    }

    /// Of the bytes that are loaded.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.file.fingerprint()
    }

    /// Where it was read.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// On which terms it is run.
    #[must_use]
    pub fn terms(&self) -> &Terms {
        &self.terms
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

    /// Checks `[pair.policy]` against the plugin's own schema; all errors at once.
    pub fn check_parameters(&self, parameters: &Map<String, Value>) -> Result<(), Vec<ParameterError>> {
        self.about.checker.check(parameters)
    }

    /// Whether the policy itself accepts a setup whose parameters its schema allows: makes an instance, and forgets it.
    pub fn try_create(&self, setup: &Setup) -> Result<(), InstanceError> {
        self.check_parameters(&setup.parameters).map_err(InstanceError::Parameters)?;
        let refused = |why| super::talk::refusal(&self.file, &setup.pair, 0, why);
        self.talking(|talk| Ok(talk.try_create(setup))).map_err(refused)?
    }

    /// What sets its pairs apart.
    pub fn traits(&self, setup: &Setup) -> Result<Traits, DescribeError> {
        about::traits(self.id(), setup, |topic, config| self.ask(topic, config))
    }

    /// The rules with the parameters in force, and the expected switch delay, as text.
    pub fn explain(&self, setup: &Setup) -> Result<String, DescribeError> {
        about::explain(self.id(), setup, |topic, config| self.ask(topic, config))
    }

    /// What the policy finds odd in a valid configuration.
    pub fn lint(&self, setup: &Setup) -> Result<Vec<Lint>, DescribeError> {
        about::lint(self.id(), setup, |topic, config| self.ask(topic, config))
    }

    /// From a fault to the new side's service, at worst, by the vendor's formula.
    pub fn expected_delay(&self, setup: &Setup) -> Result<Duration, DescribeError> {
        about::expected_delay(self.id(), setup, |topic, config| self.ask(topic, config))
    }

    pub(super) fn file(&self) -> &PluginFile {
        &self.file
    }

    fn ask(&self, topic: &str, config: &[u8]) -> Result<String, String> {
        self.talking(|talk| talk.ask(topic, config))
    }

    fn talking<T>(&self, use_it: impl FnOnce(&mut Talk) -> Result<T, String>) -> Result<T, String> {
        let mut kept = self.talk.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(talk) = kept.as_mut().filter(|talk| !talk.is_over()) {
            return use_it(talk);
        }
        let mut once = Talk::begin(&self.file, &self.terms).map_err(|error| error.to_string())?;
        use_it(&mut once)
    }
}
