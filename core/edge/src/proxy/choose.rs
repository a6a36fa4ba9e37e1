//! Where a request goes next: it takes off for the side that the route, or its session, names, or waits for one.

use super::answer::Answer;
use super::hold::Ticket;
use super::passage::{Attempt, Forward, Passage};
use super::request::Waiter;
use super::seats::{Crowd, Seat};
use super::servers::Unpicked;
use super::sessions::Visit;
use super::table::Way;
use super::turns::Turn;
use crate::address::Address;
use lockstep_policy::Side;
use lockstep_wire::clock;
use pingora_core::{Error, ErrorType, Result};
use std::hash::{Hash, Hasher};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

const FULL: &str = "the pair is changing sides and too many requests wait already";
const TOO_LONG: &str = "no side of the pair became ready in time";
const REFUSED: &str = "no side of the pair is active";
const SHUT: &str = "no side of the pair takes sessions";
const MAINTENANCE: &str = "the pair is under maintenance";
const QUEUE_FULL: &str = "the servers are busy and too many requests wait already";
const QUEUE_LONG: &str = "no server was free in time";
const NO_SERVER: &str = "no server may be used now";

/// Who waits for a place at a server looks again after so long, also if nobody has told it of one.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// What a request can do now.
enum Look {
    Go(Attempt, Address),
    /// And look again after that time at the latest, if there is one.
    Wait(Option<Duration>),
    /// All servers are given as many requests as they may have.
    Queue(Arc<Crowd>),
    /// Clients are sent to this side.
    Redirect(Side),
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

    /// Begins an attempt as soon as there is a server for it, and says where that is.
    pub(super) async fn choose(&self, request: &mut impl Waiter, passage: &mut Passage) -> Result<Address> {
        let mut look = self.look(request, &mut passage.visit);
        loop {
            look = match look {
                Look::Go(attempt, address) => {
                    take_off(passage, attempt);
                    return Ok(address);
                }
                Look::Refuse(why) => return self.refuse(passage, why),
                Look::Redirect(side) => return self.redirect(request, passage, side),
                // In boxes: a connection has no room for them as long as nobody waits.
                Look::Wait(_) => Box::pin(self.wait(request, passage)).await?,
                Look::Queue(crowd) => Box::pin(self.queue(request, passage, &crowd)).await?,
            };
        }
    }

    /// What the route and the servers allow now.
    fn look(&self, request: &impl Waiter, visit: &mut Option<Visit>) -> Look {
        let pair = &*self.pair;
        if pair.maintenance.load().is_some() {
            return Look::Refuse(MAINTENANCE);
        }
        loop {
            let now = clock::now();
            let generation = pair.table.generation();
            let target = match pair.table.way(now) {
                Way::To(target) => target,
                Way::BySession(targets) => {
                    *visit = pair.sessions.as_ref().and_then(|sessions| request.visit(sessions, now, visit.as_ref()));
                    let Some(visit) = visit else { return Look::Refuse(SHUT) };
                    Arc::clone(&targets[visit.side])
                }
                Way::Wait => return Look::Wait(None),
                Way::Refuse => return Look::Refuse(REFUSED),
            };
            if pair.manner.load().redirect.is_some() {
                return Look::Redirect(target.side);
            }
            let servers = &pair.servers[target.side];
            let client = || client_number(request.client());
            let (server, address) = match servers.pick(self.pool, client, now, pair.settings.retry_interval) {
                Ok(picked) => picked,
                // A session whose side is away, and for which there is no other: it is told at once (F6).
                Err(_) if pair.sessions.as_ref().is_some_and(|sessions| sessions.is_shut()) => {
                    return Look::Refuse(SHUT);
                }
                Err(Unpicked::Busy(crowd)) => return Look::Queue(crowd),
                Err(Unpicked::Until(at)) => return Look::Wait(Some(at.since(now))),
                Err(Unpicked::Nobody) => return Look::Refuse(NO_SERVER),
            };
            // Somebody else was faster.
            let Some(seat) = Seat::take(&server) else { return Look::Queue(Arc::clone(server.seats().crowd())) };
            // Without a flight the route has changed under us: look again.
            if let Some(flight) = pair.table.take_off(&pair.flights, &target, generation) {
                let attempt = Attempt { _seat: Some(seat), ..Attempt::new(target, generation, server, flight) };
                return Look::Go(attempt, address);
            }
        }
    }

    /// Waits in the waiting room until the request can take off, or must be refused. An error is that its client has left.
    async fn wait(&self, request: &mut impl Waiter, passage: &mut Passage) -> Result<Look> {
        if passage.ticket.is_none() {
            passage.ticket = self.pair.hold.enter();
        }
        if passage.ticket.is_none() {
            return Ok(Look::Refuse(FULL));
        }
        let look = self.wait_inside(request, passage).await;
        if look.is_err() {
            passage.waited += passage.ticket.take().map(Ticket::abandoned).unwrap_or_default();
        }
        look
    }

    async fn wait_inside(&self, request: &mut impl Waiter, passage: &mut Passage) -> Result<Look> {
        let pair = &*self.pair;
        let mut changes = pair.table.changes();
        let deadline = *passage.hold_deadline.get_or_insert_with(|| now_in(pair.settings.hold.max_wait));
        loop {
            // What changes before the look is seen by it, what changes after it ends the wait below.
            changes.mark_unchanged();
            if let Some(ticket) = &mut passage.ticket {
                ticket.count_in(&pair.table.standing().tally);
            }
            if self.is_open() && passage.turn.is_none() {
                passage.turn = self.turn(request, &mut changes, deadline).await?;
            }
            let again = match self.look(request, &mut passage.visit) {
                Look::Wait(again) => again.map_or(deadline, |again| deadline.min(now_in(again))),
                done => return Ok(done),
            };
            passage.turn = None;
            if now_in(Duration::ZERO) >= deadline {
                return Ok(Look::Refuse(TOO_LONG));
            }
            tokio::select! {
                _ = changes.changed() => {}
                () = tokio::time::sleep_until(again) => {}
                error = request.left() => return Err(error),
            }
        }
    }

    /// Whether some side may be given requests.
    fn is_open(&self) -> bool {
        let way = self.pair.table.way(clock::now());
        self.pair.maintenance.load().is_none() && matches!(way, Way::To(_) | Way::BySession(_))
    }

    /// Waits for the request's turn, for as long as there is somewhere to go. At the deadline it is its turn.
    async fn turn(
        &self,
        request: &mut impl Waiter,
        changes: &mut watch::Receiver<()>,
        deadline: tokio::time::Instant,
    ) -> Result<Option<Turn>> {
        let mut next = pin!(self.pair.turns.next());
        loop {
            tokio::select! {
                turn = &mut next => return Ok(Some(turn)),
                _ = changes.changed() => if !self.is_open() { return Ok(None) },
                () = tokio::time::sleep_until(deadline) => return Ok(Some(Turn::default())),
                error = request.left() => return Err(error),
            }
        }
    }

    /// Waits until a server has a place for the request, or it must do something else.
    async fn queue(&self, request: &mut impl Waiter, passage: &mut Passage, crowd: &Arc<Crowd>) -> Result<Look> {
        let pair = &*self.pair;
        let settings = pair.manner.load().crowd;
        let Some(waiting) = crowd.join(settings.queue_max) else { return Ok(Look::Refuse(QUEUE_FULL)) };
        let mut changes = pair.table.changes();
        let deadline = now_in(settings.queue_timeout);
        loop {
            // What is freed before the look is seen by it, what is freed after it ends the wait below.
            changes.mark_unchanged();
            let freed = waiting.freed();
            tokio::pin!(freed);
            freed.as_mut().enable();
            match self.look(request, &mut passage.visit) {
                Look::Queue(same) if Arc::ptr_eq(&same, crowd) => {}
                done => return Ok(done),
            }
            if now_in(Duration::ZERO) >= deadline {
                return Ok(Look::Refuse(QUEUE_LONG));
            }
            tokio::select! {
                () = freed => {}
                _ = changes.changed() => {}
                () = tokio::time::sleep_until(deadline.min(now_in(LOOK_AGAIN))) => {}
                error = request.left() => return Err(error),
            }
        }
    }

    /// Sends the client to the side by its own name, with the path and query that it asked for.
    fn redirect<T>(&self, request: &impl Waiter, passage: &mut Passage, side: Side) -> Result<T> {
        if let Some(ticket) = passage.ticket.take() {
            passage.waited += ticket.released();
        }
        let asked = request.path_and_query();
        let manner = self.pair.manner.load();
        let Some(names) = &manner.redirect else { return Err(Error::new_in(ErrorType::InternalError)) };
        let answer = Answer::elsewhere(request.method(), format!("{}{asked}", names[side]));
        let status = answer.status;
        passage.side = Some(side);
        passage.answer = Some(answer);
        Err(Error::new_in(ErrorType::HTTPStatus(status)))
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

fn take_off(passage: &mut Passage, attempt: Attempt) {
    passage.attempts += 1;
    passage.side = Some(attempt.target.side);
    passage.seen.epoch = Some(attempt.target.epoch);
    passage.attempt = Some(attempt);
}

/// Tells a client's connection from the others.
fn client_number(client: Option<SocketAddr>) -> u64 {
    // The same connection has the same number in every attempt, and no two that are open at once have the same address.
    let mut hasher = std::hash::DefaultHasher::new();
    client.hash(&mut hasher);
    hasher.finish()
}

fn now_in(after: Duration) -> tokio::time::Instant {
    tokio::time::Instant::now() + after
}
