//! Somebody else's balancer in front of the pair: an HAProxy on a machine of its own, with a VIP of its own.

use lockstep_demo::now;
use lockstep_policy::{Side, Sides};
use lockstep_tests::network::{self, Place};
use lockstep_tests::processes::{Life, until};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// The balancer's own VIP.
pub const VIP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 77, 0, 200)), 80);
/// From one of its checks to the next.
pub const INTERVAL: Duration = Duration::from_millis(100);
/// Checks in a row after which it leaves a server.
pub const FALL: u32 = 2;
/// From one look at it to the next.
const LOOK: Duration = Duration::from_millis(5);

/// A running HAProxy.
#[derive(Debug)]
pub struct Balancer {
    _place: Place,
    socket: PathBuf,
    _life: Life,
}

/// What it holds of both servers at one time: those that it gives requests to.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// On `CLOCK_BOOTTIME`, in nanoseconds.
    pub at: u64,
    pub up: Sides<bool>,
}

impl Balancer {
    /// Starts it on a machine of its own. `backends` are those of its configuration; requests go to `phones`.
    pub fn start(dir: &Path, backends: &str) -> Balancer {
        let place = Place::lay("balancer", VIP.ip());
        let (socket, file) = (dir.join("haproxy.sock"), dir.join("haproxy.cfg"));
        let configuration = format!(
            // Its retry would come half a second later, to the same server, whatever has become of that meanwhile.
            "global\n  stats socket {socket} level admin\n  spread-checks 0\n\
             defaults\n  mode http\n  retries 0\n  timeout connect 500ms\n  timeout client 10s\n  timeout server 10s\n  timeout check 200ms\n\
             frontend vip\n  bind {VIP}\n  default_backend phones\n{backends}",
            socket = socket.display(),
        );
        std::fs::write(&file, configuration).unwrap();
        let is_there = Command::new("haproxy").arg("-v").output().is_ok();
        assert!(is_there, "missing: haproxy. As root: apt-get install -y --no-install-recommends haproxy");
        let mut command = place.command("haproxy");
        command.arg("-db").arg("-f").arg(&file);
        let life = Life::begin(command, &dir.join("haproxy.log"), None);
        let balancer = Balancer { _place: place, socket, _life: life };
        until("HAProxy to answer", || balancer.ask("show info").map(drop));
        balancer
    }

    /// What an administrator types into its runtime interface.
    pub fn order(&self, line: &str) {
        let answer = self.ask(line).expect("HAProxy runs");
        println!("haproxy> {line}\n{}", answer.trim());
        assert_eq!(answer.trim(), "", "it has nothing to say about an order that it takes");
    }

    fn ask(&self, line: &str) -> Option<String> {
        ask(&self.socket, line)
    }

    /// Which servers of a backend it gives requests to.
    pub fn up(&self, backend: &str) -> Sides<bool> {
        servers_up(&self.ask(&format!("show servers state {backend}")).expect("HAProxy runs"))
    }

    /// Waits until it gives requests of a backend to this side alone.
    pub fn wait_only(&self, backend: &str, side: Side) {
        until(&format!("HAProxy to give requests of {backend} to {side} alone"), || {
            let up = self.up(backend);
            (up[side] && !up[side.other()]).then_some(())
        });
    }

    /// Watches from now on what it holds of the servers of `phones`.
    pub fn watch(&self) -> Watch {
        let over = Arc::new(AtomicBool::new(false));
        let (socket, ended) = (self.socket.clone(), Arc::clone(&over));
        let thread = std::thread::spawn(move || {
            let mut seen = Vec::new();
            while !ended.load(Ordering::Relaxed) {
                if let Some(state) = ask(&socket, "show servers state phones") {
                    seen.push(Seen { at: now(), up: servers_up(&state) });
                }
                std::thread::sleep(LOOK);
            }
            seen
        });
        Watch { over, thread }
    }
}

/// Somebody who keeps looking.
#[derive(Debug)]
pub struct Watch {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Seen>>,
}

impl Watch {
    /// All that was seen.
    pub fn end(self) -> Vec<Seen> {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn ask(socket: &Path, line: &str) -> Option<String> {
    let mut stream = UnixStream::connect(socket).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    stream.write_all(format!("{line}\n").as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// The lines are `be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state …`: an operational state of 2 is up, and any
/// administrative one keeps requests away.
fn servers_up(state: &str) -> Sides<bool> {
    let up = |side: Side| {
        let names = [side.to_string(), name(side)];
        state.lines().any(|line| {
            let fields: Vec<&str> = line.split(' ').collect();
            fields.len() > 6 && names.iter().any(|name| name == fields[3]) && fields[5] == "2" && fields[6] == "0"
        })
    };
    Sides::from_fn(up)
}

/// A server's name, where the balancer asks the edge by name.
pub fn name(side: Side) -> String {
    format!("telisca-{side}.example")
}

/// A backend of the nodes' applications as servers of these names, which asks the edge whether they are to be given requests. `request` is
/// what `http-check send` is told; the server's name is `%[srv_name]` in it.
pub fn backend_that_asks(backend: &str, names: &Sides<String>, request: &str, edge: SocketAddr) -> String {
    let (interval, ip, port) = (INTERVAL.as_millis(), edge.ip(), edge.port());
    let server = |side| {
        let (name, node) = (&names[side], network::address(side));
        format!(
            "  server {name} {node}:80 check addr {ip} port {port} inter {interval}ms fall {FALL} rise 1 \
             on-marked-down shutdown-sessions\n"
        )
    };
    format!(
        "backend {backend}\n  option httpchk\n  http-check send meth GET {request}\n  http-check expect string ACTIVE\n{}{}",
        server(Side::A),
        server(Side::B)
    )
}
