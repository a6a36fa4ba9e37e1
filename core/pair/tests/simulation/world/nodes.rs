//! The nodes' hosts: agents, their disks, their services.

use super::*;

impl World {
    pub(super) fn node_up(&mut self, side: Side) {
        let session = Session(self.rng.u64(1..));
        let host = &mut self.hosts[side];
        host.life += 1;
        host.timer = None;
        host.node = Some(Node::new(session, host.disk, host.clock(self.now)));
        self.node_outputs(side);
        self.condition(side);
        self.look_at_lan(side);
    }

    /// Says what the host finds of its LAN: isolation at once, as a shell does that has found it often enough.
    pub(super) fn look_at_lan(&mut self, side: Side) {
        let isolated = self.hosts[side].isolated;
        let node = self.hosts[side].node.as_ref();
        let active = node.is_some_and(|node| node.report(At::ZERO).role == Role::Active);
        self.isolations += u64::from(isolated && active);
        let lan = if isolated { Lan::Isolated } else { Lan::Connected };
        let why = if isolated { "no neighbour answers".to_owned() } else { String::new() };
        self.tell_node(side, node::Input::Lan { lan, why, binding: true });
        let host = &mut self.hosts[side];
        host.known_isolated = isolated.then(|| host.known_isolated.unwrap_or(self.now));
    }

    pub(super) fn node_down(&mut self, side: Side) {
        let host = &mut self.hosts[side];
        host.node = None;
        host.life += 1;
        host.known_isolated = None;
        host.missed.clear();
        host.asleep = false;
        for (_, stored) in std::mem::take(&mut host.pending) {
            if self.rng.bool() {
                self.hosts[side].disk = stored;
            } else {
                break;
            }
        }
        if let Some(service) = self.hosts[side].service {
            let grace = self.rng.u64(0..120) * MS;
            self.after(grace, What::OrphanDies { side, service });
        }
        let notice = self.rng.u64(0..20) * MS;
        self.links[side].edge_heard = self.links[side].edge_heard.min(self.now);
        self.disconnect(side);
        let delay = notice + self.rng.u64(50..4_000) * MS;
        self.after(delay, What::NodeUp { side });
    }

    pub(super) fn tell_node(&mut self, side: Side, input: node::Input) {
        let now = self.hosts[side].clock(self.now);
        let Some(node) = &mut self.hosts[side].node else { return };
        node.handle(now, input);
        self.node_outputs(side);
    }

    pub(super) fn node_outputs(&mut self, side: Side) {
        while let Some(output) = self.hosts[side].node.as_mut().and_then(Node::poll) {
            if self.verbose {
                println!("{:>12.3}ms   {side} -> {output:?}", self.now as f64 / MS as f64);
            }
            match output {
                node::Output::Store { ticket, stored } => {
                    self.hosts[side].pending.push((ticket.0, stored));
                    let done = self.now > FAULTS_END || self.rng.u32(0..100) > 2;
                    let delay = self.rng.u64(MS / 10..20 * MS);
                    let life = self.hosts[side].life;
                    self.after(delay, What::NodeStored { side, life, ticket: ticket.0, done });
                }
                node::Output::Deadman(at) => {
                    let time = self.hosts[side].world_time(at);
                    self.hosts[side].deadman = Some(time);
                    self.at(time, What::Deadman { side });
                }
                node::Output::Start(run) => self.start(side, run.0),
                node::Output::Stop { run, by, .. } => self.stop(side, run.0, by),
                node::Output::Send(message) => self.send_to_edge(side, message),
            }
        }
        if let Some(at) = self.hosts[side].node.as_ref().and_then(Node::deadline) {
            let time = self.hosts[side].world_time(at);
            if self.hosts[side].timer.is_none_or(|armed| time < armed) {
                self.hosts[side].timer = Some(time);
                let late = self.rng.u64(0..3 * MS);
                let life = self.hosts[side].life;
                self.at(time + late, What::NodeTimer { side, life });
            }
        }
    }

    pub(super) fn node_stored(&mut self, side: Side, ticket: u64, done: bool) {
        let Some(position) = self.hosts[side].pending.iter().position(|(pending, _)| *pending == ticket) else {
            return;
        };
        let earlier: Vec<_> = self.hosts[side].pending.drain(..=position).collect();
        for (ticket, stored) in earlier {
            let ticket = node::Ticket(ticket);
            if done {
                self.hosts[side].disk = stored;
                self.tell_node(side, node::Input::Stored(ticket));
            } else {
                self.tell_node(side, node::Input::StoreFailed { ticket, why: "disk full".into() });
            }
        }
    }

    pub(super) fn condition(&mut self, side: Side) {
        let host = &self.hosts[side];
        let condition = node::Condition {
            fit: true,
            ready: host.service.is_some() && host.ready,
            running: host.service.is_some(),
            ..node::Condition::default()
        };
        self.tell_node(side, node::Input::Condition(condition));
    }

    pub(super) fn start(&mut self, side: Side, run: u64) {
        self.services += 1;
        self.hosts[side].run = run;
        self.hosts[side].service = Some(self.services);
        self.hosts[side].ready = false;
        let good = self.now > FAULTS_END || self.rng.u32(0..10) > 0;
        let delay = self.rng.u64(5..1_000) * MS;
        let life = self.hosts[side].life;
        self.after(delay, What::Started { side, life, run, good });
    }

    pub(super) fn stop(&mut self, side: Side, run: u64, by: At) {
        self.hosts[side].run = run;
        self.hosts[side].ready = false;
        let last = self.hosts[side].world_time(by);
        let wished = self.now + self.rng.u64(0..400) * MS;
        let life = self.hosts[side].life;
        self.at(wished.min(last), What::Stopped { side, life, run });
    }

    pub(super) fn started(&mut self, side: Side, run: u64, good: bool) {
        if self.hosts[side].run != run || self.hosts[side].service.is_none() {
            return;
        }
        let run = node::Run(run);
        if good {
            self.hosts[side].ready = true;
            self.condition(side);
            self.tell_node(side, node::Input::Started(run));
        } else {
            self.tell_node(side, node::Input::StartFailed { run, why: "it did not come up".into() });
        }
    }

    pub(super) fn stopped(&mut self, side: Side, run: u64) {
        if self.hosts[side].run == run {
            self.hosts[side].service = None;
            self.condition(side);
            self.tell_node(side, node::Input::Stopped(node::Run(run)));
        }
    }

    pub(super) fn deadman(&mut self, side: Side) {
        if self.hosts[side].deadman == Some(self.now) && self.hosts[side].service.take().is_some() {
            self.hosts[side].ready = false;
            if !self.hosts[side].asleep {
                self.condition(side);
            }
        }
    }

    pub(super) fn wake(&mut self, side: Side) {
        self.hosts[side].asleep = false;
        for what in std::mem::take(&mut self.hosts[side].missed) {
            self.at(self.now, what);
        }
        self.condition(side);
    }
}
