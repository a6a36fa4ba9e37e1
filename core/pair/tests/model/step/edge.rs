//! The edge's host.

use crate::bounds::{Bounds, Command, Mutation};
use crate::pair::{NOW, Pair, Promise};
use lockstep_pair::coordinator::{Coordinator, End, Input, Order, OrderId, Output};
use lockstep_pair::protocol::ToNode;
use lockstep_policy::action::Urgency;
use lockstep_policy::{At, Epoch, Side};

/// Later than any state's clock.
const FOREVER: At = At(u64::MAX);

impl Pair {
    pub(super) fn edge_starts(&mut self, bounds: &Bounds) {
        self.edge.coordinator = Some(Coordinator::new(bounds.settings, self.edge.disk.clone(), NOW));
        self.edge_acts(bounds);
    }

    /// Of the writes under way the oldest so many are done, and the others are not. What was sent may arrive.
    pub(super) fn edge_crashes(&mut self, bounds: &Bounds, written: usize) {
        let edge = &mut self.edge;
        edge.coordinator = None;
        for (_, stored) in edge.writes.drain(..).take(written) {
            edge.disk = stored;
        }
        edge.draining = None;
        edge.order = None;
        edge.under_way = 0;
        edge.serve_until = At::ZERO;
        for side in Side::BOTH {
            self.drop_connection(bounds, side);
        }
    }

    pub(super) fn tell_edge(&mut self, bounds: &Bounds, input: Input) {
        let Some(coordinator) = &mut self.edge.coordinator else { return };
        coordinator.handle(NOW, input);
        self.edge_acts(bounds);
    }

    /// Gives an order. One that is refused at once is no event.
    pub(super) fn order(&mut self, bounds: &Bounds, command: Command) -> bool {
        self.left.orders -= 1;
        let (to, urgency) = match command {
            Command::Switch(to, urgency) => (to, urgency),
            Command::StandDown(side) => (side, Urgency::Failover),
            Command::Prepare(side) => {
                self.tell_edge(bounds, Input::Prepare(side));
                return true;
            }
        };
        // Numbered from the last: two orders may wait for one handover.
        let id = OrderId(u64::from(self.left.orders) + 1);
        let order = Order {
            id,
            to,
            urgency,
            reason: String::new(),
            by: String::new(),
            evidence: Vec::new(),
            unsafe_because: None,
        };
        let before = self.edge.order.replace(id);
        self.tell_edge(
            bounds,
            match command {
                Command::Switch(..) => Input::Switch(order),
                _ => Input::StandDown(order),
            },
        );
        let taken_up = self.edge.order == Some(id);
        if !taken_up {
            self.edge.order = before;
        }
        taken_up
    }

    fn edge_acts(&mut self, bounds: &Bounds) {
        while let Some(output) = self.edge.coordinator.as_mut().and_then(Coordinator::poll) {
            match output {
                Output::Store { ticket, stored } => self.edge.writes.push_back((ticket, stored)),
                Output::Route(route) => self.edge.route = route,
                Output::ServeUntil(_) if bounds.mutation == Mutation::ProxyIgnoresLease => {
                    self.edge.serve_until = FOREVER
                }
                Output::ServeUntil(at) => self.edge.serve_until = at,
                Output::Send { side, message } => self.edge_sends(bounds, side, message),
                Output::Drain { epoch, .. } => self.edge.draining = Some(epoch),
                Output::Ended { id, end } if self.edge.order == Some(id) => {
                    self.edge.order = None;
                    if matches!(end, End::Ended { .. }) {
                        // An order that was refused has not been taken up.
                        self.edge.under_way = 0;
                    }
                }
                Output::Ended { .. }
                | Output::Cut { .. }
                | Output::Fence { .. }
                | Output::Tell(_)
                | Output::Record(_)
                | Output::Alert(_) => {}
            }
        }
        if self.edge.coordinator.as_ref().is_none_or(|coordinator| coordinator.view().handover.is_none()) {
            self.edge.draining = None;
        }
    }

    fn edge_sends(&mut self, bounds: &Bounds, side: Side, message: ToNode) {
        let epoch = epoch_of(&message);
        let known = [self.edge.disk.epoch, self.hosts.a.disk.epoch, self.hosts.b.disk.epoch];
        if known.iter().all(|durable| *durable < epoch) {
            self.broke(
                bounds,
                Promise::Undurable,
                format!("the edge uses epoch {epoch}, which is on no disk: {message:?}"),
            );
        }
        if let ToNode::Activate { epoch, .. } = message {
            let slot = usize::try_from(epoch.0).expect("bounded");
            let other = self.activated[slot].replace(side).filter(|other| *other != side);
            if let Some(other) = other {
                self.broke(
                    bounds,
                    Promise::OneOutcome,
                    format!("epoch {epoch} was side {other}'s, and is side {side}'s now"),
                );
            }
        }
        let link = &mut self.links[side];
        if link.up && link.to_node.len() < bounds.window {
            link.to_node.push_back(message);
        }
    }

    pub(super) fn edge_written(&mut self, bounds: &Bounds) {
        let Some((ticket, stored)) = self.edge.writes.pop_front() else { return };
        if bounds.mutation != Mutation::EdgeForgets {
            self.edge.disk = stored;
        }
        self.tell_edge(bounds, Input::Stored(ticket));
    }

    pub(super) fn edge_write_fails(&mut self, bounds: &Bounds) {
        let Some((ticket, _)) = self.edge.writes.pop_front() else { return };
        self.tell_edge(bounds, Input::StoreFailed { ticket, why: String::new() });
    }
}

/// The epoch of a command.
pub fn epoch_of(message: &ToNode) -> Epoch {
    match *message {
        ToNode::Prepare { epoch }
        | ToNode::StandDown { epoch, .. }
        | ToNode::Activate { epoch, .. }
        | ToNode::Renew { epoch, .. } => epoch,
    }
}
