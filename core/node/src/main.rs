//! The binary `lockstep-agent`: a node's agent alone. It does what `lockstep agent` does, in half the memory, because the edge is not in it.
#![forbid(unsafe_code)]

mod arguments;
mod log;

use arguments::{Arguments, Command};
use clap::Parser as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    // One guard stands over each service: it starts in no time, on one thread, and knows none of what follows.
    let mut given = std::env::args_os().skip(1);
    if given.next().is_some_and(|verb| verb == "guard") {
        return lockstep_agent::guard::run(given);
    }
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("lockstep-agent: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(Arguments { command, config, log_json }: Arguments) -> Result<(), String> {
    match command {
        Some(Command::Check { file }) => {
            print!("{}", lockstep_agent::check(&file.unwrap_or(config))?);
            Ok(())
        }
        None => {
            log::start(log_json);
            lockstep_agent::process::run(&config).map_err(|error| error.to_string())
        }
    }
}
