//! What can happen in a state.

use crate::bounds::{Bounds, Command};
use crate::pair::{NOW, Pair, Task};
use lockstep_policy::Side;

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A tick passes; the nodes' timers that are due fire.
    Pass,
    /// The edge's timer fires.
    EdgeTimer,
    /// The edge hears the next message of a node.
    ToEdge(Side),
    /// A node hears the edge's next message.
    ToNode(Side),
    /// A node hears a message of a dead connection, or a copy.
    Stray(Side, usize),
    /// The edge's oldest write is done.
    EdgeWritten,
    /// A node's oldest write is done.
    NodeWritten(Side),
    /// Nothing is in flight any more at the side that is drained.
    Drained,
    /// A node's services are up.
    Started(Side),
    /// A node's services are down.
    Stopped(Side),
    /// The kernel kills a node's services.
    Kill(Side),
    /// The services of an agent that has crashed end.
    OrphanEnds(Side),
    /// The edge and a node have a connection again.
    Connect(Side),
    /// A connection is given up.
    Break(Side),
    /// An edge that has crashed starts.
    EdgeStarts,
    /// An agent that has crashed starts.
    NodeStarts(Side),
    /// What the edge sends to a node gets through again.
    DownFlows(Side),
    /// What a node sends gets through again.
    UpFlows(Side),
    /// An order.
    Order(Command),
    /// The edge crashes; so many of its writes are durable.
    EdgeCrashes(usize),
    /// An agent crashes; so many of its writes are durable.
    NodeCrashes(Side, usize),
    /// What the edge sends to a node is held up.
    DownStalls(Side),
    /// What a node sends is held up.
    UpStalls(Side),
    /// The next message to a node vanishes.
    LoseToNode(Side),
    /// The next message to the edge vanishes.
    LoseToEdge(Side),
    /// A copy of the next message to a node strays.
    CopyToNode(Side),
    /// The edge hears the next message of a node, and will hear it again.
    CopyToEdge(Side),
    /// A message to a node overtakes the one before it.
    OvertakeToNode(Side),
    /// A message to the edge overtakes the one before it.
    OvertakeToEdge(Side),
    /// The edge's oldest write fails.
    EdgeWriteFails,
    /// A node's oldest write fails.
    NodeWriteFails(Side),
    /// A node's services do not start, or do not stop.
    RunFails(Side),
    /// A node's services die.
    Dies(Side),
}

impl Pair {
    /// What is about to happen, without a fault: all of it happens before time passes. In the order in which it happens
    /// where everything is well.
    pub fn urgent(&self, bounds: &Bounds, events: &mut Vec<Event>) {
        let writes_wait = |slow: bool, writes: usize| !slow || writes > 2;
        for (side, host) in self.hosts.iter() {
            let link = &self.links[side];
            if host.running && host.kill_at.is_some_and(|at| at <= NOW) {
                events.push(Event::Kill(side));
            }
            if writes_wait(bounds.is_slow(side), host.writes.len()) && !host.writes.is_empty() {
                events.push(Event::NodeWritten(side));
            }
            match host.task {
                Some(Task::Start { by, .. }) if by <= NOW => events.push(Event::Started(side)),
                Some(Task::Stop { by, .. }) if by <= NOW || !host.running => events.push(Event::Stopped(side)),
                _ => {}
            }
            if link.attached && !link.down_stalled && !link.to_node.is_empty() {
                events.push(Event::ToNode(side));
            }
            if link.up && !link.up_stalled && !link.to_edge.is_empty() {
                events.push(Event::ToEdge(side));
            }
            if link.up && !link.is_stalled() && !link.attached && link.to_edge.is_empty() {
                events.push(Event::Break(side));
            }
            let ready = self.edge.coordinator.is_some() && host.node.is_some();
            if ready && !link.up && !link.is_stalled() {
                events.push(Event::Connect(side));
            }
        }
        if let Some(coordinator) = &self.edge.coordinator {
            if writes_wait(bounds.slow_disks, self.edge.writes.len()) && !self.edge.writes.is_empty() {
                events.push(Event::EdgeWritten);
            }
            if coordinator.deadline().is_some_and(|at| at <= NOW) {
                events.push(Event::EdgeTimer);
            }
        }
    }

    /// What may happen, now or at any later time, without a fault.
    pub fn possible(&self, bounds: &Bounds, events: &mut Vec<Event>) {
        if self.edge.coordinator.is_none() {
            events.push(Event::EdgeStarts);
        } else if self.edge.draining.is_some() {
            events.push(Event::Drained);
        }
        if bounds.slow_disks && !self.edge.writes.is_empty() && self.edge.writes.len() <= 2 {
            events.push(Event::EdgeWritten);
        }
        for (side, host) in self.hosts.iter() {
            let link = &self.links[side];
            match host.task {
                Some(Task::Start { by, .. }) if by > NOW => events.push(Event::Started(side)),
                Some(Task::Stop { by, .. }) if by > NOW && host.running => events.push(Event::Stopped(side)),
                _ => {}
            }
            if bounds.is_slow(side) && !host.writes.is_empty() && host.writes.len() <= 2 {
                events.push(Event::NodeWritten(side));
            }
            if host.node.is_none() {
                events.push(Event::NodeStarts(side));
                if host.running {
                    events.push(Event::OrphanEnds(side));
                }
            } else {
                events.extend((0..link.stray.len()).map(|nth| Event::Stray(side, nth)));
            }
            if link.down_stalled {
                events.push(Event::DownFlows(side));
            }
            if link.up_stalled {
                events.push(Event::UpFlows(side));
            }
            if link.up && link.is_stalled() {
                events.push(Event::Break(side));
            }
        }
    }

    /// What may go wrong, and what may be ordered.
    pub fn faults(&self, bounds: &Bounds, events: &mut Vec<Event>) {
        let left = &self.left;
        if let Some(coordinator) = &self.edge.coordinator {
            if left.orders > 0 && !coordinator.view().recovering {
                events.extend(bounds.commands.iter().map(|command| Event::Order(*command)));
            }
            if left.edge_crashes + left.crashes > 0 {
                events.extend((0..=self.edge.writes.len()).map(Event::EdgeCrashes));
            }
            if left.failed_writes > 0 && !self.edge.writes.is_empty() {
                events.push(Event::EdgeWriteFails);
            }
        }
        for (side, host) in self.hosts.iter() {
            self.faults_of_host(side, bounds, events);
            if host.node.is_some() && left.node_crashes + left.crashes > 0 && bounds.struck.contains(&side) {
                events.extend((0..=host.writes.len()).map(|written| Event::NodeCrashes(side, written)));
            }
            if self.links[side].up {
                self.faults_of_link(side, bounds, events);
            }
        }
    }

    fn faults_of_host(&self, side: Side, bounds: &Bounds, events: &mut Vec<Event>) {
        let (left, host) = (&self.left, &self.hosts[side]);
        if !bounds.struck.contains(&side) {
            return;
        }
        if left.failed_writes > 0 && !host.writes.is_empty() {
            events.push(Event::NodeWriteFails(side));
        }
        if left.failed_runs > 0 && host.task.is_some() && host.running {
            events.push(Event::RunFails(side));
        }
        if left.deaths > 0 && host.running && host.task.is_none() {
            events.push(Event::Dies(side));
        }
    }

    fn faults_of_link(&self, side: Side, bounds: &Bounds, events: &mut Vec<Event>) {
        let (left, link) = (&self.left, &self.links[side]);
        let struck = bounds.struck.contains(&side);
        if left.stalls > 0 && struck {
            if !link.down_stalled {
                events.push(Event::DownStalls(side));
            }
            if !link.up_stalled {
                events.push(Event::UpStalls(side));
            }
        }
        if left.breaks > 0 && struck && link.attached && !link.is_stalled() {
            events.push(Event::Break(side));
        }
        if !link.to_node.is_empty() {
            if left.losses > 0 {
                events.push(Event::LoseToNode(side));
            }
            if left.duplicates > 0 && link.stray.len() < bounds.stray {
                events.push(Event::CopyToNode(side));
            }
        }
        if !link.to_edge.is_empty() {
            if left.losses > 0 {
                events.push(Event::LoseToEdge(side));
            }
            if left.duplicates > 0 {
                events.push(Event::CopyToEdge(side));
            }
        }
        if left.reorders > 0 && link.to_node.len() > 1 {
            events.push(Event::OvertakeToNode(side));
        }
        if left.reorders > 0 && link.to_edge.len() > 1 {
            events.push(Event::OvertakeToEdge(side));
        }
    }
}
