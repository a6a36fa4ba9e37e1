//! The driver `exec`: a service under a guard.

use super::guarded::{Guarded, Means};
use super::{Event, Order, Post, earlier};
use crate::guard::order::{self, Begin};
use lockstep_wire::clock;
use tokio::sync::mpsc;

/// One life of a service: ends when nothing of it runs any more.
pub(crate) async fn run(means: Means, begin: Begin, orders: mpsc::Receiver<Order>, post: Post) {
    let lock = begin.lock.clone();
    match Guarded::begin(&means, begin, orders).await {
        Ok((guarded, orders)) => {
            if let Some(orders) = follow(guarded, orders, &post).await {
                // The guard died first: whatever it has left is found by the lock.
                earlier::end(lock, Some(clock::now()), orders, post).await;
            }
        }
        Err(Some(how)) => {
            post.say(Event::Exited { how }).await;
            post.say(Event::Gone).await;
        }
        Err(None) => {}
    }
}

/// Passes orders and events on until the guard has gone. The orders come back when it died before its work was done.
async fn follow(mut guarded: Guarded, mut orders: mpsc::Receiver<Order>, post: &Post) -> Option<mpsc::Receiver<Order>> {
    let mut gone = false;
    let mut exited = false;
    loop {
        tokio::select! {
            biased;
            order = orders.recv() => match order {
                Some(order) => guarded.pass(order),
                // The agent is ending, and with it the pipe.
                None => return None,
            },
            event = guarded.next() => match event {
                Some(order::Event::Started { pid }) => post.say(Event::Started { pid }).await,
                Some(order::Event::Ready) => post.say(Event::Ready).await,
                Some(order::Event::Alive) => post.say(Event::Alive).await,
                Some(order::Event::Exited { how } | order::Event::Failed { why: how }) => {
                    exited = true;
                    post.say(Event::Exited { how }).await;
                }
                Some(order::Event::Gone) => gone = true,
                // A service has nothing that is done, and nothing to be undone.
                Some(order::Event::Done | order::Event::NotUndone { .. }) => {}
                None => break,
            },
        }
    }
    if !exited {
        let how = guarded.end().await;
        post.say(Event::Exited { how: format!("its guard has died: {how}") }).await;
    }
    if gone {
        post.say(Event::Gone).await;
        return None;
    }
    Some(orders)
}
