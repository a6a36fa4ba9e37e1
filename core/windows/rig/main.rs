//! Services that behave and misbehave, as programs and as Windows services, for the tests of the agent on Windows.
#![forbid(unsafe_code)]

mod cti;
mod registry;

use clap::Parser;
use std::process::ExitCode;

/// What is played.
#[derive(Debug, Parser)]
enum Verb {
    /// A CTI service that writes down when it runs
    Cti(cti::Options),
    /// Makes a Windows service of this program
    Register(registry::Options),
    /// Takes one away
    Unregister {
        /// Its name
        name: String,
    },
    /// Prints how a Windows service is, and its process
    State {
        /// Its name
        name: String,
    },
}

fn main() -> ExitCode {
    let result = match Verb::parse() {
        Verb::Cti(options) => cti::run(options),
        Verb::Register(options) => registry::register(&options),
        Verb::Unregister { name } => registry::unregister(&name),
        Verb::State { name } => registry::state(&name),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rig: {error}");
            ExitCode::FAILURE
        }
    }
}

type Failure = Box<dyn std::error::Error>;
