//! The configurations of the test bed: the LAN profile, a CTI that takes 300 ms to start, and nothing else out of the ordinary.

use crate::network::{VIP, address};
use crate::processes::lockstep;
use lockstep_demo::{activity, app};
use lockstep_policy::Side;
use lockstep_wire::trust::{Directory, Identity, LASTING};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The bed's one pair.
pub const PAIR: &str = "telisca";
/// Where the edge's operators speak to it.
pub const ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 7480);
/// Where an agent listens, on its node's address.
pub const AGENT_PORT: u16 = 7401;
/// The pair's lease, by the LAN profile.
pub const LEASE: Duration = Duration::from_millis(600);
/// How long a side's CTI takes to start.
pub const CTI_START: Duration = Duration::from_millis(300);
/// How long it takes to stop.
pub const CTI_STOP: Duration = Duration::from_millis(30);
const HTTP: u16 = 80;

/// The pair's address, for clients.
pub fn vip() -> SocketAddr {
    SocketAddr::new(VIP, HTTP)
}

/// Trusts a plugin of this workspace, as an operator must before an edge loads it.
pub fn trust_plugin(dir: &Path, plugin: &str) {
    trust_file(dir, &crate::plugin(plugin));
}

/// Trusts a plugin's file.
pub fn trust_file(dir: &Path, file: &Path) {
    let list = dir.join("policies.trust");
    let trusted = lockstep().args(["policy", "trust"]).arg(file).arg("--trust-file").arg(list).output().unwrap();
    assert!(trusted.status.success(), "{}", String::from_utf8_lossy(&trusted.stderr));
}

/// The CA of a bed, made when it is first asked for.
pub fn ca(dir: &Path) -> Directory {
    let path = dir.join("ca");
    if path.exists() { Directory::open(&path).unwrap() } else { Directory::init(&path, "bed").unwrap() }
}

/// The line that gives an edge of that name, or an agent, a certificate of the bed's CA: for `[edge]` or `[agent]`.
pub fn trust(dir: &Path, identity: &Identity) -> String {
    let (ca, file) = (ca(dir), certificate(dir, identity));
    if !file.exists() {
        ca.issue(identity, LASTING, &file).unwrap();
    }
    format!("tls = {{ ca = {:?}, certificate = {file:?}, revoked = {:?} }}", ca.ca(), ca.list())
}

/// Where a bed has somebody's certificate, with its key.
pub fn certificate(dir: &Path, identity: &Identity) -> PathBuf {
    dir.join(format!("{}.pem", identity.file_stem()))
}

/// `edge-1`.
pub fn edge_1() -> Identity {
    Identity::edge("edge-1").unwrap()
}

/// An agent.
pub fn agent_of(pair: &str, side: Side) -> Identity {
    Identity::agent(pair, side).unwrap()
}

/// `edge.toml`, with more lines for the policy.
pub fn edge(dir: &Path, policy: &str) -> String {
    let side = |side| {
        let node = address(side);
        format!("[pair.{side}]\nservers = [\"{node}:{HTTP}\"]\nagent = \"{node}:{AGENT_PORT}\"\n")
    };
    format!(
        r#"[edge]
name = "edge-1"
state = {state:?}
admin = "{ADMIN}"
{tls}

[[pair]]
name = "{PAIR}"
listen = ["{vip}"]
[pair.policy]
plugin = {plugin:?}
fast = true
{policy}
[pair.lease]
profile = "lan"
{a}{b}"#,
        state = dir.join("edge"),
        tls = trust(dir, &edge_1()),
        vip = vip(),
        plugin = crate::plugin("telisca"),
        a = side(Side::A),
        b = side(Side::B),
    )
}

/// An edge by whose configuration nobody moves but by an order, however busy the machine is: its leases are of the default length, since
/// connecting to agents anew may take longer than those of the LAN profile last.
pub fn calm(edge: &str) -> String {
    edge.replace("profile = \"lan\"", "profile = \"default\"\n[pair.detect]\ntimeout = \"3s\"\nfailures = 9")
}

/// A side's `agent.toml`, for the pair of that name.
pub fn agent(dir: &Path, side: Side, pair: &str) -> String {
    let (node, lock) = (address(side), dir.join(format!("cti-{side}.lock")));
    let program = |name: &str| format!("{:?}, \"simulate\", {name:?}, \"--side\", \"{side}\"", crate::lockstep());
    format!(
        r#"[agent]
pair = "{pair}"
side = "{side}"
listen = "{node}:{AGENT_PORT}"
state = {state:?}
{tls}

[[service]]
name = "framework"
driver = "exec"
command = [{app}, "--listen", "{node}:{HTTP}", "--lock", {lock:?}, "--log", {misplaced:?}]
flush = true
ready = {{ http = "http://{node}:{HTTP}{monitor}?mod=NONE" }}

[[service]]
name = "cti"
driver = "exec"
command = [{cti}, "--start-time", "{start}", "--stop-time", "{stop}", "--lock", {lock:?}, "--log", {activity:?}]
exclusive = true
ready = {{ notify = true }}
"#,
        state = dir.join(format!("agent-{side}")),
        tls = trust(dir, &agent_of(pair, side)),
        app = program("app"),
        misplaced = dir.join(app::file_name(side)),
        monitor = app::MONITOR,
        cti = program("cti"),
        start = humantime::format_duration(CTI_START),
        stop = humantime::format_duration(CTI_STOP),
        activity = dir.join(activity::file_name(side)),
    )
}
