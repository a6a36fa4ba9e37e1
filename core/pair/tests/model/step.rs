//! What each event does: a small shell around each production state machine.

mod edge;
mod faults;
mod links;
mod node;

use crate::bounds::{Bounds, Mutation};
use crate::event::Event;
use crate::pair::{Broken, NOW, Pair, Promise, TICK};
use lockstep_pair::coordinator::Input;
use lockstep_pair::node as agent;
use lockstep_policy::Side;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

impl Pair {
    /// The state after an event; none when it changes nothing. An assertion of the production code that fails is a
    /// promise that was not kept.
    pub fn after(&self, bounds: &Bounds, event: Event) -> Option<Box<Pair>> {
        let mut next = Box::new(self.clone());
        let done = std::panic::catch_unwind(AssertUnwindSafe(|| {
            let changed = next.happen(bounds, event);
            next.forget_past();
            changed.then_some(next)
        }));
        done.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            let what = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default();
            let broken = Some(Broken { promise: Promise::Assertion, what });
            Some(Box::new(Pair { broken, ..self.clone() }))
        })
    }

    fn happen(&mut self, bounds: &Bounds, event: Event) -> bool {
        match event {
            Event::Pass => self.pass(bounds),
            Event::EdgeTimer => self.tell_edge(bounds, Input::Tick),
            Event::ToEdge(side) => self.deliver_to_edge(bounds, side),
            Event::ToNode(side) => self.deliver_to_node(bounds, side),
            Event::Stray(side, nth) => {
                let message = self.links[side].stray.remove(nth);
                self.node_hears(bounds, side, message);
                self.links[side].misled = !self.links[side].to_edge.is_empty();
            }
            Event::EdgeWritten => self.edge_written(bounds),
            Event::NodeWritten(side) => self.node_written(bounds, side),
            Event::Drained => {
                if let Some(epoch) = self.edge.draining.take() {
                    self.tell_edge(bounds, Input::Drained { epoch });
                }
            }
            Event::Started(side) => self.started(bounds, side),
            Event::Stopped(side) => self.stopped(bounds, side),
            Event::Kill(side) => self.killed(bounds, side),
            Event::OrphanEnds(side) => self.services_end(side),
            Event::Connect(side) => self.connect(bounds, side),
            Event::Break(side) => self.break_off(bounds, side),
            Event::EdgeStarts => self.edge_starts(bounds),
            Event::NodeStarts(side) => self.node_starts(bounds, side),
            Event::DownFlows(side) => self.links[side].down_stalled = false,
            Event::UpFlows(side) => self.links[side].up_stalled = false,
            Event::Order(command) => return self.order(bounds, command),
            fault => self.fault(bounds, fault),
        }
        true
    }

    /// A tick passes. All clocks still read the same: everything else has become older.
    fn pass(&mut self, bounds: &Bounds) {
        let mut passed = lockstep_policy::Sides { a: TICK, b: TICK };
        for side in Side::BOTH {
            let host = &mut self.hosts[side];
            passed[side] = host.clock.tick();
            host.grow_older(passed[side]);
            self.links[side].grow_older(passed[side]);
        }
        if let Some(coordinator) = &mut self.edge.coordinator {
            let edge = if bounds.mutation == Mutation::EdgeClockStands { Duration::ZERO } else { TICK };
            coordinator.rebase(edge, passed);
            let busy = coordinator.view().handover.is_some() || self.edge.order.is_some();
            self.edge.under_way = if busy { self.edge.under_way + 1 } else { 0 };
        }
        if bounds.mutation != Mutation::ProxyIgnoresLease {
            self.edge.serve_until = self.edge.serve_until - TICK;
        }
        if let Some(left) = &mut self.left.ticks {
            *left -= 1;
        }
        for side in Side::BOTH {
            let due = self.hosts[side].node.as_ref().and_then(agent::Node::deadline).is_some_and(|at| at <= NOW);
            if due {
                self.tell_node(bounds, side, agent::Input::Tick);
            }
        }
    }

    fn forget_past(&mut self) {
        if let Some(coordinator) = &mut self.edge.coordinator {
            coordinator.forget_past();
            if coordinator.view().handover.is_none() && self.edge.order.is_none() {
                self.edge.under_way = 0;
            }
        }
    }

    /// The first thing that was found broken is told.
    fn broke(&mut self, bounds: &Bounds, promise: Promise, what: String) {
        if bounds.overlooked.contains(&promise) {
            return;
        }
        self.broken.get_or_insert(Broken { promise, what });
    }
}
