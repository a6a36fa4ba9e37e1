//! The old process: it starts the new one, leaves to it what only one can have, and stays until its clients have left.

use super::wire::{self, FromNew, FromOld, Greeting, PROTOCOL, Talk};
use crate::failure::EdgeError;
use crate::journal::Journal;
use crate::pairs::{self, AtWork};
use crate::run::Running;
use crate::signals;
use crate::store::Store;
use lockstep_policy::{Epoch, Side};
use std::ffi::OsString;
use std::future::Future;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// Reading a configuration and loading its plugins takes less.
const READY: Duration = Duration::from_secs(60);
/// From the old one's word to the new one's. Leases run meanwhile.
const TAKE_OVER: Duration = Duration::from_secs(3);
/// The new one reads its greeting by then.
const GREETING: Duration = Duration::from_secs(10);
/// For how long a handover that is under way is waited for, and how often it is looked at.
const QUIET: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(50);
/// From one look at generations before to the next.
const FORMERS: Duration = Duration::from_secs(1);

/// Why no other process goes on.
pub(crate) enum Upgrade {
    /// Nothing has changed.
    Refused(String),
    /// The edge cannot go on in this process either.
    Broken(EdgeError),
}

/// The process that is to go on, and then does.
pub(crate) struct Successor {
    child: Child,
    pid: u32,
    talk: Talk<FromOld, FromNew>,
}

impl Successor {
    async fn start(program: &Path, greeting: Greeting, running: &Running) -> Result<Successor, String> {
        let broken = |what: &str, error: std::io::Error| format!("{what}: {error}");
        let (ours, theirs) = UnixStream::pair().map_err(|error| broken("no pair of sockets", error))?;
        let child = Command::new(program)
            .args(arguments(std::env::args_os()))
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .spawn()
            .map_err(|error| broken(&format!("{} cannot be started", program.display()), error))?;
        let pid = child.id().unwrap_or_default();
        let sockets = running.own_sockets().into_values().collect::<Vec<_>>();
        let greeted = tokio::task::spawn_blocking(move || {
            ours.set_write_timeout(Some(GREETING))?;
            wire::greet(&ours, &greeting, &sockets).map(|()| ours)
        });
        let greeted = greeted.await.map_err(|error| error.to_string());
        let talk = greeted.and_then(|greeted| greeted.and_then(wire::talk).map_err(|error| error.to_string()));
        match talk {
            Ok(talk) => Ok(Successor { child, pid, talk }),
            Err(error) => {
                dismiss(child).await;
                Err(format!("{} is no lockstep that can take over, or has ended at once: {error}", program.display()))
            }
        }
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    async fn says(&mut self, within: Duration, wanted: &FromNew) -> Result<(), String> {
        match timeout(within, self.talk.heard.recv()).await {
            Ok(Some(said)) if said == *wanted => Ok(()),
            Ok(Some(FromNew::Refused(why))) => Err(format!("the new process refuses: {why}")),
            Ok(Some(_)) => Err("the new process says what was not asked".to_owned()),
            Ok(None) => Err("the new process has ended before it has taken over: its log says why".to_owned()),
            Err(_) => Err(format!("the new process has not taken over within {within:?}")),
        }
    }

    async fn dismiss(self) {
        dismiss(self.child).await;
    }
}

/// Ends a process that is not to go on, and waits until it has none of our files any more.
async fn dismiss(mut child: Child) {
    if let Err(error) = child.kill().await {
        tracing::warn!(%error, "a process that was to go on cannot be ended");
    }
}

/// What the new process is told: the same as this one, and that it takes over.
fn arguments(own: impl Iterator<Item = OsString>) -> Vec<OsString> {
    const SUCCEED: &str = "--succeed";
    let own = own.skip(1).filter(|argument| argument != SUCCEED);
    own.chain([SUCCEED.into()]).collect()
}

impl Running {
    /// Has another process go on. Until it does, this one can.
    pub async fn upgrade(&mut self, program: Option<PathBuf>) -> Result<Successor, Upgrade> {
        let program = program.unwrap_or_else(|| self.program.clone());
        let begun = Instant::now();
        let mut successor = Successor::start(&program, self.greeting(), self).await.map_err(Upgrade::Refused)?;
        let ready = match successor.says(READY, &FromNew::Ready).await {
            Ok(()) => self.leave(|_| true).await,
            Err(why) => Err(why),
        };
        if let Err(why) = ready {
            successor.dismiss().await;
            return Err(Upgrade::Refused(why));
        }
        let left = Instant::now();
        self.ground.journal.close().await;
        self.ground.store.close().await;
        // What cannot be sent is not answered either.
        let _ = successor.talk.say.send(FromOld::Yours).await;
        match successor.says(TAKE_OVER, &FromNew::TookOver).await {
            Ok(()) => {
                let (ready, nobody) = (left - begun, left.elapsed());
                tracing::info!(pid = successor.pid, ?ready, ?nobody, "another process goes on");
                Ok(successor)
            }
            Err(why) => {
                successor.dismiss().await;
                self.resume_with_store().await.map_err(Upgrade::Broken)?;
                Err(Upgrade::Refused(why))
            }
        }
    }

    fn greeting(&self) -> Greeting {
        Greeting {
            protocol: PROTOCOL,
            edge: self.config.edge.name.clone(),
            state: self.config.edge.state.clone(),
            pairs: self.pairs.iter().map(|pair| pair.config.name.clone()).collect(),
            sockets: self.own_sockets().into_keys().collect(),
        }
    }

    /// Has drivers leave as soon as no handover is under way in any of their pairs. An error: they have not.
    pub async fn leave(&mut self, which: impl Fn(&str) -> bool) -> Result<(), String> {
        let until = Instant::now() + QUIET;
        while let Some(why) = self.under_way(&which).await {
            if Instant::now() >= until {
                return Err(format!("{why}; ask again when that is over"));
            }
            sleep(LOOK).await;
        }
        let mut refused = None;
        for pair in self.pairs.iter_mut().filter(|pair| which(&pair.config.name)) {
            if let Err(why) = pair.leave().await {
                refused = Some(why);
                break;
            }
        }
        let Some(why) = refused else { return Ok(()) };
        self.resume().map_err(|error| error.to_string())?;
        Err(format!("{why}; ask again when that is over"))
    }

    async fn under_way(&self, which: impl Fn(&str) -> bool) -> Option<String> {
        for pair in self.pairs.iter().filter(|pair| which(&pair.config.name)) {
            let name = &pair.config.name;
            match pair.status().await {
                Some(status) if status.handover.is_some() => {
                    return Some(format!("pair \"{name}\": a handover is under way"));
                }
                Some(status) if status.recovering => return Some(format!("pair \"{name}\" still asks its agents")),
                _ => {}
            }
        }
        None
    }

    /// Puts drivers back to work that have left.
    pub fn resume(&mut self) -> Result<(), EdgeError> {
        for pair in &mut self.pairs {
            let found = pairs::found(&pair.config.name, &self.ground.store, &self.ground.journal)?;
            pair.resume(&self.ground, found, &mut self.tasks);
        }
        Ok(())
    }

    /// The same, where store and journal were closed.
    async fn resume_with_store(&mut self) -> Result<(), EdgeError> {
        let edge = &self.config.edge;
        let store = Store::open(&edge.state)?;
        let names: Vec<&str> = self.pairs.iter().map(|pair| pair.config.name.as_str()).collect();
        let journal = Journal::open(&edge.state, &edge.name, edge.journal, &names)
            .map_err(|error| EdgeError::broken("the journal", error))?;
        self.edge.store.store(Arc::new(store.clone()));
        self.edge.journal.store(Arc::new(journal.clone()));
        (self.ground.store, self.ground.journal) = (store, journal);
        self.resume()
    }

    /// Stays until all clients have left, or there is no more patience with them, and does what the successor says meanwhile.
    pub async fn step_down(
        mut self,
        mut successor: Successor,
        shutdown: &mut Pin<&mut (impl Future<Output = ()> + Send)>,
    ) -> Result<(), EdgeError> {
        signals::notify(&format!("MAINPID={}", successor.pid));
        let closed: Vec<_> = self.pairs.iter_mut().flat_map(AtWork::close).collect();
        self.close_own();
        let mut patience = Some(closed);
        let until = Instant::now() + self.config.edge.drain;
        let formers = |pairs: &[AtWork]| pairs.iter().any(|pair| pair.proxy.has_formers());
        while !self.tasks.listeners.is_empty() || formers(&self.pairs) {
            tokio::select! {
                said = successor.talk.heard.recv() => match said {
                    Some(said) => self.obey(said, &successor),
                    None => {
                        tracing::warn!("the process that went on is not heard any more: all connections are cut");
                        self.cut_all();
                        break;
                    }
                },
                _ = self.tasks.listeners.join_next(), if !self.tasks.listeners.is_empty() => {}
                () = sleep(FORMERS) => {}
                () = sleep_until(until), if patience.is_some() => {
                    tracing::warn!("clients are still here after edge.drain, and are let go");
                    patience = None;
                    self.let_all_go();
                }
                () = &mut *shutdown => {
                    self.cut_all();
                    break;
                }
            }
        }
        tracing::info!("this process has no client any more, and ends");
        self.end_after_successor().await;
        Ok(())
    }

    fn obey(&self, said: FromNew, successor: &Successor) {
        let proxy = |name: &str| self.pairs.iter().find(|pair| pair.config.name == *name).map(|pair| &pair.proxy);
        match said {
            FromNew::Told { pair, word } => proxy(&pair).into_iter().for_each(|proxy| proxy.obey(&word)),
            FromNew::Drain { number, pair, side } => {
                let (proxy, say) = (proxy(&pair).cloned(), successor.talk.say.clone());
                tokio::spawn(async move {
                    if let Some(proxy) = proxy {
                        proxy.drained(side).await;
                    }
                    let _ = say.send(FromOld::Drained(number)).await;
                });
            }
            FromNew::Ready | FromNew::Refused(_) | FromNew::TookOver => {}
        }
    }

    /// Nothing goes to any side any more.
    fn cut_all(&self) {
        for pair in &self.pairs {
            for side in Side::BOTH {
                pair.proxy.cut(side, Epoch(u64::MAX));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_successor_is_told_once_that_it_is_one() {
        let given = ["lockstep", "--log-json", "edge", "--config", "x.toml"].map(OsString::from);
        let first = arguments(given.into_iter());
        assert_eq!(first, ["--log-json", "edge", "--config", "x.toml", "--succeed"].map(OsString::from));
        let again = arguments(std::iter::once("lockstep".into()).chain(first.clone()));
        assert_eq!(again, first);
    }
}
