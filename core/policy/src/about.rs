//! What a policy says of itself to people: its rules, and what it finds odd in a configuration.

use crate::Level;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;

/// One rule of a policy. Scenarios and reasons name it by its id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Short and stable: `T3`.
    pub id: Cow<'static, str>,
    /// What it does, for a person to read.
    pub text: Cow<'static, str>,
}

impl Rule {
    /// A rule that a plugin knows when it is compiled.
    #[must_use]
    pub const fn new(id: &'static str, text: &'static str) -> Rule {
        Rule { id: Cow::Borrowed(id), text: Cow::Borrowed(text) }
    }
}

/// What a policy finds odd in a valid configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lint {
    /// The rule that says so.
    pub rule: Cow<'static, str>,
    /// How bad it is.
    pub level: Level,
    /// What, with the numbers, and what to do.
    pub text: String,
}

/// What sets a policy's pairs apart, with its parameters in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traits {
    /// One side is active at a time, by lease and handover. False: both sides may serve, and the policy shares
    /// sessions out ([`crate::action::Share`]); agents are then not required.
    pub exclusive: bool,
}

impl Default for Traits {
    fn default() -> Traits {
        Traits { exclusive: true }
    }
}

/// A command that a policy takes from operators, beside the order to switch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandInfo {
    /// Its name: `maintenance`.
    pub name: Cow<'static, str>,
    /// What it does, for a person to read.
    pub text: Cow<'static, str>,
    /// What its argument is; empty: it takes none.
    pub argument: Cow<'static, str>,
    /// Whether it is for one side.
    pub side: bool,
}

impl CommandInfo {
    /// A command that a plugin knows when it is compiled.
    #[must_use]
    pub const fn new(name: &'static str, argument: &'static str, side: bool, text: &'static str) -> CommandInfo {
        CommandInfo { name: Cow::Borrowed(name), text: Cow::Borrowed(text), argument: Cow::Borrowed(argument), side }
    }
}

impl fmt::Display for Lint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.text)
    }
}
