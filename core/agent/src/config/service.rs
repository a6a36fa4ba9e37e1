//! The tables of services, and of their readiness.

use super::calls::{CallTable, StatusTable};
use super::file::Check;
use super::watch::AliveTable;
use super::{Attempts, ConfigError, Driver, Ready, Restarts, Service};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;
use std::time::Duration;
use toml::Spanned;

/// How often a start is tried again at most, and a service started again within its window.
const RETRIES_MAX: u32 = 100;
const RESTARTS_MAX: u32 = 1000;
/// So many statuses of a step may be good.
const EXPECTED_MAX: usize = 16;
/// How long a step may take that says nothing of it.
const STEP: Duration = Duration::from_secs(60);

const STEP_TIME: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(3600);
const PAUSE: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(600);
const WINDOW: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(24 * 3600);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ServiceTable {
    name: Spanned<String>,
    driver: DriverName,
    #[serde(default)]
    exclusive: bool,
    flush: Option<Spanned<bool>>,
    ready: Option<Spanned<ReadyTable>>,
    alive: Option<Spanned<AliveTable>>,
    start_timeout: Option<Spanned<String>>,
    stop_timeout: Option<Spanned<String>>,
    retries: Option<Spanned<u32>>,
    retry_pause: Option<Spanned<String>>,
    restarts: Option<Spanned<u32>>,
    window: Option<Spanned<String>>,
    // Those of single drivers.
    command: Option<Spanned<Vec<String>>>,
    unit: Option<Spanned<String>>,
    service: Option<Spanned<String>>,
    undo: Option<Spanned<Vec<String>>>,
    expected: Option<Spanned<Vec<i32>>>,
    start: Option<Spanned<CallTable>>,
    stop: Option<Spanned<CallTable>>,
    status: Option<Spanned<StatusTable>>,
    ca: Option<Spanned<PathBuf>>,
    login: Option<Spanned<PathBuf>>,
    kill: Option<Spanned<Vec<String>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum DriverName {
    Exec,
    Systemd,
    WindowsService,
    Gate,
    Run,
    Http,
}

impl fmt::Display for DriverName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DriverName::Exec => "exec",
            DriverName::Systemd => "systemd",
            DriverName::WindowsService => "windows-service",
            DriverName::Gate => "gate",
            DriverName::Run => "run",
            DriverName::Http => "http",
        })
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReadyTable {
    pub(super) http: Option<Spanned<String>>,
    pub(super) tcp: Option<Spanned<String>>,
    pub(super) exec: Option<Spanned<Vec<String>>>,
    pub(super) notify: Option<Spanned<bool>>,
}

impl ServiceTable {
    /// The first key that this service's driver does not have, and the drivers that do.
    fn stray(&self) -> Option<(Range<usize>, &'static str, &'static [DriverName])> {
        fn of<T>(value: Option<&Spanned<T>>) -> Option<Range<usize>> {
            value.map(Spanned::span)
        }
        use DriverName::{Exec, Http, Run, Systemd, WindowsService};
        type Key = (Option<Range<usize>>, &'static str, &'static [DriverName]);
        let keys: [Key; 18] = [
            (of(self.command.as_ref()), "command", &[Exec, Run]),
            (of(self.unit.as_ref()), "unit", &[Systemd]),
            (of(self.service.as_ref()), "service", &[WindowsService]),
            (of(self.undo.as_ref()), "undo", &[Run]),
            (of(self.expected.as_ref()), "expected", &[Run]),
            (of(self.start.as_ref()), "start", &[Http]),
            (of(self.stop.as_ref()), "stop", &[Http]),
            (of(self.status.as_ref()), "status", &[Http]),
            (of(self.ca.as_ref()), "ca", &[Http]),
            (of(self.login.as_ref()), "login", &[Http]),
            (of(self.kill.as_ref()), "kill", &[Http]),
            (of(self.start_timeout.as_ref()), "start_timeout", &[Exec, Systemd, WindowsService, Run, Http]),
            (of(self.stop_timeout.as_ref()), "stop_timeout", &[Exec, Systemd, WindowsService, Run, Http]),
            (of(self.retries.as_ref()), "retries", &[Exec, Systemd, WindowsService, Run, Http]),
            (of(self.retry_pause.as_ref()), "retry_pause", &[Exec, Systemd, WindowsService, Run, Http]),
            (of(self.restarts.as_ref()), "restarts", &[Exec, Systemd, WindowsService, Run, Http]),
            (of(self.window.as_ref()), "window", &[Exec, Systemd, WindowsService, Run, Http]),
            (of(self.alive.as_ref()), "alive", &[Exec, Systemd, WindowsService, Http]),
        ];
        keys.into_iter()
            .find_map(|(span, key, drivers)| Some((span?, key, drivers)).filter(|_| !drivers.contains(&self.driver)))
    }
}

impl Check<'_> {
    pub(super) fn service(
        &self,
        table: Spanned<ServiceTable>,
        names: &mut BTreeSet<String>,
    ) -> Result<Service, ConfigError> {
        let span = table.span();
        let mut table = table.into_inner();
        self.name(&table.name, names)?;
        if let Some((at, key, drivers)) = table.stray() {
            let all: Vec<String> = drivers.iter().map(|driver| format!("`driver = \"{driver}\"`")).collect();
            let why = match (table.driver, key) {
                (DriverName::Gate, "alive") => ": a gate is passed when a person confirms it".to_owned(),
                (DriverName::Gate, _) => ": a gate runs nothing".to_owned(),
                (DriverName::Run, "alive") => ": of a step nothing runs on".to_owned(),
                (driver, _) => format!("; this service's is \"{driver}\""),
            };
            let what = format!("`{key}` belongs to {}{why}", all.join(", "));
            return Err(ConfigError::at(self.path, self.text, at, what));
        }
        self.here(&table.name, table.driver)?;
        let start = self.attempts(&mut table)?;
        let stop_timeout = self.time(table.stop_timeout.take(), "stop_timeout", STEP_TIME)?;
        let restarts = self.restarts(&mut table)?;
        let (exclusive, flush, ready, alive) =
            (table.exclusive, table.flush.take(), table.ready.take(), table.alive.take());
        let name = table.name.get_ref().clone();
        let driver = self.driver(table, &span)?;
        let ready = ready.map(|ready| self.ready(ready, &driver)).transpose()?;
        let flush = flush.map(|flush| self.flush(&flush, &driver, exclusive)).transpose()?.unwrap_or(false);
        let alive = alive.map(|alive| self.alive(alive, &driver, ready.as_ref(), restarts.is_some())).transpose()?;
        Ok(Service { name, driver, exclusive, flush, ready, alive, start, stop_timeout, restarts })
    }

    fn driver(&self, table: ServiceTable, span: &Range<usize>) -> Result<Driver, ConfigError> {
        let missing = |key: &str| {
            let what = format!(
                "service `{}` has no `{key}`, which `driver = \"{}\"` needs",
                table.name.get_ref(),
                table.driver
            );
            ConfigError::at(self.path, self.text, span.clone(), what)
        };
        Ok(match table.driver {
            DriverName::Gate => Driver::Gate,
            DriverName::Exec => {
                let command = table.command.ok_or_else(|| missing("command"))?;
                Driver::Exec { command: self.command(command, "command")? }
            }
            DriverName::WindowsService => Driver::WindowsService {
                service: self.windows_service(table.service.ok_or_else(|| missing("service"))?)?,
            },
            DriverName::Systemd => Driver::Systemd { unit: self.unit(table.unit.ok_or_else(|| missing("unit"))?)? },
            DriverName::Run => {
                let command = table.command.ok_or_else(|| missing("command"))?;
                Driver::Run {
                    command: self.command(command, "command")?,
                    undo: table.undo.map(|undo| self.command(undo, "undo")).transpose()?,
                    expected: self.expected(table.expected)?,
                }
            }
            DriverName::Http => {
                if let Some(kill) = table.kill.as_ref().filter(|_| !table.exclusive) {
                    let what = "`kill` is for exclusive services: no other one must be gone by a deadline";
                    return Err(self.fault(kill, what));
                }
                if let Some(kill) = table.kill.as_ref().filter(|_| cfg!(windows)) {
                    return Err(self.fault(kill, "`kill` is not available on Windows"));
                }
                let start = table.start.ok_or_else(|| missing("start"))?;
                let stop = table.stop.ok_or_else(|| missing("stop"))?;
                Driver::Http(Box::new(super::HttpService {
                    start: self.call(start, http::Method::POST, "start", table.login.is_some())?,
                    stop: self.call(stop, http::Method::POST, "stop", table.login.is_some())?,
                    status: table.status.map(|status| self.status(status, table.login.is_some())).transpose()?,
                    ca: table.ca.map(Spanned::into_inner),
                    login: table.login.map(Spanned::into_inner),
                    kill: table.kill.map(|kill| self.command(kill, "kill")).transpose()?,
                }))
            }
        })
    }

    /// How the start is tried.
    fn attempts(&self, table: &mut ServiceTable) -> Result<Attempts, ConfigError> {
        let timeout = self.time(table.start_timeout.take(), "start_timeout", STEP_TIME)?;
        let given = [table.retries.as_ref().map(Spanned::span), table.retry_pause.as_ref().map(Spanned::span)];
        if let Some(span) = given.into_iter().flatten().next().filter(|_| !table.exclusive) {
            let what = "`retries` and `retry_pause` are for exclusive services: what is not exclusive is started again by \
                        `restarts` and `window`, whether it was ready before or not";
            return Err(ConfigError::at(self.path, self.text, span, what));
        }
        let retries = self.count(table.retries.take(), "retries", RETRIES_MAX)?;
        let pause = self.time(table.retry_pause.take(), "retry_pause", PAUSE)?;
        let timeout = timeout.or((table.driver == DriverName::Run).then_some(STEP));
        Ok(Attempts { timeout, retries: retries.unwrap_or(0), pause: pause.unwrap_or(Duration::from_secs(1)) })
    }

    fn restarts(&self, table: &mut ServiceTable) -> Result<Option<Restarts>, ConfigError> {
        if let Some(window) = table.window.as_ref().filter(|_| table.restarts.is_none()) {
            return Err(self.fault(window, "`window` goes with `restarts`: so many within so long"));
        }
        if let Some(restarts) = table.restarts.as_ref().filter(|_| table.exclusive && table.driver == DriverName::Run) {
            let what = "`restarts` is for what runs on, or is not exclusive: a step of an activation is tried again by `retries`";
            return Err(self.fault(restarts, what));
        }
        let window = self.time(table.window.take(), "window", WINDOW)?;
        let most = self.count(table.restarts.take(), "restarts", RESTARTS_MAX)?;
        Ok(most.map(|most| Restarts { most, window: window.unwrap_or(Restarts::WINDOW) }))
    }

    fn expected(&self, codes: Option<Spanned<Vec<i32>>>) -> Result<Vec<i32>, ConfigError> {
        let Some(codes) = codes else { return Ok(vec![0]) };
        let valid = |code: &i32| (0..=255).contains(code);
        if codes.get_ref().is_empty() || codes.get_ref().len() > EXPECTED_MAX || !codes.get_ref().iter().all(valid) {
            let what = format!("`expected` is 1 to {EXPECTED_MAX} exit codes of 0 to 255, as in [0, 3]");
            return Err(self.fault(&codes, what));
        }
        Ok(codes.into_inner())
    }

    fn count(&self, count: Option<Spanned<u32>>, key: &str, most: u32) -> Result<Option<u32>, ConfigError> {
        match count {
            Some(count) if *count.get_ref() > most => Err(self.fault(&count, format!("`{key}` is 0 to {most}"))),
            count => Ok(count.map(Spanned::into_inner)),
        }
    }

    fn time(
        &self,
        text: Option<Spanned<String>>,
        key: &str,
        range: RangeInclusive<Duration>,
    ) -> Result<Option<Duration>, ConfigError> {
        text.map(|text| self.duration(Some(text), key, Duration::ZERO, range)).transpose()
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

    /// Whether this system has what the driver needs.
    fn here(&self, name: &Spanned<String>, driver: DriverName) -> Result<(), ConfigError> {
        use DriverName::{Exec, Gate, Http, Run, Systemd, WindowsService};
        let what = match (driver, cfg!(windows)) {
            (Systemd, true) => "`driver = \"systemd\"` is for Linux: here it is \"windows-service\"",
            (WindowsService, false) => "`driver = \"windows-service\"` is for Windows: here it is \"systemd\"",
            (Run, true) => "`driver = \"run\"` is not available on Windows: run the step as a service",
            (Exec | Gate | Http | Run | Systemd | WindowsService, _) => return Ok(()),
        };
        Err(self.fault(name, what))
    }

    /// As the service control manager has it: at most 256 characters, without slashes (`CreateService`).
    fn windows_service(&self, service: Spanned<String>) -> Result<String, ConfigError> {
        let text = service.get_ref();
        let valid = |c: char| !c.is_control() && c != '/' && c != '\\';
        if text.is_empty() || text.chars().count() > 256 || !text.chars().all(valid) {
            let what =
                format!("`{text}` is no service's name: write it as `sc.exe query` shows it, as in `TeliscaCti`");
            return Err(self.fault(&service, what));
        }
        Ok(service.into_inner())
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
        span: Range<usize>,
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
        match driver {
            Driver::Exec { .. } if cfg!(windows) => {
                Err(self.fault(notify, "`notify` is not available on Windows: say `tcp`, `http` or `exec`"))
            }
            Driver::Exec { .. } => Ok(Ready::Notify),
            Driver::Systemd { .. } => {
                let what = format!(
                    "`notify` belongs to `driver = \"exec\"`: a unit of `Type=notify` says it to systemd; leave `{key}` out"
                );
                Err(self.fault(notify, what))
            }
            Driver::Gate | Driver::Run { .. } | Driver::Http(_) | Driver::WindowsService { .. } => {
                Err(self
                    .fault(notify, "`notify` belongs to `driver = \"exec\"`: nobody else has a socket of the agent"))
            }
        }
    }
}
