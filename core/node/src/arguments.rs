//! What may be said to `lockstep-agent`.

use clap::{Parser, Subcommand};
use std::path::PathBuf;

/// A node's agent: runs its services under a lease. What `lockstep agent` is, without the edge
#[derive(Debug, Parser)]
#[command(
    name = "lockstep-agent",
    version,
    args_conflicts_with_subcommands = true,
    after_help = "Exit codes: 0 ended in order, or valid · 1 failed, or not valid · 2 not understood"
)]
pub struct Arguments {
    /// What to do; none: run the agent
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The agent's configuration
    #[arg(long, value_name = "FILE", default_value = "/etc/lockstep/agent.toml")]
    pub config: PathBuf,
    /// Log as JSON, for a collector. `LOCKSTEP_LOG` filters, as in `info,lockstep_agent=debug`
    #[arg(long)]
    pub log_json: bool,
}

/// What may be done beside running it.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Validate the configuration: names line and key of what is wrong, and what would be valid
    Check {
        /// The agent's configuration [default: /etc/lockstep/agent.toml]
        file: Option<PathBuf>,
    },
}
