//! What the certificates of both ends mean for a connection: who is let in, when it is made anew, what an agent is signed.

use super::{AgentOf, CONNECT_MAX};
use lockstep_wire::trust::{Life, Peer, Wanted};
use lockstep_wire::{Client, FromEdge, LinkError, WeakCommands};
use std::time::{Duration, SystemTime};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

/// Connections are not all made anew in the same moment.
const SPREAD: Duration = Duration::from_secs(1);
/// One that could not be made anew is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// The dates are looked at so often at least: the clock may be set.
const LOOK: Duration = Duration::from_secs(60);
/// An agent asks for a certificate no more often.
const REQUESTS: Duration = Duration::from_millis(500);

impl AgentOf {
    /// A connection to this agent and nobody else.
    pub(super) async fn dial(&self) -> Result<Client, LinkError> {
        let within = CONNECT_MAX.min(self.silence());
        let address = self.address.to_string();
        match &self.trust {
            Some(trust) => {
                let wanted = Wanted::Agent { pair: self.pair.clone(), side: self.side };
                Client::connect_trusting(&address, within, trust, wanted).await
            }
            None => Client::connect(&address, within).await,
        }
    }

    /// Waits before the next attempt, or until other certificates are in force.
    pub(super) async fn wait(&self, wait: Duration) {
        let Some(trust) = &self.trust else { return sleep(wait).await };
        let mut changes = trust.changes();
        tokio::select! {
            () = sleep(wait) => {}
            _ = changes.changed() => {}
        }
    }
}

/// What the connections to one agent know of its certificate together.
pub(super) type Changed = watch::Sender<u64>;

/// A connection that takes the place of one whose certificates are not those of now.
pub(super) struct Replacement {
    agent: AgentOf,
    /// Who was there, and with which serial number of our own.
    present: Option<(Peer, String)>,
    theirs: watch::Receiver<u64>,
}

impl Replacement {
    /// For the connection that has this peer.
    pub(super) fn of(agent: &AgentOf, peer: Option<Peer>, changed: &Changed) -> Replacement {
        let own = agent.trust.as_ref().map(|trust| trust.own().serial);
        Replacement { agent: agent.clone(), present: peer.zip(own), theirs: changed.subscribe() }
    }

    /// Waits until there is a better one, and connects: the one of before serves until this comes.
    pub(super) async fn ready(mut self) -> Client {
        let (Some((peer, own)), Some(trust)) = (self.present.take(), self.agent.trust.clone()) else {
            return std::future::pending().await;
        };
        let mut changes = trust.changes();
        let facts = &peer.facts;
        // An agent that does not say that it has another one is looked at when its old one has come near its end.
        let late = facts.not_before + facts.lasting() * 9 / 10;
        let (mut asked, mut wait) = (false, Duration::ZERO);
        loop {
            tokio::select! {
                Ok(()) = self.theirs.changed() => asked = true,
                Ok(()) = changes.changed() => {}
                () = sleep(wait) => {}
            }
            let renewed = trust.own().serial != own;
            if asked || renewed || Life::of(facts, SystemTime::now()) >= Life::Urgent {
                sleep(SPREAD.mul_f64(fastrand::f64())).await;
                match self.agent.dial().await {
                    Ok(client) if renewed || client.peer().is_some_and(|now| now.facts.serial != facts.serial) => {
                        return client;
                    }
                    Ok(_) => asked = false,
                    Err(error) => {
                        tracing::warn!(%error, "a connection cannot be made anew with the certificates of now; that of before stays");
                    }
                }
                wait = AGAIN;
            } else {
                wait = late.duration_since(SystemTime::now()).unwrap_or_default().clamp(AGAIN, LOOK);
            }
        }
    }
}

/// Answers an agent's requests for certificates.
#[derive(Default)]
pub(super) struct Signer {
    last: Option<Instant>,
}

impl Signer {
    pub(super) fn answer(&mut self, agent: &AgentOf, commands: &WeakCommands, id: u64, request: Vec<u8>) {
        let now = Instant::now();
        if self.last.is_some_and(|last| now.duration_since(last) < REQUESTS) {
            return;
        }
        self.last = Some(now);
        let (trust, commands) = (agent.trust.clone(), commands.clone());
        tokio::task::spawn_blocking(move || {
            let Some(commands) = commands.upgrade() else { return };
            let outcome = match (&trust, commands.peer()) {
                (Some(trust), Some(peer)) => crate::trust::sign(trust, peer, &request),
                _ => Err("this connection has no certificates".to_owned()),
            };
            if let Err(why) = &outcome {
                tracing::warn!(why, "a certificate was asked for and is not issued");
            }
            // The agent asks again.
            let _ = commands.send(FromEdge::CertificateIssued { id, outcome });
        });
    }
}
