//! Two eServices sites: at each a core of which one may run, and two Interaction Server Proxies and two UCS Proxies, which listen where
//! the core runs. An agent starts them, behind a gate that a database administrator opens.

use lockstep_demo::{activity, app};
use lockstep_edge::admin::api::PairStatus;
use lockstep_pair::RouteKind;
use lockstep_policy::Side;
use lockstep_policy::event::Verdict;
use lockstep_tests::bed::{Bed, until};
use lockstep_tests::configuration::{self, ADMIN, AGENT_PORT};
use lockstep_tests::network::{VIP, address};
use nix::sys::signal::Signal;
use std::net::SocketAddr;
use std::path::Path;

/// The pair of sites.
pub const PAIR: &str = "eservices";
/// The pools and the VIP's port of each; its servers' ports follow.
pub const POOLS: [(&str, u16); 2] = [("interaction", 7010), ("ucs", 7020)];

/// Where clients ask a pool.
pub fn vip(pool: &str) -> SocketAddr {
    let port = POOLS.iter().find(|(name, _)| *name == pool).map(|(_, port)| *port);
    SocketAddr::new(VIP, port.expect("there is such a pool"))
}

/// The servers of a pool at a site, with their names.
fn servers(side: Side, pool: (&str, u16)) -> [(String, SocketAddr); 2] {
    [1, 2].map(|number| (format!("{}-{number}", pool.0), SocketAddr::new(address(side), pool.1 + number)))
}

/// A site's servers, as `simulate pool` is told of them.
pub fn pool_options(dir: &Path, side: Side) -> Vec<String> {
    let mut words: Vec<String> = ["simulate", "pool", "--side"].map(str::to_owned).to_vec();
    words.push(side.to_string());
    for (name, address) in POOLS.iter().flat_map(|pool| servers(side, *pool)) {
        words.extend(["--server".to_owned(), format!("{name}={address}")]);
    }
    let file = |name: String| dir.join(name).display().to_string();
    words.extend(["--lock".to_owned(), file(format!("core-{side}.lock"))]);
    words.extend(["--log".to_owned(), file(app::file_name(side))]);
    words
}

/// `edge.toml`: the times of the LAN, and what the story says of the policy and of the pair.
pub fn edge(dir: &Path, policy: &str, pair: &str, agents: bool) -> String {
    let listeners: String = POOLS.iter().map(|(name, port)| format!("{name} = [\"{VIP}:{port}\"]\n")).collect();
    let side = |side: Side| {
        let agent = if agents { format!("agent = \"{}:{AGENT_PORT}\"\n", address(side)) } else { String::new() };
        let pools = POOLS.iter().map(|pool| {
            let servers = servers(side, *pool).map(|(_, address)| format!("\"{address}\"")).join(", ");
            format!("{} = [{servers}]\n", pool.0)
        });
        format!("[pair.{side}]\n{agent}[pair.{side}.pools]\n{}", pools.collect::<String>())
    };
    format!(
        "[edge]\nname = \"edge-1\"\nstate = {state:?}\nadmin = \"{ADMIN}\"\n{tls}\n\n[[pair]]\nname = \"{PAIR}\"\n[pair.listeners]\n{listeners}\
         [pair.policy]\nplugin = {plugin:?}\nfast = true\nsite_a = \"Site_A\"\nsite_b = \"Site_B\"\n{policy}{pair}{a}{b}",
        state = dir.join("edge"),
        tls = configuration::trust(dir, &configuration::edge_1()),
        plugin = lockstep_tests::plugin("eservices"),
        a = side(Side::A),
        b = side(Side::B),
    )
}

/// While this file exists Configuration Server is away.
pub const STORE_AWAY: &str = "store-away";
/// What the site option says.
pub const SITE_OPTION: &str = "site-option";
/// Written when the agents' activity is suspended.
pub const SUSPENDED: &str = "suspended";

/// A site's `agent.toml`.
fn agent(dir: &Path, side: Side, again_after: &str) -> String {
    let core = [
        "simulate",
        "cti",
        "--side",
        &side.to_string(),
        "--start-time",
        "200ms",
        "--stop-time",
        "30ms",
        "--lock",
        &dir.join(format!("core-{side}.lock")).display().to_string(),
        "--log",
        &dir.join(activity::file_name(side)).display().to_string(),
    ]
    .map(str::to_owned);
    let mut proxies = pool_options(dir, side);
    proxies.extend(["--again-after".to_owned(), again_after.to_owned()]);
    let command = |words: &[String]| {
        let binary = lockstep_tests::lockstep().display().to_string();
        format!("{:?}", std::iter::once(&binary).chain(words).collect::<Vec<_>>())
    };
    let site = if side == Side::A { "Site_A" } else { "Site_B" };
    let write = format!(
        "test ! -e {away} || {{ echo Configuration Server is away; exit 1; }}; echo {site} > {option}",
        away = dir.join(STORE_AWAY).display(),
        option = dir.join(SITE_OPTION).display(),
    );
    let suspend = format!("echo $LOCKSTEP_SIDE >> {}", dir.join(SUSPENDED).display());
    format!(
        r#"[agent]
pair = "{PAIR}"
side = "{side}"
listen = "{node}:{AGENT_PORT}"
state = {state:?}
{tls}

[[service]]
name = "database"
driver = "gate"
exclusive = true

[[service]]
name = "core"
driver = "exec"
command = {core}
exclusive = true
ready = {{ notify = true }}

[[service]]
name = "proxies"
driver = "exec"
command = {proxies}
exclusive = true
ready = {{ notify = true }}

[[hook]]
name = "suspend"
command = ["sh", "-c", {suspend:?}]

[[hook]]
name = "site-option"
command = ["sh", "-c", {write:?}]
"#,
        node = address(side),
        state = dir.join(format!("agent-{side}")),
        tls = configuration::trust(dir, &configuration::agent_of(PAIR, side)),
        core = command(&core),
        proxies = command(&proxies),
    )
}

/// Both sites, with their agents: A serves, after its gate was opened by `lockstep confirm`. A server that has ended stays away for
/// `again_after`.
pub fn sites(dir: &Path, again_after: &str) -> Bed {
    let mut bed = Bed::bare(dir, PAIR, "eservices");
    let policy = "[pair.policy.site]\napplication = \"Site_A\"\n\
                  [pair.policy.runbook]\nsuspend_hook = \"suspend\"\nsite_option_hook = \"site-option\"\n";
    let pair = "[pair.lease]\nprofile = \"lan\"\n[pair.handover]\nactivate = \"30s\"\nsettle = \"500ms\"\n";
    bed.configure_edge(&edge(dir, policy, pair, true));
    for side in Side::BOTH {
        bed.configure_agent(side, &agent(dir, side, again_after));
    }
    bed.start_agents();
    bed.start_edge();
    open_gate(&bed, Side::A);
    wait_served(&bed, Side::A);
    bed
}

/// Opens the gate at which a site's start waits, as its database administrator does.
pub fn open_gate(bed: &Bed, side: Side) {
    until("the start to wait at the gate", || waits(&bed.pair()?, side).then_some(()));
    let (code, text) = bed.type_as("olaf", &["confirm", PAIR, "database", "--side", &side.to_string()]);
    assert_eq!(code, 0, "{text}");
}

/// Whether a site's start waits for the database administrator.
pub fn waits(pair: &PairStatus, side: Side) -> bool {
    pair.sides[side].report.as_ref().is_some_and(|report| report.waiting == "database")
}

/// Waits until a site serves, and all of its servers answer.
pub fn wait_served(bed: &Bed, side: Side) {
    bed.wait(&format!("site {side} to serve"), |pair| {
        let good = |probe: &lockstep_edge::admin::api::ProbeStatus| {
            probe.last.as_ref().is_some_and(|last| last.verdict == Verdict::Good)
        };
        let status = &pair.sides[side];
        pair.route.kind == RouteKind::Serve(side)
            && pair.handover.is_none()
            && pair.active.is_some_and(|active| active.side == side)
            && !status.probes.is_empty()
            && status.probes.iter().all(good)
    });
}

/// `kill -9` of one server.
pub fn kill_server(bed: &Bed, side: Side, name: &str) {
    let verb = ["simulate", "app", "--side", &side.to_string(), "--name", name];
    bed.signal(side, &verb, Signal::SIGKILL);
}

/// What operators see beside a site.
pub fn shown(bed: &Bed, side: Side) -> String {
    bed.pair().map(|pair| pair.sides[side].shown.clone()).unwrap_or_default()
}

/// Waits until it says so.
pub fn wait_shown(bed: &Bed, side: Side, part: &str) {
    until(&format!("{part:?} beside {side}"), || shown(bed, side).contains(part).then_some(()));
}

/// The alerts that the journal has, oldest first.
pub fn alerts(bed: &Bed) -> Vec<String> {
    let alerts = bed.journal().into_iter().filter(|entry| entry.kind == "alert");
    alerts.map(|entry| entry.what.to_string()).collect()
}

/// Waits until operators were told so.
pub fn wait_told(bed: &Bed, part: &str) {
    until(&format!("operators to be told {part:?}"), || {
        alerts(bed).iter().any(|alert| alert.contains(part)).then_some(())
    });
}
