//! What may be said to `lockstep.exe`.

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

const CONFIG: &str = r"C:\ProgramData\lockstep\agent.toml";
const LOG: &str = r"C:\ProgramData\lockstep\agent.log";

/// The agent of a Windows node. The edge, and the verbs of its operators, are on Linux.
#[derive(Debug, Parser)]
#[command(name = "lockstep", version, after_help = "Exit codes: 0 done · 1 refused or failed · 2 not understood")]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Validate an agent's configuration: names line and key of what is wrong, and what would be valid
    Check {
        /// The agent's configuration
        #[arg(default_value = CONFIG)]
        file: PathBuf,
    },
    /// Run this node's agent in this console, or install it as a Windows service
    #[command(args_conflicts_with_subcommands = true)]
    Agent {
        /// The agent's configuration
        #[arg(long, value_name = "FILE", default_value = CONFIG)]
        config: PathBuf,
        /// What to do instead of running it here.
        #[command(subcommand)]
        verb: Option<AgentVerb>,
    },
}

/// What can be done with an agent.
#[derive(Debug, Subcommand)]
pub enum AgentVerb {
    /// Install this file as a Windows service that starts with the machine, and is started again when it fails
    Install {
        #[command(flatten)]
        place: Place,
        /// The agent's configuration
        #[arg(long, value_name = "FILE", default_value = CONFIG)]
        config: PathBuf,
        /// Where the agent writes what it has to say: three files of 10 MB at most
        #[arg(long, value_name = "FILE", default_value = LOG)]
        log: PathBuf,
    },
    /// Stop the agent, and with it what it has started, and take the service away
    Uninstall {
        #[command(flatten)]
        place: Place,
    },
    /// Start the installed agent
    Start {
        #[command(flatten)]
        place: Place,
    },
    /// Stop the installed agent, and with it what it has started
    Stop {
        #[command(flatten)]
        place: Place,
    },
    /// What the service control manager starts
    #[command(hide = true)]
    Hosted {
        #[command(flatten)]
        place: Place,
        /// The agent's configuration
        #[arg(long)]
        config: PathBuf,
        /// Where the agent writes
        #[arg(long)]
        log: PathBuf,
    },
}

/// Which service.
#[derive(Clone, Debug, Args)]
pub struct Place {
    /// The service's name, when a machine has more than one agent
    #[arg(long, default_value = "lockstep-agent")]
    pub name: String,
}
