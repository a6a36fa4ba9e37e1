//! The links. Delivery is in order per connection; a message may be late without bound while the link is cut, and one
//! of an earlier connection may still arrive.

use super::*;

impl World {
    pub(super) fn connect(&mut self, side: Side) {
        if self.edge.is_none() || self.links[side].up {
            return;
        }
        if self.hosts[side].node.is_none() || self.links[side].cut.a || self.links[side].cut.b {
            return self.after(100 * MS, What::LinkUp { side });
        }
        self.links[side].up = true;
        self.links[side].number += 1;
        self.links[side].edge_heard = self.now;
        self.tell_edge(coordinator::Input::Link { side, up: true });
        if self.hosts[side].asleep {
            return;
        }
        self.tell_node(side, node::Input::Terms(SETTINGS.terms));
    }

    pub(super) fn disconnect(&mut self, side: Side) {
        if std::mem::replace(&mut self.links[side].up, false) {
            self.tell_edge(coordinator::Input::Link { side, up: false });
            let delay = self.rng.u64(10..200) * MS;
            self.after(delay, What::LinkUp { side });
        }
    }

    pub(super) fn delivery(&mut self, side: Side, direction: usize) -> u64 {
        let late = self.now < FAULTS_END && self.rng.u32(0..50) == 0;
        let delay = if late { self.rng.u64(0..300 * MS) } else { self.rng.u64(MS / 20..5 * MS) };
        let time = (self.now + delay).max(self.links[side].last_delivery[direction] + 1);
        self.links[side].last_delivery[direction] = time;
        time
    }

    pub(super) fn send_to_node(&mut self, side: Side, message: ToNode) {
        if self.links[side].up {
            let time = self.delivery(side, 0);
            self.to_node.push(message);
            let (link, slot) = (self.links[side].number, self.to_node.len() - 1);
            self.at(time, What::ToNode { side, link, slot });
        }
    }

    pub(super) fn send_to_edge(&mut self, side: Side, message: FromNode) {
        if self.links[side].up {
            let time = self.delivery(side, 1);
            self.to_edge.push(message);
            let (link, life, slot) = (self.links[side].number, self.edge_life, self.to_edge.len() - 1);
            self.at(time, What::ToEdge { side, link, life, slot });
        }
    }

    pub(super) fn deliver_to_node(&mut self, side: Side, link: u64, slot: usize) {
        if self.links[side].cut.a {
            // It is sent again and again below us, until the connection is given up; it may even arrive after that.
            if self.rng.u32(0..100) < 97 {
                self.after(50 * MS, What::ToNode { side, link, slot });
            }
            return;
        }
        // The shell listens to the newest connection only; that must not matter for safety, so now and then it does not.
        let newest = link == self.links[side].number && self.links[side].up;
        if newest || self.rng.u32(0..10) == 0 {
            let message = self.to_node[slot];
            self.tell_node(side, node::Input::Message(message));
        }
    }

    pub(super) fn deliver_to_edge(&mut self, side: Side, link: u64, life: u64, slot: usize) {
        if self.links[side].cut.b && self.links[side].up {
            if self.rng.u32(0..100) < 97 {
                self.after(50 * MS, What::ToEdge { side, link, life, slot });
            }
            return;
        }
        if link == self.links[side].number && life == self.edge_life && self.links[side].up {
            self.links[side].edge_heard = self.now;
            let message = self.to_edge[slot].clone();
            self.tell_edge(coordinator::Input::Node { side, message });
        }
    }
}
