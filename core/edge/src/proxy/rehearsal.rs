//! The proxy's decisions without its I/O, in time that is handed in: what a simulation drives.

use super::flight::{Flight, Flights};
use super::hold::{Hold, Ticket};
use super::links::Links;
use super::settings::ProxySettings;
use super::table::{Table, Target, Way};
use lockstep_pair::Route;
use lockstep_policy::{At, Epoch, Side};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// The table, the waiting room and the flights of a [`PairProxy`](super::PairProxy), with nobody on the other ends.
#[derive(Debug)]
pub struct Rehearsal {
    settings: ProxySettings,
    table: Table,
    hold: Arc<Hold>,
    flights: Arc<Flights>,
    links: Arc<Links>,
}

/// What a request shall do now.
#[derive(Debug)]
pub enum Step {
    /// Connect to the side, and be given to it.
    Go(Departure),
    /// Wait, and look again when something has changed.
    Wait,
    /// Be answered 503.
    Refuse,
}

/// A request on its way to a side, or at it, until this is dropped.
#[derive(Debug)]
pub struct Departure {
    target: Arc<Target>,
    generation: u64,
    _flight: Flight,
}

/// A place in the waiting room, until this is dropped.
#[derive(Debug)]
pub struct Place {
    _ticket: Ticket,
}

impl Rehearsal {
    /// As a proxy is when its edge has started.
    #[must_use]
    pub fn new(settings: ProxySettings) -> Rehearsal {
        let (links, hold) = (Arc::<Links>::default(), Arc::new(Hold::new(settings.hold.max_requests)));
        let table = Table::new(Arc::clone(&links), &hold);
        Rehearsal { settings, table, hold, flights: Arc::default(), links }
    }

    /// [`PairProxy::set_route`](super::PairProxy::set_route).
    pub fn set_route(&self, route: Route) {
        self.table.set(route, &self.hold, &self.settings);
    }

    /// [`PairProxy::serve_until`](super::PairProxy::serve_until).
    pub fn serve_until(&self, until: At, now: At) {
        self.table.serve_until(until, now);
    }

    /// [`PairProxy::cut`](super::PairProxy::cut), but for the connections: those are the caller's.
    pub fn cut(&self, side: Side, before: Epoch) {
        self.links.cut(side, before);
    }

    /// What a request shall do now.
    #[must_use]
    pub fn look(&self, now: At) -> Step {
        loop {
            let generation = self.table.generation();
            let target = match self.table.way(now) {
                Way::To(target) => target,
                Way::Refuse => return Step::Refuse,
                Way::Wait | Way::BySession(_) => return Step::Wait,
            };
            if let Some(flight) = self.table.take_off(&self.flights, &target, generation) {
                return Step::Go(Departure { target, generation, _flight: flight });
            }
        }
    }

    /// Whether a request may still be given to where it departed for: the last look before its first byte.
    #[must_use]
    pub fn still(&self, departure: &Departure, now: At) -> bool {
        self.table.still(&departure.target, departure.generation, now)
    }

    /// A place in the waiting room; `None` when it is full.
    #[must_use]
    pub fn enter(&self) -> Option<Place> {
        self.hold.enter().map(|ticket| Place { _ticket: ticket })
    }

    /// Requests at the side, or on their way to it.
    #[must_use]
    pub fn in_flight(&self, side: Side) -> usize {
        self.flights.count(side)
    }
}

impl Departure {
    /// Where it goes.
    #[must_use]
    pub fn side(&self) -> Side {
        self.target.side
    }

    /// By the route of which epoch.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.target.epoch
    }

    /// Whether this is the first request that is given to its side under its route.
    #[must_use]
    pub fn is_first(&self) -> bool {
        !self.target.first_sent.swap(true, Relaxed)
    }

    /// Whether this is the first good answer of its side under its route.
    #[must_use]
    pub fn is_first_answer(&self) -> bool {
        !self.target.first_answer.swap(true, Relaxed)
    }
}
