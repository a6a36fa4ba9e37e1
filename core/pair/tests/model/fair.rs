//! A run in which nothing goes wrong any more, and a policy asks for a side to be active while none serves: what liveness
//! is judged by, and what the first state comes from.

use crate::bounds::{Bounds, Budget, Command, Mutation};
use crate::event::Event;
use crate::pair::{AGE, EPOCHS, Edge, Host, Link, NOW, Pair};
use lockstep_pair::coordinator::{self, Coordinator};
use lockstep_pair::node;
use lockstep_pair::{Route, RouteKind};
use lockstep_policy::action::Urgency;
use lockstep_policy::event::Role;
use lockstep_policy::{At, Epoch, Side, Sides};

/// In so many steps without a fault a side serves.
pub const PATIENCE: usize = 600;

impl Pair {
    /// All is switched off, and nothing was ever stored.
    pub fn blank(bounds: &Bounds) -> Pair {
        let host = |side: Side| Host {
            node: None,
            lives: 0,
            disk: node::Stored::default(),
            writes: [].into(),
            running: false,
            ready: false,
            task: None,
            kill_at: None,
            clock: bounds.clocks[side],
        };
        Pair {
            edge: Edge {
                coordinator: None,
                disk: coordinator::Stored::default(),
                writes: [].into(),
                draining: None,
                route: Route { epoch: Epoch(0), kind: RouteKind::Refuse },
                serve_until: At::ZERO,
                order: None,
                under_way: 0,
            },
            hosts: Sides::from_fn(host),
            links: Sides::from_fn(|_| Link::default()),
            left: Budget::default(),
            activated: [None; EPOCHS],
            broken: None,
        }
    }

    /// Side A has been active for long, side B stands by, and nothing is under way.
    pub fn at_rest(bounds: &Bounds) -> Pair {
        let right = &Bounds { mutation: Mutation::None, settings: bounds.right_settings, ..*bounds };
        let mut pair = Box::new(Pair::blank(right));
        while !pair.is_well() {
            pair = pair.fair_step(right);
        }
        let mut passed = 0;
        while passed < 2 * AGE || !pair.is_well() || pair.next_fair(right) != Event::Pass {
            passed += u64::from(pair.next_fair(right) == Event::Pass);
            pair = pair.fair_step(right);
            assert_eq!(pair.broken, None);
        }
        if bounds.settings != bounds.right_settings {
            pair.left.edge_crashes = 1;
            pair = pair.after(bounds, Event::EdgeCrashes(0)).expect("a crash changes the state");
            while !pair.is_well() || pair.next_fair(bounds) != Event::Pass {
                pair = pair.fair_step(bounds);
            }
        }
        assert_eq!(pair.served(), Some(Side::A));
        pair.left = bounds.budget;
        *pair
    }

    /// A side serves, as is right, and nothing is under way.
    pub fn is_well(&self) -> bool {
        let settled = self.edge.coordinator.as_ref().is_some_and(|coordinator| coordinator.view().handover.is_none());
        let Some(side) = self.served().filter(|_| settled) else { return false };
        self.hosts[side].running && self.hosts[side].ready && self.hosts[side].task.is_none()
    }

    /// The state from which only fair events follow.
    pub fn without_faults(&self) -> Pair {
        let mut pair = self.clone();
        pair.left = Budget { orders: 1, ..Budget::default() };
        pair.links.a.stray.clear();
        pair.links.b.stray.clear();
        pair
    }

    /// What happens next when all is well: what is held up flows, what is down starts, what is asked for is done; then, if
    /// nobody serves, an order; then time passes.
    pub fn next_fair(&self, bounds: &Bounds) -> Event {
        let mut events = Vec::new();
        self.possible(bounds, &mut events);
        events.retain(|event| !matches!(event, Event::Break(_) | Event::Stray(..)));
        self.urgent(bounds, &mut events);
        if let Some(event) = events.first() {
            return *event;
        }
        let idle = self.edge.order.is_none()
            && self.edge.coordinator.as_ref().is_some_and(|edge: &Coordinator| {
                let view = edge.view();
                !view.recovering && view.handover.is_none()
            });
        // A side that is active will be served, as soon as the edge is sure of it.
        let hopeful = self.hosts.iter().any(|(_, host)| {
            host.ready && host.node.as_ref().is_some_and(|node| node.report(NOW).role == Role::Active)
        });
        if idle && self.served().is_none() && !hopeful {
            // To the one and to the other in turn.
            let epoch = self.edge.coordinator.as_ref().map_or(0, |edge| edge.view().epoch.0);
            let to = if epoch.is_multiple_of(2) { Side::A } else { Side::B };
            return Event::Order(Command::Switch(to, Urgency::Failover));
        }
        Event::Pass
    }

    /// The state after that.
    pub fn fair_step(&self, bounds: &Bounds) -> Box<Pair> {
        let mut event = self.next_fair(bounds);
        let mut now = self.clone();
        if let Event::Order(_) = event {
            now.left.orders = 1;
            if let Some(next) = now.after(bounds, event) {
                return next;
            }
            // Refused: in its own time.
            event = Event::Pass;
        }
        now.after(bounds, event).expect("a fair event changes the state")
    }
}
