//! The shell around the node's pure half: one task that waits for whatever comes first, tells the node, and does what the
//! node asks for. It waits for nothing else, so that a lease is never kept or ended late because of a disk or a service.

use crate::checkup::Vital;
use crate::hook::{Hooks, Wish};
use crate::link::Arrival;
use crate::noticed::Noticed;
use crate::notify::Manager;
use crate::platform::alarm::Alarm;
use crate::redirect::Standing;
use crate::service::launch::Launch;
use crate::service::{Crew, Happening, Said};
use crate::store::Store;
use crate::watchdog::Watchdog;
use lockstep_pair::node::{Input, Node, Output, Run, Stored, Ticket};
use lockstep_pair::protocol::ToNode;
use lockstep_policy::At;
use lockstep_policy::action::Urgency;
use lockstep_policy::event::{Outcome, Role};
use lockstep_wire::proto::AgentFrame;
use lockstep_wire::{Finding, FromAgent, FromEdge, Ping, Pong, clock, realtime};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::sync::watch;
use tonic::Status;

/// When nothing has a deadline, the loop still goes round.
const IDLE: Duration = Duration::from_secs(1);
/// Standing down and stopping everything at the agent's end takes no longer, whatever happens.
const ENDING_MAX: Duration = Duration::from_secs(20);

/// What has become of a write.
pub(crate) type Written = (Ticket, Result<(), String>);

/// Everything that the loop waits for.
#[derive(Debug)]
pub(crate) struct Inbox {
    pub(crate) arrivals: mpsc::Receiver<Arrival>,
    pub(crate) happenings: mpsc::Receiver<Happening>,
    pub(crate) written: mpsc::Receiver<Written>,
    pub(crate) noticed: mpsc::Receiver<Noticed>,
}

/// What the loop hands on to others than the node.
#[derive(Debug)]
pub(crate) struct Outlets {
    pub(crate) writes: mpsc::UnboundedSender<(Ticket, Stored)>,
    pub(crate) manager: Manager,
    /// For those who ask whether a service is well.
    pub(crate) vitals: watch::Sender<Vec<Vital>>,
    /// For those who connect.
    pub(crate) release: watch::Sender<String>,
    pub(crate) hooks: Hooks,
    /// The machine's, where it is used.
    pub(crate) watchdog: Option<Watchdog>,
    /// Whether a node that is isolated from its LAN may not be active.
    pub(crate) isolation_binds: bool,
    /// For requests that come to the node directly.
    pub(crate) standing: Arc<Standing>,
    /// How long those that were passed on may take to finish before a planned stop.
    pub(crate) drain: Duration,
}

/// The shell.
#[derive(Debug)]
pub(crate) struct Keeper<L> {
    node: Node,
    crew: Crew<L>,
    outlets: Outlets,
    link: Option<Link>,
    links: u64,
    watchdog_at: At,
    /// Why the machine's watchdog does not count: then nothing exclusive is started.
    unwatched: Option<String>,
    ending: Option<Ending>,
    drain: Option<Drain>,
}

/// The one edge that is listened to.
#[derive(Debug)]
struct Link {
    number: u64,
    edge: String,
    out: mpsc::Sender<Result<AgentFrame, Status>>,
}

/// A stop that waits until direct requests have been answered by what it stops.
#[derive(Clone, Copy, Debug)]
struct Drain {
    run: Run,
    by: At,
    urgency: Urgency,
    until: At,
}

/// Of the time for a stop, so much is left to the stop itself, in quarters.
const STOP_QUARTERS: u32 = 3;

/// The agent's orderly end: first what is exclusive, then the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ending {
    until: At,
    closing: bool,
}

impl<L: Launch> Keeper<L> {
    pub(crate) fn new(node: Node, crew: Crew<L>, outlets: Outlets) -> Keeper<L> {
        Keeper {
            node,
            crew,
            outlets,
            link: None,
            links: 0,
            watchdog_at: At::ZERO,
            unwatched: None,
            ending: None,
            drain: None,
        }
    }

    /// Runs until `shutdown`, and then until all services have been stopped in their order.
    pub(crate) async fn run(mut self, mut alarm: Alarm, mut inbox: Inbox, shutdown: impl Future<Output = ()>) {
        let mut shutdown = std::pin::pin!(shutdown);
        let standing = Arc::clone(&self.outlets.standing);
        self.settle();
        loop {
            let idle = clock::now() + IDLE;
            let next = self.deadline().map_or(idle, |at| at.min(idle));
            tokio::select! {
                biased;
                () = &mut shutdown, if self.ending.is_none() => self.begin_to_end(),
                Some(happening) = inbox.happenings.recv() => self.crew.hear(clock::now(), happening),
                Some((ticket, result)) = inbox.written.recv() => self.written(ticket, result),
                Some(noticed) = inbox.noticed.recv() => self.noticed(noticed),
                () = standing.finished(), if self.drain.is_some() => {}
                () = alarm.until(next) => {}
                Some(arrival) = inbox.arrivals.recv() => self.arrived(arrival),
            }
            self.settle();
            if self.go_on_ending() {
                return;
            }
        }
    }

    fn deadline(&self) -> Option<At> {
        let ending = self.ending.map(|ending| ending.until);
        let watchdog = self.outlets.manager.watchdog().map(|_| self.watchdog_at);
        let drain = self.drain.map(|drain| drain.until);
        let machine = self.outlets.watchdog.as_ref().and_then(Watchdog::due);
        let deadlines = [self.node.deadline(), self.crew.deadline(), ending, watchdog, drain, machine];
        deadlines.into_iter().flatten().min()
    }

    /// Lets node and crew answer each other until both are at rest.
    fn settle(&mut self) {
        let now = clock::now();
        if self.crew.deadline().is_some_and(|at| at <= now) {
            self.crew.tick(now);
        }
        if self.node.deadline().is_some_and(|at| at <= now) {
            self.node.handle(now, Input::Tick);
        }
        self.go_on_stopping(now);
        loop {
            // Before anything is stopped.
            self.outlets.standing.serve_until(self.node.serves_until());
            if let Some(output) = self.node.poll() {
                self.carry_out(output);
            } else if let Some(said) = self.crew.poll() {
                match said {
                    Said::Node(input) => self.node.handle(clock::now(), input),
                    Said::Restarted { id, outcome, why } => self.send(FromAgent::ServiceRestarted { id, outcome, why }),
                }
            } else {
                break;
            }
        }
        self.feed_watchdogs(now);
        let vitals = self.crew.vitals();
        self.outlets.vitals.send_if_modified(|told| {
            let changed = *told != vitals;
            *told = vitals;
            changed
        });
    }

    fn carry_out(&mut self, output: Output) {
        let now = clock::now();
        match output {
            Output::Store { ticket, stored } => {
                if self.outlets.writes.send((ticket, stored)).is_err() {
                    let why = "the store has ended".to_owned();
                    self.node.handle(now, Input::StoreFailed { ticket, why });
                }
            }
            Output::Deadman(at) => {
                self.unwatched = self.outlets.watchdog.as_mut().and_then(|watchdog| watchdog.arm(now).err());
                self.crew.deadman(at);
            }
            Output::Start(run) if self.unwatched.is_some() => {
                let why = self.unwatched.clone().unwrap_or_default();
                self.node.handle(now, Input::StartFailed { run, why });
            }
            Output::Start(run) => self.crew.start(now, run, self.node.report(now).epoch),
            Output::Stop { run, .. } if is_unfenced() => self.node.handle(now, Input::Stopped(run)),
            Output::Stop { run, by, urgency } => self.stop(now, run, by, urgency),
            Output::Send(message) => self.send(FromAgent::Node(message)),
        }
    }

    /// When it is planned, requests that were passed on are answered by what they were passed to, if they are quick.
    fn stop(&mut self, now: At, run: Run, by: At, urgency: Urgency) {
        let longest = by.since(now) / (STOP_QUARTERS + 1);
        let patience = if urgency == Urgency::Planned { self.outlets.drain.min(longest) } else { Duration::ZERO };
        self.drain = Some(Drain { run, by, urgency, until: now + patience });
        self.go_on_stopping(now);
    }

    fn go_on_stopping(&mut self, now: At) {
        let passing = self.outlets.standing.passing();
        if let Some(Drain { run, by, urgency, .. }) = self.drain.take_if(|drain| passing == 0 || drain.until <= now) {
            self.outlets.standing.cut();
            self.crew.stop(now, run, by, urgency);
        }
    }

    fn written(&mut self, ticket: Ticket, result: Result<(), String>) {
        let input = match result {
            Ok(()) => Input::Stored(ticket),
            Err(why) => {
                tracing::error!(why, "the epoch could not be stored");
                Input::StoreFailed { ticket, why }
            }
        };
        self.node.handle(clock::now(), input);
    }

    fn noticed(&mut self, noticed: Noticed) {
        match noticed {
            Noticed::Replication(state, detail) => self.crew.replication(state, detail),
            Noticed::Release(release) => {
                self.outlets.release.send_replace(release.clone());
                self.crew.release(release);
            }
            Noticed::Lan(lan, why) => {
                let binding = self.outlets.isolation_binds;
                self.node.handle(clock::now(), Input::Lan { lan, why, binding });
            }
            Noticed::Hook { link, id, name, outcome, text } => {
                self.outlets.hooks.ended(&name);
                // Another edge, or another life of one, has numbers of its own.
                if self.link.as_ref().is_some_and(|current| current.number == link) {
                    self.send(FromAgent::HookRan { id, outcome, text });
                }
            }
        }
    }

    fn arrived(&mut self, arrival: Arrival) {
        let now = clock::now();
        match arrival {
            Arrival::Hello { edge, terms, out, admitted } => {
                let link = self.admit(edge, out);
                let welcome = link.is_ok();
                // An edge that has gone meanwhile is noticed by its link's end.
                let _ = admitted.send(link);
                if welcome {
                    self.crew.terms(terms.stop_max);
                    realtime::ask_once(terms.ttl, "the agent");
                    self.node.handle(now, Input::Terms(terms));
                }
            }
            Arrival::Said { link, message } if self.link.as_ref().is_some_and(|current| current.number == link) => {
                self.obey(now, message);
            }
            // Of a link that was replaced.
            Arrival::Said { .. } => {}
            Arrival::Ended { link } => {
                if let Some(link) = self.link.take_if(|current| current.number == link) {
                    tracing::info!(edge = link.edge, "the edge's connection has ended");
                }
            }
        }
    }

    /// A newer connection of the same edge takes the older one's place; another edge has to wait until the one that is
    /// there has gone.
    fn admit(&mut self, edge: String, out: mpsc::Sender<Result<AgentFrame, Status>>) -> Result<u64, String> {
        if let Some(current) = self.link.take_if(|current| current.edge == edge || current.out.is_closed()) {
            let _ = current.out.try_send(Err(Status::aborted(format!("edge `{edge}` has connected anew"))));
        }
        if let Some(current) = &self.link {
            return Err(format!(
                "edge `{}` is connected to this agent, and `{edge}` is another: one edge coordinates a pair; stop one of \
                 them, or give both the same `name` if they are one edge's old and new process",
                current.edge
            ));
        }
        self.links += 1;
        tracing::info!(edge, "an edge has connected");
        self.link = Some(Link { number: self.links, edge, out });
        Ok(self.links)
    }

    fn obey(&mut self, now: At, message: FromEdge) {
        match message {
            // While the agent ends, nothing is begun any more; what is active until then is so under its lease.
            FromEdge::Command(ToNode::Activate { .. } | ToNode::Prepare { .. }) if self.ending.is_some() => {}
            FromEdge::Command(command) => self.node.handle(now, Input::Message(command)),
            FromEdge::RestartService { id, name } => self.crew.restart(now, id, &name),
            // Of the agent itself: that this loop goes round is the answer. Services are looked at elsewhere.
            FromEdge::Ping(Ping { number, .. }) => {
                let finding = Some(Finding::Well { pid: std::process::id() });
                self.send(FromAgent::Pong(Pong { number, finding }));
            }
            FromEdge::ConfirmGate { id, gate, by } => {
                let (outcome, why) = self.crew.confirm(now, &gate, &by);
                self.send(FromAgent::GateConfirmed { id, outcome, why });
            }
            FromEdge::RunHook { id, hook, reason } => self.run_hook(now, id, &hook, reason),
            FromEdge::Hello(_) => tracing::warn!("an edge says hello twice"),
            // The link's, which has asked for it.
            FromEdge::CertificateIssued { .. } => {}
        }
    }

    fn run_hook(&mut self, now: At, id: u64, hook: &str, reason: String) {
        let link = self.link.as_ref().map_or(0, |link| link.number);
        let wish = Wish { link, id, reason, epoch: self.node.report(now).epoch };
        if let Err(why) = self.outlets.hooks.run(hook, wish) {
            self.send(FromAgent::HookRan { id, outcome: Outcome::Refused, text: why });
        }
    }

    fn send(&mut self, message: FromAgent) {
        let Some(link) = &self.link else { return };
        match link.out.try_send(Ok(message.into())) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                tracing::warn!(edge = link.edge, "the edge does not read: its connection is given up");
                self.link = None;
            }
            // Its end is on its way.
            Err(TrySendError::Closed(_)) => {}
        }
    }

    /// The service manager's and the machine's: here, because what hangs gets here no more.
    fn feed_watchdogs(&mut self, now: At) {
        if let Some(watchdog) = &mut self.outlets.watchdog {
            if self.crew.may_run_exclusive() { watchdog.feed(now) } else { watchdog.rest(now) }
        }
        if let Some(interval) = self.outlets.manager.watchdog()
            && self.watchdog_at <= now
        {
            self.outlets.manager.say("WATCHDOG=1");
            self.watchdog_at = now + interval;
        }
    }

    /// Stands down in the node's own epoch, by the node's own way: durable, and reported to the edge.
    fn begin_to_end(&mut self) {
        tracing::info!("ends: stops its services in order");
        self.outlets.manager.say("STOPPING=1");
        let now = clock::now();
        self.ending = Some(Ending { until: now + ENDING_MAX, closing: false });
        let report = self.node.report(now);
        if matches!(report.role, Role::Active | Role::Activating) {
            let order = ToNode::StandDown { epoch: report.epoch, urgency: Urgency::Planned };
            self.node.handle(now, Input::Message(order));
        }
    }

    /// Whether the agent has come to its end.
    fn go_on_ending(&mut self) -> bool {
        let Some(ending) = self.ending else { return false };
        let now = clock::now();
        let role = self.node.report(now).role;
        if !ending.closing && !matches!(role, Role::Active | Role::Activating | Role::StandingDown) {
            self.ending = Some(Ending { closing: true, ..ending });
            self.crew.close(now);
            self.settle();
        }
        self.crew.is_closed() || now >= ending.until
    }
}

/// For the test that proves that the demo's judgement can fail: what was claimed to be stopped runs on. No build that is shipped has it.
fn is_unfenced() -> bool {
    cfg!(debug_assertions) && std::env::var_os("LOCKSTEP_TEST_UNFENCED").is_some()
}

/// Writes, in order, on a thread of its own: a disk may take its time.
pub(crate) fn write(
    store: &Store,
    mut writes: mpsc::UnboundedReceiver<(Ticket, Stored)>,
    done: &mpsc::Sender<Written>,
) {
    while let Some((ticket, stored)) = writes.blocking_recv() {
        let result = store.save(stored).map_err(|error| error.to_string());
        if done.blocking_send((ticket, result)).is_err() {
            return;
        }
    }
}
