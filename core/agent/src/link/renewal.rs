//! The agent's own certificate: before it ends, the edge is asked for another one, for a new key that stays on this node.

use lockstep_wire::proto::AgentFrame;
use lockstep_wire::trust::{Life, Request, Trust};
use lockstep_wire::{FromAgent, ISSUES_CERTIFICATES};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};
use tonic::Status;

/// An edge answers within this.
const ANSWER: Duration = Duration::from_secs(10);
/// The dates are looked at so often at least: the clock may be set.
const LOOK: Duration = Duration::from_secs(60);
/// Without an edge there is nobody to ask.
const NO_EDGE: Duration = Duration::from_secs(1);
/// From one attempt to the next: a hundredth of the certificate's life, within these.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(600));

/// Renews the agent's certificate. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Renewal(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    trust: Trust,
    edge: Mutex<Option<Edge>>,
    asked: Mutex<Option<Asked>>,
}

/// The way to the edge that is there.
#[derive(Debug)]
struct Edge {
    out: mpsc::WeakSender<Result<AgentFrame, Status>>,
    minor: u32,
}

/// A request that waits for its answer.
#[derive(Debug)]
struct Asked {
    id: u64,
    reply: oneshot::Sender<Result<Vec<u8>, String>>,
}

impl Renewal {
    pub(super) fn new(trust: Trust) -> Renewal {
        Renewal(Arc::new(Inner { trust, edge: Mutex::default(), asked: Mutex::default() }))
    }

    /// An edge has connected.
    pub(super) fn linked(&self, out: mpsc::WeakSender<Result<AgentFrame, Status>>, minor: u32) {
        *self.edge() = Some(Edge { out, minor });
    }

    /// An edge has answered.
    pub(super) fn answered(&self, id: u64, outcome: Result<Vec<u8>, String>) {
        let mut asked = self.0.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(asked) = asked.take_if(|asked| asked.id == id) {
            let _ = asked.reply.send(outcome);
        }
    }

    /// For as long as the agent runs.
    pub(super) async fn run(self) {
        let trust = self.0.trust.clone();
        let (mut changes, mut serial) = (trust.changes(), trust.own().serial);
        let mut wait = Duration::ZERO;
        loop {
            tokio::select! {
                _ = changes.changed() => {
                    let now = trust.own().serial;
                    if now != serial {
                        serial = now;
                        self.send(FromAgent::CertificateChanged);
                    }
                }
                () = sleep(wait) => wait = self.look().await,
            }
        }
    }

    /// Renews what is due; when to look again.
    async fn look(&self) -> Duration {
        let trust = &self.0.trust;
        let standing = trust.standing();
        let due = standing.facts.not_before + standing.facts.lasting() * 2 / 3;
        match standing.life {
            Life::Fresh => {
                let left = due.duration_since(SystemTime::now()).unwrap_or_default();
                return left.clamp(AGAIN.0, LOOK);
            }
            // Nobody lets it in with that.
            Life::Over | Life::NotYet => return LOOK,
            Life::Due | Life::Urgent => {}
        }
        let again = (standing.facts.lasting() / 100).clamp(AGAIN.0, AGAIN.1);
        if !trust.files().is_one() {
            trust.set_trouble("it is renewed by itself only where key and certificate are one file: leave `key` out");
            return again;
        }
        match self.edge().as_ref().map(|edge| (edge.out.strong_count() > 0, edge.minor)) {
            None | Some((false, _)) => return NO_EDGE,
            Some((true, minor)) if minor < ISSUES_CERTIFICATES => {
                trust.set_trouble("the edge is too old to renew it");
                return again;
            }
            Some((true, _)) => {}
        }
        match self.renew().await {
            Ok(serial) => tracing::info!(serial, "the certificate was renewed by the edge"),
            Err(why) => {
                tracing::warn!(why, "the certificate could not be renewed; it is tried again");
                trust.set_trouble(&why);
            }
        }
        again
    }

    async fn renew(&self) -> Result<String, String> {
        let request = Request::new()?;
        let id = number()?;
        let (reply, answer) = oneshot::channel();
        *self.0.asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(Asked { id, reply });
        self.send(FromAgent::CertificateWanted { id, request: request.der().to_vec() });
        let answer =
            timeout(ANSWER, answer).await.map_err(|_| format!("the edge has not answered within {ANSWER:?}"))?;
        let certificate = answer.map_err(|_| "it was asked for again".to_owned())??;
        let trust = self.0.trust.clone();
        let stored = tokio::task::spawn_blocking(move || request.complete(&trust, &certificate));
        let facts = stored.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        Ok(facts.serial)
    }

    fn send(&self, message: FromAgent) {
        let out = self.edge().as_ref().and_then(|edge| edge.out.upgrade());
        if let Some(out) = out {
            // One that finds no room is of an edge that does not read: it is asked again.
            let _ = out.try_send(Ok(message.into()));
        }
    }

    fn edge(&self) -> std::sync::MutexGuard<'_, Option<Edge>> {
        self.0.edge.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// No two requests have the same number, whoever is connected.
fn number() -> Result<u64, String> {
    getrandom::u64().map_err(|error| format!("no random number: {error}"))
}
