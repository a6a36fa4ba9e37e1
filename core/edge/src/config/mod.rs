//! The edge's configuration: one TOML file, wholly validated before anything of it is used.
//!
//! Nothing is guessed: an unknown key, a wrong type, a value out of its range, a listener that two pairs claim, a
//! parameter that a policy's own schema refuses, each is a [`Problem`] with its line. All are found in one reading.

mod across;
mod calls;
mod edge;
#[cfg(test)]
mod fuzz;
mod journal;
mod limits;
mod lints;
mod listener;
mod manner;
mod pair;
mod parameter;
mod policies;
mod policy;
mod probe;
mod problem;
mod remote;
mod secrets;
mod seen;
mod session;
mod sides;
mod table;
mod tls;
mod users;

pub use calls::{CallConfig, CallTo};
pub use limits::LimitsConfig;
pub use listener::{ListenerConfig, ListenerTls, OnSwitch, Protocol, ProxyVersion, UpstreamConfig, UpstreamTls};
pub use parameter::Change;
pub use probe::ProbeConfig;
pub use problem::Problem;
pub use remote::{FenceConfig, RemoteConfig, StatusConfig};
pub use secrets::SecretFiles;
pub use seen::SeenConfig;
pub use tls::Security;

use crate::address::Address;
use crate::proxy::{Manner, SessionSettings};
use lockstep_pair::coordinator::Settings;
use lockstep_policy::host::{Plugin, Terms};
use lockstep_policy::{Setup, Sides, Traits};
use policy::Plugins;
use problem::{Finding, Problems};
use std::cell::RefCell;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use table::Table;
use toml::Spanned;
use toml::de::DeTable;

/// No configuration is so large.
const FILE_MAX: u64 = 4 << 20;

/// A valid configuration, its plugins loaded.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file that it was read from.
    pub file: PathBuf,
    /// `[edge]`.
    pub edge: EdgeConfig,
    /// `[secrets]`.
    pub secrets: SecretFiles,
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
    /// `[edge.journal]`.
    pub journal: JournalConfig,
    /// `[edge.probe]`.
    pub probe: ProbeConfig,
    /// `[edge.policies]`.
    pub policies: PoliciesConfig,
    /// `[[edge.users]]`.
    pub users: Vec<UserConfig>,
    /// `[edge.tls]`; there is one where there are agents.
    pub security: Option<Security>,
    /// How the data plane is seen.
    pub seen: SeenConfig,
    /// How long clients may stay that came before a reload or an upgrade.
    pub drain: Duration,
}

/// One of `[[edge.users]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserConfig {
    /// His name, for the record.
    pub name: String,
    /// SHA-256 of his token.
    pub token: [u8; 32],
    /// What he may do: `operate`, `all`, or what a policy asks for.
    pub rights: Vec<String>,
}

/// `[edge.journal]`: what is kept of all pairs together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalConfig {
    /// In bytes.
    pub max_size: u64,
    /// What is older goes.
    pub max_age: Duration,
}

/// One `[[pair]]`.
#[derive(Clone, Debug)]
pub struct PairConfig {
    /// Unique.
    pub name: String,
    /// The VIP's listeners that lead to the servers without a pool.
    pub listen: Vec<SocketAddr>,
    /// `[pair.listeners]`: those that lead to a pool.
    pub listeners: Vec<PoolListeners>,
    /// `[[pair.listener]]`: those of which more is said.
    pub listener: Vec<ListenerConfig>,
    /// `[pair.upstream]`: what is spoken with servers.
    pub upstream: UpstreamConfig,
    /// `[pair.limits]`: what listeners take that have no limits of their own.
    pub limits: LimitsConfig,
    /// How the pair treats its clients: what they are told, and what is changed on the way.
    pub manner: Manner,
    /// Where the edge itself answers balancers and monitors.
    pub answer: Vec<SocketAddr>,
    /// `[pair.session]`: what a session is, in a pair in which both sides may serve.
    pub session: SessionSettings,
    /// The policy.
    pub policy: PolicyConfig,
    /// `[pair.lease]` and `[pair.handover]`.
    pub settings: Settings,
    /// `[pair.hold]`.
    pub hold: HoldConfig,
    /// `[pair.a]` and `[pair.b]`.
    pub sides: Sides<SideConfig>,
}

/// `[pair.policy]`: a trusted plugin and what its instances are made from.
#[derive(Clone, Debug)]
pub struct PolicyConfig {
    /// The plugin's file.
    pub file: PathBuf,
    /// The plugin, and on which terms it is run.
    pub plugin: Plugin,
    /// What an instance is made from.
    pub setup: Setup,
    /// What sets its pairs apart.
    pub traits: Traits,
    /// From a fault to the new side's service, at worst, by the policy's own formula; none when it has no such.
    pub expected_delay: Option<Duration>,
    /// `edge.policies.absent_max`: how long nobody may decide before another policy stands in.
    pub absent_max: Duration,
}

/// `[edge.policies]`: how plugins are run, and which may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoliciesConfig {
    /// Where, and what they may take.
    pub terms: Terms,
    /// The list of those that are trusted.
    pub trust: PathBuf,
    /// How long nobody may decide for a pair before `hold-course` stands in.
    pub absent_max: Duration,
}

/// `[pair.hold]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldConfig {
    /// How many requests may wait at once.
    pub max_requests: usize,
    /// How long each.
    pub max_wait: Duration,
    /// How many of them are given to servers at once, when they may go on, until the first are answered; 0: all.
    pub release_at_once: u32,
    /// What a refused client is told.
    pub retry_after: Duration,
}

/// `[pair.a]` or `[pair.b]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SideConfig {
    /// Its servers, of all pools: those without a pool first, then pool after pool in the order of the names.
    pub servers: Vec<Address>,
    /// The pool of each server; empty when it has none.
    pub pools: Vec<String>,
    /// Its agent; it may have none in a pair in which both sides may serve, or where the edge itself calls.
    pub agent: Option<SocketAddr>,
    /// How the edge itself activates and stops a side that admits no agent.
    pub remote: Option<RemoteConfig>,
    /// What turns its node off.
    pub fence: Option<FenceConfig>,
    /// Its own name for clients that are sent to it.
    pub name: Option<String>,
}

impl SideConfig {
    /// The servers of a pool; of the empty name, those without a pool.
    #[must_use]
    pub fn pool(&self, name: &str) -> Vec<Address> {
        let of = self.servers.iter().zip(&self.pools).filter(|(_, pool)| *pool == name);
        of.map(|(server, _)| server.clone()).collect()
    }
}

/// The listeners that lead to a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolListeners {
    /// Its name.
    pub pool: String,
    /// Where.
    pub listen: Vec<SocketAddr>,
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
    let text = read(path)?;
    let problems = RefCell::new(Problems::new(path, &text));
    let config = parse(&text, path, &problems);
    match problems.into_inner().into_sorted() {
        errors if !errors.is_empty() => Err(Report { errors, lints: Vec::new() }),
        // Nothing was refused, so nothing is missing.
        _ => config.ok_or_else(Report::default),
    }
}

/// All that is wrong with a configuration, and all that is odd in it.
#[must_use]
pub fn check(path: &Path) -> Report {
    match load(path) {
        Ok(config) => Report { errors: Vec::new(), lints: lints::lints(&config) },
        Err(report) => report,
    }
}

/// Reads `[edge]` only: enough to speak to an edge that runs.
pub fn load_edge(path: &Path) -> Result<EdgeConfig, Report> {
    let text = read(path)?;
    let problems = RefCell::new(Problems::new(path, &text));
    let edge = root(&text, &problems).map(|document| {
        let mut table = Table::new(document.get_ref(), "", 0, &problems);
        edge::read(table.table("edge", "edge"), path).0
    });
    match problems.into_inner().into_sorted() {
        errors if !errors.is_empty() => Err(Report { errors, lints: Vec::new() }),
        _ => edge.ok_or_else(Report::default),
    }
}

/// The file of a plugin, where edges look for it whose configuration does not say where.
pub fn installed_plugin(name: &str) -> Result<PathBuf, String> {
    policy::installed(name)
}

/// Where an edge with this configuration has its list of trusted plugins, when it does not say it.
#[must_use]
pub fn trust_list_beside(path: &Path) -> PathBuf {
    policies::defaults(path).trust
}

/// Another policy for a running pair; see [`policy::candidate`].
pub(crate) fn candidate(
    present: &PolicyConfig,
    policies: &PoliciesConfig,
    file: PathBuf,
    changes: &[Change],
) -> Result<PolicyConfig, String> {
    policy::candidate(present, policies, file, changes)
}

fn read(path: &Path) -> Result<String, Report> {
    let problem = |what: String, valid: &str| Problem {
        file: path.to_owned(),
        place: None,
        key: String::new(),
        what,
        valid: valid.to_owned(),
        nearest: None,
    };
    let refuse = |problem| Report { errors: vec![problem], lints: Vec::new() };
    let size = std::fs::metadata(path).map(|file| file.len());
    match size.and_then(|size| if size > FILE_MAX { Ok(None) } else { std::fs::read_to_string(path).map(Some) }) {
        Ok(Some(text)) => Ok(text),
        Ok(None) => Err(refuse(problem(format!("is larger than {FILE_MAX} bytes"), "a configuration in TOML"))),
        Err(error) => Err(refuse(problem(format!("cannot be read: {error}"), "a readable file in TOML"))),
    }
}

/// The document, or the one error of its syntax.
fn root<'i>(text: &'i str, problems: &RefCell<Problems<'i>>) -> Option<Spanned<DeTable<'i>>> {
    match DeTable::parse(text) {
        Ok(document) => Some(document),
        Err(error) => {
            let at = error.span().map_or(0, |span| span.start);
            let what = error.message().replace('\n', ", ");
            problems.borrow_mut().add(at, Finding::new("", format!("is not TOML: {what}")));
            None
        }
    }
}

fn parse<'i>(text: &'i str, path: &Path, problems: &RefCell<Problems<'i>>) -> Option<Config> {
    let document = root(text, problems)?;
    let mut table = Table::new(document.get_ref(), "", 0, problems);
    let (edge, plugins) = edge::read(table.table("edge", "edge"), path);
    let mut plugins = Plugins::new(plugins, edge::beside(path), edge.policies.clone());
    let secrets = secrets::read(table.table("secrets", "secrets"), path, problems);
    let given = table.tables("pair", "pair");
    if given.is_empty() && !table.has("pair") {
        table.missing("pair", "at least one table `[[pair]]`");
    }
    let dir = edge::beside(path);
    let pairs: Vec<pair::Read> = given.into_iter().map(|pair| pair::read(pair, &mut plugins, problems, &dir)).collect();
    table.finish();
    across::check(&edge, &pairs, problems);
    let pairs = pairs.into_iter().map(pair::Read::config).collect::<Option<Vec<_>>>()?;
    Some(Config { file: path.to_owned(), edge, secrets, pairs })
}
