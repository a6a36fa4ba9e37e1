//! The tables of services, and of their readiness.

use super::file::Check;
use super::watch::AliveTable;
use super::{ConfigError, Driver, Ready, Service};
use serde::Deserialize;
use std::collections::BTreeSet;
use toml::Spanned;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ServiceTable {
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

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReadyTable {
    pub(super) http: Option<Spanned<String>>,
    pub(super) tcp: Option<Spanned<String>>,
    pub(super) exec: Option<Spanned<Vec<String>>>,
    pub(super) notify: Option<Spanned<bool>>,
}

impl Check<'_> {
    pub(super) fn service(
        &self,
        table: Spanned<ServiceTable>,
        names: &mut BTreeSet<String>,
    ) -> Result<Service, ConfigError> {
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
}
