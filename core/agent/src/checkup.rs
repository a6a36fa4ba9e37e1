//! Whether a service is well, found out when somebody asks.
//!
//! A service is well when its process is there, is not stopped, and answers its liveness check. Looking takes time, so it
//! is done in tasks of its own; those who ask for one service at the same time share one look.

use crate::config::{self, Alive, Driver, Ready};
use crate::platform::process;
use crate::service::ready;
use lockstep_policy::At;
use lockstep_policy::event::ServiceState;
use lockstep_wire::{Finding, clock};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// A check that is not told otherwise and takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the crew knows of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Vital {
    pub(crate) state: ServiceState,
    /// 0: there is none, or nobody knows it.
    pub(crate) pid: u32,
    /// When it last said that it is well, if it says so at all.
    pub(crate) heard: Option<At>,
}

/// All services of a node, to be looked at.
#[derive(Debug)]
pub(crate) struct Checkup {
    services: Vec<Examined>,
    /// In the same order.
    vitals: watch::Receiver<Vec<Vital>>,
}

#[derive(Debug)]
struct Examined {
    service: config::Service,
    /// The look that is under way. Held for a moment at a time, never across a wait.
    look: Mutex<Option<watch::Receiver<Option<Finding>>>>,
}

impl Checkup {
    pub(crate) fn new(services: &[config::Service], vitals: watch::Receiver<Vec<Vital>>) -> Checkup {
        let examined = |service: &config::Service| Examined { service: service.clone(), look: Mutex::default() };
        Checkup { services: services.iter().map(examined).collect(), vitals }
    }

    /// How a service is; of the agent itself (no name) that it answers.
    pub(crate) async fn look(&self, name: &str) -> Finding {
        if name.is_empty() {
            return Finding::Well { pid: std::process::id() };
        }
        let Some(index) = self.services.iter().position(|examined| examined.service.name == name) else {
            return Finding::UnknownService;
        };
        let mut look = self.join(index);
        let found = look.wait_for(Option::is_some).await.ok().and_then(|found| found.clone());
        found.unwrap_or_else(|| Finding::NotWell { pid: 0, why: "the agent is ending".to_owned() })
    }

    /// The look under way at a service, or a new one.
    fn join(&self, index: usize) -> watch::Receiver<Option<Finding>> {
        let examined = &self.services[index];
        let mut look = examined.look.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(under_way) = look.as_ref().filter(|look| look.borrow().is_none() && look.has_changed().is_ok()) {
            return under_way.clone();
        }
        let (tell, found) = watch::channel(None);
        let (service, vitals) = (examined.service.clone(), self.vitals.clone());
        tokio::spawn(async move {
            tell.send_replace(Some(examine(&service, index, &vitals).await));
        });
        *look = Some(found.clone());
        found
    }
}

async fn examine(service: &config::Service, index: usize, vitals: &watch::Receiver<Vec<Vital>>) -> Finding {
    let vital = || vitals.borrow().get(index).copied();
    let Some(before) = vital() else {
        return Finding::NotWell { pid: 0, why: "the agent has just started".to_owned() };
    };
    let fault = match fault_at_sight(service, before) {
        Some(fault) => Some(fault),
        None => fault_when_asked(service, before).await,
    };
    // It may have been started anew meanwhile.
    let pid = vital().map_or(0, |vital| vital.pid);
    match fault {
        None => Finding::Well { pid },
        Some(why) => Finding::NotWell { pid, why },
    }
}

fn fault_at_sight(service: &config::Service, vital: Vital) -> Option<String> {
    match vital.state {
        ServiceState::Starting if service.driver == Driver::Gate => Some("it waits for a person".to_owned()),
        ServiceState::Stopped => Some("it is stopped".to_owned()),
        ServiceState::Stopping => Some("it is being stopped".to_owned()),
        ServiceState::Exited => Some("it has ended".to_owned()),
        ServiceState::Starting | ServiceState::Running | ServiceState::Unready => {
            process::fault(vital.pid).map(|fault| format!("its process {} {fault}", vital.pid))
        }
    }
}

async fn fault_when_asked(service: &config::Service, vital: Vital) -> Option<String> {
    let (check, patience) = match (&service.alive, &service.ready) {
        (Some(Alive { check: Ready::Notify, timeout, .. }), _) => {
            let late = vital.heard.is_none_or(|heard| clock::now().since(heard) > *timeout);
            return late.then(|| format!("it has not said WATCHDOG=1 for {timeout:?}"));
        }
        (Some(alive), _) => (&alive.check, alive.timeout),
        // It has said once that it is ready, and that is all that it says.
        (None, Some(Ready::Notify) | None) => return None,
        (None, Some(ready)) => (ready, PATIENCE),
    };
    let well = ready::check(check, patience).await;
    (!well).then(|| format!("its check ({}) fails, or takes longer than {patience:?}", ready::text(check)))
}
