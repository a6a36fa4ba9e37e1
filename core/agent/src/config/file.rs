//! The file as it is written, and its way into a [`Config`].

use super::watch::{AliveTable, HookTable, LanTable, ReleaseValue, ReplicationTable};
use super::{Bus, Config, ConfigError, Driver, Ready, Release, Service};
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
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ServiceTable {
    name: Spanned<String>,
    driver: DriverName,
    command: Option<Spanned<Vec<String>>>,
    unit: Option<Spanned<String>>,
    #[serde(default)]
    exclusive: bool,
    flush: Option<Spanned<bool>>,
    ready: Option<Spanned<ReadyTable>>,
    alive: Option<Spanned<AliveTable>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum DriverName {
    Exec,
    Systemd,
    Gate,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum BusName {
    #[default]
    System,
    Session,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReadyTable {
    pub(super) http: Option<Spanned<String>>,
    pub(super) tcp: Option<Spanned<String>>,
    pub(super) exec: Option<Spanned<Vec<String>>>,
    pub(super) notify: Option<Spanned<bool>>,
}

fn default_listen() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 7401))
}

fn default_state() -> Spanned<PathBuf> {
    Spanned::new(0..0, PathBuf::from("/var/lib/lockstep-agent"))
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
        let AgentTable { pair, side, listen, state, release, bus } = file.agent;
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
        let release = release.map(|release| self.release(release)).transpose()?;
        let mut names = BTreeSet::new();
        let services =
            file.services.into_iter().map(|table| self.service(table, &mut names)).collect::<Result<_, _>>()?;
        Ok(Config {
            pair: pair.into_inner(),
            side,
            listen,
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
            guard: PathBuf::from("/proc/self/exe"),
        })
    }

    fn service(&self, table: Spanned<ServiceTable>, names: &mut BTreeSet<String>) -> Result<Service, ConfigError> {
        let span = table.span();
        let table = table.into_inner();
        self.name(&table.name, names)?;
        let name = table.name.into_inner();
        let missing = |key: &str, driver: &str| {
            let what = format!("service `{name}` has no `{key}`, which `driver = \"{driver}\"` needs");
            ConfigError::at(self.path, self.text, span.clone(), what)
        };
        let driver = match (table.driver, table.command, table.unit) {
            (DriverName::Exec, Some(command), None) => Driver::Exec { command: self.command(command, "command")? },
            (DriverName::Systemd, None, Some(unit)) => Driver::Systemd { unit: self.unit(unit)? },
            (DriverName::Exec, _, Some(unit)) => {
                return Err(self.fault(&unit, "`unit` belongs to `driver = \"systemd\"`; this service's is \"exec\""));
            }
            (DriverName::Systemd, Some(command), _) => {
                return Err(
                    self.fault(&command, "`command` belongs to `driver = \"exec\"`; this service's is \"systemd\"")
                );
            }
            (DriverName::Gate, None, None) => Driver::Gate,
            (DriverName::Gate, Some(command), _) => {
                return Err(self.fault(&command, "`command` belongs to `driver = \"exec\"`: a gate runs nothing"));
            }
            (DriverName::Gate, None, Some(unit)) => {
                return Err(self.fault(&unit, "`unit` belongs to `driver = \"systemd\"`: a gate runs nothing"));
            }
            (DriverName::Exec, None, None) => return Err(missing("command", "exec")),
            (DriverName::Systemd, None, None) => return Err(missing("unit", "systemd")),
        };
        let ready = table.ready.map(|ready| self.ready(ready, &driver)).transpose()?;
        let flush = table.flush.map(|flush| self.flush(&flush, &driver, table.exclusive)).transpose()?;
        let alive = table.alive.map(|alive| self.alive(alive, &driver, ready.as_ref())).transpose()?;
        Ok(Service { name, driver, exclusive: table.exclusive, flush: flush.unwrap_or(false), ready, alive })
    }

    fn flush(&self, flush: &Spanned<bool>, driver: &Driver, exclusive: bool) -> Result<bool, ConfigError> {
        if exclusive {
            let what =
                "`flush` is for services that are not exclusive: an exclusive one never outlives its lease anyway";
            return Err(self.fault(flush, what));
        }
        if !matches!(driver, Driver::Exec { .. }) {
            let what = "`flush` belongs to `driver = \"exec\"`: for another nobody stands by with a dead-man's switch";
            return Err(self.fault(flush, what));
        }
        Ok(*flush.get_ref())
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

    fn unit(&self, unit: Spanned<String>) -> Result<String, ConfigError> {
        if !unit.get_ref().ends_with(".service") {
            let what = format!("`{}` is no unit: write its whole name, as in `cti.service`", unit.get_ref());
            return Err(self.fault(&unit, what));
        }
        Ok(unit.into_inner())
    }

    fn ready(&self, table: Spanned<ReadyTable>, driver: &Driver) -> Result<Ready, ConfigError> {
        let span = table.span();
        self.check(table.into_inner(), span, "ready", driver)
    }

    /// The one check that a table says.
    pub(super) fn check(
        &self,
        table: ReadyTable,
        span: std::ops::Range<usize>,
        key: &str,
        driver: &Driver,
    ) -> Result<Ready, ConfigError> {
        if *driver == Driver::Gate {
            let what = format!("`{key}` belongs to services that run: a gate is passed when a person confirms it");
            return Err(ConfigError::at(self.path, self.text, span, what));
        }
        let one = format!("`{key}` says one of `http`, `tcp`, `exec` and `notify`");
        match table {
            ReadyTable { http: Some(uri), tcp: None, exec: None, notify: None } => self.http(&uri),
            ReadyTable { http: None, tcp: Some(address), exec: None, notify: None } => self.tcp(address),
            ReadyTable { http: None, tcp: None, exec: Some(command), notify: None } => {
                Ok(Ready::Exec(self.command(command, &format!("{key}.exec"))?))
            }
            ReadyTable { http: None, tcp: None, exec: None, notify: Some(notify) } => self.notify(&notify, key, driver),
            _ => Err(ConfigError::at(self.path, self.text, span, one)),
        }
    }

    fn http(&self, uri: &Spanned<String>) -> Result<Ready, ConfigError> {
        match uri.get_ref().parse::<http::Uri>() {
            Ok(parsed) if parsed.scheme_str() == Some("http") && parsed.host().is_some() => Ok(Ready::Http(parsed)),
            _ => Err(self.fault(uri, format!("`{}` is no address: write http://HOST:PORT/PATH", uri.get_ref()))),
        }
    }

    fn tcp(&self, address: Spanned<String>) -> Result<Ready, ConfigError> {
        let port = address.get_ref().rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port);
        match port.and_then(|port| port.parse::<u16>().ok()) {
            Some(1..) => Ok(Ready::Tcp(address.into_inner())),
            _ => Err(self.fault(&address, format!("`{}` is no address: write HOST:PORT", address.get_ref()))),
        }
    }

    fn notify(&self, notify: &Spanned<bool>, key: &str, driver: &Driver) -> Result<Ready, ConfigError> {
        if !notify.get_ref() {
            return Err(self.fault(notify, format!("`notify = false` says nothing: leave `{key}` out")));
        }
        if let Driver::Systemd { .. } = driver {
            let what = format!(
                "`notify` belongs to `driver = \"exec\"`: a unit of `Type=notify` says it to systemd; leave `{key}` out"
            );
            return Err(self.fault(notify, what));
        }
        Ok(Ready::Notify)
    }

    pub(super) fn fault<T>(&self, value: &Spanned<T>, what: impl Into<String>) -> ConfigError {
        ConfigError::at(self.path, self.text, value.span(), what)
    }
}
