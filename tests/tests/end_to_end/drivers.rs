//! Drivers with a real edge: CTI services that are told over HTTP, and one whose budget of restarts is used up.

use crate::bed::Bed;
use crate::configuration::{self, CTI_START, CTI_STOP, PAIR};
use crate::network::VIP;
use crate::world::in_a_world_of_its_own;
use lockstep_demo::activity;
use lockstep_demo::lock::ActiveLock;
use lockstep_demo::now;
use lockstep_demo::play::processes::{DEMO, NODE};
use lockstep_policy::Side::{self, A, B};
use lockstep_policy::event::ServiceState;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

const CTI: [&str; 2] = ["simulate", "cti"];

/// Somebody else who runs a side's CTI service, on a machine beside the edge: `/start`, `/stop`, `/status`.
#[derive(Clone)]
struct Manager {
    dir: PathBuf,
    side: Side,
    port: u16,
    /// It does not stop what it is told to.
    deaf: Arc<AtomicBool>,
    stops: Arc<AtomicUsize>,
}

impl Manager {
    fn start(dir: &Path, side: Side) -> Manager {
        let listener = TcpListener::bind((VIP, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let manager = Manager { dir: dir.to_owned(), side, port, deaf: Arc::default(), stops: Arc::default() };
        let serving = manager.clone();
        std::thread::spawn(move || {
            let mut cti = None;
            for stream in listener.incoming().map_while(Result::ok) {
                serving.answer(stream, &mut cti);
            }
        });
        manager
    }

    fn answer(&self, mut stream: TcpStream, cti: &mut Option<Child>) {
        let mut head = [0; 4096];
        let count = stream.read(&mut head).unwrap_or(0);
        let head = String::from_utf8_lossy(&head[..count]).into_owned();
        if cti.as_mut().is_some_and(|cti| cti.try_wait().unwrap().is_some()) {
            *cti = None;
        }
        let (status, body) = match head.split_whitespace().nth(1) {
            Some("/start") => {
                let child = cti.get_or_insert_with(|| self.command().spawn().unwrap());
                std::fs::write(self.pid_file(), child.id().to_string()).unwrap();
                (202, "starting")
            }
            Some("/stop") => {
                self.stops.fetch_add(1, Ordering::Relaxed);
                if self.deaf.load(Ordering::Relaxed) {
                    (500, "not now")
                } else {
                    if let Some(mut child) = cti.take() {
                        // It may have been killed by another hand.
                        let _ = kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGTERM);
                        child.wait().unwrap();
                    }
                    (200, "stopped")
                }
            }
            Some("/status") => match (cti.is_some(), self.lock().held_by_another().unwrap()) {
                (true, true) => (200, "RUNNING"),
                (true, false) => (200, "STARTING"),
                (false, _) => (404, ""),
            },
            _ => (400, ""),
        };
        let _ = write!(stream, "HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    }

    fn command(&self) -> Command {
        let mut command = crate::processes::lockstep();
        command.args(["simulate", "cti", "--side", &self.side.to_string(), "--lock"]).arg(self.lock_file());
        command.arg("--log").arg(self.dir.join(activity::file_name(self.side)));
        command.arg("--start-time").arg(format!("{}ms", CTI_START.as_millis()));
        command.arg("--stop-time").arg(format!("{}ms", CTI_STOP.as_millis()));
        command.env(DEMO, &self.dir).env(NODE, self.side.to_string());
        command
    }

    fn lock_file(&self) -> PathBuf {
        self.dir.join(format!("cti-{}.lock", self.side))
    }

    fn lock(&self) -> ActiveLock {
        ActiveLock::open(&self.lock_file()).unwrap()
    }

    fn pid_file(&self) -> PathBuf {
        self.dir.join(format!("cti-{}.pid", self.side))
    }

    /// The side's `agent.toml`, with this in place of the CTI's own program.
    fn agent(&self) -> String {
        let Manager { dir, side, port, .. } = self;
        let service = format!(
            r#"name = "cti"
driver = "http"
exclusive = true
start = {{ url = "http://{VIP}:{port}/start", expect = 202 }}
stop = {{ url = "http://{VIP}:{port}/stop", timeout = "200ms" }}
status = {{ url = "http://{VIP}:{port}/status", interval = "50ms", running = {{ contains = "RUNNING" }}, stopped = {{ expect = 404 }} }}
kill = ["sh", "-c", "test ! -e {pid} || kill -9 $(cat {pid}); echo >> {killed}"]
"#,
            pid = self.pid_file().display(),
            killed = dir.join(format!("killed-{side}")).display(),
        );
        with_cti(dir, *side, |_| service)
    }

    fn has_killed(&self) -> bool {
        self.dir.join(format!("killed-{}", self.side)).exists()
    }
}

/// A side's `agent.toml`, in which what stands after `[[service]]` of the CTI is made anew.
fn with_cti(dir: &Path, side: Side, change: impl FnOnce(&str) -> String) -> String {
    let text = configuration::agent(dir, side, PAIR);
    let at = text.find("name = \"cti\"").unwrap();
    format!("{}{}", &text[..at], change(&text[at..]))
}

/// A bed of which both CTI services are told over HTTP; A serves.
fn told(dir: &Path) -> (Bed, [Manager; 2]) {
    let mut bed = Bed::new(dir);
    let managers = Side::BOTH.map(|side| Manager::start(dir, side));
    for manager in &managers {
        bed.configure_agent(manager.side, &manager.agent());
    }
    bed.start();
    (bed, managers)
}

#[test]
fn a_cti_elsewhere_moves_by_calls_and_no_request_is_lost() {
    in_a_world_of_its_own(|dir| {
        let (bed, [a, b]) = told(dir);
        assert!(
            a.stops.load(Ordering::Relaxed) > 0 && b.stops.load(Ordering::Relaxed) > 0,
            "a life begins with a stop"
        );
        let client = bed.client(200);
        client.let_flow(50);
        for to in [B, A] {
            bed.switch(to);
            client.let_flow(50);
            bed.wait_well(to);
        }
        assert!(!a.has_killed() && !b.has_killed());
        client.finish(&bed).nothing_lost();
    });
}

/// I1: the agent is killed, and nothing that runs elsewhere knows of it. Its guard runs `kill`.
#[test]
fn a_cti_elsewhere_is_ended_by_its_guard_when_the_agent_is_killed() {
    in_a_world_of_its_own(|dir| {
        let (mut bed, [a, _]) = told(dir);
        let client = bed.client(200);
        client.let_flow(50);
        bed.kill_agent(A);
        bed.wait_served(B);
        assert!(a.has_killed());
        bed.start_agent(A);
        bed.wait_well(B);
        client.let_flow(50);
        client.finish(&bed);
    });
}

/// The agent starts its CTI again as often as it may; then the policy fails over.
#[test]
fn a_cti_that_dies_again_and_again_uses_up_its_budget_and_costs_its_side_the_role() {
    in_a_world_of_its_own(|dir| {
        let mut bed = Bed::new(dir);
        for side in Side::BOTH {
            let text = with_cti(dir, side, |cti| format!("{cti}restarts = 1\nwindow = \"10m\"\n"));
            bed.configure_agent(side, &text);
        }
        bed.start();
        let client = bed.client(200);
        client.let_flow(50);
        let mut excused = Vec::new();
        let fault = now();
        bed.signal(A, &CTI, Signal::SIGKILL);
        bed.wait("A's agent to have started it again", |pair| {
            let service =
                pair.sides.a.report.as_ref().and_then(|report| report.services.iter().find(|s| s.name == "cti"));
            service.is_some_and(|service| service.restarts == 1 && service.state == ServiceState::Running)
        });
        excused.push(fault..now());
        bed.wait_well(A);
        assert_eq!((bed.cti_starts(A), bed.cti_starts(B)), (2, 0), "the policy had nothing to do");
        client.let_flow(50);
        let fault = now();
        bed.signal(A, &CTI, Signal::SIGKILL);
        bed.wait_served(B);
        excused.push(fault..now());
        bed.print_handover();
        assert_eq!(bed.cti_starts(A), 2, "its budget was one");
        let (_, why) = bed.type_as("eva", &["why", PAIR]);
        assert!(why.contains("failed"), "{why}");
        bed.wait_well(B);
        client.let_flow(50);
        client.finish_but(&bed, |sent| excused.iter().any(|time| time.contains(&sent)));
    });
}
