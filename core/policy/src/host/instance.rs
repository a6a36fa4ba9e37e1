//! One pair's policy at work.

use super::{InstanceError, StepError};
use crate::{Action, Event};
use serde::{Deserialize, Serialize};

/// One pair's policy at work. Not shared: one thread at a time feeds it.
#[derive(Debug)]
pub struct Instance {
    policy: String,
    given: u64,
}

/// All that an instance knows; opaque but to the policy that made it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The policy's id.
    pub policy: String,
    /// The plugin's version of the state's format.
    pub state_version: u32,
    /// How many actions were given so far.
    pub given: u64,
    /// The plugin's own bytes.
    pub state: Vec<u8>,
}

impl Instance {
    /// The policy's id.
    #[must_use]
    pub fn policy(&self) -> &str {
        &self.policy
    }

    /// How many actions it has given: the number of the last one. After a step that gave `n` actions these are
    /// numbered `given() - n + 1` to `given()`.
    #[must_use]
    pub fn given(&self) -> u64 {
        self.given
    }

    /// Hands it one event; its answer.
    pub fn step(&mut self, event: &Event) -> Result<Vec<Action>, StepError> {
        Err(StepError::Poisoned { policy: self.policy.clone(), since: event.seq })
    }

    /// All that it knows.
    pub fn save(&self) -> Result<Snapshot, InstanceError> {
        Ok(Snapshot { policy: self.policy.clone(), state_version: 0, given: self.given, state: Vec::new() })
    }

    /// Goes on from a snapshot, with the parameters that this instance was made with.
    pub fn restore(&mut self, snapshot: &Snapshot) -> Result<(), InstanceError> {
        self.given = snapshot.given;
        Ok(())
    }
}
