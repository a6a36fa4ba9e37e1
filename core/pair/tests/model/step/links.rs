//! The connections between the edge and the nodes.

use crate::bounds::{Bounds, Mutation};
use crate::pair::{Link, NOW, Pair, Promise};
use crate::step::edge::epoch_of;
use lockstep_pair::coordinator::Input;
use lockstep_pair::node as agent;
use lockstep_pair::protocol::{Answer, FromNode, Stamp, ToNode};
use lockstep_policy::{Epoch, Side};
use std::time::Duration;

impl Link {
    pub(super) fn grow_older(&mut self, by: Duration) {
        for message in self.to_node.iter_mut().chain(&mut self.stray) {
            if let ToNode::Activate { lease, .. } | ToNode::Renew { lease, .. } = message {
                lease.stamp.at = lease.stamp.at - by;
            }
        }
        for message in &mut self.to_edge {
            if let FromNode::Report(report) = message {
                report.stamp.at = report.stamp.at - by;
            }
        }
    }
}

impl Pair {
    pub(super) fn connect(&mut self, bounds: &Bounds, side: Side) {
        self.links[side].up = true;
        self.links[side].attached = true;
        self.tell_edge(bounds, Input::Link { side, up: true });
        if bounds.mutation != Mutation::NoTerms {
            self.tell_node(bounds, side, agent::Input::Terms(bounds.terms));
        }
    }

    /// What is held up is given up some time, and what has lost an end at once. Anything else is a fault.
    pub(super) fn break_off(&mut self, bounds: &Bounds, side: Side) {
        if !self.links[side].is_stalled() && self.links[side].attached {
            self.left.breaks -= 1;
        }
        self.drop_connection(bounds, side);
        self.tell_edge(bounds, Input::Link { side, up: false });
    }

    /// What was under way to the node may still arrive, or not; the edge listens to the newest connection only.
    pub(super) fn drop_connection(&mut self, bounds: &Bounds, side: Side) {
        let link = &mut self.links[side];
        link.up = false;
        link.attached = false;
        link.misled = false;
        link.to_edge.clear();
        for message in link.to_node.drain(..) {
            if self.left.strays > 0 && link.stray.len() < bounds.stray {
                self.left.strays -= 1;
                link.stray.push(message);
            }
        }
    }

    pub(super) fn deliver_to_edge(&mut self, bounds: &Bounds, side: Side) {
        if let Some(message) = self.links[side].to_edge.pop_front() {
            self.links[side].misled &= !self.links[side].to_edge.is_empty();
            self.tell_edge(bounds, Input::Node { side, message });
        }
    }

    pub(super) fn deliver_to_node(&mut self, bounds: &Bounds, side: Side) {
        if let Some(message) = self.links[side].to_node.pop_front() {
            self.node_hears(bounds, side, message);
        }
    }

    /// A node hears a command. It must not obey one that is older than what it has on its disk.
    pub(super) fn node_hears(&mut self, bounds: &Bounds, side: Side, message: ToNode) {
        let disk = self.hosts[side].disk.epoch;
        let old = epoch_of(&message) < disk;
        let heard = match bounds.mutation {
            Mutation::LeaseFromReceipt => stamped_now(message),
            Mutation::ObeysOldEpochs if old => of_epoch(message, disk),
            _ => message,
        };
        let before = self.hosts[side].clone();
        let sent = self.links[side].to_edge.len();
        self.tell_node(bounds, side, agent::Input::Message(heard));
        let host = &self.hosts[side];
        let did = (&host.writes, host.task, host.running, host.kill_at);
        let lease_left = |host: &crate::pair::Host| host.node.as_ref().map(|node| node.report(NOW).lease_left);
        let answered = self.links[side]
            .to_edge
            .iter()
            .skip(sent)
            .any(|answer| matches!(answer, FromNode::Answer(answer) if !matches!(answer, Answer::Refused { .. })));
        let obeyed = did != (&before.writes, before.task, before.running, before.kill_at)
            || lease_left(host) > lease_left(&before)
            || answered;
        if old && obeyed {
            self.broke(bounds, Promise::I3, format!("side {side} has epoch {disk} on its disk, and obeys {message:?}"));
        }
    }
}

fn stamped_now(message: ToNode) -> ToNode {
    let now = |stamp: Stamp| Stamp { at: NOW, ..stamp };
    match message {
        ToNode::Activate { epoch, mut lease } => {
            lease.stamp = now(lease.stamp);
            ToNode::Activate { epoch, lease }
        }
        ToNode::Renew { epoch, mut lease } => {
            lease.stamp = now(lease.stamp);
            ToNode::Renew { epoch, lease }
        }
        other => other,
    }
}

fn of_epoch(message: ToNode, epoch: Epoch) -> ToNode {
    match message {
        ToNode::Prepare { .. } => ToNode::Prepare { epoch },
        ToNode::StandDown { urgency, .. } => ToNode::StandDown { epoch, urgency },
        ToNode::Activate { lease, .. } => ToNode::Activate { epoch, lease },
        ToNode::Renew { lease, .. } => ToNode::Renew { epoch, lease },
    }
}
