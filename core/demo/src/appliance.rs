//! A simulated vendor appliance: a node that admits no agent, and has a web page by which its CTI is started and stopped.
//!
//! `POST /start` and `POST /stop` answer when it is done, `GET /role` says `active` or `standby`. It starts its
//! application itself. Its processes all name the lock in their command lines: by that they can be switched off together.

use crate::lock::ActiveLock;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use lockstep_policy::Side;
use rustix::process::{Pid, Signal, kill_process};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Mutex;
use tokio::time::sleep;

/// How often a CTI that starts is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// What `simulate appliance` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// The side that this node is
    #[arg(long)]
    pub side: Side,
    /// Where its page is
    #[arg(long)]
    pub listen: SocketAddr,
    /// Where its application listens
    #[arg(long)]
    pub app: SocketAddr,
    /// The file that its CTI holds locked while it is active
    #[arg(long)]
    pub lock: PathBuf,
    /// Where the application writes down each request served while the CTI was not active
    #[arg(long)]
    pub log: PathBuf,
    /// Where the CTI writes down that it runs
    #[arg(long)]
    pub activity: PathBuf,
    /// Where the page writes down each call
    #[arg(long)]
    pub calls: PathBuf,
    /// While this file exists, a stop is answered with 500 and not made
    #[arg(long)]
    pub stuck: PathBuf,
    /// It starts its CTI with itself, as a node that was active before it was switched off
    #[arg(long)]
    pub active: bool,
}

/// Runs until the process is told to stop.
///
/// # Errors
/// It cannot listen, or its programs cannot be started.
pub fn run(options: Options) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, serve(options))
}

async fn serve(options: Options) -> anyhow::Result<()> {
    let listener = TcpListener::bind(options.listen).await?;
    let _app = simulate("app", &options)
        .args(["--listen", &options.app.to_string(), "--log"])
        .arg(&options.log)
        .kill_on_drop(true)
        .spawn()?;
    let node = Rc::new(Node { lock: ActiveLock::open(&options.lock)?, cti: Mutex::new(None), options });
    if node.options.active {
        node.start().await?;
    }
    let mut stop = signal(SignalKind::terminate())?;
    loop {
        tokio::select! {
            _ = stop.recv() => return Ok(()),
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let node = node.clone();
                tokio::task::spawn_local(async move {
                    let answer = service_fn(move |request| { let node = node.clone(); async move { node.answer(request).await } });
                    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
                });
            }
        }
    }
}

fn simulate(program: &str, options: &Options) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.args(["simulate", program, "--side", &options.side.to_string(), "--lock"]).arg(&options.lock);
    command
}

struct Node {
    options: Options,
    lock: ActiveLock,
    cti: Mutex<Option<Child>>,
}

impl Node {
    async fn answer(&self, request: Request<Incoming>) -> io::Result<Response<Full<Bytes>>> {
        let path = request.uri().path();
        let (status, text) = match (request.method(), path) {
            (&Method::POST, "/start") => (StatusCode::OK, self.start().await.map(|()| "started")?),
            (&Method::POST, "/stop") if self.options.stuck.exists() => (StatusCode::INTERNAL_SERVER_ERROR, "stuck"),
            (&Method::POST, "/stop") => (StatusCode::OK, self.stop().await.map(|()| "stopped")?),
            (&Method::GET, "/role") => {
                (StatusCode::OK, if self.lock.held_by_another()? { "active" } else { "standby" })
            }
            _ => (StatusCode::NOT_FOUND, "POST /start, POST /stop, GET /role"),
        };
        if request.method() == Method::POST {
            let mut calls = std::fs::OpenOptions::new().append(true).create(true).open(&self.options.calls)?;
            io::Write::write_all(&mut calls, format!("{path} {}\n", status.as_u16()).as_bytes())?;
        }
        Response::builder().status(status).body(Full::from(text)).map_err(io::Error::other)
    }

    async fn start(&self) -> io::Result<()> {
        let mut cti = self.cti.lock().await;
        if cti.is_none() {
            *cti = Some(simulate("cti", &self.options).arg("--log").arg(&self.options.activity).spawn()?);
        }
        while !self.lock.held_by_another()? {
            sleep(LOOK).await;
        }
        Ok(())
    }

    async fn stop(&self) -> io::Result<()> {
        if let Some(mut cti) = self.cti.lock().await.take() {
            if let Some(pid) = cti.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)) {
                kill_process(pid, Signal::TERM)?;
            }
            cti.wait().await?;
        }
        Ok(())
    }
}
