//! The network of a world: the edge and its clients on a bridge, and two nodes with a cable each.
//!
//! The edge's namespace is the world's own. Each node has a namespace, which lives as long as its holder, a `cat` that waits for
//! input.

use lockstep_policy::{Side, Sides};
use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The pair's address, for clients.
pub const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 100));

/// A node's address.
pub fn address(side: Side) -> IpAddr {
    match side {
        Side::A => IpAddr::V4(Ipv4Addr::new(10, 77, 0, 1)),
        Side::B => IpAddr::V4(Ipv4Addr::new(10, 77, 0, 2)),
    }
}

/// Bridge, cables and the nodes' namespaces.
#[derive(Debug)]
pub struct Network {
    nodes: Sides<Child>,
}

impl Network {
    /// Lays it out in the namespace of this process, which must be a new one.
    pub fn lay() -> Network {
        run("ip link set lo up");
        // Without an address of its own a bridge takes a port's, and with it changes what the others have learnt.
        run("ip link add bridge type bridge forward_delay 0");
        run("ip link set bridge address 02:00:00:00:00:64 up");
        run(&format!("ip address add {VIP}/24 dev bridge"));
        let nodes = Sides::from_fn(|_| hold_namespace());
        let network = Network { nodes };
        Side::BOTH.into_iter().for_each(|side| network.lay_cable(side));
        network
    }

    fn lay_cable(&self, side: Side) {
        let (port, holder, node) = (port(side), self.nodes[side].id(), address(side));
        run(&format!("ip link add {port} type veth peer name eth0 netns {holder}"));
        run(&format!("ip link set {port} master bridge up"));
        self.run_on(side, "ip link set lo up");
        self.run_on(side, &format!("ip address add {node}/24 dev eth0"));
        self.run_on(side, "ip link set eth0 up");
    }

    /// A program that will run on a node, as a process of this very number (nothing forks).
    pub fn command_on(&self, side: Side, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.nodes[side].id().to_string(), "--net", "--"]).arg(program);
        command
    }

    fn run_on(&self, side: Side, line: &str) {
        let mut words = line.split_whitespace();
        let mut command = self.command_on(side, words.next().unwrap());
        command.args(words);
        finish(command, line);
    }

    /// Pulls a node's cable. Who talked to it gets no answer any more, and no error either.
    pub fn unplug(&self, side: Side) {
        run(&format!("ip link set {} down", port(side)));
    }

    /// Plugs it in again.
    pub fn plug(&self, side: Side) {
        run(&format!("ip link set {} up", port(side)));
    }

    /// Drops everything to and from one TCP port of a node; the rest of the node stays reachable.
    pub fn cut_port(&self, side: Side, number: u16) {
        self.run_on(side, "nft add table inet cut");
        self.run_on(side, "nft add chain inet cut in { type filter hook input priority 0 ; }");
        self.run_on(side, "nft add chain inet cut out { type filter hook output priority 0 ; }");
        self.run_on(side, &format!("nft add rule inet cut in tcp dport {number} drop"));
        self.run_on(side, &format!("nft add rule inet cut out tcp sport {number} drop"));
    }

    /// Undoes [`Network::cut_port`].
    pub fn heal_port(&self, side: Side) {
        self.run_on(side, "nft delete table inet cut");
    }
}

fn port(side: Side) -> String {
    format!("port-{side}")
}

fn hold_namespace() -> Child {
    let holder =
        Command::new("unshare").args(["--net", "cat"]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let namespace = |process: &str| std::fs::read_link(PathBuf::from(format!("/proc/{process}/ns/net"))).unwrap();
    let begin = Instant::now();
    while namespace(&holder.id().to_string()) == namespace("self") {
        assert!(begin.elapsed() < Duration::from_secs(10), "unshare makes no network namespace");
        std::thread::sleep(Duration::from_millis(1));
    }
    holder
}

fn run(line: &str) {
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().unwrap());
    command.args(words);
    finish(command, line);
}

fn finish(mut command: Command, line: &str) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "`{line}` says: {}", String::from_utf8_lossy(&output.stderr));
}
