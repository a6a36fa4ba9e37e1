//! The actions of one step.

use crate::Action;

/// The actions of one step, numbered from the instance's first one on.
#[derive(Debug)]
pub struct Actions {
    given: u64,
    list: Vec<Action>,
}

impl Actions {
    /// An empty list; `given` actions were given by earlier steps.
    #[must_use]
    pub fn after(given: u64) -> Actions {
        Actions { given, list: Vec::new() }
    }

    /// Adds an action, and returns the number by which its result will come back.
    pub fn push(&mut self, action: Action) -> u64 {
        self.list.push(action);
        self.given + self.list.len() as u64
    }

    /// Adds some actions whose results are not waited for.
    pub fn extend(&mut self, actions: impl IntoIterator<Item = Action>) {
        self.list.extend(actions);
    }

    /// How many actions the instance has given, these included.
    #[must_use]
    pub fn given(&self) -> u64 {
        self.given + self.list.len() as u64
    }

    /// The actions of this step, in order.
    #[must_use]
    pub fn as_slice(&self) -> &[Action] {
        &self.list
    }

    /// The actions of this step, in order.
    #[must_use]
    pub fn into_vec(self) -> Vec<Action> {
        self.list
    }
}
