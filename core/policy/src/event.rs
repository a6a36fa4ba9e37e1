//! What a policy is told. Every event reaches every policy of the pair, in one order, with one clock.

use crate::{At, Epoch, Side};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// One thing that happened, numbered and dated by the host. The number is what evidence refers to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Grows by one with each event of the pair.
    pub seq: u64,
    /// When, on the edge's monotonic clock.
    pub at: At,
    /// What.
    pub what: What,
}

/// The kinds of event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// The first event of an instance: where the pair stands. The policy declares its probes now.
    Start(Start),
    /// A declared probe has an answer, or none in its time.
    Probe(ProbeResult),
    /// A side's agent said how its node is. Sent when something changed, and at least once a second.
    Agent(AgentReport),
    /// A connection to a side's agent came up or went down.
    Link(Link),
    /// What requests met at a side since the last window. Only windows in which something happened are sent.
    Traffic(Traffic),
    /// A timer that the policy set is due.
    Timer(TimerId),
    /// An operator asks for something: answer with a switch, a refusal or a question.
    Order(Order),
    /// The pair's handover moved on.
    Handover(Handover),
    /// What became of an action.
    Result(ActionResult),
    /// The pair's configuration has changed: answer with [`crate::Action::AnswerConfig`].
    Config(ConfigChange),
    /// An operator gives one of the policy's own commands: accept it, refuse it, or ask for confirmation.
    Command(Command),
    /// Sessions moved, came or went since the policy shared them out.
    Sessions(Sessions),
}

/// Where the pair stands when the policy starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// The side that the edge's store says is active.
    pub active: Option<Side>,
    /// The highest epoch used so far.
    pub epoch: Epoch,
    /// Whether this instance was restored from a snapshot.
    pub restored: bool,
    /// How long ago the latest handover ended, as the edge's store knows it; none when there was none.
    pub since_handover: Option<Duration>,
}

/// A number that the policy gives to a probe; it comes back with each result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProbeId(pub u32);

/// A number that the policy gives to a timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TimerId(pub u32);

/// The answer to one probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeResult {
    /// Which probe.
    pub probe: ProbeId,
    /// The side it was sent to.
    pub side: Side,
    /// The server it was sent to, counted from 1 as in [`crate::setup::SideSetup::servers`]; 0 when it is none of them.
    pub server: u32,
    /// Good or bad, by the probe's own declaration.
    pub verdict: Verdict,
    /// From the first byte sent to the verdict.
    pub latency: Duration,
    /// HTTP status; 0 when there was none.
    pub status: u16,
    /// The beginning of the answer's text, or why it failed. At most 256 bytes.
    pub detail: String,
    /// What was found in the answer, in the order in which the probe asks for it. What was not found is not there.
    pub facts: Vec<Fact>,
}

impl ProbeResult {
    /// The value of a fact.
    #[must_use]
    pub fn fact(&self, name: &str) -> Option<&str> {
        self.facts.iter().find(|fact| fact.name == name).map(|fact| fact.value.as_str())
    }
}

/// Something that a probe's answer says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// Its name: the probe's own, or one that the kind of probe always gives (`pid`, `status`, `presence`, `address`).
    pub name: String,
    /// Its value. At most 256 bytes.
    pub value: String,
}

/// What a probe's answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The answer is as declared.
    Good,
    /// An answer came, and it is not as declared (status, body).
    Wrong,
    /// No answer in time.
    Silent,
    /// The connection was refused or reset.
    Refused,
}

/// What an agent says of its node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentReport {
    /// The node's side.
    pub side: Side,
    /// The role that it holds.
    pub role: Role,
    /// The highest epoch on its disk.
    pub epoch: Epoch,
    /// It is active and everything that serving needs runs and is ready.
    pub serving: bool,
    /// All that is not exclusive runs and is ready: it could take over now.
    pub fit: bool,
    /// Its services.
    pub services: Vec<Service>,
    /// The release of the application, as the agent's configuration finds it; empty when unknown.
    pub release: String,
    /// How the side's copy of the pair's data is.
    pub replication: Replication,
    /// For a person to read: how old the copy is, what stopped it. May be empty.
    pub replication_detail: String,
    /// Whether the node finds itself on the LAN.
    pub lan: Lan,
    /// The manual gate that the node's start waits at; empty when it waits at none.
    pub waiting: String,
}

/// How a side's copy of the pair's data is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Replication {
    /// The agent is not configured to know.
    #[default]
    Unknown,
    /// A switch would lose nothing.
    Current,
    /// It works, and has not caught up.
    Behind,
    /// It does not work.
    Stopped,
}

/// Whether a node finds itself on the LAN: its link has a carrier, and its gateway or another neighbour answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lan {
    /// The agent is not configured to know.
    #[default]
    Unknown,
    /// It is.
    Connected,
    /// It is not, for as many checks in a row as the agent's configuration asks for.
    Isolated,
}

/// A role, as the side's agent states it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Nothing was heard.
    #[default]
    Unknown,
    /// Its exclusive services do not run.
    Standby,
    /// Its exclusive services are being started.
    Activating,
    /// Its exclusive services run under a lease.
    Active,
    /// Its exclusive services are being stopped.
    StandingDown,
    /// They could not be started, or not be stopped.
    Failed,
}

/// One service of a node.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Service {
    /// Its name in the agent's configuration.
    pub name: String,
    /// Whether it may run on the active side only.
    pub exclusive: bool,
    /// How it is.
    pub state: ServiceState,
    /// Its process; 0 when there is none.
    pub pid: u32,
    /// How often it was started again since the agent started.
    pub restarts: u32,
}

/// How a service is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceState {
    /// Not running, as ordered.
    Stopped,
    /// Started, not ready yet.
    Starting,
    /// Running and ready.
    Running,
    /// Asked to stop, still there.
    Stopping,
    /// Ended without an order.
    Exited,
    /// Running, and its readiness check fails.
    Unready,
}

/// A connection to an agent came up or went down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The agent's side.
    pub side: Side,
    /// Which of the two connections.
    pub connection: Connection,
    /// Up or down.
    pub up: bool,
}

/// The edge keeps two separate connections to each agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Connection {
    /// Leases, commands, reports.
    Main,
    /// Pings only: a second opinion.
    Auxiliary,
}

/// What requests met at a side in a window of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// The side.
    pub side: Side,
    /// The window's length.
    pub window: Duration,
    /// Answers below 500.
    pub good: u32,
    /// Answers of 500 and above.
    pub server_errors: u32,
    /// Connections refused.
    pub refused: u32,
    /// Connections reset.
    pub resets: u32,
    /// Connects or answers that did not come in time.
    pub timeouts: u32,
    /// Answers that came later than `[pair.detect]`'s `slow`; they are counted above, too. 0 where that is not given.
    #[serde(default)]
    pub slow: u32,
}

/// What an operator asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Names the order in the policy's answer.
    pub order: u64,
    /// The side that shall become active.
    pub to: Side,
    /// Whether the operator has seen the policy's question and insists.
    pub confirmed: bool,
    /// Who asks.
    pub by: String,
    /// What he may do; see [`allowed`].
    pub rights: Vec<String>,
}

impl Order {
    /// Whether the operator has a right.
    #[must_use]
    pub fn may(&self, right: &str) -> bool {
        allowed(&self.rights, right)
    }
}

/// Whether some rights allow something. `all` allows everything.
#[must_use]
pub fn allowed(rights: &[String], right: &str) -> bool {
    rights.iter().any(|held| held == right || held == "all")
}

/// One of the policy's own commands (`describe` tells them), given by an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Names the command in the policy's answer; counted together with orders.
    pub order: u64,
    /// The command's name.
    pub name: String,
    /// The side that it is for, when the operator names one.
    pub side: Option<Side>,
    /// What follows the name; may be empty.
    pub argument: String,
    /// Whether the operator has seen the policy's question and insists.
    pub confirmed: bool,
    /// Who asks.
    pub by: String,
    /// What he may do; see [`allowed`].
    pub rights: Vec<String>,
}

impl Command {
    /// Whether the operator has a right.
    #[must_use]
    pub fn may(&self, right: &str) -> bool {
        allowed(&self.rights, right)
    }
}

/// A new configuration, which the plugin's own schema allows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigChange {
    /// Names the change in the policy's answer.
    pub change: u64,
    /// The whole new [`crate::Setup`], as JSON.
    pub setup: String,
}

/// How the sessions are shared out, in a pair in which both sides may serve.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sessions {
    /// The number of the [`crate::action::Share`] in force; 0 before the first.
    pub share: u64,
    /// Sessions on each side.
    pub on: crate::Sides<u32>,
    /// Sessions that this share's move has moved.
    pub moved: u32,
    /// Sessions that are still to be moved.
    pub left: u32,
    /// Sessions that were asked to move and did not come back within their time.
    pub failed: u32,
    /// The move is over: all are moved or failed, or it was stopped.
    pub ended: bool,
    /// Names of failed sessions, the first 100.
    pub names: Vec<String>,
}

/// The pair's handover moved on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Handover {
    /// The attempt's epoch.
    pub epoch: Epoch,
    /// The side that shall become active.
    pub to: Side,
    /// Where it is now.
    pub stage: Stage,
    /// The side that is active now.
    pub active: Option<Side>,
}

/// The stages of a handover that a policy is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// It has begun.
    Begun,
    /// The new side is active and has the route.
    Completed,
    /// It was given up; who was active is so again, or still.
    RolledBack,
    /// It failed, and no side is active.
    NoActive,
}

/// What became of an action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionResult {
    /// The action's number: actions of an instance are counted from 1 in the order in which they were given.
    pub action: u64,
    /// Done, refused or failed.
    pub outcome: Outcome,
    /// Why, when it was not done.
    pub why: String,
}

/// How an action ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Done; for a switch: completed.
    Done,
    /// Not begun, and nothing has changed.
    Refused,
    /// Begun, and not achieved.
    Failed,
}
