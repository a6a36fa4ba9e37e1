//! The new process: it takes over, and tells the old one what it must know for as long as that has clients.

use super::wire::{self, FromNew, FromOld, Greeting, PROTOCOL, Talk};
use crate::config::Config;
use crate::doors::Sockets;
use crate::proxy::{Drained, Generation, Word};
use lockstep_policy::Side;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// The old one has said it all by then, or never will.
const GREETING: Duration = Duration::from_secs(10);
/// It waits for handovers to end before it leaves.
const YOURS: Duration = Duration::from_secs(120);
/// What is not written then stays unwritten.
const WRITE: Duration = Duration::from_secs(2);

/// The process before this one.
pub(crate) struct Predecessor {
    greeting: Greeting,
    talk: Talk<FromNew, FromOld>,
}

impl Predecessor {
    /// Meets it on the standard input. Waits for it; an error is a sentence.
    pub fn meet() -> Result<(Predecessor, Sockets), String> {
        let nobody = |error: io::Error| {
            format!("nobody hands an edge over on the standard input: {error}; `lockstep upgrade` starts this process")
        };
        let stream = UnixStream::from(io::stdin().as_fd().try_clone_to_owned().map_err(nobody)?);
        // Who is started by this process must not have it.
        let nothing = File::open("/dev/null").map_err(nobody)?;
        rustix::stdio::dup2_stdin(&nothing).map_err(|error| nobody(error.into()))?;
        stream.set_read_timeout(Some(GREETING)).map_err(nobody)?;
        let (greeting, sockets) = wire::hear(&stream).map_err(nobody)?;
        if greeting.protocol != PROTOCOL {
            let other = greeting.protocol;
            return Err(format!("the edge hands over by protocol {other}, and this program by {PROTOCOL}: restart it"));
        }
        let sockets = sockets.into_iter().map(|socket| Arc::new(TcpListener::from(socket)));
        let sockets = greeting.sockets.iter().copied().zip(sockets).collect();
        let talk = wire::talk(stream).map_err(nobody)?;
        Ok((Predecessor { greeting, talk }, sockets))
    }

    /// Whether an edge with this configuration can go on where it leaves.
    pub fn suits(&self, config: &Config) -> Result<(), String> {
        let Greeting { edge, state, pairs, .. } = &self.greeting;
        let file = config.file.display();
        if *edge != config.edge.name {
            let other = &config.edge.name;
            return Err(format!("{file}: edge.name is \"{other}\" now, and was \"{edge}\": that needs a restart"));
        }
        if *state != config.edge.state {
            let (other, state) = (config.edge.state.display(), state.display());
            return Err(format!("{file}: edge.state is {other} now, and was {state}: that needs a restart"));
        }
        match pairs.iter().find(|pair| !config.pairs.iter().any(|there| there.name == **pair)) {
            Some(gone) => Err(format!("{file}: pair \"{gone}\" is gone: take it out by a reload first")),
            None => Ok(()),
        }
    }

    /// Says that all is ready, and waits until the edge is this process'.
    pub async fn ready(&mut self) -> Result<(), String> {
        let ended = || "it has ended the hand-over".to_owned();
        self.talk.say.send(FromNew::Ready).await.map_err(|_| ended())?;
        match timeout(YOURS, self.talk.heard.recv()).await {
            Ok(Some(FromOld::Yours)) => Ok(()),
            Ok(Some(FromOld::Drained(_))) | Ok(None) => Err(ended()),
            Err(_) => Err("it has not left in time".to_owned()),
        }
    }

    /// Says that it cannot be, and why.
    pub async fn refuse(self, why: &str) {
        let Talk { say, writing, .. } = self.talk;
        let _ = say.send(FromNew::Refused(why.to_owned())).await;
        drop(say);
        let _ = timeout(WRITE, writing).await;
    }

    /// Says that this process is the edge from now on. What is returned tells the old one what to do.
    pub fn took_over(self) -> Arc<Elder> {
        let Talk { say, mut heard, .. } = self.talk;
        // Nothing else waits there.
        let _ = say.try_send(FromNew::TookOver);
        let elder = Arc::new(Elder {
            say: Mutex::new(Some(say)),
            drains: Mutex::default(),
            last: AtomicU64::new(0),
            over: AtomicBool::new(false),
        });
        let told = Arc::clone(&elder);
        tokio::spawn(async move {
            while let Some(message) = heard.recv().await {
                if let FromOld::Drained(number) = message {
                    told.drains().remove(&number);
                }
            }
            told.end();
            tracing::info!("the process before has no client any more");
        });
        elder
    }
}

/// The process before this one, as long as it has clients.
pub(crate) struct Elder {
    /// None: it is not listening any more, and cuts all that it has.
    say: Mutex<Option<mpsc::Sender<FromNew>>>,
    /// Who waits for a drain: told when it is taken out.
    drains: Mutex<HashMap<u64, oneshot::Sender<()>>>,
    last: AtomicU64,
    over: AtomicBool,
}

impl Elder {
    fn drains(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<()>>> {
        self.drains.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, message: FromNew) {
        let mut say = self.say.lock().unwrap_or_else(PoisonError::into_inner);
        if say.as_ref().is_some_and(|say| say.try_send(message).is_err()) {
            // It must not go on with what it was told before: without this it cuts everything.
            *say = None;
        }
    }

    fn end(&self) {
        self.over.store(true, Relaxed);
        *self.say.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.drains().clear();
    }
}

impl Generation for Elder {
    fn tell(&self, pair: &str, word: &Word) {
        self.say(FromNew::Told { pair: pair.to_owned(), word: word.clone() });
    }

    fn drained(&self, pair: &str, side: Side) -> Drained {
        let number = self.last.fetch_add(1, Relaxed) + 1;
        let (drained, wait) = oneshot::channel();
        self.drains().insert(number, drained);
        self.say(FromNew::Drain { number, pair: pair.to_owned(), side });
        if self.is_over() {
            self.drains().clear();
        }
        Box::pin(async move {
            // Taken out, or over: either way nothing is in flight there.
            let _ = wait.await;
        })
    }

    fn is_over(&self) -> bool {
        self.over.load(Relaxed)
    }
}
