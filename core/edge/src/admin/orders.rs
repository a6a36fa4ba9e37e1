//! What an operator orders by the admin API, and what he is answered.

use super::api::{Handover, Maintenance, Pause};
use lockstep_policy::Side;
use lockstep_policy::event::Outcome;
use serde::{Deserialize, Serialize};

/// Body of `POST /v1/pairs/{pair}/maintenance`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaintenanceOrder {
    /// Who asks.
    pub by: String,
    /// Whether it begins, or ends.
    pub on: bool,
    /// What clients are told; empty: the configured page.
    #[serde(default)]
    pub text: String,
}

/// The answer to a [`MaintenanceOrder`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaintenanceAnswer {
    /// How it is now; none: the pair serves.
    pub maintenance: Option<Maintenance>,
}

/// Body of `POST /v1/pairs/{pair}/switch`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SwitchOrder {
    /// The side that shall become active.
    pub to: Side,
    /// The operator has seen the policy's question and insists.
    #[serde(default)]
    pub confirmed: bool,
    /// His word, with the reason, that the other side does not run: a failover, without asking the policy and without
    /// waiting for lease, confirmation or hook. Both sides may then be active. Asks for the right `unsafe`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsafe_because: Option<String>,
    /// Who asks.
    pub by: String,
}

/// The answer to a [`SwitchOrder`] or a [`CommandOrder`]: 200 with the handover or what was begun, 409 with a question
/// or a refusal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SwitchAnswer {
    /// It was done, or begun and not achieved: the record's outcome tells.
    Ended(Box<Handover>),
    /// The policy asks: are you sure, because. Ask again with `confirmed`.
    Question(String),
    /// Not begun, because.
    Refused(String),
    /// Done, or begun, as the text says, without a handover of the pair.
    Accepted(String),
}

/// Body of `POST /v1/pairs/{pair}/command`: one of the policy's own commands. Answered as a [`SwitchOrder`] is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandOrder {
    /// The command's name.
    pub name: String,
    /// The side that it is for.
    #[serde(default)]
    pub side: Option<Side>,
    /// What follows the name.
    #[serde(default)]
    pub argument: String,
    /// The operator has seen the policy's question and insists.
    #[serde(default)]
    pub confirmed: bool,
    /// Who asks.
    pub by: String,
}

/// Body of `POST /v1/pairs/{pair}/confirm`: a person has done what a manual gate stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateOrder {
    /// The gate's name in the agent's configuration.
    pub gate: String,
    /// The side whose start waits at it.
    pub side: Side,
    /// Who confirms.
    pub by: String,
}

/// The answer to a [`GateOrder`]: 200 when the gate is open, 409 when it is not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateAnswer {
    /// What became of it.
    pub outcome: Outcome,
    /// Why it is not open, or who had opened it before.
    pub why: String,
}

/// Body of `POST /v1/pairs/{pair}/policy/shadow`: another policy is told everything and does nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShadowOrder {
    /// The plugin's file; empty: that of the policy in force, which with other parameters is another policy.
    #[serde(default)]
    pub file: String,
    /// Parameters that are to be others, each as `KEY=VALUE`: see [`crate::config::Change`].
    #[serde(default)]
    pub set: Vec<String>,
    /// Who asks.
    pub by: String,
}

/// Body of `DELETE /v1/pairs/{pair}/policy/shadow` and `POST …/promote`, `…/rollback`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyOrder {
    /// Who asks.
    pub by: String,
}

/// What was done about a pair's policies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyAnswer {
    /// For a person to read.
    pub text: String,
}

/// Body of `POST /v1/pairs/{pair}/pause` and `…/resume`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PauseOrder {
    /// Who asks.
    pub by: String,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// The answer to a [`PauseOrder`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PauseAnswer {
    /// How it is now; none: not paused.
    pub paused: Option<Pause>,
}

/// Body of `POST /v1/reload`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WholeOrder {
    /// Who asks.
    pub by: String,
}

/// What has become of a reload: 200 when it is in force, 409 when nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// Whether the configuration is in force, but for what is said to need a restart.
    pub applied: bool,
    /// Sentences for a person to read.
    pub said: Vec<String>,
}

/// Body of `POST /v1/upgrade`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpgradeOrder {
    /// The program to go on in; empty: what stands now where this one was started from.
    #[serde(default)]
    pub program: String,
    /// Who asks.
    pub by: String,
}

/// The edge goes on in another process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upgraded {
    /// Its number.
    pub pid: u32,
}

/// Any answer that is not 200 or a [`SwitchAnswer`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What is wrong, and what to do.
    pub error: String,
}
