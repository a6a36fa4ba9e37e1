//! The same events behind an HAProxy that asks each server for its role every 0.1 s, as often as lockstep's policy probes it. A planned
//! switch goes by its runtime API, as a careful operator's script would: the old server into maintenance, its CTI stopped, the other's
//! started, the other server up. When the active server is killed a daemon on the other node notices, at the same interval, and starts
//! its own CTI.

use crate::options::Options;
use crate::processes::Program;
use crate::switch::{Client, KILLED, PLANNED, WINDOW, judged};
use lockstep_demo::play::processes::DEMO;
use lockstep_demo::{activity, app, now};
use lockstep_policy::{Side, Sides};
use lockstep_tests::configuration::{CTI_START, CTI_STOP, vip};
use lockstep_tests::network::{Network, address};
use lockstep_tests::processes::{Life, until};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const INTERVAL: Duration = Duration::from_millis(100);
const FALL: u32 = 2;

pub fn in_world(options: &Options, dir: &Path) -> Value {
    let mut site = Site::start(dir);
    let client = Client::start(dir);
    let (mut active, mut events) = (Side::A, Vec::new());
    for _ in 0..options.rounds {
        for kind in [PLANNED, KILLED] {
            std::thread::sleep(Duration::from_millis(500));
            let at = now();
            if kind == PLANNED {
                site.switch(active);
            } else {
                site.kill(active);
            }
            client.wait_served(Some(active.other()), at);
            std::thread::sleep(WINDOW);
            if kind == KILLED {
                site.bring_back(active);
            }
            active = active.other();
            events.push((kind, at));
        }
    }
    let exchanges = client.end();
    let found: Vec<Value> = events.into_iter().map(|(kind, at)| judged(&exchanges, kind, at, None)).collect();
    json!({ "events": found })
}

struct Site {
    dir: PathBuf,
    network: Network,
    applications: Sides<Option<Life>>,
    ctis: Sides<Option<Life>>,
    _haproxy: Program,
}

impl Site {
    /// Starts it with A active.
    fn start(dir: &Path) -> Site {
        let network = Network::lay();
        let haproxy = haproxy(dir);
        let none = || Sides::from_fn(|_| None);
        let mut site = Site { dir: dir.to_owned(), network, applications: none(), ctis: none(), _haproxy: haproxy };
        Side::BOTH.into_iter().for_each(|side| site.start_application(side));
        site.start_cti(Side::A);
        site
    }

    fn start_application(&mut self, side: Side) {
        let mut command = self.network.command_on(side, lockstep_tests::lockstep());
        command.args(["simulate", "app", "--side", &side.to_string(), "--listen", &server(side).to_string()]);
        command.arg("--lock").arg(self.lock(side)).arg("--log").arg(self.dir.join(app::file_name(side)));
        command.env(DEMO, &self.dir);
        self.applications[side] = Some(Life::begin(command, &self.dir.join(format!("app-{side}.log")), None));
    }

    /// Starts a side's CTI, and returns when it is active.
    fn start_cti(&mut self, side: Side) {
        let log = self.dir.join(activity::file_name(side));
        let active = || {
            let marks = activity::read(&log).unwrap_or_default();
            marks.iter().filter(|instant| instant.mark == activity::Mark::Active).count()
        };
        let before = active();
        let mut command = self.network.command_on(side, lockstep_tests::lockstep());
        let time = |time: Duration| humantime::format_duration(time).to_string();
        command.args(["simulate", "cti", "--side", &side.to_string(), "--start-time", &time(CTI_START)]);
        command.args(["--stop-time", &time(CTI_STOP), "--lock"]).arg(self.lock(side));
        command.arg("--log").arg(&log).env(DEMO, &self.dir);
        self.ctis[side] = Some(Life::begin(command, &self.dir.join(format!("cti-{side}.log")), None));
        until("the CTI to be active", || (active() > before).then_some(()));
    }

    fn switch(&mut self, from: Side) {
        let to = from.other();
        self.say(&format!("set server phones/{from} state maint"));
        let cti = self.ctis[from].take().expect("the active side has one");
        cti.signal(Signal::SIGTERM);
        cti.wait("the CTI");
        self.start_cti(to);
        self.say(&format!("set server phones/{to} health up"));
        // For the next time, and as one: who leaves maintenance counts as up until its next check, which says that it is standby.
        self.say(&format!("set server phones/{from} state ready; set server phones/{from} health down"));
    }

    /// Kills the active server, and does what the other node's daemon does.
    fn kill(&mut self, active: Side) {
        self.applications[active].take().expect("it runs").kill();
        let mut failures = 0;
        while failures < FALL {
            let begin = Instant::now();
            failures = if answers(server(active)) { 0 } else { failures + 1 };
            std::thread::sleep(INTERVAL.saturating_sub(begin.elapsed()));
        }
        self.start_cti(active.other());
    }

    /// Nobody has fenced it: its CTI is ended before its application is back.
    fn bring_back(&mut self, side: Side) {
        self.ctis[side].take().expect("nobody has stopped it").kill();
        self.start_application(side);
    }

    fn lock(&self, side: Side) -> PathBuf {
        self.dir.join(format!("cti-{side}.lock"))
    }

    /// Says a line to the runtime API.
    fn say(&self, line: &str) {
        let mut stream = UnixStream::connect(self.dir.join("haproxy.sock")).unwrap();
        writeln!(stream, "{line}").unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        if !answer.trim().is_empty() {
            println!("{line}: {}", answer.trim());
        }
    }
}

fn server(side: Side) -> SocketAddr {
    SocketAddr::new(address(side), 80)
}

fn haproxy(dir: &Path) -> Program {
    let line = |side: Side| {
        format!(
            "  server {side} {} check inter {}ms fall {FALL} rise 1 on-marked-down shutdown-sessions\n",
            server(side),
            INTERVAL.as_millis()
        )
    };
    let configuration = format!(
        "global\n  spread-checks 0\n  stats socket {}/haproxy.sock level admin\ndefaults\n  mode http\n  retries 3\n  option redispatch\n  \
         timeout connect 500ms\n  timeout client 10s\n  timeout server 10s\n  timeout check {}ms\nfrontend vip\n  bind {}\n  \
         default_backend phones\nbackend phones\n  option httpchk\n  http-check send meth GET uri {}?mod=FT\n  \
         http-check expect string ACTIVE\n{}{}",
        dir.display(),
        INTERVAL.as_millis(),
        vip(),
        app::MONITOR,
        line(Side::A),
        line(Side::B)
    );
    let file = dir.join("haproxy.cfg");
    std::fs::write(&file, configuration).unwrap();
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-f").arg(&file);
    Program::start(command, dir, "haproxy")
}

fn answers(peer: SocketAddr) -> bool {
    let ask = || {
        let mut stream = TcpStream::connect_timeout(&peer, INTERVAL)?;
        stream.set_read_timeout(Some(INTERVAL))?;
        write!(stream, "GET {}?mod=NONE HTTP/1.0\r\n\r\n", app::MONITOR)?;
        stream.read(&mut [0u8; 64])
    };
    matches!(ask(), Ok(1..))
}
