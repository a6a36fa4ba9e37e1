//! The nodes' hosts and their agents: the shell around the production node, its disk, its timer, its LAN.

use super::clock::Clock;
use super::disk::Disk;
use super::links::AgentSays;
use super::services::Crew;
use super::{MS, What, World};
use lockstep_pair::node::{self, Node};
use lockstep_pair::protocol::{Answer, FromNode, Session};
use lockstep_policy::Side;
use lockstep_policy::event::{Lan, Role};

/// One node's host.
pub struct Host {
    pub clock: Clock,
    pub node: Option<Node>,
    /// Counts the lives of the agent.
    pub life: u64,
    pub disk: Disk<node::Stored>,
    pub crew: Crew,
    /// The agent was stopped (SIGSTOP).
    pub agent_asleep: bool,
    /// The whole host was stopped; the kernel's timers do not need it.
    pub frozen: bool,
    /// Without power, or booting.
    pub off: bool,
    /// What waits for somebody here to wake up.
    pub deferred: Vec<What>,
    /// Its gateway does not answer, whether the edge reaches it or not.
    pub gateway_lost: bool,
    /// Since when its agent knows that it is isolated.
    pub known_isolated: Option<u64>,
    /// When the agent's one timer is armed for.
    pub timer: Option<u64>,
    /// The highest epoch that it has ever answered for.
    pub answered: u64,
    /// The highest epoch in which it became active.
    pub activated: u64,
}

impl Host {
    pub fn new(clock: Clock) -> Host {
        Host {
            clock,
            node: None,
            life: 0,
            disk: Disk::default(),
            crew: Crew::default(),
            agent_asleep: false,
            frozen: false,
            off: false,
            deferred: Vec::new(),
            gateway_lost: false,
            known_isolated: None,
            timer: None,
            answered: 0,
            activated: 0,
        }
    }
}

/// Lives and deaths.
impl World {
    pub(super) fn agent_up(&mut self, side: Side) {
        let session = Session(self.rng.u64(1..));
        let host = &mut self.hosts[side];
        if host.node.is_some() || host.off {
            return;
        }
        host.life += 1;
        host.timer = None;
        host.node = Some(Node::new(session, *host.disk.durable(), host.clock.now(self.now)));
        self.tell(|| format!("agent {side} starts"));
        self.crew_begins(side);
        self.node_outputs(side);
        self.condition(side);
        self.look_at_lan(side);
    }

    /// The agent's process dies; so many of its writes under way are done.
    pub(super) fn agent_dies(&mut self, side: Side, writes: usize) {
        let host = &mut self.hosts[side];
        if host.node.take().is_none() {
            return;
        }
        host.life += 1;
        host.known_isolated = None;
        host.agent_asleep = false;
        host.disk.crash(writes);
        host.deferred.clear();
        self.stats.agent_crashes += 1;
        self.tell(|| format!("agent {side} is killed"));
        self.crew_is_orphaned(side);
        let (notice, again) = (self.rng.u64(0..20) * MS, self.rng.u64(50..3_000) * MS);
        let link = self.links[side].number;
        self.after(notice, What::LinkBreaks { side, link });
        self.after(again, What::AgentUp { side });
    }

    /// The host loses its power, or is started anew: everything ends at once, and nobody hears of it.
    pub(super) fn power_off(&mut self, side: Side, for_how_long: u64) {
        if std::mem::replace(&mut self.hosts[side].off, true) {
            return;
        }
        let writes = self.rng.usize(0..3);
        let host = &mut self.hosts[side];
        let had_agent = host.node.take().is_some();
        host.life += 1;
        host.known_isolated = None;
        (host.agent_asleep, host.frozen) = (false, false);
        host.disk.crash(writes);
        host.deferred.clear();
        self.stats.reboots += u64::from(had_agent);
        self.tell(|| format!("host {side} is off"));
        self.crew_is_gone(side);
        self.forget_messages(side);
        self.after(for_how_long, What::Boot { side });
    }

    pub(super) fn boot(&mut self, side: Side) {
        self.hosts[side].off = false;
        self.hosts[side].clock.reboot(self.now);
        self.tell(|| format!("host {side} boots"));
        // Only now somebody is there to say that the connections of before are gone.
        self.reset_requests_of_before(side);
        let link = self.links[side].number;
        self.after(MS, What::LinkBreaks { side, link });
        let pause = self.rng.u64(20..500) * MS;
        self.after(pause, What::AgentUp { side });
    }

    pub(super) fn wake(&mut self, side: Side) {
        let host = &mut self.hosts[side];
        (host.agent_asleep, host.frozen) = (false, false);
        host.crew.app_asleep = false;
        self.tell(|| format!("node {side} wakes"));
        for what in std::mem::take(&mut self.hosts[side].deferred) {
            self.at(self.now, what);
        }
        self.condition(side);
        self.crew_changes(side);
        self.work_queue_off(side);
    }
}

/// The agent's shell.
impl World {
    pub(super) fn tell_node(&mut self, side: Side, input: node::Input) {
        let host = &mut self.hosts[side];
        let now = host.clock.now(self.now);
        let Some(node) = &mut host.node else { return };
        node.handle(now, input);
        self.node_outputs(side);
    }

    pub(super) fn node_outputs(&mut self, side: Side) {
        while let Some(output) = self.hosts[side].node.as_mut().and_then(Node::poll) {
            match output {
                node::Output::Store { ticket, stored } => self.node_stores(side, ticket.0, stored),
                node::Output::Deadman(at) => {
                    let time = self.hosts[side].clock.world(at);
                    self.deadman_at(side, time);
                }
                node::Output::Start(run) => {
                    self.judge_node_use(side);
                    self.start(side, run);
                }
                node::Output::Stop { run, by, urgency } => self.stop(side, run, by, urgency),
                node::Output::Send(message) => {
                    if let FromNode::Answer(answer) = &message {
                        self.tell(|| format!("agent {side} answers {answer:?}"));
                        self.judge_answer(side, answer);
                    }
                    self.say_to_edge(side, AgentSays::Node(message));
                }
            }
        }
        self.arm_node(side);
    }

    fn arm_node(&mut self, side: Side) {
        let host = &mut self.hosts[side];
        let Some(at) = host.node.as_ref().and_then(Node::deadline) else { return };
        let time = host.clock.world(at);
        if host.timer.is_none_or(|armed| time < armed) {
            host.timer = Some(time);
            // A timer is late, as timers are.
            let late = self.rng.u64(0..3 * MS);
            let life = self.hosts[side].life;
            self.at(time + late, What::NodeTimer { side, life });
        }
    }

    pub(super) fn node_timer(&mut self, side: Side) {
        self.hosts[side].timer = None;
        self.tell_node(side, node::Input::Tick);
    }

    fn node_stores(&mut self, side: Side, ticket: u64, stored: node::Stored) {
        let host = &mut self.hosts[side];
        host.disk.write(ticket, stored);
        let (health, crash, life) = (host.disk.health, host.disk.crash.take(), host.life);
        let (delay, well) = self.fate_of_write(health);
        if let Some(done) = crash {
            return self.after(delay, What::AgentDies { side, life, done });
        }
        self.after(delay, What::NodeStored { side, life, ticket, well });
    }

    pub(super) fn node_stored(&mut self, side: Side, ticket: u64, well: bool) {
        for ticket in self.hosts[side].disk.done(ticket, well) {
            let ticket = node::Ticket(ticket);
            let input = if well {
                node::Input::Stored(ticket)
            } else {
                node::Input::StoreFailed { ticket, why: "no space left on device".into() }
            };
            self.tell_node(side, input);
        }
    }

    /// Says what the host finds of its LAN: isolation at once, as a shell does that has found it often enough.
    pub(super) fn look_at_lan(&mut self, side: Side) {
        let isolated = self.is_isolated(side);
        let host = &mut self.hosts[side];
        let Some(node) = &host.node else { return };
        if isolated == host.known_isolated.is_some() && node.report(lockstep_policy::At::ZERO).lan != Lan::Unknown {
            return;
        }
        let active = self.role(side) == Some(Role::Active);
        self.stats.isolations += u64::from(isolated && active);
        self.tell(|| format!("agent {side} finds itself {}", if isolated { "isolated" } else { "on its LAN" }));
        let binding = !self.plan.mutation.lets_isolated_go_on();
        let lan = if isolated { Lan::Isolated } else { Lan::Connected };
        let why = if isolated { "no neighbour answers".to_owned() } else { String::new() };
        self.tell_node(side, node::Input::Lan { lan, why, binding });
        let now = self.now;
        let host = &mut self.hosts[side];
        host.known_isolated = isolated.then(|| host.known_isolated.unwrap_or(now));
    }

    /// The role that a node's agent would state now.
    pub(super) fn role(&self, side: Side) -> Option<Role> {
        let host = &self.hosts[side];
        host.node.as_ref().map(|node| node.report(host.clock.now(self.now)).role)
    }

    /// Whether the agent that the edge has heard last has died, and another life has begun of which the edge knows nothing.
    pub(super) fn is_another_life(&self, side: Side) -> bool {
        let host = &self.hosts[side];
        let now = host.node.as_ref().map(|node| node.report(host.clock.now(self.now)).stamp.session);
        let heard = self.edge.coordinator.as_ref().and_then(|coordinator| coordinator.report(side));
        heard.map(|report| report.stamp.session) != now
    }

    /// Whether it holds a lease of that epoch that has not run out.
    pub(super) fn is_active_in(&self, side: Side, epoch: lockstep_policy::Epoch) -> bool {
        let host = &self.hosts[side];
        host.node.as_ref().is_some_and(|node| {
            let report = node.report(host.clock.now(self.now));
            report.role == Role::Active && report.epoch == epoch && !report.lease_left.is_zero()
        })
    }

    /// Whether it holds a lease of any epoch.
    pub(super) fn holds_lease(&self, side: Side) -> bool {
        let host = &self.hosts[side];
        host.node.as_ref().is_some_and(|node| !node.report(host.clock.now(self.now)).lease_left.is_zero())
    }

    /// I3, I4: what an answer claims is on the disk, and is not older than what was claimed before.
    fn judge_answer(&mut self, side: Side, answer: &Answer) {
        let (Answer::StoodDown { epoch } | Answer::Activated { epoch }) = answer else { return };
        let (epoch, host) = (epoch.0, &mut self.hosts[side]);
        let (durable, before) = (host.disk.durable().epoch.0, host.answered);
        host.answered = before.max(epoch);
        if matches!(answer, Answer::Activated { .. }) {
            host.activated = epoch;
        }
        if epoch < before {
            self.broken(format!("I3: side {side} obeys epoch {epoch} after it has answered for epoch {before}"));
        }
        if epoch > durable {
            self.broken(format!("I4: side {side} answers for epoch {epoch}, and has {durable} on its disk"));
        }
    }

    /// I4: nothing is started in an epoch that is not on the disk.
    fn judge_node_use(&mut self, side: Side) {
        let host = &self.hosts[side];
        let epoch = host.node.as_ref().map_or(0, |node| node.report(host.clock.now(self.now)).epoch.0);
        let durable = host.disk.durable().epoch.0;
        if epoch > durable {
            self.broken(format!("I4: side {side} starts in epoch {epoch}, and has {durable} on its disk"));
        }
    }
}
