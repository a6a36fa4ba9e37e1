//! The agent's end of a guard: it is begun, told and listened to.

use super::Order;
use crate::guard::order::{self, Begin, Event};
use crate::guard::{self, Orders};
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

/// What it takes to start a guard.
#[derive(Clone, Debug)]
pub(crate) struct Means {
    /// The agent's own build.
    pub(crate) program: PathBuf,
    /// The service's name.
    pub(crate) name: String,
}

/// A guard that runs, and the two pipes to it.
#[derive(Debug)]
pub(super) struct Guarded {
    guard: Child,
    orders: Orders,
    events: Lines<BufReader<ChildStdout>>,
}

impl Guarded {
    /// Starting a program reads it from a disk, which may take its time: what was ordered meanwhile goes with the first
    /// order. An error is for a person to read; none: the agent is ending.
    pub(super) async fn begin(
        means: &Means,
        begin: Begin,
        mut orders: mpsc::Receiver<Order>,
    ) -> Result<(Guarded, mpsc::Receiver<Order>), Option<String>> {
        let means = means.clone();
        let started = spawn_blocking(move || {
            let guarded = Guarded::start(&means)?;
            guarded.say_first(begin, &mut orders)?;
            Ok::<_, io::Error>((guarded, orders))
        });
        match started.await {
            Ok(Ok(started)) => Ok(started),
            Ok(Err(error)) => Err(Some(format!("its guard could not be started: {error}"))),
            Err(_) => Err(None),
        }
    }

    /// The same without anybody who orders.
    pub(super) async fn stand_by(means: &Means, begin: Begin) -> Result<Guarded, Option<String>> {
        let (_, nobody) = mpsc::channel(1);
        Guarded::begin(means, begin, nobody).await.map(|(guarded, _)| guarded)
    }

    fn start(means: &Means) -> io::Result<Guarded> {
        let mut command = guard::command(&means.program, &means.name);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut guard = command.spawn()?;
        let missing = || io::Error::other("a pipe is missing");
        let stdin = guard.stdin.take().ok_or_else(missing)?;
        let stdout = guard.stdout.take().ok_or_else(missing)?;
        Ok(Guarded { guard, orders: Orders::new(stdin)?, events: BufReader::new(stdout).lines() })
    }

    fn say_first(&self, mut begin: Begin, orders: &mut mpsc::Receiver<Order>) -> io::Result<()> {
        let mut stop = None;
        while let Ok(order) = orders.try_recv() {
            match order {
                Order::Extend(reach) => begin.reach = Some(begin.own(reach)),
                Order::Release => begin.reach = None,
                Order::Stop { .. } => stop = Some(order),
            }
        }
        self.orders.write(&order::Order::Begin(begin))?;
        if let Some(stop) = stop {
            self.pass(stop);
        }
        Ok(())
    }

    /// Passes an order on.
    pub(super) fn pass(&self, order: Order) {
        self.tell(&match order {
            Order::Extend(reach) => order::Order::Extend(reach),
            Order::Release => order::Order::Release,
            Order::Stop { kill_at } => order::Order::Stop { kill_at },
        });
    }

    pub(super) fn tell(&self, order: &order::Order) {
        // A guard that does not listen is its own deadline's business.
        if let Err(error) = self.orders.write(order) {
            tracing::warn!(pid = self.guard.id(), %error, "a guard does not listen");
        }
    }

    /// What it says next; none: it has gone. Whoever stops waiting loses nothing.
    pub(super) async fn next(&mut self) -> Option<Event> {
        loop {
            let line = self.events.next_line().await.ok().flatten()?;
            match serde_json::from_str(&line) {
                Ok(event) => return Some(event),
                Err(error) => tracing::error!(%error, line, "a guard says what cannot be understood"),
            }
        }
    }

    /// How a guard that has gone has ended.
    pub(super) async fn end(mut self) -> String {
        self.guard.wait().await.map_or_else(|error| error.to_string(), |status| status.to_string())
    }
}
