//! lockstep as a contender: an edge, two agents, one of which holds the lease, and a policy that watches both servers.

use crate::origin::server;
use crate::processes::{Program, pinned};
use crate::{contenders, machine};
use lockstep_demo::activity;
use lockstep_policy::Side;
use lockstep_tests::configuration::{ADMIN, AGENT_PORT, PAIR, agent_of, edge_1, trust, trust_plugin};
use lockstep_tests::processes::until;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

/// A pair with its edge.
#[derive(Debug)]
pub struct Site {
    pub edge: Program,
    _agents: [Program; 2],
}

impl Site {
    /// Starts it, and waits until a side serves.
    pub fn start(
        dir: &Path,
        workers: usize,
        certificate: &Path,
        plain: SocketAddr,
        tls: SocketAddr,
        stream: SocketAddr,
    ) -> Site {
        trust_plugin(dir, "telisca");
        let listeners = format!(
            "[[pair.listener]]\nlisten = [\"{tls}\"]\ntls = {{ certificates = [{certificate:?}] }}\n\
             [[pair.listener]]\nlisten = [\"{stream}\"]\nprotocol = \"tcp\"\n"
        );
        let file = dir.join("edge.toml");
        std::fs::write(&file, edge(dir, plain, &listeners)).unwrap();
        let agents = Side::BOTH.map(|side| agent(dir, side, &machine::of_others(workers)));
        // As many threads for requests as it may use processors.
        let mut command = pinned(&machine::of_contender(workers), lockstep_tests::lockstep());
        command.arg("edge").arg("--config").arg(file);
        let edge = Program::start(command, dir, "edge");
        until("a side to serve", || contenders::answers(plain).then_some(()));
        Site { edge, _agents: agents }
    }
}

fn edge(dir: &Path, plain: SocketAddr, listeners: &str) -> String {
    let side = |side| format!("[pair.{side}]\nservers = [\"{}\"]\nagent = \"{}\"\n", server(side), node(side));
    format!(
        r#"[edge]
name = "edge-1"
state = {state:?}
admin = "{ADMIN}"
{trust}
[edge.access_log]
file = {log:?}

[[pair]]
name = "{PAIR}"
listen = ["{plain}"]
{listeners}
[pair.policy]
plugin = {plugin:?}
fast = true
first_server_auto_restart_as_active = false
[pair.detect]
interval = "1s"
timeout = "1s"
{a}{b}"#,
        state = dir.join("edge"),
        trust = trust(dir, &edge_1()),
        log = dir.join("edge-access.log"),
        plugin = lockstep_tests::plugin("telisca"),
        a = side(Side::A),
        b = side(Side::B),
    )
}

/// The node's agent.
fn node(side: Side) -> SocketAddr {
    let last = match side {
        Side::A => 11,
        Side::B => 12,
    };
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)), AGENT_PORT)
}

fn agent(dir: &Path, side: Side, processors: &str) -> Program {
    let text = format!(
        r#"[agent]
pair = "{PAIR}"
side = "{side}"
listen = "{node}"
state = {state:?}
{trust}

[[service]]
name = "cti"
driver = "exec"
command = [{binary:?}, "simulate", "cti", "--side", "{side}", "--lock", {lock:?}, "--log", {log:?}]
exclusive = true
ready = {{ notify = true }}
"#,
        node = node(side),
        state = dir.join(format!("agent-{side}")),
        trust = trust(dir, &agent_of(PAIR, side)),
        binary = lockstep_tests::lockstep(),
        lock = dir.join(format!("cti-{side}.lock")),
        log = dir.join(activity::file_name(side)),
    );
    let file = dir.join(format!("agent-{side}.toml"));
    std::fs::write(&file, text).unwrap();
    let mut command = pinned(processors, lockstep_tests::lockstep());
    command.arg("agent").arg("--config").arg(file);
    Program::start(command, dir, &format!("agent-{side}"))
}
