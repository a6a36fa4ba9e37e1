//! WebSockets whose side loses the role: what becomes of them by their listener's word, and what both ends are told.
//!
//! Pingora carries the bytes of a connection whose protocol was changed. `client_end` follows them on their way, to know where a frame
//! ends (`heads`, then `frames`): there, and nowhere else, a client can be told why its connection is closed. A watch over each
//! connection, a task of its own, says when.
//!
//! Code 1012, "service restart" (RFC 6455 section 7.4, and IANA's list), is what clients answer by connecting again. A server
//! is told 1001, "going away", as by a client that leaves.

mod client_end;
mod frames;
mod heads;

pub(super) use client_end::{ClientEnd, Ending};

use super::links::Link;
use super::pair::Shared;
use super::table::Target;
use crate::config::OnSwitch;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_http::ResponseHeader;
use pingora_proxy::Session;
use std::sync::atomic::{AtomicU8, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Waker};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// How long the frame under way may go on before nobody waits for its end any more.
const FRAME: Duration = Duration::from_secs(2);
/// How long a Close frame may stay without its answer.
const ANSWER: Duration = Duration::from_secs(1);
/// How long the last of what a server has said may take to its client.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// In all, and some time for the machine.
const IN_ALL: Duration = Duration::from_secs(5);

/// A change of protocol that a client has asked for: what its own end and the server's end of it tell each other.
#[derive(Debug)]
pub(super) struct Upgrade {
    on_switch: OnSwitch,
    finish_within: Duration,
    /// What the client's connection carries for all of its requests.
    carried: Option<Arc<ProxyDigest>>,
    /// A connection whose server has not been asked yet, and whether pingora has begun to wait for the answer.
    held_back: Mutex<Option<(Arc<Link>, bool)>>,
    /// The server's connection, once it has agreed.
    link: OnceLock<Arc<Link>>,
    /// An [`Order`].
    order: AtomicU8,
    waker: Mutex<Option<Waker>>,
    /// For people: why the edge has ended it.
    why: OnceLock<&'static str>,
}

/// What the client's end shall do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Order {
    GoOn,
    /// Both ends are told, and closed in order.
    Close,
    /// The server's end is gone.
    End,
}

impl Upgrade {
    fn new(on_switch: OnSwitch, finish_within: Duration, carried: Option<Arc<ProxyDigest>>) -> Upgrade {
        Upgrade {
            on_switch,
            finish_within,
            carried,
            held_back: Mutex::default(),
            link: OnceLock::new(),
            order: AtomicU8::new(Order::GoOn as u8),
            waker: Mutex::default(),
            why: OnceLock::new(),
        }
    }

    /// What travels with the request; it is found again by [`Upgrade::of`].
    fn digest(self: &Arc<Self>) -> Option<Arc<ProxyDigest>> {
        let head = ResponseHeader::build(200, Some(0)).ok()?;
        Some(Arc::new(ProxyDigest::new(Box::new(head), Some(Box::new(Arc::clone(self))))))
    }

    fn of(session: &Session) -> Option<&Arc<Upgrade>> {
        Upgrade::within(session.digest()?.proxy_digest.as_ref()?)
    }

    fn within(digest: &ProxyDigest) -> Option<&Arc<Upgrade>> {
        digest.user_data.as_ref()?.downcast_ref()
    }

    /// What the connection carries whose request this digest came with.
    pub(super) fn carried_within(digest: &ProxyDigest) -> Option<&ProxyDigest> {
        Upgrade::within(digest)?.carried.as_deref()
    }

    /// The request is about to be written on this connection, and may not reach the server at once.
    ///
    /// Pingora (0.9.1, `proxy_handle_upstream`) takes the end of the request's body for the end of the changed connection when it finds
    /// the server's consent first. It looks for both in whatever order as soon as it has written the head, and on a busy machine a quick
    /// server's consent is there by then. So the head stays here until pingora has been polled a second time: the first time it takes
    /// the end of the body.
    pub(super) fn hold_back(session: &Session, link: &Arc<Link>) {
        if let Some(upgrade) = Upgrade::of(session) {
            link.holds_back(true);
            *upgrade.held_back.lock().unwrap_or_else(PoisonError::into_inner) = Some((Arc::clone(link), false));
        }
    }

    fn lets_go(&self, cx: &Context<'_>) {
        let mut held_back = self.held_back.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *held_back {
            Some((link, true)) => {
                link.holds_back(false);
                *held_back = None;
            }
            Some((_, waits)) => {
                *waits = true;
                cx.waker().wake_by_ref();
            }
            None => {}
        }
    }

    fn tell(&self, order: Order) {
        self.order.fetch_max(order as u8, SeqCst);
        let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// What is to be done now; whoever asks is woken when that changes.
    fn hear(&self, cx: &Context<'_>) -> Order {
        let mut waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        // Under the lock that `tell` takes after it has stored: one of the two sees the other.
        match self.order.load(SeqCst) {
            0 => Order::GoOn,
            1 => Order::Close,
            _ => Order::End,
        }
    }

    /// Whether the edge itself has ended the server's connection.
    fn was_cut(&self) -> bool {
        self.link.get().is_some_and(|link| link.was_cut())
    }

    fn abort(&self) {
        if let Some(link) = self.link.get() {
            link.abort();
        }
    }
}

/// A watch over a connection whose protocol was changed, until this is dropped.
#[derive(Debug)]
pub(super) struct Watch {
    upgrade: Arc<Upgrade>,
    task: JoinHandle<()>,
}

impl Watch {
    /// Begins it: the server has agreed on this connection.
    pub(super) fn begin(
        pair: &Arc<Shared>,
        target: &Arc<Target>,
        link: &Arc<Link>,
        session: &Session,
    ) -> Option<Watch> {
        let upgrade = Arc::clone(Upgrade::of(session)?);
        // A request has one answer: it is set once.
        let _ = upgrade.link.set(Arc::clone(link));
        link.is_asked_first();
        let task = tokio::spawn(watch(Arc::clone(pair), Arc::clone(target), Arc::clone(link), Arc::clone(&upgrade)));
        Some(Watch { upgrade, task })
    }

    /// Why the edge has ended the connection, if it has.
    pub(super) fn why(&self) -> Option<&'static str> {
        self.upgrade.why.get().copied().or_else(|| self.upgrade.was_cut().then_some("the edge cut it"))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Waits for what ends the connection, and sees to it that it ends. A cut wins whatever the word.
async fn watch(pair: Arc<Shared>, target: Arc<Target>, link: Arc<Link>, upgrade: Arc<Upgrade>) {
    tokio::select! {
        biased;
        () = link.ended() => {}
        () = part(&pair, &target, &link, &upgrade) => {}
    }
    upgrade.tell(Order::End);
}

async fn part(pair: &Shared, target: &Target, link: &Link, upgrade: &Upgrade) {
    let mut changes = pair.table.changes();
    let because = |why| {
        let _ = upgrade.why.set(why);
    };
    tokio::select! {
        () = pair.table.role_lost(target, &mut changes) => match upgrade.on_switch {
            OnSwitch::Close => because("closed: the side has lost its role"),
            OnSwitch::Reset => because("reset: the side has lost its role"),
            OnSwitch::Finish => {
                sleep(upgrade.finish_within).await;
                because("closed: the side has lost its role, and the time to finish is over");
            }
        },
        // A move has a window of its own.
        () = link.asked_to_leave() => because("closed: its session is moved"),
    }
    if upgrade.on_switch != OnSwitch::Reset {
        upgrade.tell(Order::Close);
        sleep(IN_ALL).await;
    }
    link.abort();
}
