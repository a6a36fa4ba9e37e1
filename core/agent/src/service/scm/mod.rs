//! The driver `windows-service`: a service of Windows' service control manager.
//!
//! One life is a guard's ([`crate::guard`]): it starts the service, watches it, stops it, and has an exclusive one's process
//! in its job. What an earlier life of the agent has left is ended here.

mod control;

pub(crate) use control::{Control, State};

use super::guarded::Means;
use super::{Order, Post, earlier, exec};
use crate::config::{Bus, Driver, Service};
use crate::guard::order::{Begin, Reach};
use crate::platform::process;
use lockstep_policy::At;
use lockstep_wire::clock;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

/// From one look to the next.
const SOON: Duration = Duration::from_millis(10);
/// From one try to the next when the manager does not answer.
const AGAIN: Duration = Duration::from_millis(200);

/// The system's service manager.
#[derive(Debug)]
pub(crate) struct Manager;

impl Manager {
    pub(crate) fn new(_: Bus, _: &[Service]) -> std::io::Result<Manager> {
        Ok(Manager)
    }

    /// Begins a service's life.
    pub(crate) fn start(&self, name: &str, means: Means, begin: Begin, orders: mpsc::Receiver<Order>, post: Post) {
        let begin = Begin { service: Some(name.to_owned()), ..begin };
        tokio::spawn(exec::run(means, begin, orders, post));
    }

    /// Ends what an earlier life of the agent may have left of a service.
    pub(crate) fn adopt(&self, name: &str, lock: PathBuf, orders: mpsc::Receiver<Order>, post: Post) {
        tokio::spawn(end(name.to_owned(), lock, orders, post));
    }

    /// Each exclusive service has a guard with its own reach.
    #[expect(clippy::unused_self, reason = "the other system's manager has one for all")]
    pub(crate) fn reach(&self, _: Option<Reach>) {}
}

/// Says loudly what is not as it must be, before it matters.
pub(crate) async fn inspect(_: Bus, services: Vec<Service>) {
    let looked = spawn_blocking(move || {
        for service in services {
            let Driver::WindowsService { service: name } = &service.driver else { continue };
            let found = Control::open(name)
                .and_then(|control| if service.exclusive { control.may_be_exclusive() } else { Ok(()) });
            if let Err(why) = found {
                tracing::error!(service = service.name, "{why}");
            }
        }
    });
    let _ = looked.await;
}

/// A life that began in an earlier life of the agent: its guard ends it, once it has noticed that the agent died. Without
/// one it is stopped, and from `kill_at` on killed.
async fn end(name: String, lock: PathBuf, mut orders: mpsc::Receiver<Order>, post: Post) {
    let mut kill_at: Option<At> = None;
    let mut stop = None;
    let mut listening = true;
    loop {
        let (asked, force) = (name.clone(), kill_at.is_some_and(|at| at <= clock::now()));
        let state = spawn_blocking(move || look(&asked, force)).await;
        match state {
            Ok(State::Stopped { .. }) => break,
            Ok(_) => {}
            // The agent is ending.
            Err(_) => return,
        }
        let idle = stop.as_ref().is_none_or(tokio::task::JoinHandle::is_finished);
        if idle {
            let asked = name.clone();
            stop = Some(spawn_blocking(move || Control::open(&asked).is_ok_and(|control| control.stop())));
        }
        tokio::select! {
            order = orders.recv(), if listening => match order {
                Some(Order::Stop { kill_at: at }) => kill_at = Some(kill_at.map_or(at, |earlier| earlier.min(at))),
                Some(_) => {}
                None => listening = false,
            },
            () = sleep(if matches!(state, Ok(State::Unknown)) { AGAIN } else { SOON }) => {}
        }
    }
    earlier::end(lock, kill_at, orders, post).await;
}

fn look(name: &str, force: bool) -> State {
    let state = match Control::open(name) {
        Ok(control) => control.state(),
        Err(why) => {
            tracing::error!(service = name, "cannot tell whether it runs: {why}");
            State::Unknown
        }
    };
    if let State::Up { pid } | State::Changing { pid } = state
        && force
        && pid != 0
    {
        tracing::warn!(pid, service = name, "kills a service that an earlier life of the agent has left");
        let _ = process::terminate(pid);
    }
    state
}
