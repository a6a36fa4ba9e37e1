//! The simulated telephony server of a CIC server: a [`cti`] service that answers pings, and can be made ill.
//!
//! Whether it answers is what a module ping finds out (rule C2). A hung one answers nobody and hears no TERM, but its
//! process lives, and its activity log goes on: until it is killed it *runs*. With `--process-tree` it is started again
//! by a parent whenever it ends, as the vendor's subsystems are by theirs, each time with another process id (rule C3).

use crate::cti;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};

/// What `simulate ts-server` is told.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
pub struct Options {
    #[command(flatten)]
    service: cti::Options,
    /// While this file exists: `hang`, or how long an answer to a ping takes, such as `300ms`
    #[arg(long)]
    control: Option<PathBuf>,
    /// Be the process that starts the server, and starts it again whenever it ends
    #[arg(long)]
    process_tree: bool,
}

/// How often a hung server looks whether it is to go on.
const LOOK: Duration = Duration::from_millis(5);
/// From the server's end to its next start.
const AGAIN: Duration = Duration::from_millis(20);
/// What is read of a request.
const REQUEST_MAX: usize = 4096;

/// Runs until the process is told to stop.
///
/// # Errors
/// Those of [`cti::run`], or the server cannot be started.
pub fn run(options: &Options) -> anyhow::Result<()> {
    if options.process_tree {
        return tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(process_tree());
    }
    cti::run_with(&options.service, |stream| {
        tokio::spawn(answer(stream, options.control.clone()));
    })
}

/// Any request is a ping.
async fn answer(mut stream: TcpStream, control: Option<PathBuf>) {
    let mut request = [0; REQUEST_MAX];
    if !matches!(stream.read(&mut request).await, Ok(1..)) {
        return;
    }
    // Nothing else of this process is done meanwhile: it has one thread.
    while said(control.as_deref()) == "hang" {
        std::thread::sleep(LOOK);
    }
    if let Ok(delay) = humantime::parse_duration(&said(control.as_deref())) {
        tokio::time::sleep(delay).await;
    }
    // Whoever has gone does not want it.
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
}

fn said(control: Option<&Path>) -> String {
    control.and_then(|file| std::fs::read_to_string(file).ok()).unwrap_or_default().trim().to_owned()
}

async fn process_tree() -> anyhow::Result<()> {
    let mut stop = signal(SignalKind::terminate())?;
    let mut ended = signal(SignalKind::child())?;
    let mut server = start()?;
    loop {
        tokio::select! {
            // Whoever stops a service tells all of its processes.
            _ = stop.recv() => {
                server.wait()?;
                return Ok(());
            }
            _ = ended.recv() => {
                if server.try_wait()?.is_some() {
                    tokio::time::sleep(AGAIN).await;
                    server = start()?;
                }
            }
        }
    }
}

fn start() -> anyhow::Result<Child> {
    let words = std::env::args_os().skip(1).filter(|word| word != "--process-tree");
    let server = Command::new(std::env::current_exe()?).args(words).spawn()?;
    cti::tell_manager(&format!("MAINPID={}", server.id()))?;
    Ok(server)
}
