//! What an earlier life of the agent has left: waited for, and then ended by force.

use super::{Event, Order, Post};
use crate::guard;
use lockstep_policy::At;
use lockstep_wire::clock;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

/// How often the lock is tried.
const TRY: Duration = Duration::from_millis(5);
/// How often it is tried when the system does not let the agent look.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// At every so many tries it is looked for who holds it.
const SEARCH: u32 = 10;

/// A life that began in an earlier life of the agent, or whose guard has died: ends when nothing of the service runs any
/// more. What runs is left to end by itself until `kill_at`, or until an order says otherwise.
pub(crate) async fn end(lock: PathBuf, kill_at: Option<At>, mut orders: mpsc::Receiver<Order>, post: Post) {
    if clear(&lock, kill_at, &mut orders).await {
        post.say(Event::Gone).await;
    }
}

/// Returns when nothing is left; false: the agent is ending.
pub(super) async fn clear(lock: &Path, mut kill_at: Option<At>, orders: &mut mpsc::Receiver<Order>) -> bool {
    let mut listening = true;
    let mut tries = 0_u32;
    loop {
        let force = kill_at.is_some_and(|at| at <= clock::now());
        let search = force || tries % SEARCH == SEARCH - 1;
        let path = lock.to_owned();
        let mut pause = TRY;
        match spawn_blocking(move || guard::sweep(&path, search, force)).await {
            Ok(Ok(true)) => return true,
            Ok(Ok(false)) => {}
            Ok(Err(error)) => {
                tracing::error!(lock = %lock.display(), %error, "cannot tell what an earlier life has left");
                pause = TRY_AGAIN;
            }
            Err(_) => return false,
        }
        tries = tries.wrapping_add(1);
        tokio::select! {
            order = orders.recv(), if listening => match order {
                Some(Order::Stop { kill_at: at }) => kill_at = Some(kill_at.map_or(at, |earlier| earlier.min(at))),
                Some(Order::Extend(_) | Order::Release) => {}
                None => listening = false,
            },
            () = tokio::time::sleep(pause) => {}
        }
    }
}
