//! A simulated CTI service: it writes a line every few milliseconds for as long as it runs, and listens while it is active.

use crate::Failure;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use windows_service::service::{
    ServiceControl, ServiceControlAccept, ServiceExitCode, ServiceState, ServiceStatus, ServiceType,
};
use windows_service::service_control_handler::{self, ServiceControlHandlerResult, ServiceStatusHandle};
use windows_service::service_dispatcher;

const TICK: Duration = Duration::from_millis(5);

/// What it is told.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// The file that it writes into
    #[arg(long)]
    log: PathBuf,
    /// Where it listens while it is active
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// The file that it holds locked while it is active
    #[arg(long)]
    lock: Option<PathBuf>,
    /// How far the judge's clock is ahead of the time since 1970, in nanoseconds
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    ahead: i64,
    /// How long it takes to become active, in milliseconds
    #[arg(long, default_value_t = 0)]
    start: u64,
    /// How long it takes to stop, in milliseconds
    #[arg(long, default_value_t = 0)]
    stop: u64,
    /// It starts a second process, which does not end with it, and writes into this file
    #[arg(long)]
    child: Option<PathBuf>,
    /// It is a Windows service of this name
    #[arg(long)]
    service: Option<String>,
    /// As a service it does not do as it is told
    #[arg(long)]
    deaf: bool,
}

static GIVEN: OnceLock<Options> = OnceLock::new();

/// Runs until it is stopped.
pub fn run(options: Options) -> Result<(), Failure> {
    let options = GIVEN.get_or_init(|| options);
    match &options.service {
        Some(name) => Ok(service_dispatcher::start(name, begin)?),
        None => live(options, &channel().1),
    }
}

extern "system" fn begin(_: u32, _: *mut *mut u16) {
    if let Some(options) = GIVEN.get() {
        let _ = serve(options);
    }
}

fn serve(options: &Options) -> Result<(), Failure> {
    let (stop, stopped) = channel();
    let stop = Mutex::new(stop);
    let deaf = options.deaf;
    let name = options.service.as_deref().unwrap_or_default();
    let handle = service_control_handler::register(name, move |control| match control {
        ServiceControl::Stop => {
            if !deaf && let Ok(stop) = stop.lock() {
                let _ = stop.send(());
            }
            ServiceControlHandlerResult::NoError
        }
        ServiceControl::Interrogate => ServiceControlHandlerResult::NoError,
        _ => ServiceControlHandlerResult::NotImplemented,
    })?;
    say(handle, ServiceState::StartPending)?;
    thread::sleep(Duration::from_millis(options.start));
    say(handle, ServiceState::Running)?;
    live(&Options { start: 0, ..options.clone() }, &stopped)?;
    say(handle, ServiceState::Stopped)
}

fn say(handle: ServiceStatusHandle, state: ServiceState) -> Result<(), Failure> {
    let accepted =
        if state == ServiceState::Running { ServiceControlAccept::STOP } else { ServiceControlAccept::empty() };
    handle.set_service_status(ServiceStatus {
        service_type: ServiceType::OWN_PROCESS,
        current_state: state,
        controls_accepted: accepted,
        exit_code: ServiceExitCode::NO_ERROR,
        checkpoint: 0,
        wait_hint: Duration::from_secs(5),
        process_id: None,
    })?;
    Ok(())
}

/// Runs until `stopped`, or until it is ended by force.
fn live(options: &Options, stopped: &Receiver<()>) -> Result<(), Failure> {
    let pen = Arc::new(Pen::open(options)?);
    pen.mark("start")?;
    let ticks = Arc::clone(&pen);
    thread::spawn(move || {
        while ticks.mark("alive").is_ok() {
            thread::sleep(TICK);
        }
    });
    let _child = options.child.as_deref().map(|log| child(log, options.ahead)).transpose()?;
    thread::sleep(Duration::from_millis(options.start));
    let lock = options.lock.as_deref().map(lock).transpose()?;
    let listener = options.listen.map(TcpListener::bind).transpose()?;
    pen.mark("active")?;
    if let Some(listener) = listener {
        thread::spawn(move || listener.incoming().for_each(drop));
    }
    if stopped.recv().is_err() {
        // Nobody can ask it to stop.
        loop {
            thread::park();
        }
    }
    pen.mark("stopping")?;
    drop(lock);
    thread::sleep(Duration::from_millis(options.stop));
    pen.mark("end")
}

/// Writes by the judge's clock too.
fn child(log: &Path, ahead: i64) -> std::io::Result<std::process::Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("cti").arg("--log").arg(log).arg(format!("--ahead={ahead}")).stdin(Stdio::null()).spawn()
}

/// Held as long as the file is open.
fn lock(path: &Path) -> Result<File, Failure> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    file.try_lock()?;
    Ok(file)
}

/// Writes down that this process runs. One line at a time: Wine looks for a file's end first and writes there afterwards, so two threads
/// would write over each other's lines.
struct Pen {
    file: Mutex<File>,
    ahead: i64,
}

impl Pen {
    fn open(options: &Options) -> Result<Pen, Failure> {
        let file = OpenOptions::new().append(true).create(true).open(&options.log)?;
        Ok(Pen { file: Mutex::new(file), ahead: options.ahead })
    }

    /// `NANOSECONDS PID WORD`. The time since 1970 is the one clock that Wine and its host agree upon.
    fn mark(&self, word: &str) -> Result<(), Failure> {
        let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos())?;
        let line = format!("{} {} {word}\n", now + self.ahead, std::process::id());
        self.file.lock().map_err(|_| "a thread has died while it wrote")?.write_all(line.as_bytes())?;
        Ok(())
    }
}
