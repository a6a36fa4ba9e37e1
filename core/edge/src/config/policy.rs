//! `[pair.policy]`: the plugin's file is found and loaded, and the parameters are checked by the plugin's own schema.

use super::problem::{Finding, Problems};
use super::table::{Placed, Places, Table, nearest};
use super::{Change, PoliciesConfig, PolicyConfig};
use lockstep_policy::host::{InstanceError, ParameterError, Plugin, PluginFile, TrustError, TrustList};
use lockstep_policy::setup::{Detect, SideSetup};
use lockstep_policy::{Setup, Sides, Traits};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where plugins lie when the configuration does not say it.
const INSTALLED: &str = "/usr/lib/lockstep/policies";

/// Finds plugins' files, and opens each once.
pub(super) struct Plugins {
    /// `edge.plugins`, when given.
    directory: Option<PathBuf>,
    /// The configuration's own directory: paths with a `/` start there.
    beside: PathBuf,
    policies: PoliciesConfig,
    /// Read when the first plugin is.
    trusted: Option<Result<TrustList, String>>,
    opened: BTreeMap<PathBuf, Result<Plugin, String>>,
}

impl Plugins {
    pub fn new(directory: Option<PathBuf>, beside: PathBuf, policies: PoliciesConfig) -> Plugins {
        Plugins { directory, beside, policies, trusted: None, opened: BTreeMap::new() }
    }

    /// The directories in which a plugin is looked for by its name.
    fn directories(&self) -> Vec<PathBuf> {
        self.directory.clone().map_or_else(usual_directories, |directory| vec![directory])
    }

    fn find(&self, plugin: &str) -> Result<PathBuf, String> {
        let candidates =
            if plugin.contains('/') { vec![self.beside.join(plugin)] } else { candidates(plugin, self.directories()) };
        first(plugin, &candidates)
    }

    /// The names of the plugins that could be meant.
    fn available(&self) -> Vec<String> {
        let files = self.directories().into_iter().filter_map(|directory| std::fs::read_dir(directory).ok()).flatten();
        let names = files.filter_map(|file| {
            let name = file.ok()?.file_name().into_string().ok()?;
            Some(name.strip_prefix("liblockstep_")?.strip_suffix(".so")?.to_owned())
        });
        let mut names: Vec<String> = names.collect();
        names.sort();
        names.dedup();
        names
    }

    fn open(&mut self, path: &Path) -> Result<Plugin, String> {
        if let Some(opened) = self.opened.get(path) {
            return opened.clone();
        }
        let opened = self.load(path);
        self.opened.insert(path.to_owned(), opened.clone());
        opened
    }

    /// A file that is trusted is loaded, but not into this process.
    fn load(&mut self, path: &Path) -> Result<Plugin, String> {
        let file = PluginFile::read(path).map_err(|error| error.to_string())?;
        let read = || TrustList::read(&self.policies.trust).map_err(|error: TrustError| error.to_string());
        let trusted = self.trusted.get_or_insert_with(read);
        trusted.as_ref().map_err(Clone::clone)?.admit(&file).map_err(|error| error.to_string())?;
        Plugin::open(file, self.policies.terms.clone()).map_err(|error| error.to_string())
    }
}

/// The workers that were asked while the configuration was read are not needed any more.
impl Drop for Plugins {
    fn drop(&mut self) {
        self.opened.values().flatten().for_each(Plugin::dismiss);
    }
}

/// Beside the running program, and where packages put them.
fn usual_directories() -> Vec<PathBuf> {
    let running = std::env::current_exe().ok();
    let beside_binary = running.as_deref().and_then(Path::parent).map(Path::to_owned);
    beside_binary.into_iter().chain([PathBuf::from(INSTALLED)]).collect()
}

fn candidates(plugin: &str, directories: Vec<PathBuf>) -> Vec<PathBuf> {
    let file = format!("liblockstep_{}.so", plugin.replace('-', "_"));
    directories.into_iter().map(|directory| directory.join(&file)).collect()
}

fn first(plugin: &str, candidates: &[PathBuf]) -> Result<PathBuf, String> {
    candidates.iter().find(|file| file.exists()).cloned().ok_or_else(|| {
        let sought: Vec<String> = candidates.iter().map(|file| file.display().to_string()).collect();
        format!("there is no plugin \"{plugin}\": no file {}", sought.join(", nor "))
    })
}

/// The file of a plugin, where it is looked for when nothing is said.
pub(super) fn installed(plugin: &str) -> Result<PathBuf, String> {
    first(plugin, &candidates(plugin, usual_directories()))
}

/// Reads `[pair.policy]`. A pair whose sides are refused elsewhere gets no instance here.
pub(super) fn read<'i>(
    mut table: Table<'_, 'i>,
    pair: &str,
    detect: Detect,
    sides: Sides<SideSetup>,
    plugins: &mut Plugins,
    problems: &RefCell<Problems<'i>>,
) -> Option<PolicyConfig> {
    let Some(plugin) = table.text("plugin") else {
        if !table.has("plugin") {
            table.missing("plugin", "a plugin's name, such as `plugin = \"telisca\"`, or a path");
        }
        return None;
    };
    let absent_max = plugins.policies.absent_max;
    let (file, plugin) = open(&plugin, plugins, problems)?;
    let (parameters, places) = table.rest();
    if let Err(errors) = plugin.check_parameters(&parameters) {
        refuse_parameters(&errors, &places, problems);
        return None;
    }
    let complete = sides.iter().all(|(_, side)| !side.servers.is_empty());
    let setup = Setup { pair: pair.to_owned(), parameters, detect, sides };
    // A schema cannot say everything: what the policy itself refuses is known only when one is made.
    if complete && let Err(error) = plugin.try_create(&setup) {
        match error {
            InstanceError::Parameters(errors) => refuse_parameters(&errors, &places, problems),
            other => problems.borrow_mut().add(places.of(""), Finding::new("pair.policy", other.to_string())),
        }
        return None;
    }
    let expected_delay = plugin.expected_delay(&setup).ok().filter(|delay| !delay.is_zero());
    let traits = match plugin.traits(&setup) {
        Ok(traits) => traits,
        Err(error) => {
            problems.borrow_mut().add(places.of(""), Finding::new("pair.policy.plugin", error.to_string()));
            return None;
        }
    };
    Some(PolicyConfig { file, plugin, setup, traits, expected_delay, absent_max })
}

/// Another policy for a running pair: a plugin that is trusted, and the present parameters but for some; another
/// vendor's has none of them.
pub(super) fn candidate(
    present: &PolicyConfig,
    policies: &PoliciesConfig,
    file: PathBuf,
    changes: &[Change],
) -> Result<PolicyConfig, String> {
    let said = |error: &dyn std::fmt::Display| error.to_string();
    let read = PluginFile::read(&file).map_err(|error| said(&error))?;
    TrustList::read(&policies.trust).and_then(|list| list.admit(&read)).map_err(|error| said(&error))?;
    let plugin = Plugin::open(read, policies.terms.clone()).map_err(|error| said(&error))?;
    let mut setup = present.setup.clone();
    if plugin.id() != present.plugin.id() {
        setup.parameters.clear();
    }
    changes.iter().for_each(|change| change.apply(&mut setup));
    let judged = judge(&plugin, &setup);
    plugin.dismiss();
    let (traits, expected_delay) = judged?;
    if traits != present.traits {
        return Err("with it one side of the pair would be active at a time, or both, and that is decided when the edge starts: change the configuration and restart it".to_owned());
    }
    Ok(PolicyConfig { file, plugin, setup, traits, expected_delay, absent_max: present.absent_max })
}

fn judge(plugin: &Plugin, setup: &Setup) -> Result<(Traits, Option<std::time::Duration>), String> {
    plugin
        .check_parameters(&setup.parameters)
        .map_err(|errors| errors.iter().map(|error| format!("pair.policy: {error}")).collect::<Vec<_>>().join("\n"))?;
    plugin.try_create(setup).map_err(|error| error.to_string())?;
    let traits = plugin.traits(setup).map_err(|error| error.to_string())?;
    Ok((traits, plugin.expected_delay(setup).ok().filter(|delay| !delay.is_zero())))
}

fn open(plugin: &Placed<String>, plugins: &mut Plugins, problems: &RefCell<Problems<'_>>) -> Option<(PathBuf, Plugin)> {
    let refuse = |finding: Finding| {
        problems.borrow_mut().add(plugin.at, finding);
        None
    };
    let file = match plugins.find(&plugin.value) {
        Ok(file) => file,
        Err(what) => {
            let available = plugins.available();
            let valid = match available.as_slice() {
                [] => "a plugin's name, or a path with a `/`; `edge.plugins` names their directory".to_owned(),
                names => format!("there are: {}", names.join(", ")),
            };
            let names: Vec<&str> = available.iter().map(String::as_str).collect();
            let nearest = nearest(&plugin.value, &names);
            return refuse(Finding::new("pair.policy.plugin", what).valid(valid).nearest(nearest));
        }
    };
    match plugins.open(&file) {
        Ok(plugin) => Some((file, plugin)),
        Err(what) => refuse(Finding::new("pair.policy.plugin", what)),
    }
}

fn refuse_parameters(errors: &[ParameterError], places: &Places<'_, '_>, problems: &RefCell<Problems<'_>>) {
    for error in errors {
        let what = match &error.value {
            Some(value) => format!("`{value}` {}", error.problem),
            None => error.problem.clone(),
        };
        let valid = if error.valid.is_empty() { String::new() } else { format!("valid: {}", error.valid) };
        let key = if error.key.is_empty() { "pair.policy".to_owned() } else { format!("pair.policy.{}", error.key) };
        let finding = Finding::new(key, what).valid(valid).nearest(error.nearest.clone());
        problems.borrow_mut().add(places.of(&error.key), finding);
    }
}
