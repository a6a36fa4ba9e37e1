//! The network of a world: the edge and its clients on a bridge, and two nodes with a cable each.
//!
//! The edge's namespace is the world's own. Each node, and each other place, has a namespace, which lives as long as its holder, a
//! `cat` that waits for input.

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

/// The edge's address on the second network.
pub const SECOND: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 78, 0, 100));

/// A node's address on the second network.
pub fn second_address(side: Side) -> IpAddr {
    match side {
        Side::A => IpAddr::V4(Ipv4Addr::new(10, 78, 0, 1)),
        Side::B => IpAddr::V4(Ipv4Addr::new(10, 78, 0, 2)),
    }
}

/// Bridge, cables and the nodes' namespaces.
#[derive(Debug)]
pub struct Network {
    nodes: Sides<Place>,
}

impl Network {
    /// Lays it out in the namespace of this process, which must be a new one.
    pub fn lay() -> Network {
        run("ip link set lo up");
        // Without an address of its own a bridge takes a port's, and with it changes what the others have learnt.
        run("ip link add bridge type bridge forward_delay 0");
        run("ip link set bridge address 02:00:00:00:00:64 up");
        run(&format!("ip address add {VIP}/24 dev bridge"));
        Network { nodes: Sides::from_fn(|side| Place::lay(&port(side), address(side))) }
    }

    /// Lays a second bridge, by which edge and nodes reach each other beside the first one: `eth1` on the nodes.
    pub fn lay_second(&self) {
        run("ip link add second type bridge forward_delay 0");
        run("ip link set second address 02:00:00:00:01:64 up");
        run(&format!("ip address add {SECOND}/24 dev second"));
        for (side, node) in self.nodes.iter() {
            node.lay_cable(&format!("second-{side}"), "second", "eth1", second_address(side));
        }
    }

    /// A program that will run on a node, as a process of this very number (nothing forks).
    pub fn command_on(&self, side: Side, program: impl AsRef<OsStr>) -> Command {
        self.nodes[side].command(program)
    }

    fn run_on(&self, side: Side, line: &str) {
        self.nodes[side].run(line);
    }

    /// Pulls a node's cable. Who talked to it gets no answer any more, and no error either.
    pub fn unplug(&self, side: Side) {
        run(&format!("ip link set {} down", port(side)));
    }

    /// Plugs it in again.
    pub fn plug(&self, side: Side) {
        run(&format!("ip link set {} up", port(side)));
    }

    /// On every cable, each packet is lost with this probability, in either direction. What stays within a machine is not.
    pub fn lose(&self, percent: u32) {
        run_lines(&loss(percent), run);
        self.nodes.iter().for_each(|(_, node)| node.lose(percent));
    }

    /// Nothing reaches a node, or nothing leaves it; the other direction is whole.
    pub fn cut_one_way(&self, side: Side, way: Way) {
        let (hook, interface) = match way {
            Way::To => ("input", "iifname"),
            Way::From => ("output", "oifname"),
        };
        self.run_on(side, "nft add table inet oneway");
        self.run_on(side, &format!("nft add chain inet oneway cut {{ type filter hook {hook} priority 0 ; }}"));
        self.run_on(side, &format!("nft add rule inet oneway cut {interface} != lo drop"));
    }

    /// Undoes [`Network::cut_one_way`].
    pub fn heal_one_way(&self, side: Side) {
        self.run_on(side, "nft delete table inet oneway");
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

    /// A node's pings stay without an answer; all else goes through.
    pub fn cut_pings(&self, side: Side) {
        self.run_on(side, "nft add table inet pings");
        self.run_on(side, "nft add chain inet pings in { type filter hook input priority 0 ; }");
        self.run_on(side, "nft add rule inet pings in icmp type echo-reply drop");
    }

    /// Undoes [`Network::cut_pings`].
    pub fn heal_pings(&self, side: Side) {
        self.run_on(side, "nft delete table inet pings");
    }
}

/// A direction, seen from a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// What is sent to it.
    To,
    /// What it sends.
    From,
}

/// A machine of its own on the bridge.
#[derive(Debug)]
pub struct Place {
    holder: Child,
}

impl Place {
    /// Lays it; `port` is the name of its cable's end at the bridge, of at most 15 letters.
    pub fn lay(port: &str, address: IpAddr) -> Place {
        let place = Place { holder: hold_namespace() };
        place.run("ip link set lo up");
        place.lay_cable(port, "bridge", "eth0", address);
        place
    }

    /// Each packet that arrives is lost with this probability.
    pub fn lose(&self, percent: u32) {
        run_lines(&loss(percent), |line| self.run(line));
    }

    fn lay_cable(&self, port: &str, bridge: &str, interface: &str, address: IpAddr) {
        run(&format!("ip link add {port} type veth peer name {interface} netns {}", self.holder.id()));
        run(&format!("ip link set {port} master {bridge} up"));
        self.run(&format!("ip address add {address}/24 dev {interface}"));
        self.run(&format!("ip link set {interface} up"));
    }

    /// A program that will run there, as a process of this very number (nothing forks).
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.holder.id().to_string(), "--net", "--"]).arg(program);
        command
    }

    fn run(&self, line: &str) {
        let mut words = line.split_whitespace();
        let mut command = self.command(words.next().unwrap());
        command.args(words);
        finish(command, line);
    }
}

fn port(side: Side) -> String {
    format!("port-{side}")
}

fn loss(percent: u32) -> [String; 3] {
    [
        "nft add table inet loss".to_owned(),
        "nft add chain inet loss in { type filter hook input priority 0 ; }".to_owned(),
        format!("nft add rule inet loss in iifname != lo numgen random mod 100 < {percent} drop"),
    ]
}

fn run_lines(lines: &[String], run: impl Fn(&str)) {
    lines.iter().for_each(|line| run(line));
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
