//! The connections between edge and agents. On each, what is sent arrives in its order; while the way is cut it waits
//! below, until the connection is given up. What a dead connection carried may still arrive.

use super::network::Place;
use super::{MS, What, World};
use lockstep_pair::protocol::{FromNode, Terms, ToNode};
use lockstep_pair::{coordinator, node};
use lockstep_policy::Side;
use lockstep_policy::event::{self, Connection, Outcome};
use std::collections::VecDeque;

/// What an edge says to an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EdgeSays {
    Hello(Terms),
    Command(ToNode),
    Restart { number: u64, service: String },
}

/// What an agent says to an edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentSays {
    Node(FromNode),
    Restarted { number: u64, outcome: Outcome, why: String },
}

/// The main connection to one agent, and what the auxiliary one has come to.
#[derive(Default)]
pub struct Link {
    /// Counts the connections.
    pub number: u64,
    pub up: bool,
    pub edge_heard: u64,
    to_agent: VecDeque<(u64, EdgeSays)>,
    to_edge: VecDeque<(u64, AgentSays)>,
    /// When the last message of each direction arrives: none overtakes another.
    last: [u64; 2],
    pub auxiliary: bool,
    missed: u32,
}

/// The main connection.
impl World {
    pub(super) fn connect(&mut self, side: Side) {
        if !self.edge.is_up() || self.links[side].up {
            return;
        }
        let host = &self.hosts[side];
        let answers = host.node.is_some() && !host.agent_asleep && !host.frozen;
        if !answers || !self.network.both(Place::Edge, Place::Node(side)) {
            let pause = self.rng.u64(50..500) * MS;
            return self.after(pause, What::LinkUp { side });
        }
        let link = &mut self.links[side];
        link.up = true;
        link.number += 1;
        link.edge_heard = self.now;
        link.last = [self.now; 2];
        self.tell(|| format!("agent {side} connected"));
        self.edge.last_words[side].forget();
        self.say_to_agent(side, EdgeSays::Hello(self.plan.terms));
        self.tell_edge(coordinator::Input::Link { side, up: true });
        self.inform(event::What::Link(event::Link { side, connection: Connection::Main, up: true }));
        let silence = self.plan.silence();
        self.after(silence, What::Silence { side });
    }

    pub(super) fn disconnect(&mut self, side: Side, why: &str) {
        if !std::mem::replace(&mut self.links[side].up, false) {
            return;
        }
        self.tell(|| format!("agent {side} lost: {why}"));
        self.tell_edge(coordinator::Input::Link { side, up: false });
        self.inform(event::What::Link(event::Link { side, connection: Connection::Main, up: false }));
        self.lose_restarts(side);
        let pause = self.rng.u64(10..200) * MS;
        self.after(pause, What::LinkUp { side });
    }

    /// The edge gives a connection up over which it has heard nothing for too long.
    pub(super) fn silence(&mut self, side: Side) {
        if !self.links[side].up {
            return;
        }
        let due = self.links[side].edge_heard + self.plan.silence();
        if self.now >= due {
            self.disconnect(side, "it says nothing");
        } else {
            self.at(due, What::Silence { side });
        }
    }

    pub(super) fn say_to_agent(&mut self, side: Side, says: EdgeSays) {
        if self.links[side].up {
            let (number, time) = (self.links[side].number, self.arrival(side, 0));
            self.links[side].to_agent.push_back((number, says));
            self.at(time, What::ToAgent { side, link: number });
        }
    }

    pub(super) fn say_to_edge(&mut self, side: Side, says: AgentSays) {
        if self.links[side].up {
            let (number, time) = (self.links[side].number, self.arrival(side, 1));
            self.links[side].to_edge.push_back((number, says));
            self.at(time, What::ToEdge { side, link: number });
        }
    }

    fn arrival(&mut self, side: Side, direction: usize) -> u64 {
        let time = (self.now + self.delay()).max(self.links[side].last[direction] + 1);
        self.links[side].last[direction] = time;
        time
    }

    pub(super) fn arrives_at_agent(&mut self, side: Side, link: u64) {
        if !self.network.open(Place::Edge, Place::Node(side)) {
            return self.after(50 * MS, What::ToAgent { side, link });
        }
        let queue = &mut self.links[side].to_agent;
        let place = queue.iter().position(|(of, _)| *of == link);
        let Some((_, says)) = place.and_then(|place| queue.remove(place)) else { return };
        // The shell listens to the newest connection only; that must not matter for safety, so now and then it does not.
        let newest = self.links[side].up && link == self.links[side].number;
        if self.hosts[side].node.is_none() {
            return;
        }
        if !newest && self.rng.u32(0..4) > 0 {
            return;
        }
        match says {
            EdgeSays::Hello(terms) if newest => self.tell_node(side, node::Input::Terms(terms)),
            EdgeSays::Hello(_) => {}
            EdgeSays::Command(message) => {
                let message = self.plan.mutation.received(message, self.hosts[side].clock.now(self.now));
                self.tell_node(side, node::Input::Message(message));
            }
            EdgeSays::Restart { number, service } => self.restart_service(side, number, &service),
        }
    }

    pub(super) fn arrives_at_edge(&mut self, side: Side, link: u64) {
        if !self.network.open(Place::Node(side), Place::Edge) {
            return self.after(50 * MS, What::ToEdge { side, link });
        }
        let queue = &mut self.links[side].to_edge;
        let place = queue.iter().position(|(of, _)| *of == link);
        let Some((_, says)) = place.and_then(|place| queue.remove(place)) else { return };
        if !self.links[side].up || link != self.links[side].number {
            return;
        }
        self.links[side].edge_heard = self.now;
        match says {
            AgentSays::Node(message) => self.heard(side, message),
            AgentSays::Restarted { number, outcome, why } => self.restarted(number, outcome, &why),
        }
    }

    /// What was under way on a connection to a host that has lost its memory does not arrive.
    pub(super) fn forget_messages(&mut self, side: Side) {
        self.links[side].to_agent.clear();
        self.links[side].to_edge.clear();
    }
}

/// The auxiliary connection, which pings.
impl World {
    pub(super) fn ping_auxiliary(&mut self, side: Side) {
        let renew = self.plan.renew();
        self.after(renew, What::Auxiliary { side });
        if !self.edge.is_up() {
            return;
        }
        let answers = self.agent_answers(side);
        let link = &mut self.links[side];
        link.missed = if answers { 0 } else { link.missed + 1 };
        let up = answers || link.auxiliary && link.missed < 3 && self.hosts[side].node.is_some();
        if std::mem::replace(&mut link.auxiliary, up) != up {
            self.inform(event::What::Link(event::Link { side, connection: Connection::Auxiliary, up }));
        }
    }

    /// Whether a ping that is sent now is answered.
    pub(super) fn agent_answers(&self, side: Side) -> bool {
        let host = &self.hosts[side];
        host.node.is_some() && !host.agent_asleep && !host.frozen && self.network.both(Place::Edge, Place::Node(side))
    }
}
