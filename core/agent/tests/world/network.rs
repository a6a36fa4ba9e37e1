//! A network of its own for a test: the node's interface `eth0`, and its gateway in another namespace.
//!
//! The test's own thread, and what it starts, is on the node: the edge reaches the agent over loopback.

use nix::sched::{CloneFlags, unshare};
use std::process::{Child, Command, Stdio};

pub struct Network {
    gateway: Child,
}

impl Network {
    pub const GATEWAY: &str = "10.77.0.254";

    /// None, with a word on stderr, where namespaces are not permitted: they are root's.
    pub fn new() -> Option<Network> {
        if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "in CI this must run, as root: {error}");
            eprintln!("left out: no namespace of its own: {error}");
            return None;
        }
        let gateway = Command::new("unshare").args(["-n", "sleep", "1000"]).stdin(Stdio::null()).spawn().unwrap();
        let own = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
        super::wait_until("the gateway's namespace", || {
            let theirs = std::fs::read_link(format!("/proc/{}/ns/net", gateway.id()));
            theirs.is_ok_and(|theirs| theirs != own) && comm(gateway.id()) == "sleep"
        });
        let network = Network { gateway };
        run("ip link set lo up");
        run(&format!("ip link add eth0 type veth peer name gw0 netns {}", network.gateway.id()));
        run("ip addr add 10.77.0.1/24 dev eth0");
        run("ip link set eth0 up");
        network.there(&format!("ip addr add {}/24 dev gw0", Network::GATEWAY));
        network.plug();
        run(&format!("ip route add default via {}", Network::GATEWAY));
        Some(network)
    }

    /// Runs on the node, on this thread.
    pub fn block_on(&self, test: impl AsyncFnOnce(&Network)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test(self));
    }

    /// Pulls the cable: the node's interface has no carrier.
    pub fn pull(&self) {
        self.there("ip link set gw0 down");
    }

    pub fn plug(&self) {
        self.there("ip link set gw0 up");
    }

    /// The gateway is there, and answers nobody.
    pub fn mute(&self) {
        self.there(&format!("ip addr del {}/24 dev gw0", Network::GATEWAY));
    }

    pub fn unmute(&self) {
        self.there(&format!("ip addr add {}/24 dev gw0", Network::GATEWAY));
    }

    fn there(&self, command: &str) {
        run(&format!("nsenter -t {} -n {command}", self.gateway.id()));
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = self.gateway.kill();
        let _ = self.gateway.wait();
    }
}

fn comm(pid: u32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}

fn run(command: &str) {
    let (program, args) = command.split_once(' ').unwrap();
    let output = Command::new(program).args(args.split(' ')).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
}
