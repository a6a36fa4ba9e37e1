//! The route of the moment: read on each request without a lock, and proven to stand still while a request takes off.

use super::exchange::Shelf;
use super::flight::{Flight, Flights};
use super::hold::{Hold, Tally};
use super::links::{Dial, Links};
use super::settings::ProxySettings;
use arc_swap::ArcSwap;
use lockstep_pair::{Route, RouteKind};
use lockstep_policy::{At, Epoch, Side, Sides};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst, fence};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// A side that is served in an epoch.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) side: Side,
    pub(super) epoch: Epoch,
    pub(super) dial: Arc<Dial>,
    /// Its connections that no request uses.
    pub(super) shelf: Shelf,
    /// It may be served until `serve_until` only. Not so in a pair in which both sides may serve: there is no lease.
    leased: bool,
    /// Whether its first request has been given to it.
    pub(super) first_sent: AtomicBool,
    /// Whether its first answer below 500 has come.
    pub(super) first_answer: AtomicBool,
}

impl Target {
    /// Keeps the pool's connections apart: none of one epoch or side is ever found for another.
    pub(super) fn group(&self) -> u64 {
        self.epoch.0 << 1 | u64::from(self.side == Side::B)
    }
}

/// One route, with what requests need to follow it.
#[derive(Debug)]
pub(super) struct Standing {
    pub(super) route: Route,
    leads: Leads,
    pub(super) tally: Arc<Tally>,
}

/// Where a route leads.
#[derive(Debug)]
enum Leads {
    To(Arc<Target>),
    /// To either, by the request's session.
    ToBoth(Sides<Arc<Target>>),
    Nowhere,
}

/// What a request shall do by the route.
#[derive(Debug)]
pub(super) enum Way {
    To(Arc<Target>),
    /// To the side of its session.
    BySession(Sides<Arc<Target>>),
    Wait,
    Refuse,
}

/// The route, and until when it may be followed.
#[derive(Debug)]
pub(super) struct Table {
    standing: ArcSwap<Standing>,
    /// Grows after each change of `standing`.
    generation: AtomicU64,
    serve_until: AtomicU64,
    changed: watch::Sender<()>,
    writer: Mutex<()>,
    links: Arc<Links>,
}

impl Table {
    /// Holds, and serves nothing, until it is told otherwise: after a restart what is unknown is unknown.
    pub(super) fn new(links: Arc<Links>, hold: &Hold) -> Table {
        let route = Route { epoch: Epoch(0), kind: RouteKind::Hold };
        Table {
            standing: ArcSwap::from_pointee(Standing { route, leads: Leads::Nowhere, tally: hold.tally(route.epoch) }),
            generation: AtomicU64::new(0),
            serve_until: AtomicU64::new(0),
            changed: watch::Sender::new(()),
            writer: Mutex::new(()),
            links,
        }
    }

    pub(super) fn standing(&self) -> arc_swap::Guard<Arc<Standing>> {
        self.standing.load()
    }

    /// Wakes whoever waits for something to change.
    pub(super) fn wake(&self) {
        self.changed.send_replace(());
    }

    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// False: that was the route already.
    pub(super) fn set(&self, route: Route, hold: &Hold, settings: &ProxySettings) -> bool {
        let _one_at_a_time = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if self.standing.load().route == route {
            return false;
        }
        let target = |side, leased| self.target(side, route.epoch, leased, settings);
        let leads = match route.kind {
            RouteKind::Serve(side) => Leads::To(target(side, true)),
            RouteKind::Share => Leads::ToBoth(Sides::from_fn(|side| target(side, false))),
            RouteKind::Hold | RouteKind::Refuse => Leads::Nowhere,
        };
        self.standing.store(Arc::new(Standing { route, leads, tally: hold.tally(route.epoch) }));
        self.generation.fetch_add(1, SeqCst);
        fence(SeqCst);
        self.wake();
        true
    }

    fn target(&self, side: Side, epoch: Epoch, leased: bool, settings: &ProxySettings) -> Arc<Target> {
        if epoch < self.links.floor(side) {
            tracing::error!(%side, %epoch, "a route names an epoch whose connections have been cut: its requests will wait");
        }
        let timeout = settings.connect_timeout;
        let dial = Arc::new(Dial::new(Arc::clone(&self.links), side, epoch, timeout));
        let shelf = Shelf::new(settings.pool, settings.idle_timeout);
        let (first_sent, first_answer) = (AtomicBool::new(false), AtomicBool::new(false));
        Arc::new(Target { side, epoch, dial, shelf, leased, first_sent, first_answer })
    }

    pub(super) fn serve_until(&self, until: At, now: At) {
        let before = self.serve_until.swap(until.0, SeqCst);
        // Only a limit that had passed can have made anybody wait.
        if before <= now.0 {
            self.wake();
        }
    }

    /// What the route says now.
    pub(super) fn way(&self, now: At) -> Way {
        let standing = self.standing.load();
        match &standing.leads {
            Leads::To(target) if self.may_serve(target, now) => Way::To(Arc::clone(target)),
            Leads::ToBoth(targets) => Way::BySession(targets.clone()),
            Leads::Nowhere if standing.route.kind == RouteKind::Refuse => Way::Refuse,
            Leads::To(_) | Leads::Nowhere => Way::Wait,
        }
    }

    /// The sides to which a request that came now would be given at once, whoever sends it. `lets_in` says it for a pair
    /// in which both sides may serve.
    pub(super) fn served(&self, now: At, lets_in: impl FnOnce() -> Sides<bool>) -> Sides<bool> {
        match &self.standing.load().leads {
            Leads::To(target) => Sides::from_fn(|side| target.side == side && self.may_serve(target, now)),
            Leads::ToBoth(_) => lets_in(),
            Leads::Nowhere => Sides::default(),
        }
    }

    fn may_serve(&self, target: &Target, now: At) -> bool {
        (!target.leased || now.0 < self.serve_until.load(SeqCst)) && target.epoch >= self.links.floor(target.side)
    }

    /// Resolves when the role has left the side since the epoch in which it was given a connection. `changes` is from before.
    pub(super) async fn role_lost(&self, target: &Target, changes: &mut watch::Receiver<()>) {
        while !self.standing().has_left(target.side, target.epoch) {
            // The table, which tells of changes, outlives the connections of its pair.
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Whether a request that took off for the target in that generation may still be given to it.
    pub(super) fn still(&self, target: &Target, generation: u64, now: At) -> bool {
        self.generation() == generation && self.may_serve(target, now)
    }

    /// Takes off for the target, unless the route changed meanwhile.
    ///
    /// The flight is counted first and the generation is read again after it, while [`Table::set`] raises the generation
    /// first and the drain counts flights after it: so either the drain waits for this request, or this request sees
    /// that it comes too late.
    pub(super) fn take_off(&self, flights: &Arc<Flights>, target: &Target, generation: u64) -> Option<Flight> {
        let flight = flights.take_off(target.side);
        (self.generation() == generation).then_some(flight)
    }

    /// To be read before [`Table::way`].
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(SeqCst)
    }

    /// The route of now: which connections may stay idle is asked of it.
    ///
    /// Whoever leaves a connection idle asks this after, and whoever changes the route looks for idle connections after:
    /// with the fence here and the one in [`Table::set`], one of the two closes it.
    pub(super) fn fenced(&self) -> arc_swap::Guard<Arc<Standing>> {
        fence(SeqCst);
        self.standing.load()
    }
}

impl Standing {
    /// Whether the route leads to the side under that epoch.
    pub(super) fn leads_to(&self, side: Side, epoch: Epoch) -> bool {
        match &self.leads {
            Leads::To(target) => (target.side, target.epoch) == (side, epoch),
            Leads::ToBoth(targets) => targets[side].epoch == epoch,
            Leads::Nowhere => false,
        }
    }

    /// Whether the role has left the side since that epoch, or is about to: a handover is under way, the other side is active, or
    /// none is. Not so while it is only in doubt.
    pub(super) fn has_left(&self, side: Side, epoch: Epoch) -> bool {
        match &self.leads {
            _ if self.route.epoch > epoch => true,
            Leads::To(target) => target.side != side,
            Leads::ToBoth(targets) => targets[side].epoch != epoch,
            Leads::Nowhere => self.route.kind == RouteKind::Refuse,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    const FOREVER: At = At(u64::MAX);

    struct Rig {
        table: Table,
        hold: Hold,
        links: Arc<Links>,
        flights: Arc<Flights>,
    }

    impl Rig {
        fn new() -> Rig {
            let (links, hold) = (Arc::<Links>::default(), Hold::new(1));
            let table = Table::new(Arc::clone(&links), &hold);
            table.serve_until(FOREVER, At::ZERO);
            Rig { table, hold, links, flights: Arc::default() }
        }

        fn set(&self, epoch: u64, kind: RouteKind) -> bool {
            self.table.set(Route { epoch: Epoch(epoch), kind }, &self.hold, &ProxySettings::default())
        }

        fn target(&self) -> Option<Arc<Target>> {
            match self.table.way(At(1)) {
                Way::To(target) => Some(target),
                Way::BySession(_) | Way::Wait | Way::Refuse => None,
            }
        }
    }

    #[test]
    fn i2_a_request_that_looked_before_a_change_does_not_take_off_after_it() {
        let rig = Rig::new();
        rig.set(1, RouteKind::Serve(Side::A));
        let (generation, target) = (rig.table.generation(), rig.target().unwrap());
        let flight = rig.table.take_off(&rig.flights, &target, generation).unwrap();
        assert!(rig.table.still(&target, generation, At(1)));
        rig.set(2, RouteKind::Hold);
        assert!(!rig.table.still(&target, generation, At(1)));
        drop(flight);
        assert!(rig.table.take_off(&rig.flights, &target, generation).is_none());
        assert_eq!(rig.flights.count(Side::A), 0);
    }

    #[test]
    fn i2_nothing_is_served_from_serve_until_on_or_below_the_floor() {
        let rig = Rig::new();
        rig.set(1, RouteKind::Serve(Side::A));
        rig.table.serve_until(At(5), At(1));
        assert!(matches!(rig.table.way(At(4)), Way::To(_)));
        assert!(matches!(rig.table.way(At(5)), Way::Wait));
        rig.table.serve_until(FOREVER, At(5));
        rig.links.cut(Side::A, Epoch(2));
        assert!(matches!(rig.table.way(At(5)), Way::Wait));
        rig.set(2, RouteKind::Serve(Side::A));
        assert!(matches!(rig.table.way(At(5)), Way::To(_)));
    }

    #[test]
    fn the_same_route_told_again_changes_nothing() {
        let rig = Rig::new();
        assert!(rig.set(1, RouteKind::Serve(Side::A)));
        let target = rig.target().unwrap();
        assert!(!rig.set(1, RouteKind::Serve(Side::A)));
        assert!(Arc::ptr_eq(&target, &rig.target().unwrap()), "its first request stays the first");
        assert!(rig.set(1, RouteKind::Serve(Side::B)));
        assert_ne!(target.group(), rig.target().unwrap().group());
    }

    #[test]
    fn i2_what_is_drained_stays_drained_under_any_interleaving() {
        const CHANGES: u64 = 20_000;
        let rig = Rig::new();
        let (arrived, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        std::thread::scope(|threads| {
            for _ in 0..3 {
                threads.spawn(|| {
                    while !stop.load(SeqCst) {
                        let generation = rig.table.generation();
                        let Some(target) = rig.target() else { continue };
                        if let Some(_flight) = rig.table.take_off(&rig.flights, &target, generation) {
                            arrived.fetch_add(1, SeqCst);
                        }
                    }
                });
            }
            for epoch in 1..=CHANGES {
                rig.set(epoch * 2, RouteKind::Serve(Side::A));
                (0..epoch % 64).for_each(|_| std::hint::spin_loop());
                rig.set(epoch * 2 + 1, RouteKind::Hold);
                while rig.flights.count(Side::A) > 0 {
                    std::hint::spin_loop();
                }
                let before = arrived.load(SeqCst);
                (0..64).for_each(|_| std::hint::spin_loop());
                if arrived.load(SeqCst) != before {
                    stop.store(true, SeqCst);
                    panic!("a request arrived after the drain of change {epoch}");
                }
            }
            stop.store(true, SeqCst);
        });
        assert!(arrived.load(SeqCst) > 0);
    }
}
