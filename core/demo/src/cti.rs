//! The simulated CTI service, of which one of the pair may run at a time.
//!
//! Two things are told apart, each in the way that is stricter. It *runs* from its first instruction to its last,
//! starting and stopping included: that is what the activity log shows, and two sides' must never overlap. It is
//! *active* from READY until it is told to stop: only then does it hold the lock, and a request that the application
//! serves at any other time was misplaced.

use crate::activity::{Mark, Pen, TICK};
use crate::lock::ActiveLock;
use lockstep_policy::Side;
use std::net::SocketAddr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixDatagram};
use std::path::PathBuf;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What `simulate cti` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// The side that this service is of
    #[arg(long)]
    pub side: Side,
    /// How long it takes to become active
    #[arg(long, default_value = "300ms", value_parser = humantime::parse_duration)]
    pub start_time: Duration,
    /// How long it takes to stop
    #[arg(long, default_value = "30ms", value_parser = humantime::parse_duration)]
    pub stop_time: Duration,
    /// The file that it holds locked while it is active
    #[arg(long)]
    pub lock: PathBuf,
    /// Where it writes down that it runs
    #[arg(long)]
    pub log: PathBuf,
    /// While this file exists, it fails instead of becoming active
    #[arg(long)]
    pub broken: Option<PathBuf>,
    /// Where it listens while it is active, as the vendor's does on port 2011
    #[arg(long)]
    pub listen: Option<SocketAddr>,
}

/// Runs until the process is told to stop, and has stopped.
///
/// # Errors
/// Its files cannot be written, it cannot listen, or another process holds its lock: two services of *one* side.
pub fn run(options: &Options) -> anyhow::Result<()> {
    // A connection is taken and closed: it proves that somebody is there.
    run_with(options, drop)
}

/// The same, and each connection is handed on.
pub(crate) fn run_with(options: &Options, attend: impl Fn(TcpStream)) -> anyhow::Result<()> {
    let pen = Pen::open(&options.log)?;
    pen.mark(Mark::Start)?;
    std::thread::Builder::new().name("ticks".into()).spawn({
        let pen = Pen::open(&options.log)?;
        move || tick(&pen)
    })?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(live(options, &pen, attend))?;
    pen.mark(Mark::End)?;
    Ok(())
}

/// Ticks for as long as the process runs, whatever its main thread does.
fn tick(pen: &Pen) {
    loop {
        if let Err(error) = pen.mark(Mark::Alive) {
            // Without its log nobody can judge this run: better that the play fails at once.
            eprintln!("simulated CTI: cannot write its activity: {error}");
            std::process::exit(1);
        }
        std::thread::sleep(TICK);
    }
}

async fn live(options: &Options, pen: &Pen, attend: impl Fn(TcpStream)) -> anyhow::Result<()> {
    let mut stop = signal(SignalKind::terminate())?;
    let stopped_early = tokio::select! {
        _ = stop.recv() => true,
        () = tokio::time::sleep(options.start_time) => false,
    };
    if !stopped_early {
        be_active(options, pen, &mut stop, attend).await?;
    }
    pen.mark(Mark::Stopping)?;
    tokio::time::sleep(options.stop_time).await;
    Ok(())
}

async fn be_active(options: &Options, pen: &Pen, stop: &mut Signal, attend: impl Fn(TcpStream)) -> anyhow::Result<()> {
    if let Some(file) = options.broken.as_ref().filter(|file| file.exists()) {
        anyhow::bail!("simulated CTI: it is broken for as long as {} exists", file.display());
    }
    let lock = ActiveLock::open(&options.lock)?;
    if !lock.take()? {
        anyhow::bail!(
            "simulated CTI: {} is held: another CTI of side {} is active",
            options.lock.display(),
            options.side
        );
    }
    let listener = match options.listen {
        Some(address) => Some(TcpListener::bind(address).await?),
        None => None,
    };
    pen.mark(Mark::Active)?;
    say_ready()?;
    loop {
        tokio::select! {
            _ = stop.recv() => break,
            Ok(stream) = accept(listener.as_ref()) => attend(stream),
        }
    }
    lock.release()?;
    Ok(())
}

async fn accept(listener: Option<&TcpListener>) -> std::io::Result<TcpStream> {
    match listener {
        Some(listener) => listener.accept().await.map(|(stream, _)| stream),
        None => std::future::pending().await,
    }
}

/// sd_notify's READY=1.
fn say_ready() -> std::io::Result<()> {
    tell_manager("READY=1")
}

/// Says something to the service manager, when somebody listens at `NOTIFY_SOCKET`.
pub(crate) fn tell_manager(state: &str) -> std::io::Result<()> {
    let Some(to) = std::env::var_os("NOTIFY_SOCKET") else { return Ok(()) };
    let address = match to.as_encoded_bytes().strip_prefix(b"@") {
        Some(name) => UnixAddr::from_abstract_name(name)?,
        None => UnixAddr::from_pathname(&to)?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address)?;
    Ok(())
}
