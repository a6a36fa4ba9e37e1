//! A plugin out of a Rust struct.
//!
//! ```
//! use lockstep_policy::sdk::{Actions, Policy};
//! use lockstep_policy::{Action, Event, Rule, Setup, Side, event::What};
//! use serde::{Deserialize, Serialize};
//!
//! /// Warms side B up as soon as it starts. The struct is its own snapshot.
//! #[derive(Serialize, Deserialize)]
//! struct Eager;
//!
//! #[derive(Deserialize, schemars::JsonSchema)]
//! #[serde(deny_unknown_fields)]
//! struct Config {}
//!
//! impl Policy for Eager {
//!     type Config = Config;
//!     const ID: &'static str = "eager";
//!     const VERSION: &'static str = "0.1.0";
//!     const STATE_VERSION: u32 = 1;
//!
//!     fn rules() -> &'static [Rule] {
//!         const { &[Rule::new("W1", "Side B is warm from the start.")] }
//!     }
//!
//!     fn create(_: &Setup, _: Config, _seed: u64) -> Result<Eager, String> {
//!         Ok(Eager)
//!     }
//!
//!     fn step(&mut self, event: &Event, out: &mut Actions) {
//!         if matches!(event.what, What::Start(_)) {
//!             out.push(Action::Prepare(Side::B));
//!         }
//!     }
//! }
//!
//! lockstep_policy::export_policy!(Eager);
//! # fn main() {}
//! ```
//!
//! The crate is a `cdylib`, built with `panic = "unwind"`. A panic poisons the instance that it happened in, and
//! nothing else.

mod actions;
pub mod attempts;
#[doc(hidden)]
#[allow(unsafe_code, reason = "the plugin's side of the C boundary")]
pub mod boundary;
mod period;
mod words;

pub use actions::Actions;
pub use period::Period;
pub use words::wrapped;

use crate::{CommandInfo, Event, Lint, Rule, Setup, Traits};
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// A pure state machine: the same setup, seed and events give the same actions. Serialized, it is its own snapshot.
pub trait Policy: Serialize + DeserializeOwned + Send + 'static {
    /// `[pair.policy]` without `plugin`. Refuse unknown fields. Its schema is what hosts check parameters against;
    /// ranges of [`Period`]s go into the extensions `x-minimum` and `x-maximum`.
    type Config: DeserializeOwned + JsonSchema;

    /// Its name in configurations; 1 to 31 bytes.
    const ID: &'static str;
    /// The plugin's version; 1 to 31 bytes.
    const VERSION: &'static str;
    /// The version of the snapshot's format: another one needs a `migrate`.
    const STATE_VERSION: u32;
    /// Kinds of record ([`crate::abi::kind`]) that a host must know for this policy to work, as
    /// `kind::bits(&[kind::WATCH_ICMP])`. A host that does not refuses the plugin.
    const NEEDS: u64 = 0;

    /// Its rules, in the order of their ids.
    fn rules() -> &'static [Rule];

    /// A new instance. Refuses what the schema cannot tell, with key, value and what would be valid.
    fn create(setup: &Setup, config: Self::Config, seed: u64) -> Result<Self, String>;

    /// Takes one event, and answers with any number of actions.
    fn step(&mut self, event: &Event, out: &mut Actions);

    /// Goes on from the snapshot of an instance that was made from another setup: `self` is fresh from `create` with the
    /// parameters of today. With the same setup a snapshot is gone on from as it is, and so parameters that came by a
    /// [`crate::event::ConfigChange`] stay as they were.
    fn resume(self, before: Self) -> Self {
        let _ = self;
        before
    }

    /// Makes a snapshot of an older format one of today's.
    fn migrate(state_version: u32, _snapshot: serde_json::Value) -> Result<Self, String> {
        Err(format!("it has state version {state_version}, and this plugin reads {}", Self::STATE_VERSION))
    }

    /// The rules with the parameters in force and the expected switch delay, for a person to read.
    fn explain(setup: &Setup, config: &Self::Config) -> String {
        let _ = (setup, config);
        Self::rules().iter().map(|rule| format!("{}  {}\n", rule.id, rule.text)).collect()
    }

    /// The commands that it takes from operators ([`crate::event::Command`]).
    fn commands() -> &'static [CommandInfo] {
        &[]
    }

    /// What sets its pairs apart.
    fn traits(setup: &Setup, config: &Self::Config) -> Traits {
        let _ = (setup, config);
        Traits::default()
    }

    /// What is odd in a valid configuration.
    fn lint(setup: &Setup, config: &Self::Config) -> Vec<Lint> {
        let _ = (setup, config);
        Vec::new()
    }

    /// From a fault to the new side's service, at worst; zero when the policy cannot tell.
    fn expected_delay(setup: &Setup, config: &Self::Config) -> Duration {
        let _ = (setup, config);
        Duration::ZERO
    }
}

/// Exports a [`Policy`] from this dynamic library as `lockstep_policy_v1`, with its version stamp.
#[macro_export]
macro_rules! export_policy {
    ($policy:ty) => {
        const _: () = {
            assert!(
                cfg!(panic = "unwind"),
                "a policy must be built with panic = \"unwind\": a panic would end the whole edge"
            );

            #[used]
            #[unsafe(link_section = ".lockstep.policy")]
            static STAMP: $crate::abi::Stamp = $crate::sdk::boundary::stamp::<$policy>(cfg!(panic = "unwind"));

            #[allow(non_upper_case_globals)]
            #[unsafe(no_mangle)]
            static lockstep_policy_v1: $crate::abi::Table = $crate::sdk::boundary::table::<$policy>(&STAMP);
        };
    };
}
