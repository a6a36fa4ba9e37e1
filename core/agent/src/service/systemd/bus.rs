//! systemd's D-Bus interface, as far as the agent needs it (`org.freedesktop.systemd1(5)`).

use crate::config::Bus;
use std::time::Duration;
use tokio::time::timeout;
use tokio_stream::StreamExt as _;
use zbus::fdo::{PropertiesChangedStream, PropertiesProxy};
use zbus::names::InterfaceName;
use zbus::{Connection, OwnedObjectPath, OwnedVariant, proxy};

const SERVICE: &str = "org.freedesktop.systemd1";
const UNIT: &str = "org.freedesktop.systemd1.Unit";
const UNIT_OF_SERVICE: &str = "org.freedesktop.systemd1.Service";
/// One that answers later does not answer.
const PATIENCE: Duration = Duration::from_secs(2);
const SIGKILL: i32 = 9;

#[proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
trait Manager {
    fn subscribe(&self) -> zbus::Result<()>;
    fn load_unit(&self, name: &str) -> zbus::Result<OwnedObjectPath>;
    fn start_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn stop_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn kill_unit(&self, name: &str, whom: &str, signal: i32) -> zbus::Result<()>;
    #[zbus(name = "GetUnitByPID")]
    fn get_unit_by_pid(&self, pid: u32) -> zbus::Result<OwnedObjectPath>;
}

/// How a unit is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// A job is under way, or systemd is about to start it again.
    Changing,
    /// Active; `pid` is 0 when it has no main process.
    Up { pid: u32 },
    /// Inactive or failed, and no job is under way.
    Ended { how: String },
}

/// One unit.
#[derive(Debug)]
pub(super) struct Unit {
    name: String,
    manager: ManagerProxy<'static>,
    properties: PropertiesProxy<'static>,
}

impl Unit {
    pub(super) async fn open(bus: Bus, name: &str) -> zbus::Result<Unit> {
        let open = async {
            let connection = match bus {
                Bus::System => Connection::system().await?,
                Bus::Session => Connection::session().await?,
            };
            let manager = ManagerProxy::new(&connection).await?;
            let path = manager.load_unit(name).await?;
            Unit::at(&connection, manager, name, path).await
        };
        bounded(open).await
    }

    async fn at(
        connection: &Connection,
        manager: ManagerProxy<'static>,
        name: &str,
        path: OwnedObjectPath,
    ) -> zbus::Result<Unit> {
        let properties = PropertiesProxy::builder(connection).destination(SERVICE).path(path).build().await?;
        Ok(Unit { name: name.to_owned(), manager, properties })
    }

    /// The unit that this process belongs to, if there is one.
    pub(super) async fn own(bus: Bus) -> zbus::Result<String> {
        let unit = Unit::open(bus, "-.slice").await?;
        let path = bounded(unit.manager.get_unit_by_pid(std::process::id())).await?;
        let own = Unit::at(unit.manager.inner().connection(), unit.manager.clone(), "", path).await?;
        own.text(UNIT, "Id").await
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) async fn start(&self) -> zbus::Result<()> {
        bounded(self.manager.start_unit(&self.name, "replace")).await.map(drop)
    }

    pub(super) async fn stop(&self) -> zbus::Result<()> {
        bounded(self.manager.stop_unit(&self.name, "replace")).await.map(drop)
    }

    pub(super) async fn kill(&self) -> zbus::Result<()> {
        bounded(self.manager.kill_unit(&self.name, "all", SIGKILL)).await
    }

    pub(super) async fn state(&self) -> zbus::Result<State> {
        // The job first: when there is none, the state that is read after it is not one on its way.
        let (job, _) = <(u32, OwnedObjectPath)>::try_from(self.get(UNIT, "Job").await?)?;
        let active = self.text(UNIT, "ActiveState").await?;
        Ok(match active.as_str() {
            "active" | "reloading" => State::Up { pid: self.number(UNIT_OF_SERVICE, "MainPID").await.unwrap_or(0) },
            "inactive" | "failed" if job == 0 => {
                let result = self.text(UNIT_OF_SERVICE, "Result").await.unwrap_or_default();
                State::Ended { how: format!("the unit is {active}: {result}") }
            }
            _ => State::Changing,
        })
    }

    /// Wakes when systemd says that something has changed; never, when it cannot be asked to.
    pub(super) async fn changes(&self) -> Changes {
        let subscribed = bounded(async {
            self.manager.subscribe().await?;
            self.properties.receive_properties_changed().await
        });
        Changes { stream: subscribed.await.ok() }
    }

    pub(super) async fn text(&self, interface: &'static str, property: &str) -> zbus::Result<String> {
        self.get(interface, property).await?.try_into()
    }

    pub(super) async fn texts(&self, interface: &'static str, property: &str) -> zbus::Result<Vec<String>> {
        self.get(interface, property).await?.try_into()
    }

    pub(super) async fn stop_timeout(&self) -> zbus::Result<Duration> {
        let micros = u64::try_from(self.get(UNIT_OF_SERVICE, "TimeoutStopUSec").await?)?;
        Ok(Duration::from_micros(micros))
    }

    pub(super) async fn restarts_itself(&self) -> zbus::Result<bool> {
        Ok(self.text(UNIT_OF_SERVICE, "Restart").await? != "no")
    }

    async fn number(&self, interface: &'static str, property: &str) -> zbus::Result<u32> {
        self.get(interface, property).await?.try_into()
    }

    async fn get(&self, interface: &'static str, property: &str) -> zbus::Result<OwnedVariant> {
        let interface = InterfaceName::from_static_str(interface)?;
        bounded(async { Ok(self.properties.get(interface, property).await?) }).await
    }
}

/// A unit's changes, as wake-ups.
#[derive(Debug)]
pub(super) struct Changes {
    stream: Option<PropertiesChangedStream>,
}

impl Changes {
    pub(super) async fn next(&mut self) {
        if let Some(stream) = &mut self.stream
            && stream.next().await.is_some()
        {
            return;
        }
        std::future::pending().await
    }
}

async fn bounded<T>(call: impl Future<Output = zbus::Result<T>>) -> zbus::Result<T> {
    timeout(PATIENCE, call).await.unwrap_or_else(|_| Err(zbus::Error::Failure("no answer from systemd".to_owned())))
}
