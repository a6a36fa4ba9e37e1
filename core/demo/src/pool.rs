//! The simulated proxies of an eServices site: several servers, each a process of its own, and the vendor's local control that starts
//! one again when it has ended.
//!
//! Each server is an [`app`](crate::app) that answers with its name. The control says READY when all of them take connections, and
//! ends when it is told to, with all of them.

use crate::cti;
use lockstep_policy::Side;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

/// How often a server that starts is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// What `simulate pool` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// The side that these servers are of
    #[arg(long)]
    pub side: Side,
    /// A server, as NAME=ADDRESS; may be repeated
    #[arg(long = "server", value_name = "NAME=ADDRESS", required = true)]
    pub servers: Vec<Server>,
    /// The file that this side's core holds locked while it is active
    #[arg(long)]
    pub lock: PathBuf,
    /// Where each request served while the core was not active is written down
    #[arg(long)]
    pub log: PathBuf,
    /// How long a server that has ended is left so
    #[arg(long, default_value = "500ms", value_parser = humantime::parse_duration)]
    pub again_after: Duration,
}

/// One server of the pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    name: String,
    address: SocketAddr,
}

impl FromStr for Server {
    type Err = String;

    fn from_str(text: &str) -> Result<Server, String> {
        let parts = text.split_once('=').and_then(|(name, address)| Some((name, address.parse().ok()?)));
        let (name, address) = parts.ok_or_else(|| format!("`{text}` is not NAME=ADDRESS"))?;
        Ok(Server { name: name.to_owned(), address })
    }
}

/// Keeps the servers up until the process is told to stop.
///
/// # Errors
/// A server cannot be started.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, control(options))
}

async fn control(options: &Options) -> anyhow::Result<()> {
    let mut stop = signal(SignalKind::terminate())?;
    for server in &options.servers {
        tokio::task::spawn_local(keep_up(options.clone(), server.clone()));
    }
    tokio::select! {
        _ = stop.recv() => return Ok(()),
        () = all_listen(&options.servers) => {}
    }
    cti::tell_manager("READY=1")?;
    stop.recv().await;
    // The servers end with the tasks that have started them.
    Ok(())
}

async fn keep_up(options: Options, server: Server) {
    loop {
        match start(&options, &server) {
            Ok(mut child) => drop(child.wait().await),
            Err(error) => eprintln!("simulated pool: {} cannot be started: {error}", server.name),
        }
        sleep(options.again_after).await;
    }
}

fn start(options: &Options, server: &Server) -> std::io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["simulate", "app", "--side", &options.side.to_string(), "--name", &server.name]);
    command.args(["--listen", &server.address.to_string(), "--lock"]).arg(&options.lock).arg("--log").arg(&options.log);
    command.kill_on_drop(true).spawn()
}

async fn all_listen(servers: &[Server]) {
    for server in servers {
        while TcpStream::connect(server.address).await.is_err() {
            sleep(LOOK).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_a_name_and_an_address() {
        let server: Server = "ucs-1=127.0.0.1:80".parse().unwrap();
        assert_eq!((server.name.as_str(), server.address.port()), ("ucs-1", 80));
        assert!("ucs-1".parse::<Server>().is_err() && "ucs-1=here".parse::<Server>().is_err());
    }
}
