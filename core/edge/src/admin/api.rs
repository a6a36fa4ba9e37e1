//! The admin API's types: how the edge and its pairs stand, and what has happened. Orders are in `orders`.
//!
//! Durations are in milliseconds, with fractions; times of day are RFC 3339 texts in UTC.

pub use super::certificates::{CertificateStatus, TrustStatus};
pub use super::orders::{
    CommandOrder, Failure, GateAnswer, GateOrder, MaintenanceAnswer, MaintenanceOrder, PauseAnswer, PauseOrder,
    PolicyAnswer, PolicyOrder, Reloaded, ShadowOrder, SwitchAnswer, SwitchOrder, UpgradeOrder, Upgraded, WholeOrder,
};
pub use super::seen::{HandoverCounts, Latencies, SeenStatus, SideSeen, StreamsSeen};
use lockstep_pair::record::{HandoverRecord, Phase};
use lockstep_pair::{Route, RouteKind};
use lockstep_policy::event::{Lan, Replication, Role, Service, Verdict};
use lockstep_policy::{Epoch, Level, Side, Sides};
use serde::{Deserialize, Serialize};

/// `GET /v1/status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The edge's name.
    pub edge: String,
    /// The version of lockstep.
    pub version: String,
    /// Since when it runs.
    pub started: String,
    /// The configuration's file.
    pub config: String,
    /// What became of the last reload of the configuration; empty when there was none.
    pub reload: Vec<String>,
    /// Entries that the journals have lost because the disk was too slow.
    pub journal_lost: u64,
    /// What has become of the access log's lines; none where there is no access log.
    #[serde(default)]
    pub access_log: Option<AccessLogStatus>,
    /// The trust between edge and agents.
    #[serde(default)]
    pub trust: TrustStatus,
    /// Its pairs, in the configuration's order.
    pub pairs: Vec<PairStatus>,
}

/// What has become of the access log's lines since the edge started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessLogStatus {
    /// Lines written.
    pub written: u64,
    /// Lines lost because the disk was too slow or full.
    pub lost: u64,
}

/// How one pair stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PairStatus {
    /// Its name.
    pub name: String,
    /// Its listeners.
    pub listen: Vec<String>,
    /// What is done with requests now.
    pub route: Route,
    /// The highest epoch used.
    pub epoch: Epoch,
    /// The active side, and since which epoch.
    pub active: Option<Active>,
    /// The handover under way.
    pub handover: Option<Underway>,
    /// Whether the edge still asks both agents after its start.
    pub recovering: bool,
    /// The sides.
    pub sides: Sides<SideStatus>,
    /// The policy.
    pub policy: PolicyStatus,
    /// What the proxy has done since the edge started.
    pub traffic: TrafficStatus,
    /// What requests and sides have shown since the edge started.
    #[serde(default)]
    pub seen: SeenStatus,
    /// The sessions, in a pair in which both sides may serve.
    #[serde(default)]
    pub sessions: Option<SessionsStatus>,
    /// Whether the policy's own switches are refused.
    pub paused: Option<Pause>,
    /// Whether clients are told that the pair is under maintenance.
    #[serde(default)]
    pub maintenance: Option<Maintenance>,
    /// The latest alerts, newest first.
    pub alerts: Vec<AlertStatus>,
    /// The latest handover.
    pub last: Option<Summary>,
    /// The store's last trouble; empty when there is none.
    pub store: String,
}

/// How sessions are shared out, in a pair in which both sides may serve.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionsStatus {
    /// Sessions on each side.
    pub on: Sides<u32>,
    /// The parts of new sessions that each side gets; both zero: none is let in.
    pub parts: Sides<u32>,
    /// The side whose sessions are being moved; none when no move is under way.
    pub moving_from: Option<Side>,
    /// Sessions that the last move has moved.
    pub moved: u32,
    /// Sessions that it has still to move.
    pub left: u32,
    /// Sessions that did not come back from it in time.
    pub failed: u32,
    /// The first of these, by name.
    pub names: Vec<String>,
    /// Why the sessions are shared out so.
    pub reason: String,
}

/// The active side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Active {
    /// The side.
    pub side: Side,
    /// The epoch in which it became so.
    pub epoch: Epoch,
}

/// A handover under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Underway {
    /// The side that shall become active.
    pub to: Side,
    /// Where it is.
    pub phase: Phase,
}

/// How one side stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SideStatus {
    /// Its servers.
    pub servers: Vec<String>,
    /// Its agent's address; empty when it has none.
    pub agent: String,
    /// Whether it has neither agent nor lease: only its calls' answers say that it has stopped.
    #[serde(default)]
    pub unfenced: bool,
    /// Whether the main connection is up.
    pub main: bool,
    /// Whether the auxiliary connection is up.
    pub auxiliary: bool,
    /// Why a connection is not up; empty when both are.
    pub trouble: String,
    /// The agent's certificate, while it is connected by TLS.
    #[serde(default)]
    pub certificate: Option<CertificateStatus>,
    /// What the agent said last; none when nothing was heard.
    pub report: Option<ReportStatus>,
    /// The last answer to each probe.
    pub probes: Vec<ProbeStatus>,
    /// What the policy wants operators to read; empty when nothing.
    pub shown: String,
    /// Requests in flight.
    pub in_flight: u64,
}

/// What an agent said last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReportStatus {
    /// The role that it holds.
    pub role: Role,
    /// The highest epoch on its disk.
    pub epoch: Epoch,
    /// Active, and all that serving needs is ready.
    pub serving: bool,
    /// All that is not exclusive is ready.
    pub fit: bool,
    /// Something exclusive runs, or may run.
    pub running: bool,
    /// How long its lease lasted then; 0 without one.
    pub lease_left_ms: f64,
    /// Its services.
    pub services: Vec<Service>,
    /// The application's release; empty when unknown.
    pub release: String,
    /// How its copy of the pair's data is.
    #[serde(default)]
    pub replication: Replication,
    /// For a person to read; may be empty.
    #[serde(default)]
    pub replication_detail: String,
    /// Whether it finds itself on the LAN.
    #[serde(default)]
    pub lan: Lan,
    /// The manual gate that its start waits at; empty when it waits at none.
    #[serde(default)]
    pub waiting: String,
    /// Exclusive services that nothing on its node ends when its agent hangs or dies.
    #[serde(default)]
    pub unbound: Vec<String>,
    /// How long ago it was heard.
    pub age_ms: f64,
}

/// The last answer to one probe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProbeStatus {
    /// The policy's number for it.
    pub probe: u32,
    /// What is sent: `http :80/path`, `tcp :2011`.
    pub target: String,
    /// From one to the next.
    pub interval_ms: f64,
    /// The answer; none before the first.
    pub last: Option<ProbeAnswer>,
}

/// An answer to a probe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProbeAnswer {
    /// What it means.
    pub verdict: Verdict,
    /// HTTP status; 0 when there was none.
    pub status: u16,
    /// From the first byte sent to the verdict.
    pub latency_ms: f64,
    /// Why it is not good, or what was taken from the answer.
    pub detail: String,
    /// How long ago.
    pub age_ms: f64,
}

/// The policy of a pair.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PolicyStatus {
    /// The plugin's id.
    pub id: String,
    /// The plugin's version.
    pub version: String,
    /// The file.
    pub file: String,
    /// SHA-256 of the file as loaded.
    pub fingerprint: String,
    /// From a fault to the new side's service, at worst, by the policy's own formula.
    pub expected_delay_ms: Option<f64>,
    /// Whether it works; while it does not the pair keeps its course.
    pub working: bool,
    /// Why it does not; empty when it does.
    pub trouble: String,
    /// The number of the last event it was handed.
    pub events: u64,
    /// The longest step, in CPU time.
    pub slowest_step_ms: f64,
    /// The built-in policy that stands in while this one stays away; empty when none does.
    #[serde(default)]
    pub standing_in: String,
    /// Where the plugin's code runs: `process` or `in-process`.
    #[serde(default)]
    pub isolation: String,
    /// The worker process that it runs in, which all pairs with this plugin share.
    #[serde(default)]
    pub worker_pid: Option<u32>,
    /// How often the worker was started again.
    #[serde(default)]
    pub restarts: u64,
    /// By whom and when it was promoted, while another one stands in the configuration; empty: it is the configured one.
    #[serde(default)]
    pub promoted: String,
    /// The policy that is told everything and does nothing; empty when there is none.
    #[serde(default)]
    pub in_shadow: String,
}

/// What the proxy has done since the edge started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficStatus {
    /// Requests taken.
    pub requests: u64,
    /// Requests that wait now.
    pub holding: u64,
    /// Requests that had to wait.
    pub held: u64,
    /// Of these: given to a side afterwards.
    pub released: u64,
    /// Answered 503.
    pub refused: u64,
    /// Answered otherwise without a good answer of a side.
    pub failed: u64,
    /// Connections and requests that the listeners' limits turned away.
    #[serde(default)]
    pub turned_away: u64,
}

/// The pair serves nobody, and clients are told so. Durable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maintenance {
    /// Who began it.
    pub by: String,
    /// What clients are told; empty: the configured page.
    #[serde(default)]
    pub text: String,
    /// Since when.
    pub since: String,
}

/// A pause of the policy's own switches. Durable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Who asked for it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: String,
}

/// Something that operators must know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertStatus {
    /// When.
    pub when: String,
    /// How bad it is.
    pub level: Level,
    /// Who says so: `policy`, `coordinator`, `edge`.
    pub from: String,
    /// What, and what to do.
    pub text: String,
}

/// A handover in one line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Its epoch.
    pub epoch: Epoch,
    /// When it was ordered.
    pub when: String,
    /// `a -> b, planned, completed`.
    pub text: String,
    /// Hold to commit.
    pub gap_ms: Option<f64>,
}

/// `GET /v1/pairs/{pair}/why?epoch=N`: one handover with its evidence. Without `epoch`: the latest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Handover {
    /// The pair.
    pub pair: String,
    /// When it was ordered.
    pub when: String,
    /// The coordinator's record. Its times are on the edge's own clock.
    pub record: HandoverRecord,
    /// What was measured.
    pub measures: Measures,
    /// The events and actions that it rests on, as they are in the journal.
    pub evidence: Vec<JournalEntry>,
}

/// What was measured of a handover.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Measures {
    /// From the order to the end.
    pub total_ms: Option<f64>,
    /// What clients feel: hold to commit.
    pub gap_ms: Option<f64>,
    /// From the agent's word that the new side is active to the first request given to it.
    pub skew_ms: Option<f64>,
    /// From the earliest evidence to the order.
    pub detection_ms: Option<f64>,
    /// From the earliest evidence to the first good answer of the new side (or to commit when none came).
    pub delay_ms: Option<f64>,
    /// The policy's expected delay, at worst, to compare with `delay_ms`.
    pub expected_delay_ms: Option<f64>,
    /// Requests that waited while it ran.
    pub held: u64,
    /// Of these: given to a side.
    pub released: u64,
    /// Requests answered 503 while it ran.
    pub refused: u64,
}

/// One entry of a pair's journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JournalEntry {
    /// Grows by one with each event of the pair; actions and notes carry the number of the event they follow.
    pub seq: u64,
    /// On the edge's own clock.
    pub at_ms: f64,
    /// The time of day.
    pub when: String,
    /// `event`, `action`, `alert`, `operator`, `edge`.
    pub kind: String,
    /// The event or action itself.
    pub what: serde_json::Value,
}

/// `GET /v1/pairs/{pair}/journal?from=SEQ&limit=N`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Journal {
    /// The entries, oldest first.
    pub entries: Vec<JournalEntry>,
    /// Ask again from here; none when there are no more.
    pub next: Option<u64>,
}

/// `GET /v1/pairs/{pair}/policy/shadow`; none: there is no policy in shadow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShadowStatus {
    /// The policy's name.
    pub id: String,
    /// The plugin's version.
    pub version: String,
    /// The plugin's file.
    pub file: String,
    /// SHA-256 of the file.
    pub fingerprint: String,
    /// Since when.
    pub since: String,
    /// By whom.
    pub by: String,
    /// It decided before the one that decides now: `rollback` gives it its place back.
    pub was_in_force: bool,
    /// Whether it works.
    pub working: bool,
    /// What went wrong last; empty when nothing did.
    pub trouble: String,
    /// Events that it was told.
    #[serde(default)]
    pub told: u64,
    /// Events that both have answered since it began, or since the two changed places.
    pub compared: u64,
    /// Events that it answered otherwise.
    pub otherwise: u64,
    /// Events at which it would have decided otherwise, not only watched or shown something else.
    pub decided_otherwise: u64,
    /// The latest differences, newest first.
    pub latest: Vec<ShadowDifference>,
}

/// An event that two policies answer otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShadowDifference {
    /// The event.
    pub seq: u64,
    /// When.
    pub when: String,
    /// It is a decision.
    pub decision: bool,
    /// What only the policy in force asked for.
    pub present: Vec<String>,
    /// What only the candidate would have.
    pub candidate: Vec<String>,
}

/// `GET /v1/pairs/{pair}/explain`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The policy's rules with the parameters in force, and its expected delay.
    pub text: String,
}

/// A route for a person to read: `a`, `hold`, `refuse`.
#[must_use]
pub fn route_text(route: Route) -> &'static str {
    match route.kind {
        RouteKind::Serve(Side::A) => "a",
        RouteKind::Serve(Side::B) => "b",
        RouteKind::Hold => "hold",
        RouteKind::Refuse => "refuse",
        RouteKind::Share => "share",
    }
}
