//! What a crew needs done in the world.

use super::guarded::Means;
use super::http::Remote;
use super::manager::Manager;
use super::{Event, Order, Post, earlier, exec, gate, http, ready, step};
use crate::config::{Alive, Bus, Driver, HttpService, Ready, Service};
use crate::guard::order::{Begin, Reach};
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

/// What a crew needs done in the world. Nothing here waits.
pub(crate) trait Launch {
    /// Begins a life.
    fn start(
        &self,
        service: &Service,
        reach: Option<Reach>,
        stop_max: Duration,
        orders: mpsc::Receiver<Order>,
        post: Post,
    );

    /// Ends what an earlier life of the agent may have left of a service, by the first order's `kill_at` at the latest.
    fn adopt(&self, service: &Service, stop_max: Duration, orders: mpsc::Receiver<Order>, post: Post);

    /// Begins to check whether a service is ready.
    fn check(&self, ready: &Ready, post: Post) -> AbortHandle;

    /// Begins to look again and again whether a service is well.
    fn watch(&self, alive: &Alive, post: Post) -> AbortHandle;

    /// How long exclusive services may live; none: none does.
    fn reach(&self, reach: Option<Reach>);
}

/// Real processes and units.
#[derive(Debug)]
pub(crate) struct Drivers {
    /// With no symbolic link in it, so that it can be found again in `/proc`.
    state: PathBuf,
    guard: PathBuf,
    manager: Manager,
}

impl Drivers {
    /// Drivers for `services`.
    ///
    /// # Errors
    ///
    /// The system refuses what stands behind its services' end.
    pub(crate) fn new(state: PathBuf, guard: PathBuf, bus: Bus, services: &[Service]) -> std::io::Result<Drivers> {
        Ok(Drivers { state, guard, manager: Manager::new(bus, services)? })
    }

    fn lock(&self, service: &Service) -> PathBuf {
        self.state.join(format!("{}.lock", service.name))
    }

    fn means(&self, service: &Service) -> Means {
        Means { program: self.guard.clone(), name: service.name.clone() }
    }

    /// The first order to the guard of a service.
    fn begin(&self, service: &Service, reach: Option<Reach>, stop_max: Duration) -> Begin {
        let (command, expected, last) = match &service.driver {
            Driver::Exec { command } => (command.clone(), Vec::new(), None),
            Driver::Run { command, undo, expected } => (command.clone(), expected.clone(), undo.clone()),
            Driver::Http(remote) => (Vec::new(), Vec::new(), remote.kill.clone()),
            Driver::Systemd { .. } | Driver::WindowsService { .. } | Driver::Gate => (Vec::new(), Vec::new(), None),
        };
        let watchdog = service.alive.as_ref().filter(|alive| alive.check == Ready::Notify);
        let notify = service.ready == Some(Ready::Notify) || watchdog.is_some();
        let begin = Begin {
            lock: self.lock(service),
            command,
            service: None,
            expected,
            last,
            notify: notify.then(|| self.state.join(format!("{}.notify", service.name))),
            watchdog: watchdog.map(|alive| alive.timeout),
            exclusive: service.exclusive,
            reach: None,
            stop_max,
        };
        Begin { reach: reach.map(|reach| begin.own(reach)), ..begin }
    }

    fn remote(&self, service: &Service, remote: &HttpService, reach: Option<Reach>, stop_max: Duration) -> Remote {
        Remote {
            service: Box::new(remote.clone()),
            means: self.means(service),
            begin: self.begin(service, reach, stop_max),
            says_ready: service.ready.is_none(),
            stop_time: service.stop_timeout.unwrap_or(stop_max),
        }
    }
}

impl Launch for Drivers {
    fn start(
        &self,
        service: &Service,
        reach: Option<Reach>,
        stop_max: Duration,
        orders: mpsc::Receiver<Order>,
        post: Post,
    ) {
        let begin = || self.begin(service, reach, stop_max);
        match &service.driver {
            Driver::Exec { .. } => drop(tokio::spawn(exec::run(self.means(service), begin(), orders, post))),
            Driver::Run { .. } => drop(tokio::spawn(step::run(self.means(service), begin(), orders, post))),
            Driver::Http(remote) => {
                let remote = self.remote(service, remote, reach, stop_max);
                tokio::spawn(http::run(remote, orders, post));
            }
            Driver::Systemd { unit: name } | Driver::WindowsService { service: name } => {
                self.manager.start(name, self.means(service), begin(), orders, post);
            }
            Driver::Gate => drop(tokio::spawn(gate::run(orders, post))),
        }
    }

    fn adopt(&self, service: &Service, stop_max: Duration, orders: mpsc::Receiver<Order>, post: Post) {
        match &service.driver {
            Driver::Run { .. } if service.exclusive => {
                tokio::spawn(step::end(self.means(service), self.begin(service, None, stop_max), orders, post));
            }
            Driver::Exec { .. } | Driver::Run { .. } => {
                tokio::spawn(earlier::end(self.lock(service), None, orders, post));
            }
            Driver::Systemd { unit: name } | Driver::WindowsService { service: name } if service.exclusive => {
                self.manager.adopt(name, self.lock(service), orders, post);
            }
            Driver::Http(remote) if service.exclusive => {
                tokio::spawn(http::end(self.remote(service, remote, None, stop_max), orders, post));
            }
            // It goes on without a break: starting what runs changes nothing. A gate leaves nothing.
            Driver::Systemd { .. } | Driver::WindowsService { .. } | Driver::Http(_) | Driver::Gate => {
                tokio::spawn(async move { post.say(Event::Gone).await });
            }
        }
    }

    fn check(&self, ready: &Ready, post: Post) -> AbortHandle {
        tokio::spawn(ready::watch(ready.clone(), post)).abort_handle()
    }

    fn watch(&self, alive: &Alive, post: Post) -> AbortHandle {
        tokio::spawn(ready::watch_alive(alive.clone(), post)).abort_handle()
    }

    fn reach(&self, reach: Option<Reach>) {
        self.manager.reach(reach);
    }
}
