//! The driver `exec`: a service under a guard.

use super::{Event, Order, Post, earlier};
use crate::guard::order::{self, Begin};
use crate::guard::{self, Orders};
use lockstep_wire::clock;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

/// One life of a service: ends when nothing of it runs any more.
pub(crate) async fn run(program: PathBuf, name: String, begin: Begin, mut orders: mpsc::Receiver<Order>, post: Post) {
    let lock = begin.lock.clone();
    // Starting a program reads it from a disk, which may take its time: what was ordered meanwhile goes with the first.
    let started = spawn_blocking(move || {
        let guarded = Guarded::start(&program, &name)?;
        guarded.begin(begin, &mut orders)?;
        Ok::<_, io::Error>((guarded, orders))
    })
    .await;
    let (guarded, orders) = match started {
        Ok(Ok(started)) => started,
        Ok(Err(error)) => {
            post.say(Event::Exited { how: format!("its guard could not be started: {error}") }).await;
            return post.say(Event::Gone).await;
        }
        // The agent is ending.
        Err(_) => return,
    };
    if let Some(orders) = guarded.follow(orders, &post).await {
        // The guard died first: whatever it has left is found by the lock.
        earlier::end(lock, Some(clock::now()), orders, post).await;
    }
}

/// A guard that runs, and the two pipes to it.
struct Guarded {
    guard: Child,
    orders: Orders,
    events: Lines<BufReader<ChildStdout>>,
}

impl Guarded {
    fn start(program: &Path, name: &str) -> io::Result<Guarded> {
        let mut command = guard::command(program, name);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut guard = command.spawn()?;
        let missing = || io::Error::other("a pipe is missing");
        let stdin = guard.stdin.take().ok_or_else(missing)?;
        let stdout = guard.stdout.take().ok_or_else(missing)?;
        Ok(Guarded { guard, orders: Orders::new(stdin)?, events: BufReader::new(stdout).lines() })
    }

    fn begin(&self, mut begin: Begin, orders: &mut mpsc::Receiver<Order>) -> io::Result<()> {
        let mut stop = None;
        while let Ok(order) = orders.try_recv() {
            match order {
                Order::Extend(reach) => begin.reach = Some(reach),
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

    /// Passes orders and events on until the guard has gone. The orders come back when it died before its work was done.
    async fn follow(mut self, mut orders: mpsc::Receiver<Order>, post: &Post) -> Option<mpsc::Receiver<Order>> {
        let mut gone = false;
        let mut exited = false;
        loop {
            tokio::select! {
                biased;
                order = orders.recv() => match order {
                    Some(order) => self.pass(order),
                    // The agent is ending, and with it the pipe.
                    None => return None,
                },
                line = self.events.next_line() => match line.ok().flatten() {
                    Some(line) => match serde_json::from_str(&line) {
                        Ok(order::Event::Started { pid }) => post.say(Event::Started { pid }).await,
                        Ok(order::Event::Ready) => post.say(Event::Ready).await,
                        Ok(order::Event::Alive) => post.say(Event::Alive).await,
                        Ok(order::Event::Exited { how } | order::Event::Failed { why: how }) => {
                            exited = true;
                            post.say(Event::Exited { how }).await;
                        }
                        Ok(order::Event::Gone) => gone = true,
                        Err(error) => tracing::error!(%error, line, "a guard says what cannot be understood"),
                    },
                    None => break,
                },
            }
        }
        let status = self.guard.wait().await;
        if !exited {
            let how = status.map_or_else(|error| error.to_string(), |status| status.to_string());
            post.say(Event::Exited { how: format!("its guard has died: {how}") }).await;
        }
        if gone {
            post.say(Event::Gone).await;
            return None;
        }
        Some(orders)
    }

    fn pass(&self, order: Order) {
        let order = match order {
            Order::Extend(reach) => order::Order::Extend(reach),
            Order::Release => order::Order::Release,
            Order::Stop { kill_at } => order::Order::Stop { kill_at },
        };
        // A guard that does not listen is its own deadline's business.
        if let Err(error) = self.orders.write(&order) {
            tracing::warn!(pid = self.guard.id(), %error, "a guard does not listen");
        }
    }
}
