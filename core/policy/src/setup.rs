//! What an instance of a policy is made from. It crosses the boundary as JSON.

use crate::Sides;
use serde::{Deserialize, Serialize};

/// The configuration of one pair, as its policy sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Setup {
    /// The pair's name.
    pub pair: String,
    /// `[pair.policy]` without `plugin`: checked against the plugin's own schema before.
    pub parameters: serde_json::Map<String, serde_json::Value>,
    /// `[pair.detect]`: what `fast = true` puts in place of the vendor's second-scale timers.
    pub detect: Detect,
    /// The sides.
    pub sides: Sides<SideSetup>,
}

/// Sub-second detection, for nodes on a LAN whose agent is installed. All in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Detect {
    /// From one probe to the next.
    pub interval_ms: u64,
    /// A probe without an answer for so long is silent.
    pub timeout_ms: u64,
    /// Consecutive failures to act on.
    pub failures: u32,
}

/// One side, as its policy sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SideSetup {
    /// `host:port` of each server, of all pools.
    pub servers: Vec<String>,
    /// The pool of each server, in the same order; one that is missing or empty is of the pool without a name.
    #[serde(default)]
    pub pools: Vec<String>,
    /// Whether an agent runs on its node.
    pub agent: bool,
}
