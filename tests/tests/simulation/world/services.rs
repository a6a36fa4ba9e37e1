//! A node's services, as its agent and the kernel treat them: one that is exclusive (CTI), and the application, which is
//! not, and is killed when the node loses its role by failover (`flush`). Guards end both when the agent dies.

use super::links::AgentSays;
use super::nodes::Host;
use super::{MS, What, World};
use lockstep_pair::node::{self, Run};
use lockstep_policy::action::Urgency;
use lockstep_policy::event::{Outcome, Replication, Service, ServiceState};
use lockstep_policy::{At, Side};
use std::collections::VecDeque;

/// An agent that has died leaves its guards this long before they end what they guard: first what serves.
const ORPHAN_GRACE: u64 = 100 * MS;
const ORPHAN_LEAD: u64 = 20 * MS;

/// A process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Tells one start from the next; its process id.
    pub id: u64,
    pub ready: bool,
}

/// What goes wrong with services while this lasts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trouble {
    #[default]
    None,
    /// They do not come up.
    DoesNotStart,
    /// They come up late.
    Slow,
    /// They do not end when they are asked to, and are killed.
    Stubborn,
    /// Not even orders to kill them arrive; only the dead-man's switch does.
    Deaf,
    /// The application answers 500.
    Sick,
}

/// How far the exclusive service is, by the agent's orders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sequence {
    #[default]
    Rest,
    Starting(Run),
    Up,
    Stopping {
        run: Run,
        by: u64,
    },
}

/// The services of one node.
#[derive(Debug, Default)]
pub struct Crew {
    pub exclusive: Option<Process>,
    pub app: Option<Process>,
    /// The application was stopped (SIGSTOP).
    pub app_asleep: bool,
    /// What the application has been given and not begun, because it sleeps.
    pub queue: VecDeque<(usize, u32)>,
    pub trouble: Trouble,
    pub sequence: Sequence,
    /// When the kernel kills what is exclusive, if the switch is not moved on.
    pub deadman: Option<u64>,
    /// In which epoch it was armed last.
    pub deadman_epoch: u64,
    /// The switch is for the application too.
    app_bound: bool,
    /// It has become active, and was not stopped since.
    has_served: bool,
    /// It was stood down in order: its application may finish what it was given under this epoch and earlier ones.
    pub let_finish: u64,
    exited: bool,
    restarts: u32,
    app_starts: u32,
    /// A third service, which a policy may want restarted.
    other: u64,
    /// A restart that the edge waits for: its number, and the process that shall become ready.
    restarting: Option<(u64, u64)>,
}

/// Orders of the node.
impl World {
    pub(super) fn start(&mut self, side: Side, run: Run) {
        self.tell(|| format!("agent {side} starts its exclusive service"));
        let crew = &mut self.hosts[side].crew;
        crew.sequence = Sequence::Starting(run);
        crew.exited = false;
        if crew.exclusive.is_none() && crew.deadman.is_some_and(|at| at > self.now) {
            self.spawn(side);
        } else {
            self.crew_changes(side);
        }
    }

    fn spawn(&mut self, side: Side) -> u64 {
        let trouble = self.hosts[side].crew.trouble;
        let good = trouble != Trouble::DoesNotStart && (!self.has_faults() || self.rng.u32(0..20) > 0);
        let slow = trouble == Trouble::Slow;
        let delay = if slow { self.rng.u64(1_000..6_000) * MS } else { self.rng.u64(5..800) * MS };
        let id = self.next_process();
        self.hosts[side].crew.exclusive = Some(Process { id, ready: false });
        self.after(delay, What::ServiceStarted { side, id, good });
        id
    }

    pub(super) fn service_started(&mut self, side: Side, id: u64, good: bool) {
        let crew = &mut self.hosts[side].crew;
        let Some(process) = crew.exclusive.as_mut().filter(|process| process.id == id) else { return };
        process.ready = true;
        if !good {
            crew.exclusive = None;
            self.tell(|| format!("the exclusive service of {side} does not come up"));
        }
        self.crew_changes(side);
    }

    pub(super) fn stop(&mut self, side: Side, run: Run, by: At, urgency: Urgency) {
        let stop_max = u64::try_from(self.plan.terms.stop_max.as_nanos()).expect("it is short");
        let crew = &self.hosts[side].crew;
        let served = crew.has_served && urgency == Urgency::Failover;
        let mut by = self.hosts[side].clock.world(by);
        if by <= self.now {
            by = self.now + stop_max;
        }
        if served && !self.plan.mutation.leaves_application() {
            self.kill_app(side);
        }
        let host = &self.hosts[side];
        let epoch = host.node.as_ref().map_or(0, |node| node.report(host.clock.now(self.now)).epoch.0);
        let crew = &mut self.hosts[side].crew;
        crew.app_bound = false;
        crew.has_served = false;
        if crew.sequence == Sequence::Up && urgency == Urgency::Planned {
            crew.let_finish = epoch;
        }
        crew.sequence = Sequence::Stopping { run, by };
        let (trouble, running) = (crew.trouble, crew.exclusive);
        let Some(process) = running else { return self.crew_changes(side) };
        self.tell(|| format!("agent {side} stops its exclusive service"));
        let budget = by - self.now;
        let latest = by - budget / 10;
        let kill_at = if urgency == Urgency::Planned { latest } else { latest.min(self.now + budget / 2) };
        let wished = self.now + self.rng.u64(0..400) * MS;
        let end = if trouble == Trouble::Stubborn { kill_at } else { wished.min(kill_at) };
        if trouble != Trouble::Deaf {
            self.at(end, What::ServiceEnds { side, id: process.id });
        }
        let life = self.hosts[side].life;
        self.at(by, What::CrewLooks { side, life });
    }

    pub(super) fn service_ends(&mut self, side: Side, id: u64) {
        let crew = &mut self.hosts[side].crew;
        if crew.exclusive.take_if(|process| process.id == id).is_some() {
            self.tell(|| format!("the exclusive service of {side} has ended"));
            self.crew_changes(side);
        }
    }

    /// The edge, for its policy, wants a service restarted.
    pub(super) fn restart_service(&mut self, side: Side, number: u64, service: &str) {
        let crew = &mut self.hosts[side].crew;
        let done = if service != self.plan.policy.exclusive() {
            crew.other += 1;
            Some((Outcome::Done, ""))
        } else if crew.sequence != Sequence::Up {
            Some((Outcome::Refused, "it is not to run now"))
        } else {
            None
        };
        if let Some((outcome, why)) = done {
            self.say_to_edge(side, AgentSays::Restarted { number, outcome, why: why.to_owned() });
            return self.condition(side);
        }
        crew.exclusive = None;
        crew.restarts += 1;
        let id = self.spawn(side);
        self.hosts[side].crew.restarting = Some((number, id));
        self.condition(side);
    }
}

/// What the agent notices.
impl World {
    /// Something has changed: the agent looks, as soon as it is awake.
    pub(super) fn crew_changes(&mut self, side: Side) {
        let life = self.hosts[side].life;
        let notice = self.rng.u64(MS / 10..2 * MS);
        self.after(notice, What::CrewLooks { side, life });
    }

    pub(super) fn crew_looks(&mut self, side: Side) {
        if self.hosts[side].node.is_none() {
            return;
        }
        let crew = &mut self.hosts[side].crew;
        let input = match (crew.sequence, crew.exclusive) {
            (Sequence::Stopping { run, .. }, None) => {
                crew.sequence = Sequence::Rest;
                crew.exited = false;
                Some(node::Input::Stopped(run))
            }
            (Sequence::Stopping { run, by }, Some(_)) if self.now >= by => {
                crew.sequence = Sequence::Rest;
                Some(node::Input::StopFailed { run, why: "still there after KILL".into() })
            }
            (Sequence::Starting(run), None) => {
                crew.sequence = Sequence::Rest;
                Some(node::Input::StartFailed { run, why: "it did not come up".into() })
            }
            (Sequence::Starting(run), Some(process)) if process.ready => {
                crew.sequence = Sequence::Up;
                crew.has_served = true;
                Some(node::Input::Started(run))
            }
            (Sequence::Up, None) => {
                let ends = !std::mem::replace(&mut crew.exited, true);
                if ends && self.plan.restarts {
                    let life = self.hosts[side].life;
                    let pause = self.rng.u64(100..400) * MS;
                    self.after(pause, What::AgentRestarts { side, life });
                }
                None
            }
            (Sequence::Up, Some(_)) => {
                crew.exited = false;
                None
            }
            _ => None,
        };
        self.end_restart(side);
        self.condition(side);
        if let Some(input) = input {
            self.tell_node(side, input);
        }
        self.condition(side);
    }

    /// An agent may be configured to start again what has ended, before any policy does.
    pub(super) fn agent_restarts(&mut self, side: Side) {
        let Host { crew, node, .. } = &mut self.hosts[side];
        let may_run = crew.deadman.is_some_and(|at| at > self.now);
        if node.is_some() && may_run && crew.sequence == Sequence::Up && crew.exclusive.is_none() {
            crew.restarts += 1;
            self.spawn(side);
            self.condition(side);
        }
    }

    fn end_restart(&mut self, side: Side) {
        let crew = &mut self.hosts[side].crew;
        let Some((number, id)) = crew.restarting else { return };
        let (outcome, why) = match crew.exclusive {
            Some(process) if process.id == id && !process.ready => return,
            Some(process) if process.id == id => (Outcome::Done, ""),
            _ => (Outcome::Failed, "it has ended before it was ready"),
        };
        crew.restarting = None;
        self.say_to_edge(side, AgentSays::Restarted { number, outcome, why: why.to_owned() });
    }

    /// Tells the node how its services are.
    pub(super) fn condition(&mut self, side: Side) {
        let crew = &self.hosts[side].crew;
        let state = |process: Option<Process>, ended: bool| match process {
            Some(Process { ready: true, .. }) => ServiceState::Running,
            Some(_) => ServiceState::Starting,
            None if ended => ServiceState::Exited,
            None => ServiceState::Stopped,
        };
        let service = |name: &str, exclusive, state, pid: u64, restarts| Service {
            name: name.to_owned(),
            exclusive,
            state,
            pid: u32::try_from(pid).unwrap_or(0),
            restarts,
        };
        let id = |process: Option<Process>| process.map_or(0, |process| process.id);
        let app_restarts = crew.app_starts.saturating_sub(1);
        let services = vec![
            service(
                "switchover",
                false,
                ServiceState::Running,
                1_000_000 + crew.other,
                u32::try_from(crew.other).unwrap_or(0),
            ),
            service("web", false, state(crew.app, true), id(crew.app), app_restarts),
            service(
                self.plan.policy.exclusive(),
                true,
                state(crew.exclusive, crew.exited),
                id(crew.exclusive),
                crew.restarts,
            ),
        ];
        let ready = |process: Option<Process>| process.is_some_and(|process| process.ready);
        let condition = node::Condition {
            fit: ready(crew.app),
            ready: ready(crew.exclusive),
            running: crew.exclusive.is_some(),
            services,
            replication: Replication::Current,
            ..node::Condition::default()
        };
        self.tell_node(side, node::Input::Condition(condition));
    }
}

/// The dead-man's switch, and deaths.
impl World {
    pub(super) fn deadman_at(&mut self, side: Side, time: u64) {
        let host = &mut self.hosts[side];
        let epoch = host.node.as_ref().map_or(0, |node| node.report(host.clock.now(self.now)).epoch.0);
        let crew = &mut host.crew;
        crew.deadman = Some(time);
        crew.deadman_epoch = epoch;
        crew.app_bound = true;
        self.at(time, What::Deadman { side });
    }

    pub(super) fn deadman(&mut self, side: Side) {
        let crew = &mut self.hosts[side].crew;
        if crew.deadman != Some(self.now) {
            return;
        }
        let bound = crew.app_bound;
        if crew.exclusive.take().is_some() {
            self.stats.deadman += 1;
            self.tell(|| format!("the dead-man's switch of {side} kills its exclusive service"));
            self.crew_changes(side);
        }
        if bound && !self.plan.mutation.leaves_application() {
            self.kill_app(side);
        }
    }

    pub(super) fn app_starts(&mut self, side: Side) {
        let host = &self.hosts[side];
        if host.node.is_none() || host.crew.app.is_some() || host.off {
            return;
        }
        let id = self.next_process();
        let crew = &mut self.hosts[side].crew;
        crew.app = Some(Process { id, ready: false });
        crew.app_starts += 1;
        let delay = self.rng.u64(50..800) * MS;
        self.after(delay, What::AppReady { side, id });
        self.crew_changes(side);
    }

    pub(super) fn app_ready(&mut self, side: Side, id: u64) {
        if let Some(app) = self.hosts[side].crew.app.as_mut().filter(|app| app.id == id) {
            app.ready = true;
            self.crew_changes(side);
        }
    }

    pub(super) fn kill_app(&mut self, side: Side) {
        let crew = &mut self.hosts[side].crew;
        crew.app_asleep = false;
        if crew.app.take().is_none() {
            return;
        }
        crew.queue.clear();
        self.tell(|| format!("the application of {side} is killed"));
        self.reset_requests_of_before(side);
        let life = self.hosts[side].life;
        let pause = self.rng.u64(50..300) * MS;
        self.after(pause, What::AppStarts { side, life });
        self.crew_changes(side);
    }

    /// A new life of the agent takes what is there as left by an earlier one.
    pub(super) fn crew_begins(&mut self, side: Side) {
        let crew = &mut self.hosts[side].crew;
        crew.sequence = Sequence::Rest;
        crew.has_served = false;
        crew.exited = false;
        crew.restarting = None;
        let life = self.hosts[side].life;
        let pause = self.rng.u64(50..300) * MS;
        self.after(pause, What::AppStarts { side, life });
    }

    /// The agent has died: each guard ends its service.
    pub(super) fn crew_is_orphaned(&mut self, side: Side) {
        let crew = self.hosts[side].crew.exclusive;
        if let Some(app) = self.hosts[side].crew.app {
            self.after(ORPHAN_GRACE, What::AppOrphanEnds { side, id: app.id });
        }
        if let Some(process) = crew {
            let stop_max = u64::try_from(self.plan.terms.stop_max.as_nanos()).expect("it is short");
            let takes = self.rng.u64(0..=stop_max);
            if self.hosts[side].crew.trouble != Trouble::Deaf {
                self.after(ORPHAN_GRACE + ORPHAN_LEAD + takes, What::ServiceEnds { side, id: process.id });
            }
        }
    }

    pub(super) fn app_orphan_ends(&mut self, side: Side, id: u64) {
        if self.hosts[side].crew.app.is_some_and(|app| app.id == id) {
            self.kill_app(side);
        }
    }

    /// The host has lost its power.
    pub(super) fn crew_is_gone(&mut self, side: Side) {
        let crew = &mut self.hosts[side].crew;
        crew.sequence = Sequence::Rest;
        crew.has_served = false;
        crew.exclusive = None;
        crew.app = None;
        crew.app_asleep = false;
        crew.queue.clear();
        crew.deadman = None;
    }
}
