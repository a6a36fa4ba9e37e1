//! What may be said to `lockstep`.

use crate::author::From;
use crate::pki::PkiVerb;
use clap::{Args, Parser, Subcommand};
use lockstep_policy::Side;
use std::net::SocketAddr;
use std::path::PathBuf;

/// A VIP edge for pairs of servers of which one is active: redirect and CTI activation move in lockstep.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Exit codes: 0 done · 1 refused or failed · 2 not understood · 3 no edge could be reached · \
                  4 not confirmed\n\
                  Logs go to stderr; LOCKSTEP_LOG filters them (info, debug, lockstep_edge=debug)."
)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Write logs as JSON, one object a line
    #[arg(long, global = true)]
    pub log_json: bool,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run an edge: the VIP's proxy and the coordinator of its pairs
    Edge {
        /// The edge's configuration
        #[arg(long, value_name = "FILE", default_value = EDGE_CONFIG)]
        config: PathBuf,
        /// Take over from the edge that has started this process, and speaks to it over its standard input
        #[arg(long, hide = true)]
        succeed: bool,
    },
    /// Run a node's agent: its services, under a lease
    Agent {
        /// The agent's configuration
        #[arg(long, value_name = "FILE", default_value = "/etc/lockstep/agent.toml")]
        config: PathBuf,
    },
    /// Show how the edge and its pairs stand
    Status {
        #[command(flatten)]
        reach: Reach,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Watch how the pairs do: requests, errors, latencies, agents and leases, again each second; q leaves
    Top {
        #[command(flatten)]
        reach: Reach,
        /// Print one frame, of one second, and end
        #[arg(long)]
        once: bool,
    },
    /// Have the edge read its configuration again: whole or not at all, and without a request lost
    Reload {
        #[command(flatten)]
        reach: Reach,
    },
    /// Have the edge go on in a new process, of the program that stands now where it was started from: no connection is refused,
    /// none is cut, and roles and leases stay as they are
    Upgrade {
        #[command(flatten)]
        reach: Reach,
        /// Another program
        #[arg(long, value_name = "FILE")]
        program: Option<PathBuf>,
    },
    /// Move a pair's active role, and wait for the end
    Switch {
        #[command(flatten)]
        reach: Reach,
        /// The pair's name
        pair: String,
        /// The side that shall become active: a or b
        #[arg(long, value_name = "SIDE")]
        to: Side,
        /// Do not wait until the other side is surely stopped: you say that it is off, and why you know
        #[arg(long = "unsafe", value_name = "REASON")]
        insist: Option<String>,
        /// Answer the policy's question with yes
        #[arg(long, short)]
        yes: bool,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Give a pair's policy one of its own commands; `lockstep explain PAIR` tells them
    Order {
        #[command(flatten)]
        reach: Reach,
        /// The pair's name
        pair: String,
        /// The command's name
        name: String,
        /// What follows the name
        #[arg(default_value = "")]
        argument: String,
        /// The side that it is for: a or b
        #[arg(long, value_name = "SIDE")]
        side: Option<Side>,
        /// Answer the policy's question with yes
        #[arg(long, short)]
        yes: bool,
    },
    /// Make a token for somebody who may speak to the edge, and print what to add to its configuration
    User {
        /// The name, for the record of what was ordered
        name: String,
        /// What he may do: operate (switch, pause, orders), all, or what a policy asks for
        #[arg(long = "right", value_name = "RIGHT")]
        rights: Vec<String>,
    },
    /// Tell the rules of a pair's policy with the parameters in force, the delay to expect, and its commands
    Explain {
        #[command(flatten)]
        reach: Reach,
        /// The pair's name
        pair: String,
    },
    /// Tell why a pair switched, what happened in which phase, and what clients felt
    Why {
        #[command(flatten)]
        reach: Reach,
        /// The pair's name
        pair: String,
        /// The handover's epoch; the latest when left out
        epoch: Option<u64>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Validate an edge's or an agent's configuration: names line and key of what is wrong, and what would be valid
    Check {
        /// The configuration
        #[arg(default_value = EDGE_CONFIG)]
        file: PathBuf,
        /// Also tell what is valid and odd, and the policy's expected delay
        #[arg(long)]
        lint: bool,
    },
    /// Confirm that a manual gate, at which a side's start waits, may be passed: recorded with your name
    Confirm {
        #[command(flatten)]
        reach: Reach,
        /// The pair's name
        pair: String,
        /// The gate's name, as `lockstep status` shows it
        gate: String,
        /// The side whose start waits: a or b
        #[arg(long, value_name = "SIDE")]
        side: Side,
    },
    /// Refuse the policy's own switches of a pair; an operator's still work
    Pause {
        #[command(flatten)]
        reach: Reach,
        /// The pair's name
        pair: String,
        /// Why, for those who see it in the status
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Let the policy switch a pair again
    Resume {
        #[command(flatten)]
        reach: Reach,
        /// The pair's name
        pair: String,
    },
    /// Tell a pair's clients that it is under maintenance, until that is taken back; requests under way end first
    Maintenance {
        #[command(flatten)]
        reach: Reach,
        /// The pair's name
        pair: String,
        /// Whether it begins or ends
        #[arg(value_name = "on|off", value_parser = on_or_off, action = clap::ArgAction::Set)]
        on: bool,
        /// What clients are told, in place of the configured page
        #[arg(long, default_value = "")]
        text: String,
    },
    /// Look into what a pair's policy was told and did
    Journal {
        #[command(subcommand)]
        verb: JournalVerb,
    },
    /// Work with policies
    Policy {
        #[command(subcommand)]
        verb: PolicyVerb,
    },
    /// Make, renew and revoke the certificates by which edges and agents know each other
    Pki {
        #[command(subcommand)]
        verb: PkiVerb,
    },
    /// Run a simulated pair on this machine, break it in every way, and show what a client felt
    Demo(lockstep_demo::play::Options),
    /// The parts of the demo's simulated pair
    #[command(hide = true)]
    Simulate {
        #[command(subcommand)]
        program: Simulate,
    },
}

/// What can be done with a journal.
#[derive(Debug, Subcommand)]
pub enum JournalVerb {
    /// Write a pair's journal to one file, to be shown or replayed anywhere
    Export {
        #[command(flatten)]
        reach: Reach,
        /// The pair's name
        pair: String,
        /// The file, which is written anew
        file: PathBuf,
        /// From here on: a length of time such as 2h, or an event's number [default: all that is kept]
        #[arg(long, value_name = "TIME|NUMBER")]
        since: Option<String>,
    },
    /// Print a journal, one line for each event and action
    Show {
        #[command(flatten)]
        reach: Reach,
        /// An exported file, a directory of segments, or the name of a pair of the running edge
        #[arg(value_name = "FILE|PAIR")]
        what: String,
        /// Of a running edge, from here on: a length of time such as 2h, or an event's number
        #[arg(long, value_name = "TIME|NUMBER")]
        since: Option<String>,
    },
}

/// What can be done with policies.
#[derive(Debug, Subcommand)]
pub enum PolicyVerb {
    /// Make a new policy's project: it builds and passes its own checks, offline
    New {
        /// Its name: small letters, digits and -
        name: String,
        /// What it is written in
        #[arg(long, value_parser = ["rust", "c"], default_value = "rust")]
        lang: String,
        /// For Rust: where the crate lockstep-policy lies [default: /usr/share/lockstep/sdk/lockstep-policy]
        #[arg(long, value_name = "DIRECTORY")]
        sdk: Option<PathBuf>,
    },
    /// Prove that a plugin keeps to the contract, whatever it decides
    Check {
        /// The plugin
        file: PathBuf,
        #[command(flatten)]
        judged: Judged,
        /// In this process: the plugin may take it along
        #[arg(long, hide = true)]
        here: bool,
    },
    /// Print a plugin's rules with the parameters in force, and the delay to expect
    Explain {
        /// The plugin
        file: PathBuf,
        #[command(flatten)]
        judged: Judged,
        /// As a page of documentation: rules, parameters with their ranges, orders
        #[arg(long)]
        markdown: bool,
    },
    /// Play scenarios: what a policy does, as transcripts
    Run {
        /// The scenarios' files
        #[arg(required = true)]
        scenarios: Vec<PathBuf>,
        /// The plugin [default: the installed one that the scenario names]
        #[arg(long, value_name = "FILE")]
        policy: Option<PathBuf>,
        /// Write down what the policy does, where that is something else. Keep only what you can explain
        #[arg(long)]
        bless: bool,
    },
    /// Trust plugins: edges load those whose SHA-256 is in their list
    Trust {
        /// The plugins' files, whose code is not run
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// The list [default: the one that the edge's configuration names]
        #[arg(long, value_name = "FILE")]
        trust_file: Option<PathBuf>,
        /// The edge's configuration [default: /etc/lockstep/edge.toml]
        #[arg(long, value_name = "FILE", conflicts_with = "trust_file")]
        config: Option<PathBuf>,
    },
    /// Have another policy told everything of a running pair and do nothing; without FILE and --set, show how it compares
    Shadow {
        #[command(flatten)]
        reach: Reach,
        /// The pair's name
        pair: String,
        /// The candidate's plugin, which must be trusted [default: the one in force, with other parameters]
        file: Option<PathBuf>,
        /// Another parameter of [pair.policy], or of [pair.detect] as detect.KEY; null takes one away; may be repeated
        #[arg(long, value_name = "KEY=VALUE")]
        set: Vec<String>,
        /// End it
        #[arg(long, conflicts_with_all = ["file", "set"])]
        stop: bool,
    },
    /// Let the policy in shadow decide from now on, between two events and with its state
    Promote {
        #[command(flatten)]
        reach: Reach,
        /// The pair's name
        pair: String,
    },
    /// Let the policy decide again that did before the promotion
    Rollback {
        #[command(flatten)]
        reach: Reach,
        /// The pair's name
        pair: String,
    },
    /// Play a journal again: the same policy must do the same; another one, or other parameters, show what they would
    /// have decided otherwise
    Replay {
        /// An exported journal, or a directory of segments
        journal: PathBuf,
        /// Another plugin's file [default: the installed one that the journal was recorded with]
        #[arg(long, value_name = "FILE")]
        policy: Option<PathBuf>,
        /// Another parameter of [pair.policy], or of [pair.detect] as detect.KEY; may be repeated
        #[arg(long, value_name = "KEY=VALUE")]
        set: Vec<String>,
    },
}

/// The pair with which a plugin is judged.
#[derive(Debug, Args)]
pub struct Judged {
    /// The pair of this scenario [default: a pair with all defaults]
    #[arg(long, value_name = "FILE")]
    pub scenario: Option<PathBuf>,
    /// Another parameter of [pair.policy], or of [pair.detect] as detect.KEY; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

impl Judged {
    /// Where the setup comes from.
    pub fn from(&self) -> From<'_> {
        From { scenario: self.scenario.as_deref(), set: &self.set }
    }
}

/// The simulated programs.
#[derive(Debug, Subcommand)]
pub enum Simulate {
    /// A telisca server's web application
    App(lockstep_demo::app::Options),
    /// A node that admits no agent
    Appliance(lockstep_demo::appliance::Options),
    /// A Cisco Finesse server
    Finesse(lockstep_demo::finesse::Options),
    /// A CTI server that speaks GED-188
    Ged188(lockstep_demo::ged188::Options),
    /// A CTI service
    Cti(lockstep_demo::cti::Options),
    /// The telephony server of a CIC server
    TsServer(lockstep_demo::ts_server::Options),
    /// The servers of an eServices site's pools
    Pool(lockstep_demo::pool::Options),
    /// A steady stream of requests
    Client(lockstep_demo::client::Options),
    /// Kills what is left of a demo once its input has ended
    Keeper {
        /// The demo's directory
        #[arg(long)]
        dir: PathBuf,
    },
}

/// Where an edge of this machine has its configuration.
pub const EDGE_CONFIG: &str = "/etc/lockstep/edge.toml";

/// How the edge is reached: its configuration says it, as far as `--admin` and `--token-file` do not.
#[derive(Debug, Args)]
pub struct Reach {
    /// The edge's configuration, in which its address and state directory stand [default: /etc/lockstep/edge.toml if it
    /// is there]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The edge's admin address [default: that of the configuration, or 127.0.0.1:7480]
    #[arg(long, value_name = "ADDRESS", env = "LOCKSTEP_ADMIN")]
    pub admin: Option<SocketAddr>,
    /// The file with your own token, or the edge's admin token [default: the admin token in the configuration's state
    /// directory, or /var/lib/lockstep/admin.token]
    #[arg(long, value_name = "FILE", env = "LOCKSTEP_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
}

fn on_or_off(word: &str) -> Result<bool, String> {
    match word {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("say `on` or `off`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_sound() {
        Arguments::command().debug_assert();
    }
}
