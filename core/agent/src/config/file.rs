//! The file as it is written, and its way into a [`Config`].

use super::redirect::RedirectTable;
use super::service::ServiceTable;
use super::tls::TlsTable;
use super::watch::{HookTable, LanTable, ReleaseValue, ReplicationTable, WatchdogTable};
use super::{Bus, Config, ConfigError, Release};
use crate::{guard, platform};
use lockstep_policy::Side;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use toml::Spanned;

/// A socket's path may be 107 bytes long, and each service may have a socket in the state directory.
const STATE_MAX: usize = 64;
const NAME_MAX: usize = 32;
const SERVICES_MAX: usize = 64;
/// The guard gets the command in one line of bounded length.
const COMMAND_MAX: usize = 32 * 1024;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AgentFile {
    agent: AgentTable,
    #[serde(default, rename = "service")]
    services: Vec<Spanned<ServiceTable>>,
    #[serde(default, rename = "hook")]
    hooks: Vec<Spanned<HookTable>>,
    replication: Option<Spanned<ReplicationTable>>,
    lan: Option<Spanned<LanTable>>,
    watchdog: Option<WatchdogTable>,
    #[serde(default, rename = "redirect")]
    redirects: Vec<Spanned<RedirectTable>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AgentTable {
    pair: Spanned<String>,
    side: Side,
    #[serde(default = "default_listen")]
    listen: SocketAddr,
    #[serde(default = "default_state")]
    state: Spanned<PathBuf>,
    release: Option<Spanned<ReleaseValue>>,
    #[serde(default)]
    bus: BusName,
    tls: Option<Spanned<TlsTable>>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum BusName {
    #[default]
    System,
    Session,
}

fn default_listen() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 7401))
}

fn default_state() -> Spanned<PathBuf> {
    Spanned::new(0..0, PathBuf::from(platform::STATE))
}

/// Reads and checks a configuration.
///
/// # Errors
///
/// The file cannot be read, is no TOML, has unknown or missing keys, or values that cannot work.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let text = fs::read_to_string(path).map_err(|error| ConfigError::unreadable(path, &error))?;
    let file: AgentFile = toml::from_str(&text).map_err(|error| ConfigError::parse(path, &text, &error))?;
    Check { path, text: &text }.config(file)
}

/// What an error needs to say where it is.
pub(super) struct Check<'a> {
    pub(super) path: &'a Path,
    pub(super) text: &'a str,
}

impl Check<'_> {
    fn config(&self, file: AgentFile) -> Result<Config, ConfigError> {
        let AgentTable { pair, side, listen, state, release, bus, tls } = file.agent;
        if pair.get_ref().is_empty() {
            return Err(self.fault(&pair, "`pair` is empty: write the pair's name as in the edge's configuration"));
        }
        if state.get_ref().as_os_str().len() > STATE_MAX {
            let what = format!("`state` is longer than {STATE_MAX} bytes: sockets in it could not be named");
            return Err(self.fault(&state, what));
        }
        if let Some(extra) = file.services.get(SERVICES_MAX) {
            return Err(self.fault(extra, format!("more than {SERVICES_MAX} services")));
        }
        let hooks = self.hooks(file.hooks)?;
        let replication = file.replication.map(|table| self.replication(table)).transpose()?;
        let lan = file.lan.map(|table| self.lan(table)).transpose()?;
        let redirects = self.redirects(file.redirects)?;
        let release = release.map(|release| self.release(release)).transpose()?;
        let watchdog = file.watchdog.map(|table| self.watchdog(table)).transpose()?;
        let mut names = BTreeSet::new();
        let services =
            file.services.into_iter().map(|table| self.service(table, &mut names)).collect::<Result<_, _>>()?;
        let security = self.security(tls, pair.span())?;
        Ok(Config {
            pair: pair.into_inner(),
            side,
            listen,
            security,
            state: state.into_inner(),
            release: release.unwrap_or(Release::Text(String::new())),
            bus: match bus {
                BusName::System => Bus::System,
                BusName::Session => Bus::Session,
            },
            services,
            hooks,
            replication,
            lan,
            watchdog,
            redirects,
            guard: guard::program(),
        })
    }

    pub(super) fn name(&self, name: &Spanned<String>, names: &mut BTreeSet<String>) -> Result<(), ConfigError> {
        let text = name.get_ref();
        let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        if text.is_empty() || text.len() > NAME_MAX || !text.chars().all(valid) || text.starts_with('-') {
            let rule = format!("1 to {NAME_MAX} of a-z, 0-9, `-` and `_`, not beginning with `-`");
            return Err(self.fault(name, format!("`{text}` cannot be a name: write {rule}")));
        }
        if !names.insert(text.clone()) {
            return Err(self.fault(name, format!("`{text}` is named twice: rename one")));
        }
        Ok(())
    }

    pub(super) fn command(&self, command: Spanned<Vec<String>>, key: &str) -> Result<Vec<String>, ConfigError> {
        let words = command.get_ref();
        if words.first().is_none_or(String::is_empty) {
            return Err(
                self.fault(&command, format!("`{key}` is empty: write [\"/path/of/program\", \"argument\", …]"))
            );
        }
        if words.iter().any(|word| word.contains('\0')) || words.iter().map(String::len).sum::<usize>() > COMMAND_MAX {
            return Err(self.fault(&command, format!("`{key}` holds a NUL or is longer than {COMMAND_MAX} bytes")));
        }
        Ok(command.into_inner())
    }

    pub(super) fn fault<T>(&self, value: &Spanned<T>, what: impl Into<String>) -> ConfigError {
        ConfigError::at(self.path, self.text, value.span(), what)
    }
}
