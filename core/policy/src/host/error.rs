//! What can go wrong at the boundary, in sentences for the person who has to act on it.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

/// A file is not loaded as a plugin, and none of its code was run unless said otherwise.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is too large to be a plugin.
    #[error("{}: larger than {limit} bytes, which no policy plugin is", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The most that is read.
        limit: u64,
    },
    /// The file is no dynamic library of this machine.
    #[error("{}: is not a dynamic library for this machine: {why}", path.display())]
    NotALibrary {
        /// The file.
        path: PathBuf,
        /// What was found instead.
        why: String,
    },
    /// A library, but no policy.
    #[error("{}: is a dynamic library but not a lockstep policy: it has no version stamp (section `.lockstep.policy`); build it with `export_policy!` or `LS_STAMP`", path.display())]
    NoStamp {
        /// The file.
        path: PathBuf,
    },
    /// The version stamp cannot be understood.
    #[error("{}: its version stamp is damaged: {why}", path.display())]
    BadStamp {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A policy for another major version of the ABI.
    #[error("{}: speaks policy ABI {found}, and this lockstep speaks {known}: rebuild it against this lockstep's header or SDK", path.display())]
    OtherMajor {
        /// The file.
        path: PathBuf,
        /// Its major version.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// An error of its own would end the whole edge.
    #[error("{}: was built so that a panic ends the whole process: build it with panic = \"unwind\"", path.display())]
    Aborts {
        /// The file.
        path: PathBuf,
    },
    /// It and this host do not know enough of the same records.
    #[error("{}: {why}: update lockstep or the plugin", path.display())]
    Records {
        /// The file.
        path: PathBuf,
        /// Which are missing, and on which side.
        why: String,
    },
    /// The system's loader refused it. Its constructors may have run.
    #[error("{}: cannot be loaded: {why}", path.display())]
    Load {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// No worker could be asked about it, or the one that was did not live to answer.
    #[error("{}: {why}", path.display())]
    Worker {
        /// The file.
        path: PathBuf,
        /// What happened.
        why: String,
    },
    /// Its table or one of its descriptions is not as the ABI says. Its constructors have run.
    #[error("{}: is not a sound policy: {why}", path.display())]
    Unsound {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

/// A parameter that the plugin's own schema does not allow.
#[derive(Clone, Debug, PartialEq)]
pub struct ParameterError {
    /// The key under `[pair.policy]`, with dots: `balancer.interval`.
    pub key: String,
    /// The value that was given; `None` when one is missing.
    pub value: Option<serde_json::Value>,
    /// What is wrong with it.
    pub problem: String,
    /// What would be valid: a range, a type, a list.
    pub valid: String,
    /// For an unknown key: the known one that looks most like it.
    pub nearest: Option<String>,
}

impl fmt::Display for ParameterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "`{} = {value}` {}", self.key, self.problem)?,
            None => write!(f, "`{}` {}", self.key, self.problem)?,
        }
        if let Some(nearest) = &self.nearest {
            write!(f, "; did you mean `{nearest}`?")?;
        }
        if !self.valid.is_empty() {
            write!(f, "; valid: {}", self.valid)?;
        }
        Ok(())
    }
}

impl std::error::Error for ParameterError {}

/// A plugin did not describe itself.
#[derive(Clone, Debug, thiserror::Error)]
#[error("policy `{policy}` does not {topic}: {why}")]
pub struct DescribeError {
    /// The policy's id.
    pub policy: String,
    /// What it was asked for.
    pub topic: &'static str,
    /// What it said.
    pub why: String,
}

/// No instance was made, or none restored.
#[derive(Clone, Debug, thiserror::Error)]
pub enum InstanceError {
    /// The parameters are not what the plugin's schema allows.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Parameters(Vec<ParameterError>),
    /// The plugin refuses the configuration.
    #[error("policy `{policy}` refuses pair `{pair}`: {why}")]
    Refused {
        /// The policy's id.
        policy: String,
        /// The pair's name.
        pair: String,
        /// What it said.
        why: String,
    },
    /// A snapshot of another policy, or one that the plugin cannot read.
    #[error("policy `{policy}` cannot go on from the snapshot: {why}")]
    Snapshot {
        /// The policy's id.
        policy: String,
        /// What is wrong with it.
        why: String,
    },
    /// The plugin panicked; this instance is not used again.
    #[error("policy `{policy}` panicked: {why}")]
    Panicked {
        /// The policy's id.
        policy: String,
        /// The panic's text.
        why: String,
    },
}

/// A step gave no actions. But for `EventTooLarge` the instance is poisoned: every further step says so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum StepError {
    /// The event does not fit into a record; the policy has not seen it.
    #[error("event {seq} needs {size} bytes, and a record has at most {limit}")]
    EventTooLarge {
        /// The event.
        seq: u64,
        /// Its size.
        size: usize,
        /// The most that there may be.
        limit: usize,
    },
    /// The plugin panicked.
    #[error("policy `{policy}` panicked at event {seq}: {why}")]
    Panicked {
        /// The policy's id.
        policy: String,
        /// The event.
        seq: u64,
        /// The panic's text.
        why: String,
    },
    /// The plugin gave more than a step may give.
    #[error("policy `{policy}` gave too much at event {seq}: {why}")]
    TooMuch {
        /// The policy's id.
        policy: String,
        /// The event.
        seq: u64,
        /// Which bound was passed.
        why: String,
    },
    /// The plugin returned an error, or an action that cannot be understood.
    #[error("policy `{policy}` failed at event {seq}: {why}")]
    Broken {
        /// The policy's id.
        policy: String,
        /// The event.
        seq: u64,
        /// What is wrong.
        why: String,
    },
    /// An earlier step failed.
    #[error("policy `{policy}` is out of use since it failed at event {since}")]
    Poisoned {
        /// The policy's id.
        policy: String,
        /// The event at which it failed.
        since: u64,
    },
}
