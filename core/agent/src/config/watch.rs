//! The tables of what is looked at, and of what may be run: liveness, hooks, replication, the LAN, the release.

use super::file::Check;
use super::service::ReadyTable;
use super::{Alive, Auto, ConfigError, Driver, Hook, Lan, Ready, Release, Replication, ReplicationSource, Watchdog};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;
use toml::Spanned;

const HOOKS_MAX: usize = 64;
/// All are asked at once.
const NEIGHBOURS_MAX: usize = 16;
/// An interface's name (`IFNAMSIZ`, without its end).
const INTERFACE_MAX: usize = 15;

const CHECK: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(60);
const RUN: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(3600);
const LOOK: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3600);
/// A watchdog that bites sooner could not be fed surely by a loop that also works.
const BITE: RangeInclusive<Duration> = Duration::from_secs(2)..=Duration::from_secs(24 * 3600);
const AGE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(30 * 24 * 3600);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AliveTable {
    http: Option<Spanned<String>>,
    tcp: Option<Spanned<String>>,
    exec: Option<Spanned<Vec<String>>>,
    notify: Option<Spanned<bool>>,
    timeout: Option<Spanned<String>>,
    interval: Option<Spanned<String>>,
    failures: Option<Spanned<u32>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WatchdogTable {
    device: Spanned<PathBuf>,
    timeout: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HookTable {
    name: Spanned<String>,
    command: Spanned<Vec<String>>,
    timeout: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReplicationTable {
    command: Option<Spanned<Vec<String>>>,
    timeout: Option<Spanned<String>>,
    file: Option<PathBuf>,
    max_age: Option<Spanned<String>>,
    interval: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LanTable {
    interval: Option<Spanned<String>>,
    failures: Option<Spanned<u32>>,
    carrier: Option<Spanned<String>>,
    gateway: Option<Spanned<String>>,
    #[serde(default)]
    neighbours: Vec<Spanned<String>>,
    #[serde(default)]
    isolation: Isolation,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Isolation {
    #[default]
    StandDown,
    Report,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "`release` is a text, { command = [...] } or { file = \"...\" }")]
pub(super) enum ReleaseValue {
    Text(String),
    Found(ReleaseTable),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReleaseTable {
    command: Option<Vec<String>>,
    file: Option<PathBuf>,
}

impl Check<'_> {
    pub(super) fn alive(
        &self,
        table: Spanned<AliveTable>,
        driver: &Driver,
        ready: Option<&Ready>,
        watched: bool,
    ) -> Result<Alive, ConfigError> {
        let span = table.span();
        let AliveTable { http, tcp, exec, notify, timeout, interval, failures } = table.into_inner();
        let own = [interval.as_ref().map(Spanned::span), failures.as_ref().map(Spanned::span)];
        if let Some(span) = own.into_iter().flatten().next().filter(|_| !watched) {
            let what = "`interval` and `failures` of `alive` go with `restarts`: without it the check is run when it is \
                        asked for, and nothing follows from it here";
            return Err(ConfigError::at(self.path, self.text, span, what));
        }
        if let Some(failures) = failures.as_ref().filter(|failures| !(1..=100).contains(failures.get_ref())) {
            return Err(self.fault(failures, "`failures` is 1 to 100"));
        }
        let table = ReadyTable { http, tcp, exec, notify };
        let check = self.check(table, span.clone(), "alive", driver)?;
        if check == Ready::Notify && ready.is_some_and(|ready| *ready != Ready::Notify) {
            // What speaks on the socket says READY=1 there too, and would be ready before its other check is.
            let what = "`alive.notify` goes with `ready.notify`, or with no `ready`: one socket tells both";
            return Err(ConfigError::at(self.path, self.text, span, what));
        }
        let timeout = self.duration(timeout, "timeout", Duration::from_secs(1), CHECK)?;
        let interval = self.duration(interval, "interval", Duration::from_secs(5), LOOK)?;
        Ok(Alive { check, timeout, interval, failures: failures.map_or(3, Spanned::into_inner) })
    }

    pub(super) fn watchdog(&self, table: WatchdogTable) -> Result<Watchdog, ConfigError> {
        let WatchdogTable { device, timeout } = table;
        if cfg!(windows) {
            return Err(self.fault(&device, "[watchdog] is not available on Windows"));
        }
        if !device.get_ref().is_absolute() {
            return Err(self.fault(&device, "`device` is a whole path, as in \"/dev/watchdog\""));
        }
        let timeout = timeout.map(|text| self.duration(Some(text), "timeout", Duration::ZERO, BITE)).transpose()?;
        Ok(Watchdog { device: device.into_inner(), timeout })
    }

    pub(super) fn hooks(&self, tables: Vec<Spanned<HookTable>>) -> Result<Vec<Hook>, ConfigError> {
        if let Some(extra) = tables.get(HOOKS_MAX) {
            return Err(self.fault(extra, format!("more than {HOOKS_MAX} hooks")));
        }
        let mut names = BTreeSet::new();
        let hooks = tables.into_iter().map(|table| {
            let HookTable { name, command, timeout } = table.into_inner();
            self.name(&name, &mut names)?;
            Ok(Hook {
                name: name.into_inner(),
                command: self.command(command, "command")?,
                timeout: self.duration(timeout, "timeout", Duration::from_secs(60), RUN)?,
            })
        });
        hooks.collect()
    }

    pub(super) fn replication(&self, table: Spanned<ReplicationTable>) -> Result<Replication, ConfigError> {
        let span = table.span();
        let ReplicationTable { command, timeout, file, max_age, interval } = table.into_inner();
        let source = match (command, file) {
            (Some(command), None) => {
                if let Some(max_age) = max_age {
                    return Err(self.fault(&max_age, "`max_age` belongs to `file`: a command is asked anew each time"));
                }
                let timeout = self.duration(timeout, "timeout", Duration::from_secs(5), CHECK)?;
                ReplicationSource::Command { command: self.command(command, "replication.command")?, timeout }
            }
            (None, Some(path)) => {
                if let Some(timeout) = timeout {
                    return Err(self.fault(&timeout, "`timeout` belongs to `command`: a file is read at once"));
                }
                let max_age = self.duration(max_age, "max_age", Duration::from_secs(60), AGE)?;
                ReplicationSource::File { path, max_age }
            }
            _ => {
                let what = "[replication] says one of `command` and `file`";
                return Err(ConfigError::at(self.path, self.text, span, what));
            }
        };
        let interval = self.duration(interval, "interval", Duration::from_secs(10), LOOK)?;
        Ok(Replication { source, interval })
    }

    pub(super) fn lan(&self, table: Spanned<LanTable>) -> Result<Lan, ConfigError> {
        let span = table.span();
        if cfg!(windows) {
            let what = "[lan] is not available on Windows: let the edge's probes tell whether the node is reached";
            return Err(ConfigError::at(self.path, self.text, span, what));
        }
        let LanTable { interval, failures, carrier, gateway, neighbours, isolation } = table.into_inner();
        if let Some(failures) = failures.as_ref().filter(|failures| !(1..=1000).contains(failures.get_ref())) {
            return Err(self.fault(failures, "`failures` is 1 to 1000"));
        }
        if let Some(extra) = neighbours.get(NEIGHBOURS_MAX) {
            return Err(self.fault(extra, format!("more than {NEIGHBOURS_MAX} neighbours")));
        }
        let carrier = match carrier {
            None => Auto::Auto,
            Some(name) => self.interface(name)?,
        };
        let gateway = match gateway {
            None => Auto::Auto,
            Some(gateway) => match gateway.get_ref().as_str() {
                "auto" => Auto::Auto,
                "off" => Auto::Off,
                _ => Auto::Given(self.address(&gateway, "`gateway` is `auto`, `off` or an address")?),
            },
        };
        let neighbours = neighbours.iter().map(|text| self.address(text, "`neighbours` are addresses"));
        let neighbours: Vec<IpAddr> = neighbours.collect::<Result<_, _>>()?;
        if carrier == Auto::Off && gateway == Auto::Off && neighbours.is_empty() {
            let what = "[lan] looks at nothing: leave it out, or name `carrier`, `gateway` or `neighbours`";
            return Err(ConfigError::at(self.path, self.text, span, what));
        }
        Ok(Lan {
            interval: self.duration(interval, "interval", Duration::from_secs(1), LOOK)?,
            failures: failures.map_or(3, Spanned::into_inner),
            carrier,
            gateway,
            neighbours,
            binding: isolation == Isolation::StandDown,
        })
    }

    pub(super) fn release(&self, value: Spanned<ReleaseValue>) -> Result<Release, ConfigError> {
        let span = value.span();
        match value.into_inner() {
            ReleaseValue::Text(text) => Ok(Release::Text(text)),
            ReleaseValue::Found(ReleaseTable { command: Some(command), file: None }) => {
                Ok(Release::Command(self.command(Spanned::new(span, command), "release.command")?))
            }
            ReleaseValue::Found(ReleaseTable { command: None, file: Some(file) }) => Ok(Release::File(file)),
            ReleaseValue::Found(_) => {
                let what = "`release` is a text, { command = [...] } or { file = \"...\" }";
                Err(ConfigError::at(self.path, self.text, span, what))
            }
        }
    }

    fn interface(&self, name: Spanned<String>) -> Result<Auto<String>, ConfigError> {
        let text = name.get_ref().as_str();
        let valid = |c: char| !c.is_whitespace() && !c.is_control() && c != '/';
        match text {
            "auto" => Ok(Auto::Auto),
            "off" => Ok(Auto::Off),
            _ if (1..=INTERFACE_MAX).contains(&text.len()) && text.chars().all(valid) => {
                Ok(Auto::Given(name.into_inner()))
            }
            _ => Err(self.fault(&name, "`carrier` is `auto`, `off` or an interface's name, as in `eth0`")),
        }
    }

    fn address(&self, text: &Spanned<String>, rule: &str) -> Result<IpAddr, ConfigError> {
        text.get_ref()
            .parse()
            .map_err(|_| self.fault::<String>(text, format!("`{}` is none: {rule}, as in 10.0.0.254", text.get_ref())))
    }

    pub(super) fn duration(
        &self,
        text: Option<Spanned<String>>,
        key: &str,
        default: Duration,
        range: RangeInclusive<Duration>,
    ) -> Result<Duration, ConfigError> {
        let Some(text) = text else { return Ok(default) };
        match humantime::parse_duration(text.get_ref()) {
            Ok(duration) if range.contains(&duration) => Ok(duration),
            Ok(_) => {
                let what = format!("`{key}` is {:?} to {:?}, not {}", range.start(), range.end(), text.get_ref());
                Err(self.fault(&text, what))
            }
            Err(_) => {
                let what = format!("`{}` is no duration: write `{key}` with a unit, as in \"500ms\"", text.get_ref());
                Err(self.fault(&text, what))
            }
        }
    }
}
