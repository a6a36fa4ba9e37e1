//! Where a request goes next: it takes off for the side that the route, or its session, names, or waits for one.

use super::answer::Answer;
use super::forward::{Attempt, Forward, Passage};
use super::hold::Ticket;
use super::servers::Unpicked;
use super::sessions::Visit;
use super::table::Way;
use lockstep_wire::clock;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorType, Result};
use pingora_proxy::Session;
use std::hash::{Hash, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

const FULL: &str = "the pair is changing sides and too many requests wait already";
const TOO_LONG: &str = "no side of the pair became ready in time";
const REFUSED: &str = "no side of the pair is active";
const SHUT: &str = "no side of the pair takes sessions";
const NO_SERVER: &str = "no server may be used now";

/// What a request can do now.
enum Look {
    Go(Attempt, SocketAddr),
    /// And look again after that time at the latest, if there is one.
    Wait(Option<Duration>),
    Refuse(&'static str),
}

impl Forward {
    /// A server that dies resets its connections one by one, and may take new ones meanwhile: the first resend goes at
    /// once, each further one a little later, unless the route changes.
    pub(super) async fn pause(&self, passage: &mut Passage) {
        let Some(generation) = passage.reset_in.take() else { return };
        let mut changes = self.pair.table.changes();
        if passage.resends > 1 && self.pair.table.generation() == generation {
            let pause = self.pair.settings.retry_interval * (passage.resends - 1);
            tokio::select! {
                _ = changes.changed() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// The server for this attempt, as soon as there is one.
    pub(super) async fn choose(&self, session: &mut Session, passage: &mut Passage) -> Result<Box<HttpPeer>> {
        match self.look(session, &mut passage.visit) {
            Look::Go(attempt, address) => Ok(self.take_off(passage, attempt, address)),
            Look::Wait(_) => self.wait(session, passage).await,
            Look::Refuse(why) => self.refuse(passage, why),
        }
    }

    /// What the route and the servers allow now.
    fn look(&self, session: &Session, visit: &mut Option<Visit>) -> Look {
        let pair = &*self.pair;
        loop {
            let now = clock::now();
            let generation = pair.table.generation();
            let target = match pair.table.way(now) {
                Way::To(target) => target,
                Way::BySession(targets) => {
                    *visit = pair.sessions.as_ref().and_then(|sessions| sessions.visit(now, session));
                    let Some(visit) = visit else { return Look::Refuse(SHUT) };
                    Arc::clone(&targets[visit.side])
                }
                Way::Wait => return Look::Wait(None),
                Way::Refuse => return Look::Refuse(REFUSED),
            };
            let servers = &pair.servers[target.side];
            let client = || client_number(session);
            let (server, address) = match servers.pick(self.pool, client, now, pair.settings.retry_interval) {
                Ok(picked) => picked,
                // A session whose side is away, and for which there is no other: it is told at once (F6).
                Err(_) if pair.sessions.as_ref().is_some_and(|sessions| sessions.is_shut()) => {
                    return Look::Refuse(SHUT);
                }
                Err(Unpicked::Until(at)) => return Look::Wait(Some(at.since(now))),
                Err(Unpicked::Nobody) => return Look::Refuse(NO_SERVER),
            };
            // Without a flight the route has changed under us: look again.
            if let Some(flight) = pair.table.take_off(&pair.flights, &target, generation) {
                return Look::Go(Attempt::new(target, generation, server, flight), address);
            }
        }
    }

    /// Waits in the waiting room until the request can take off, or must be refused.
    async fn wait(&self, session: &mut Session, passage: &mut Passage) -> Result<Box<HttpPeer>> {
        let pair = &*self.pair;
        let mut changes = pair.table.changes();
        if passage.ticket.is_none() {
            passage.ticket = pair.hold.enter();
        }
        if passage.ticket.is_none() {
            return self.refuse(passage, FULL);
        }
        let deadline = *passage.hold_deadline.get_or_insert_with(|| now_in(pair.settings.hold.max_wait));
        loop {
            // What changes before the look is seen by it, what changes after it ends the wait below.
            changes.mark_unchanged();
            if let Some(ticket) = &mut passage.ticket {
                ticket.count_in(&pair.table.standing().tally);
            }
            let again = match self.look(session, &mut passage.visit) {
                Look::Go(attempt, address) => return Ok(self.take_off(passage, attempt, address)),
                Look::Refuse(why) => return self.refuse(passage, why),
                Look::Wait(again) => again.map_or(deadline, |again| deadline.min(now_in(again))),
            };
            if now_in(Duration::ZERO) >= deadline {
                return self.refuse(passage, TOO_LONG);
            }
            tokio::select! {
                _ = changes.changed() => {}
                () = tokio::time::sleep_until(again) => {}
                error = client_left(session) => {
                    passage.waited += passage.ticket.take().map(Ticket::abandoned).unwrap_or_default();
                    return Err(error);
                }
            }
        }
    }

    fn take_off(&self, passage: &mut Passage, attempt: Attempt, address: SocketAddr) -> Box<HttpPeer> {
        let peer = self.peer(&attempt, address);
        passage.attempts += 1;
        passage.side = Some(attempt.target.side);
        passage.seen.epoch = Some(attempt.target.epoch);
        passage.attempt = Some(attempt);
        peer
    }

    fn peer(&self, attempt: &Attempt, address: SocketAddr) -> Box<HttpPeer> {
        let (settings, target) = (&self.pair.settings, &attempt.target);
        let mut peer = self.pair.upstream.load().peer(&attempt.server, address, settings.connect_timeout);
        peer.group_key = target.group();
        peer.options.read_timeout = Some(settings.read_timeout);
        peer.options.write_timeout = Some(settings.write_timeout);
        peer.options.idle_timeout = Some(settings.idle_timeout);
        peer.options.custom_l4 = Some(Arc::clone(&target.dial) as _);
        peer
    }

    fn refuse<T>(&self, passage: &mut Passage, text: &'static str) -> Result<T> {
        match passage.ticket.take() {
            Some(ticket) => passage.waited += ticket.refused(),
            None => self.pair.table.standing().tally.turned_away(),
        }
        passage.answer = Some(Answer::unavailable(text, self.pair.settings.hold.retry_after));
        Err(Error::new_in(ErrorType::HTTPStatus(503)))
    }
}

/// Tells a client's connection from the others.
fn client_number(session: &Session) -> u64 {
    // The same connection has the same number in every attempt, and no two that are open at once have the same address.
    let mut hasher = std::hash::DefaultHasher::new();
    session.client_addr().and_then(|address| address.as_inet()).hash(&mut hasher);
    hasher.finish()
}

fn now_in(after: Duration) -> tokio::time::Instant {
    tokio::time::Instant::now() + after
}

/// Resolves when the client is gone. A client whose body is still to be read is not looked at.
async fn client_left(session: &mut Session) -> Box<Error> {
    if !session.as_mut().is_body_done() {
        return std::future::pending().await;
    }
    match session.downstream_session.read_body_or_idle(true).await {
        Ok(_) => std::future::pending().await,
        Err(error) => error.into_down(),
    }
}
