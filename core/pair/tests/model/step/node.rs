//! A node's host: the agent, its disk, its services, and the kernel's timer that ends them.

use crate::bounds::{Bounds, Mutation};
use crate::pair::{Host, NOW, Pair, Promise, Task, ticks};
use lockstep_pair::node::{Condition, Input, Node, Output};
use lockstep_pair::protocol::{Answer, FromNode, Session};
use lockstep_policy::Side;
use std::time::Duration;

impl Host {
    pub(super) fn grow_older(&mut self, by: Duration) {
        if let Some(node) = &mut self.node {
            node.rebase(by);
        }
        if let Some(Task::Start { by: end, .. } | Task::Stop { by: end, .. }) = &mut self.task {
            *end = *end - by;
        }
        self.kill_at = self.kill_at.map(|at| at - by);
    }
}

impl Pair {
    pub(super) fn node_starts(&mut self, bounds: &Bounds, side: Side) {
        let host = &mut self.hosts[side];
        host.lives += 1;
        host.node = Some(Node::new(Session(host.lives), host.disk, NOW));
        self.node_acts(bounds, side);
        self.look_at_services(bounds, side);
    }

    /// Of the writes under way the oldest so many are done, and the others are not. The services go on, for a while.
    pub(super) fn node_crashes(&mut self, side: Side, written: usize) {
        let host = &mut self.hosts[side];
        host.node = None;
        host.task = None;
        host.ready = false;
        self.links[side].attached = false;
        for (_, stored) in host.writes.drain(..).take(written) {
            host.disk = stored;
        }
    }

    pub(super) fn tell_node(&mut self, bounds: &Bounds, side: Side, input: Input) {
        let Some(node) = &mut self.hosts[side].node else { return };
        node.handle(NOW, input);
        self.node_acts(bounds, side);
    }

    pub(super) fn look_at_services(&mut self, bounds: &Bounds, side: Side) {
        let Host { running, ready, .. } = self.hosts[side];
        self.tell_node(bounds, side, Input::Condition(Condition { fit: true, ready, running, ..Condition::default() }));
    }

    fn node_acts(&mut self, bounds: &Bounds, side: Side) {
        while let Some(output) = self.hosts[side].node.as_mut().and_then(Node::poll) {
            let host = &mut self.hosts[side];
            match output {
                Output::Store { ticket, stored } => host.writes.push_back((ticket, stored)),
                Output::Deadman(at) => host.kill_at = Some(at),
                Output::Start(run) => {
                    host.running = true;
                    host.ready = false;
                    host.task = Some(Task::Start { run, by: NOW + ticks(bounds.start) });
                }
                Output::Stop { run, by, .. } => {
                    host.ready = false;
                    host.task = Some(Task::Stop { run, by: by.min(NOW + bounds.terms.stop_max) });
                }
                Output::Send(message) => self.node_sends(bounds, side, message),
            }
        }
    }

    fn node_sends(&mut self, bounds: &Bounds, side: Side, message: FromNode) {
        let disk = self.hosts[side].disk.epoch;
        let claimed = match &message {
            FromNode::Report(report) => report.epoch,
            FromNode::Answer(Answer::StoodDown { epoch } | Answer::Activated { epoch }) => *epoch,
            FromNode::Answer(_) => disk,
        };
        if claimed > disk {
            self.broke(
                bounds,
                Promise::Undurable,
                format!("side {side} says {message:?}, and has epoch {disk} on its disk"),
            );
        }
        let link = &mut self.links[side];
        if link.attached && link.to_edge.len() < bounds.window {
            link.to_edge.push_back(message);
        }
    }

    pub(super) fn node_written(&mut self, bounds: &Bounds, side: Side) {
        let Some((ticket, stored)) = self.hosts[side].writes.pop_front() else { return };
        if bounds.mutation != Mutation::NodeForgets {
            self.hosts[side].disk = stored;
        }
        self.tell_node(bounds, side, Input::Stored(ticket));
    }

    pub(super) fn node_write_fails(&mut self, bounds: &Bounds, side: Side) {
        let Some((ticket, _)) = self.hosts[side].writes.pop_front() else { return };
        self.tell_node(bounds, side, Input::StoreFailed { ticket, why: String::new() });
    }

    pub(super) fn started(&mut self, bounds: &Bounds, side: Side) {
        let host = &mut self.hosts[side];
        let Some(Task::Start { run, .. }) = host.task.take() else { return };
        if host.running {
            host.ready = true;
            self.look_at_services(bounds, side);
            self.tell_node(bounds, side, Input::Started(run));
        } else {
            self.tell_node(bounds, side, Input::StartFailed { run, why: String::new() });
        }
    }

    pub(super) fn stopped(&mut self, bounds: &Bounds, side: Side) {
        let Some(Task::Stop { run, .. }) = self.hosts[side].task.take() else { return };
        self.services_end(side);
        self.look_at_services(bounds, side);
        self.tell_node(bounds, side, Input::Stopped(run));
    }

    pub(super) fn run_fails(&mut self, bounds: &Bounds, side: Side) {
        let why = String::new();
        match self.hosts[side].task.take() {
            Some(Task::Start { run, .. }) => self.tell_node(bounds, side, Input::StartFailed { run, why }),
            Some(Task::Stop { run, .. }) => self.tell_node(bounds, side, Input::StopFailed { run, why }),
            None => {}
        }
    }

    /// The services end without the agent's doing.
    pub(super) fn killed(&mut self, bounds: &Bounds, side: Side) {
        self.services_end(side);
        self.look_at_services(bounds, side);
    }

    pub(super) fn services_end(&mut self, side: Side) {
        let host = &mut self.hosts[side];
        host.running = false;
        host.ready = false;
        host.kill_at = None;
    }
}
