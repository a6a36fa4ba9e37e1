//! Sends one declared probe, at its intervals and when asked, and hands the results over.

use super::agent::AgentPing;
use super::judge::{self, Finding};
use super::kind::Kind;
use super::means::Means;
use super::rhythm::Rhythm;
use super::together::Found;
use super::{Deliver, FASTEST, SLOWEST};
use crate::address::Address;
use lockstep_policy::action::Watch;
use lockstep_policy::event::ProbeResult;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::time::{Instant, sleep_until};

/// Probes of one declaration that may be under way at once; one more is left out.
const UNDER_WAY: usize = 64;

pub(super) struct Sender {
    declaration: u64,
    watch: Watch,
    kind: Kind,
    servers: Vec<Address>,
    means: Arc<Means>,
    agents: Arc<dyn AgentPing>,
    turn: AtomicUsize,
    under_way: AtomicUsize,
    deliver: Deliver,
    rhythm: Rhythm,
}

/// What the probes of a pair share.
pub(super) struct Shared {
    pub means: Arc<Means>,
    pub agents: Arc<dyn AgentPing>,
    pub deliver: Deliver,
    pub rhythm: Rhythm,
}

impl Sender {
    /// The servers are all of the side's; there is at least one.
    pub fn new(declaration: u64, watch: Watch, kind: Kind, servers: Vec<Address>, shared: Shared) -> Sender {
        let Shared { means, agents, deliver, rhythm } = shared;
        let (turn, under_way) = Default::default();
        Sender { declaration, watch, kind, servers, means, agents, turn, under_way, deliver, rhythm }
    }

    pub async fn send_at_intervals(self: Arc<Sender>) {
        let interval = self.watch.interval.max(FASTEST);
        let (mut last, mut sent) = (Instant::now(), 0);
        loop {
            let next = self.rhythm.next(last, interval, sent);
            if !self.kind.may_be_cut_off() {
                self.send(false);
                sleep_until(next).await;
            } else if let Some(mut asking) = self.asking(false).map(Box::pin) {
                let due = sleep_until(next);
                tokio::pin!(due);
                tokio::select! {
                    biased;
                    () = &mut asking => due.await,
                    // It goes on beside the next one.
                    () = &mut due => drop(tokio::spawn(asking)),
                }
            } else {
                sleep_until(next).await;
            }
            // What a standstill has left out is not made up for.
            let now = Instant::now();
            (last, sent) = (if now.duration_since(next) < interval / 2 { next } else { now }, sent + 1);
        }
    }

    /// Sends one now; `beside`: others are sent at intervals.
    pub fn send(self: &Arc<Sender>, beside: bool) {
        self.asking(beside).map(tokio::spawn);
    }

    /// One probe, from its beginning until its result is handed over; none: so many unanswered ones say all that another could.
    fn asking(self: &Arc<Sender>, beside: bool) -> Option<impl Future<Output = ()> + Send + use<>> {
        let place = Place::of(self)?;
        Some(async move {
            let sender = Arc::clone(&place.0);
            let turn = sender.next();
            let server = &sender.servers[turn];
            let timeout = sender.watch.timeout.min(SLOWEST);
            let finding = sender.kind.probe(&sender.means, &sender.agents, (turn, server), (timeout, beside)).await;
            drop(place);
            if finding.unasked {
                tracing::warn!(%server, why = finding.detail, "a probe could not be sent");
                return;
            }
            let (deliver, declaration) = (Arc::clone(&sender.deliver), sender.declaration);
            sender.means.together.put(Found { deliver, declaration, result: sender.result(turn, finding) });
        })
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

/// One probe's place among those that are under way.
struct Place(Arc<Sender>);

impl Place {
    fn of(sender: &Arc<Sender>) -> Option<Place> {
        let place = Place(Arc::clone(sender));
        (sender.under_way.fetch_add(1, Ordering::Relaxed) < UNDER_WAY).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}
