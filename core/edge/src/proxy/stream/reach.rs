//! A server for a stream: chosen, waited for and tried again as for a request no byte of which has left.

use super::super::hold::Ticket;
use super::super::links::{CUT, Kept, Linked, OURS};
use super::super::pair::Shared;
use super::super::servers::{Server, Unpicked};
use super::super::sessions::{Presence, Visit};
use super::super::table::{Table, Target, Way};
use super::super::tls::Mark;
use super::super::traffic::{ProxyEvent, Trouble, trouble_of};
use super::end::End;
use crate::address::Address;
use lockstep_wire::clock;
use pingora_core::{Error, ErrorType, Result};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::io::{AsyncWriteExt as _, Interest};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

/// A server that a stream has been given to. Nothing has been sent yet.
pub(super) struct Reached {
    pub(super) server: End,
    pub(super) kept: Kept,
    pub(super) target: Arc<Target>,
    /// What tells that the route has changed, from before the last look at it.
    pub(super) changes: watch::Receiver<()>,
    pub(super) waited: Duration,
    pub(super) attempts: u32,
    /// Its session lasts as long as the stream, in a pair in which both sides may serve.
    pub(super) presence: Option<Presence>,
}

/// Why a stream has no server, and how long it waited for one.
pub(super) struct Missed {
    pub(super) why: &'static str,
    pub(super) waited: Duration,
}

/// What the route and the servers allow now.
enum Look {
    Try(Arc<Target>, u64, Arc<Server>, Address),
    /// And look again after that time at the latest, if there is one.
    Wait(Option<Duration>),
    Refuse(&'static str),
}

/// A client that asks for a server.
pub(super) struct Asking<'a> {
    pub(super) pair: &'a Shared,
    pub(super) pool: usize,
    pub(super) client: SocketAddr,
    pub(super) socket: &'a TcpStream,
    /// By what it is known again, where sessions are named by that.
    pub(super) mark: Option<Mark>,
    /// It has said something that was read already.
    pub(super) has_spoken: bool,
    /// TLS is spoken with the server, and this is said before.
    pub(super) secured: Option<Vec<u8>>,
}

impl Asking<'_> {
    /// Waits for a server within the waiting room's limits, and connects to it.
    pub(super) async fn reach(&self) -> std::result::Result<Reached, Missed> {
        let pair = self.pair;
        let presence = pair.sessions.as_ref().map(|sessions| Presence::new(sessions, self.mark));
        let mut changes = pair.table.changes();
        let (mut ticket, mut deadline, mut attempts) = (None::<Ticket>, None, 0);
        let refuse = |ticket: Option<Ticket>, why| {
            let waited = match ticket {
                Some(ticket) => ticket.refused(),
                None => {
                    pair.table.standing().tally.turned_away();
                    Duration::ZERO
                }
            };
            Missed { why, waited }
        };
        loop {
            // What changes before the look is seen by it, what changes after it ends the wait below.
            changes.mark_unchanged();
            if let Some(ticket) = &mut ticket {
                ticket.count_in(&pair.table.standing().tally);
            }
            let mut visit = None;
            let again = match self.look(presence.as_ref(), &mut visit) {
                Look::Try(target, generation, server, address) => {
                    attempts += 1;
                    let Some((server, kept)) = self.connect(&target, generation, &server, &address, visit).await else {
                        continue;
                    };
                    let waited = ticket.map(Ticket::released).unwrap_or_default();
                    return Ok(Reached { server, kept, target, changes, waited, attempts, presence });
                }
                Look::Refuse(why) => return Err(refuse(ticket, why)),
                Look::Wait(again) => again,
            };
            if ticket.is_none() {
                let Some(mut seat) = pair.hold.enter() else { return Err(refuse(None, "too many wait already")) };
                seat.count_in(&pair.table.standing().tally);
                ticket = Some(seat);
            }
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + pair.settings.hold.max_wait);
            if Instant::now() >= deadline {
                return Err(refuse(ticket, "no side of the pair became ready in time"));
            }
            let again = again.map_or(deadline, |again| deadline.min(Instant::now() + again));
            tokio::select! {
                _ = changes.changed() => {}
                () = sleep_until(again) => {}
                () = self.client_left() => {
                    let waited = ticket.map(Ticket::abandoned).unwrap_or_default();
                    return Err(Missed { why: "the client has left while it waited", waited });
                }
            }
        }
    }

    fn look(&self, presence: Option<&Presence>, visit: &mut Option<Visit>) -> Look {
        let (pair, now) = (self.pair, clock::now());
        if pair.maintenance.load().is_some() {
            return Look::Refuse("the pair is under maintenance");
        }
        let generation = pair.table.generation();
        let target = match pair.table.way(now) {
            Way::To(target) => target,
            Way::BySession(targets) => {
                *visit = presence.and_then(|presence| presence.visit_from(now, self.client.ip()));
                let Some(visit) = visit else { return Look::Refuse("no side of the pair takes sessions") };
                Arc::clone(&targets[visit.side])
            }
            Way::Wait => return Look::Wait(None),
            Way::Refuse => return Look::Refuse("no side of the pair is active"),
        };
        let number = || {
            let mut hasher = DefaultHasher::new();
            self.client.hash(&mut hasher);
            hasher.finish()
        };
        match pair.servers[target.side].pick(self.pool, number, now, pair.settings.retry_interval) {
            Ok((server, address)) => Look::Try(target, generation, server, address),
            Err(_) if pair.sessions.as_ref().is_some_and(|sessions| sessions.is_shut()) => {
                Look::Refuse("no side of the pair takes sessions")
            }
            Err(Unpicked::Busy(_)) => Look::Wait(Some(pair.settings.retry_interval)),
            Err(Unpicked::Until(at)) => Look::Wait(Some(at.since(now))),
            Err(Unpicked::Nobody) => Look::Refuse("no server may be used now"),
        }
    }

    /// A connection to the server; `None`: there is none, or the route has changed meanwhile.
    async fn connect(
        &self,
        target: &Target,
        generation: u64,
        server: &Server,
        address: &Address,
        visit: Option<Visit>,
    ) -> Option<(End, Kept)> {
        let pair = self.pair;
        // Until the connection is there a drain waits for it; from then on only a cut, or the listener's word, ends it.
        let _flight = pair.table.take_off(&pair.flights, target, generation)?;
        let opened = match target.dial.open(address).await {
            Ok(linked) => self.secure(linked, server).await,
            Err(error) => Err(error),
        };
        let (end, kept) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                // A server that shows a wrong certificate goes on doing so: only people can help.
                if *error.etype() == ErrorType::TLSHandshakeFailure && server.is_to_be_told_of(clock::now()) {
                    let (side, server) = (target.side, server.host());
                    tracing::warn!(pair = pair.name, %side, server, %error, "no TLS with a server of streams");
                }
                if *error.etype() != CUT {
                    server.is_down(clock::now() + pair.settings.retry_interval);
                }
                if let Some(kind) = trouble_of(&error).filter(|_| !matches!(error.etype(), &CUT | &OURS)) {
                    tracing::debug!(pair = pair.name, side = %target.side, %error, "a stream's connection failed");
                    note_trouble(pair, target, kind);
                }
                return None;
            }
        };
        if server.is_up() {
            pair.table.wake();
        }
        if let (Some(sessions), Some(visit)) = (&pair.sessions, visit) {
            kept.link.belongs_to(visit.number);
            kept.link.is_upgraded();
            // Said before it is asked, while a move is noted before connections are looked for: one of the two ends it.
            if sessions.has_left(&visit, target.side) {
                return None;
            }
        }
        // The last look before the first byte.
        pair.table.still(target, generation, clock::now()).then_some((end, kept))
    }

    /// Speaks TLS with the server, where the listener says so.
    async fn secure(&self, linked: Linked, server: &Server) -> Result<(End, Kept)> {
        let Linked { mut socket, kept } = linked;
        let Some(announcement) = &self.secured else { return Ok((End::Plain(socket), kept)) };
        let upstream = self.pair.upstream.load();
        let Some((connector, name)) = upstream.connector(server) else {
            return Error::e_explain(OURS, "the pair has no [pair.upstream.tls]");
        };
        let shake_hands = async {
            socket.write_all(announcement).await?;
            connector.connect(name?, socket).await
        };
        let within = self.pair.settings.connect_timeout;
        tokio::select! {
            shaken = timeout(within, shake_hands) => match shaken {
                Ok(Ok(stream)) => Ok((End::Secured(Box::new(stream.into())), kept)),
                Ok(Err(error)) => Error::e_because(ErrorType::TLSHandshakeFailure, "TLS with a server", error),
                Err(_) => Error::e_explain(ErrorType::ConnectTimedout, "TLS with a server"),
            },
            () = kept.link.ended() => Error::e_explain(CUT, "while shaking hands"),
        }
    }

    /// Resolves when the client is gone. One that has said something and will say no more may still want an answer.
    async fn client_left(&self) {
        if !self.has_spoken {
            match self.socket.peek(&mut [0]).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => return,
            }
        }
        let _ = self.socket.ready(Interest::ERROR).await;
    }
}

/// Counts trouble at a side, which is told of.
pub(super) fn note_trouble(pair: &Shared, target: &Target, kind: Trouble) {
    pair.traffic.trouble(target, kind);
}

/// Tells once of an epoch's first stream, or its first answer.
pub(super) fn tell_first(pair: &Shared, target: &Target, answer: bool) {
    let flag = if answer { &target.first_answer } else { &target.first_sent };
    if !flag.load(Relaxed) && !flag.swap(true, Relaxed) {
        let (epoch, at) = (target.epoch, clock::now());
        let event = if answer { ProxyEvent::FirstAnswer { epoch, at } } else { ProxyEvent::FirstSent { epoch, at } };
        (pair.events)(event);
    }
}

/// Resolves when the role has left the side since the epoch in which it was given the connection.
pub(super) async fn role_lost(table: &Table, target: &Target, changes: &mut watch::Receiver<()>) {
    table.role_lost(target, changes).await;
}
