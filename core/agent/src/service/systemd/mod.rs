//! The driver `systemd`: a service that is a unit, started and stopped over D-Bus.
//!
//! The agent cannot hold a unit's processes by the hand. What ends an exclusive unit when the agent dies is the unit's own
//! `BindsTo=` on the agent's unit; what ends it when the agent hangs is the dead-man's switch on the agent itself, and then
//! the same. [`inspect`] says so loudly where that is missing.

mod bus;
mod inspect;
mod manager;

pub(crate) use inspect::inspect;
pub(crate) use manager::Manager;

use super::{Event, Order, Post};
use crate::config::Bus;
use bus::{State, Unit};
use lockstep_policy::At;
use lockstep_wire::clock;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::sleep;

/// From one look to the next while a job runs.
const SOON: Duration = Duration::from_millis(10);
/// From one look to the next when systemd says what changes: a signal may be lost.
const STEADY: Duration = Duration::from_millis(250);
/// From one try to the next when systemd cannot be reached.
const AGAIN: Duration = Duration::from_millis(200);

/// One life of a unit: from its start to the moment when nothing of it runs any more.
async fn run(bus: Bus, name: String, orders: mpsc::Receiver<Order>, post: Post) {
    let started = async {
        let unit = Unit::open(bus, &name).await?;
        unit.start().await?;
        Ok::<_, zbus::Error>(unit)
    };
    match started.await {
        Ok(unit) => watch(&unit, orders, &post).await,
        Err(error) => {
            post.say(Event::Exited { how: format!("systemd has not started `{name}`: {error}") }).await;
            post.say(Event::Gone).await;
        }
    }
}

/// A life that began in an earlier life of the agent.
async fn end(bus: Bus, name: String, orders: mpsc::Receiver<Order>, post: Post) {
    let unit = loop {
        match Unit::open(bus, &name).await {
            Ok(unit) => break unit,
            Err(error) => tracing::error!(unit = name, %error, "cannot tell whether the unit runs"),
        }
        sleep(AGAIN).await;
    };
    stop(&unit, None, orders, &post).await;
}

async fn watch(unit: &Unit, mut orders: mpsc::Receiver<Order>, post: &Post) {
    let mut changes = unit.changes().await;
    let mut up = None;
    let mut pause = SOON;
    loop {
        tokio::select! {
            biased;
            order = orders.recv() => match order {
                Some(Order::Stop { kill_at }) => return stop(unit, Some(kill_at), orders, post).await,
                // Its reach is the agent's own.
                Some(Order::Extend(_) | Order::Release) => continue,
                None => return,
            },
            () = changes.next() => {}
            () = sleep(pause) => {}
        }
        match unit.state().await {
            Ok(State::Up { pid }) => {
                if up != Some(pid) {
                    post.say(Event::Started { pid }).await;
                }
                up = Some(pid);
                pause = STEADY;
            }
            Ok(State::Changing) => {
                if up.take().is_some() {
                    post.say(Event::Unready).await;
                }
                pause = SOON;
            }
            Ok(State::Ended { how }) => {
                post.say(Event::Exited { how }).await;
                return post.say(Event::Gone).await;
            }
            Err(error) => {
                tracing::error!(unit = unit.name(), %error, "systemd does not say how the unit is");
                pause = AGAIN;
            }
        }
    }
}

/// Stops the unit by its own stop, and kills all of it from `kill_at` on.
async fn stop(unit: &Unit, mut kill_at: Option<At>, mut orders: mpsc::Receiver<Order>, post: &Post) {
    let mut ordered = false;
    let mut listening = true;
    loop {
        let state = unit.state().await;
        if let Ok(State::Ended { .. }) = state {
            return post.say(Event::Gone).await;
        }
        if !ordered {
            ordered = report(unit, unit.stop().await);
        }
        if kill_at.is_some_and(|at| at <= clock::now()) {
            report(unit, unit.kill().await);
        }
        tokio::select! {
            order = orders.recv(), if listening => match order {
                Some(Order::Stop { kill_at: at }) => kill_at = Some(kill_at.map_or(at, |earlier| earlier.min(at))),
                Some(Order::Extend(_) | Order::Release) => {}
                None => listening = false,
            },
            () = sleep(if state.is_ok() { SOON } else { AGAIN }) => {}
        }
    }
}

fn report(unit: &Unit, result: zbus::Result<()>) -> bool {
    if let Err(error) = &result {
        tracing::error!(unit = unit.name(), %error, "systemd does not do as told");
    }
    result.is_ok()
}
