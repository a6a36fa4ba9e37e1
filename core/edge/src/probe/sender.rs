//! Sends one declared probe, at its intervals and when asked, and hands the results over.

use super::agent::AgentPing;
use super::judge::{self, Finding};
use super::kind::Kind;
use super::means::Means;
use super::{Deliver, FASTEST, SLOWEST};
use lockstep_policy::action::Watch;
use lockstep_policy::event::ProbeResult;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;

/// Probes of one declaration that may be under way at once; one more is left out.
const UNDER_WAY: usize = 64;

pub(super) struct Sender {
    declaration: u64,
    watch: Watch,
    kind: Kind,
    servers: Vec<SocketAddr>,
    means: Arc<Means>,
    agents: Arc<dyn AgentPing>,
    turn: AtomicUsize,
    places: Arc<Semaphore>,
    deliver: Deliver,
}

impl Sender {
    /// The servers are all of the side's; there is at least one.
    pub fn new(
        declaration: u64,
        watch: Watch,
        kind: Kind,
        servers: &[SocketAddr],
        (means, agents, deliver): (Arc<Means>, Arc<dyn AgentPing>, Deliver),
    ) -> Sender {
        let (turn, places) = (AtomicUsize::new(0), Arc::new(Semaphore::new(UNDER_WAY)));
        Sender { declaration, watch, kind, servers: servers.to_vec(), means, agents, turn, places, deliver }
    }

    pub async fn send_at_intervals(self: Arc<Sender>) {
        let interval = self.watch.interval.max(FASTEST);
        loop {
            self.send();
            tokio::time::sleep(interval - jitter(interval)).await;
        }
    }

    pub fn send(self: &Arc<Sender>) {
        // So many unanswered ones say all that another could.
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else { return };
        let sender = Arc::clone(self);
        tokio::spawn(async move {
            let turn = sender.next();
            let server = sender.servers[turn];
            let timeout = sender.watch.timeout.min(SLOWEST);
            let finding = sender.kind.probe(&sender.means, &sender.agents, (turn, server), timeout).await;
            drop(place);
            if finding.unasked {
                tracing::warn!(%server, why = finding.detail, "a probe could not be sent");
                return;
            }
            (sender.deliver)(sender.declaration, sender.result(turn, finding));
        });
    }

    /// Takes leave of servers with which a session is kept.
    pub async fn close(&self) {
        self.kind.close().await;
    }

    /// The server whose turn it is, among the side's.
    fn next(&self) -> usize {
        match self.watch.server {
            0 => self.turn.fetch_add(1, Ordering::Relaxed) % self.servers.len(),
            number => number as usize - 1,
        }
    }

    fn result(&self, turn: usize, finding: Finding) -> ProbeResult {
        ProbeResult {
            probe: self.watch.probe,
            side: self.watch.side,
            // No side has so many servers that this could not tell.
            server: if self.kind.is_for_a_server() { u32::try_from(turn + 1).unwrap_or(0) } else { 0 },
            verdict: finding.verdict,
            latency: finding.latency,
            status: finding.status,
            detail: judge::bounded(&finding.detail),
            facts: finding.facts,
        }
    }
}

/// Up to a tenth: probes of many pairs must not keep step.
fn jitter(interval: Duration) -> Duration {
    interval.mul_f64(fastrand::f64() / 10.0)
}
