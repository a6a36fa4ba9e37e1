//! systemd as the drivers need it.

use super::{end, run};
use crate::config::{Bus, Driver, Service};
use crate::guard::OwnSwitch;
use crate::guard::order::{Begin, Reach};
use crate::service::guarded::Means;
use crate::service::{Order, Post};
use std::path::PathBuf;
use tokio::sync::mpsc;

/// The system's service manager, and what ends its services when the agent hangs.
#[derive(Debug)]
pub(crate) struct Manager {
    bus: Bus,
    /// For what systemd runs, the switch is on the agent itself: units are bound to it.
    own: Option<OwnSwitch>,
}

impl Manager {
    /// The switch is made here: without one, no unit is ever started.
    pub(crate) fn new(bus: Bus, services: &[Service]) -> std::io::Result<Manager> {
        let unit = |service: &Service| service.exclusive && matches!(service.driver, Driver::Systemd { .. });
        let own = services.iter().any(unit).then(OwnSwitch::new).transpose()?;
        Ok(Manager { bus, own })
    }

    /// Begins a unit's life.
    pub(crate) fn start(&self, unit: &str, _: Means, _: Begin, orders: mpsc::Receiver<Order>, post: Post) {
        tokio::spawn(run(self.bus, unit.to_owned(), orders, post));
    }

    /// Ends what an earlier life of the agent may have left of a unit.
    pub(crate) fn adopt(&self, unit: &str, _: PathBuf, orders: mpsc::Receiver<Order>, post: Post) {
        tokio::spawn(end(self.bus, unit.to_owned(), orders, post));
    }

    /// How long exclusive units may live; none: none does.
    pub(crate) fn reach(&self, reach: Option<Reach>) {
        if let Some(own) = &self.own {
            own.set(reach);
        }
    }
}
