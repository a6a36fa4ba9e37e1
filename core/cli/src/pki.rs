//! `lockstep pki`: the certificates by which edges and agents know each other.

use crate::exit::Failure;
use crate::verbs::print;
use clap::{Args, Subcommand};
use lockstep_policy::Side;
use lockstep_wire::trust::{Directory, Facts, Identity, Life, Record, renew, written};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

const DAY: Duration = Duration::from_secs(86_400);

/// What can be done with certificates.
#[derive(Debug, Subcommand)]
pub enum PkiVerb {
    /// Make a CA: the directory with its key, which signs the certificates of edges and agents
    Init {
        /// The directory, which must have no CA yet
        dir: PathBuf,
        /// The CA's name, for people
        #[arg(long, default_value = "lockstep CA")]
        name: String,
    },
    /// Issue a certificate and its key, in one file
    Issue {
        #[command(subcommand)]
        whom: Whom,
    },
    /// Issue a certificate and its key anew, in place: for the same edge or agent, and as long a life
    Renew {
        /// The files, as `lockstep pki issue` wrote them
        #[arg(required = true)]
        files: Vec<PathBuf>,
        #[command(flatten)]
        of: Of,
    },
    /// Revoke certificates: writes the list that edges and agents look at
    Revoke {
        /// A certificate's file, a serial number, or `lockstep:edge:NAME` or `lockstep:agent:PAIR:SIDE` for all of theirs
        #[arg(required = true)]
        what: Vec<String>,
        #[command(flatten)]
        of: Of,
    },
    /// Show what a CA has issued, or what certificates say
    Show {
        /// Files of certificates [default: all that the CA has issued and that have not ended]
        files: Vec<PathBuf>,
        /// Also what has ended
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        of: Of,
    },
}

/// Whom a certificate is for.
#[derive(Debug, Subcommand)]
pub enum Whom {
    /// An edge
    Edge {
        /// Its `name` in its configuration
        name: String,
        #[command(flatten)]
        how: How,
    },
    /// The agent of one side of one pair, and of no other
    Agent {
        /// The pair
        pair: String,
        /// The side: a or b
        side: Side,
        #[command(flatten)]
        how: How,
    },
}

/// How it is issued.
#[derive(Debug, Args)]
pub struct How {
    #[command(flatten)]
    of: Of,
    /// Where the file is written
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// How long it is valid
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
}

/// Of which CA.
#[derive(Debug, Args)]
pub struct Of {
    /// The CA's directory
    #[arg(long, value_name = "DIR", default_value = ".", env = "LOCKSTEP_CA")]
    ca: PathBuf,
}

impl Of {
    fn directory(&self) -> Result<Directory, Failure> {
        Directory::open(&self.ca).map_err(Failure::from_error)
    }
}

/// `lockstep pki …`.
pub fn pki(verb: PkiVerb) -> Result<(), Failure> {
    match verb {
        PkiVerb::Init { dir, name } => init(&dir, &name),
        PkiVerb::Issue { whom: Whom::Edge { name, how } } => {
            let identity = Identity::edge(&name).map_err(Failure::failed)?;
            issue(&identity, &how, "[edge.tls] of /etc/lockstep/edge.toml", "/var/lib/lockstep", "the edge")
        }
        PkiVerb::Issue { whom: Whom::Agent { pair, side, how } } => {
            let identity = Identity::agent(&pair, side).map_err(Failure::failed)?;
            issue(&identity, &how, "[agent.tls] of /etc/lockstep/agent.toml", "/var/lib/lockstep-agent", "the node")
        }
        PkiVerb::Renew { files, of } => renew_all(&files, &of),
        PkiVerb::Revoke { what, of } => revoke(&what, &of),
        PkiVerb::Show { files, all, of } if files.is_empty() => show_ca(&of, all),
        PkiVerb::Show { files, .. } => show_files(&files),
    }
}

fn init(dir: &Path, name: &str) -> Result<(), Failure> {
    let directory = Directory::init(dir, name).map_err(Failure::from_error)?;
    let authority = directory.authority().map_err(Failure::from_error)?;
    let (ca, key, list) = (directory.ca(), directory.key(), directory.list());
    print(&format!(
        "{}, valid until {}\n  \
         {}: to /etc/lockstep/ca.pem of every edge and every node\n  \
         {}: to /etc/lockstep/revoked.pem of every edge and every node; nothing is revoked yet\n  \
         {}: the CA's key. Who has it is any edge and any agent: keep it here, off the network, or on the edge as `ca_key` if\n  \
         that shall renew certificates by itself\n\
         Next: lockstep pki issue edge NAME --ca {dir}, and lockstep pki issue agent PAIR SIDE --ca {dir}\n",
        authority.facts.subject,
        written(authority.facts.not_after),
        ca.display(),
        list.display(),
        key.display(),
        dir = dir.display(),
    ))
}

fn issue(identity: &Identity, how: &How, table: &str, home: &str, machine: &str) -> Result<(), Failure> {
    let file = how.out.join(format!("{}.pem", identity.file_stem()));
    let directory = how.of.directory()?;
    let issued = directory.issue(identity, DAY * how.days, &file).map_err(Failure::from_error)?;
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    print(&format!(
        "{}: for {identity}, serial {}, valid until {}\n  \
         It contains the private key: copy it to {machine} as {home}/{name}, readable by nobody else, and take it away here.\n  \
         Copy {} and {} to /etc/lockstep/ there, and write into {table}:\n    \
         ca = \"ca.pem\"\n    certificate = \"{home}/{name}\"\n    revoked = \"revoked.pem\"\n",
        file.display(),
        issued.facts.serial,
        written(issued.facts.not_after),
        directory.ca().display(),
        directory.list().display(),
    ))
}

fn renew_all(files: &[PathBuf], of: &Of) -> Result<(), Failure> {
    let directory = of.directory()?;
    let authority = directory.authority().map_err(Failure::from_error)?;
    for file in files {
        let renewed = renew(&authority, &directory.key(), file).map_err(Failure::from_error)?;
        print(&format!(
            "{}: for {}, serial {}, valid until {}\n  It has a new key. Whoever uses this file takes it over within seconds.\n",
            file.display(),
            renewed.identity,
            renewed.serial,
            written(renewed.until)
        ))?;
    }
    Ok(())
}

fn revoke(what: &[String], of: &Of) -> Result<(), Failure> {
    let directory = of.directory()?;
    for what in what {
        let revoked = directory.revoke(what).map_err(Failure::from_error)?;
        print(&format!("revoked: {}\n", revoked.serials.join(", ")))?;
    }
    print(&format!(
        "Copy {} to where `revoked` in the configuration of every edge and every agent says: they take it over within seconds, \
         and cut who is connected.\n",
        directory.list().display()
    ))
}

fn show_ca(of: &Of, all: bool) -> Result<(), Failure> {
    let directory = of.directory()?;
    let authority = directory.authority().map_err(Failure::from_error)?;
    let mut text = format!("{}, valid until {}\n", authority.facts.subject, written(authority.facts.not_after));
    let now = SystemTime::now();
    for record in directory.issued().map_err(Failure::from_error)? {
        let Record { serial, until, identity, revoked } = record;
        if until < now && !all {
            continue;
        }
        let until = written(until);
        // Writing to a String cannot fail.
        let _ = write!(text, "  {serial}  until {until}  {}", identity.uri());
        if let Some(at) = revoked {
            let _ = write!(text, "  REVOKED on {}", written(at));
        }
        text.push('\n');
    }
    print(&text)
}

fn show_files(files: &[PathBuf]) -> Result<(), Failure> {
    for file in files {
        for facts in Facts::read_file(file).map_err(Failure::from_error)? {
            let whom = match &facts.identity {
                Ok(identity) => identity.to_string(),
                Err(why) => why.clone(),
            };
            let life = match Life::of(&facts, SystemTime::now()) {
                Life::Fresh => "",
                Life::Due => ", to be renewed",
                Life::Urgent => ", TO BE RENEWED NOW",
                Life::Over => ", HAS ENDED",
                Life::NotYet => ", NOT VALID YET",
            };
            print(&format!(
                "{}: {whom}\n  subject {}\n  serial  {}\n  valid   {} to {}{life}\n",
                file.display(),
                facts.subject,
                facts.serial,
                written(facts.not_before),
                written(facts.not_after)
            ))?;
        }
    }
    Ok(())
}
