//! The binary `lockstep` of a Windows node: its agent, in a console or hosted by the service control manager.
//!
//! - `arguments`: what may be said to it.
//! - `hosted`: the agent as a service of the service control manager.
//! - `installation`: puts it there, and takes it away.
//! - `log`: where a service's words go.
#![forbid(unsafe_code)]

mod arguments;
mod hosted;
mod installation;
mod log;

use arguments::{AgentVerb, Arguments, Command, Place};
use clap::Parser as _;
use std::path::Path;
use std::process::ExitCode;

/// An error that is a sentence of its own.
type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    // One guard stands over each service: it starts in no time, on few threads, and knows none of what follows.
    let mut given = std::env::args_os().skip(1);
    if given.next().is_some_and(|verb| verb == "guard") {
        return lockstep_agent::guard::run(given);
    }
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("lockstep: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<(), Failure> {
    let (config, verb) = match command {
        Command::Check { file } => return check(&file),
        Command::Agent { config, verb } => (config, verb),
    };
    match verb {
        None => console(&config),
        Some(AgentVerb::Install { place, config, log }) => {
            check(&config).and_then(|()| installation::install(&place, &config, &log))
        }
        Some(AgentVerb::Uninstall { place }) => installation::uninstall(&place),
        Some(AgentVerb::Start { place }) => installation::start(&place),
        Some(AgentVerb::Stop { place }) => installation::stop(&place),
        Some(AgentVerb::Hosted { place: Place { name }, config, log }) => {
            hosted::run(hosted::Given { name, config, log })
        }
    }
}

/// `lockstep check`.
fn check(file: &Path) -> Result<(), Failure> {
    print!("{}", lockstep_agent::check(file)?);
    Ok(())
}

/// `lockstep agent`: until Ctrl+C, or until the console is closed.
fn console(config: &Path) -> Result<(), Failure> {
    log::to_console();
    let config = lockstep_agent::load(config)?;
    tokio::runtime::Runtime::new()?.block_on(async {
        use tokio::signal::windows::{ctrl_break, ctrl_c, ctrl_close};
        let (mut interrupt, mut pause, mut close) = (ctrl_c()?, ctrl_break()?, ctrl_close()?);
        let shutdown = async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = pause.recv() => {}
                _ = close.recv() => {}
            }
        };
        lockstep_agent::run(config, shutdown).await?;
        Ok(())
    })
}
