//! A pair of CIC servers and their networks: a telephony server that can be made ill on each node, an address near each
//! node for NetTest, and a gateway, each a machine of its own whose answers to pings can be taken away.

use lockstep_demo::play::processes::{Process, of_node, signal_all};
use lockstep_demo::{activity, app};
use lockstep_edge::admin::api::{Handover, PairStatus};
use lockstep_pair::record::Outcome;
use lockstep_policy::Side;
use lockstep_policy::action::Level;
use lockstep_tests::bed::{Bed, PATIENCE, until};
use lockstep_tests::configuration::{self, ADMIN, AGENT_PORT};
use lockstep_tests::network::{Place, VIP, address};
use lockstep_tests::processes::lockstep;
use lockstep_tests::stream::{Stream, judge_logs};
use nix::sys::signal::Signal;
use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The pair's name.
pub const PAIR: &str = "cic";
/// Where the vendor's clients connect.
const PORT: u16 = 3633;
/// Where a telephony server answers pings, on its node only.
const PING: &str = "127.0.0.1:3634";
/// How the clients of a story ask.
const RATE: &str = "100";
/// How long a request is under way, and how long a process tree takes to start a server again, on a busy machine.
const BREAK_NS: u64 = 1_000_000_000;
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// The times of `fast = true`: short, and of a busy machine.
pub const DETECT: &str = "[pair.detect]\ninterval = \"200ms\"\ntimeout = \"400ms\"\nfailures = 2\n";
/// Leases of a machine that is busy with other things; a primary that is cut off stands down soon enough for a story.
pub const LEASE: &str = "[pair.lease]\nttl = \"3s\"\nrenew = \"200ms\"\nstop_max = \"400ms\"\nmargin = \"50ms\"\n";
/// Leases that outlast the stories: nobody loses the role by silence.
pub const LONG_LEASE: &str = "[pair.lease]\nttl = \"60s\"\nrenew = \"200ms\"\nstop_max = \"400ms\"\n";

/// A machine beside the pair.
#[derive(Clone, Copy, Debug)]
pub enum Beside {
    /// Near A.
    NearA,
    /// Near B.
    NearB,
    /// The edge's gateway.
    Gateway,
}

impl Beside {
    const ALL: [Beside; 3] = [Beside::NearA, Beside::NearB, Beside::Gateway];

    /// Its address.
    pub fn address(self) -> IpAddr {
        let last = match self {
            Beside::NearA => 21,
            Beside::NearB => 22,
            Beside::Gateway => 254,
        };
        IpAddr::V4(Ipv4Addr::new(10, 77, 0, last))
    }

    fn port(self) -> &'static str {
        match self {
            Beside::NearA => "near-a",
            Beside::NearB => "near-b",
            Beside::Gateway => "gateway",
        }
    }
}

/// The pair, its edge and its networks.
#[derive(Debug)]
pub struct Site {
    /// What every bed can do.
    pub bed: Bed,
    places: [Place; 3],
    /// What is sent or served in these times may be served without a telephony server.
    excused: RefCell<Vec<Range<u64>>>,
}

impl Site {
    /// Lays everything out; nothing runs yet. `policy` is lines of `[pair.policy]`, `rest` more tables of `edge.toml`.
    pub fn new(dir: &Path, policy: &str, rest: &str) -> Site {
        let bed = Bed::bare(dir, PAIR, "cic");
        let places = Beside::ALL.map(|beside| Place::lay(beside.port(), beside.address()));
        let site = Site { bed, places, excused: RefCell::default() };
        site.configure(policy, rest);
        for side in Side::BOTH {
            site.bed.configure_agent(side, &agent(dir, side, ""));
            site.release(side, "2021 R2");
            site.replication(side, "current");
        }
        site
    }

    /// The same, started: A is primary, and B watches over it.
    pub fn ready(dir: &Path, policy: &str, rest: &str) -> Site {
        let mut site = Site::new(dir, policy, rest);
        site.start();
        site
    }

    /// Starts agents and edge. A comes first when nobody is primary (C14).
    pub fn start(&mut self) {
        self.bed.start_agents();
        self.bed.start_edge();
        self.wait_backup(Side::B);
    }

    /// Writes `edge.toml`.
    pub fn configure(&self, policy: &str, rest: &str) {
        self.bed.configure_edge(&edge(self.bed.dir(), policy, rest));
    }

    /// Has telephony servers be started again by a process tree.
    pub fn with_process_trees(self) -> Site {
        for side in Side::BOTH {
            self.bed.configure_agent(side, &agent(self.bed.dir(), side, ", \"--process-tree\""));
        }
        self
    }

    // What can happen to it.

    /// Makes a side's telephony server ill: `hang`, or how long it takes to answer.
    pub fn make_ill(&self, side: Side, how: &str) {
        let file = control(self.bed.dir(), side);
        let new = file.with_extension("new");
        std::fs::write(&new, how).unwrap();
        std::fs::rename(new, file).unwrap();
    }

    /// Makes it well again.
    pub fn make_well(&self, side: Side) {
        std::fs::remove_file(control(self.bed.dir(), side)).unwrap();
    }

    /// The process of a side's telephony server, when one runs.
    pub fn server(&self, side: Side) -> Option<Process> {
        let of_side = of_node(self.bed.dir(), side).unwrap();
        let is_server = |process: &Process| {
            process.runs(&["simulate", "ts-server"]) && !process.command.iter().any(|word| word == "--process-tree")
        };
        of_side.into_iter().find(is_server)
    }

    /// `kill -9` of a side's telephony server; which process that was.
    pub fn kill_server(&self, side: Side) -> Process {
        let server = self.server(side).expect("it runs");
        let now = lockstep_demo::now();
        self.excused.borrow_mut().push(now - BREAK_NS..now + BREAK_NS);
        signal_all(std::slice::from_ref(&server), Signal::SIGKILL);
        server
    }

    /// Pulls a node's cable where nobody will take over, and plugs it in again after `meanwhile`. Then that side serves again; what
    /// was under way at it all the time is still there, and may reach it before its telephony server runs.
    pub fn cut_off(&self, side: Side, meanwhile: impl FnOnce()) {
        let from = lockstep_demo::now() - BREAK_NS;
        self.bed.unplug(side);
        meanwhile();
        let epoch = self.pair().epoch;
        self.bed.plug(side);
        self.bed.wait("the side to be active anew", |pair| pair.epoch > epoch && pair.handover.is_none());
        self.bed.wait_served(side);
        self.excused.borrow_mut().push(from..lockstep_demo::now());
    }

    /// What its agent will find as a side's release, at the agent's next start.
    pub fn release(&self, side: Side, release: &str) {
        std::fs::write(self.bed.dir().join(format!("release-{side}")), release).unwrap();
    }

    /// How a side's copy of the data is: `current`, `behind` or `stopped`, and a detail.
    pub fn replication(&self, side: Side, state: &str) {
        let file = replication(self.bed.dir(), side);
        let new = file.with_extension("new");
        std::fs::write(&new, state).unwrap();
        std::fs::rename(new, file).unwrap();
    }

    /// A machine beside the pair answers no pings any more.
    pub fn silence(&self, beside: Beside) {
        for rule in [
            "add table inet silent",
            "add chain inet silent in { type filter hook input priority 0 ; }",
            "add rule inet silent in icmp type echo-request drop",
        ] {
            self.nft(beside, rule);
        }
    }

    /// Undoes [`Site::silence`].
    pub fn unsilence(&self, beside: Beside) {
        self.nft(beside, "delete table inet silent");
    }

    fn nft(&self, beside: Beside, rule: &str) {
        let mut command = self.places[beside as usize].command("nft");
        command.args(rule.split_whitespace());
        succeeds(command);
    }

    /// Gives the edge its default route.
    pub fn route_by_gateway(&self) {
        let mut command = Command::new("ip");
        command.args(["route", "add", "default", "via"]).arg(Beside::Gateway.address().to_string());
        succeeds(command);
    }

    // What is seen of it.

    /// How the pair stands.
    pub fn pair(&self) -> PairStatus {
        until("the edge to answer", || self.bed.pair())
    }

    /// What operators read beside a side (C1).
    pub fn shown(&self, side: Side) -> String {
        self.pair().sides[side].shown.clone()
    }

    /// Waits until operators read this beside a side, or something that begins so.
    pub fn wait_shown(&self, side: Side, state: &str) {
        self.bed.wait(&format!("{side} to be shown as {state:?}"), |pair| pair.sides[side].shown.starts_with(state));
    }

    /// Waits until the other side is primary, this one its backup, and both are there with all their connections.
    pub fn wait_backup(&self, side: Side) {
        self.bed.wait_served(side.other());
        self.bed.wait(&format!("{side} to be the backup"), |pair| {
            let there = |side: Side| pair.sides[side].main && pair.sides[side].auxiliary;
            let fit = pair.sides[side].report.as_ref().is_some_and(|report| report.fit);
            fit && pair.sides[side].shown == "Backup" && Side::BOTH.into_iter().all(there)
        });
    }

    /// Waits for an alert with these words, and gives all of it.
    pub fn wait_alert(&self, words: &str) -> String {
        until(&format!("the alert {words:?}"), || {
            let alerts = self.bed.pair()?.alerts;
            alerts.into_iter().map(|alert| alert.text).find(|text| text.contains(words))
        })
    }

    /// The same, and it must be critical.
    pub fn wait_critical_alert(&self, words: &str) -> String {
        let text = self.wait_alert(words);
        let alerts = self.pair().alerts;
        let alert = alerts.iter().find(|alert| alert.text == text).expect("it was there");
        assert_eq!(alert.level, Level::Critical, "{text}");
        text
    }

    /// Waits until a side has become primary by the policy's own decision; its reason must have these words.
    pub fn wait_switched(&self, to: Side, words: &[&str]) -> Handover {
        self.bed.wait_served(to);
        let handover = self.latest();
        let record = &handover.record;
        println!("epoch {} to {}: {}", record.epoch, record.to, record.reason);
        assert_eq!((record.to, record.outcome), (to, Some(Outcome::Completed)), "{}", record.why);
        for part in words {
            assert!(record.reason.contains(part), "no {part:?} in the reason: {}", record.reason);
        }
        handover
    }

    /// The latest handover.
    pub fn latest(&self) -> Handover {
        self.bed.ask(async |operator| operator.why(PAIR, None).await).unwrap()
    }

    /// Nothing has moved since A became primary at the start.
    pub fn nothing_moved(&self) {
        let pair = self.pair();
        assert_eq!(pair.epoch.0, 1, "nothing was to move: {:?}", pair.last);
        assert_eq!(pair.active.map(|active| active.side), Some(Side::A));
    }

    /// What a hook of a side has written down: a line of its reason for each run.
    pub fn trace(&self, hook: &str, side: Side) -> String {
        std::fs::read_to_string(trace(self.bed.dir(), hook, side)).unwrap_or_default()
    }

    /// The journal as `lockstep journal show` prints it.
    pub fn journal(&self) -> String {
        let output = lockstep().args(["journal", "show", PAIR, "--config"]).arg(self.bed.edge_file()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Whether the module was ever pinged over a connection.
    pub fn was_pinged(&self, over: &str) -> bool {
        self.journal().contains(&pings(over))
    }

    /// Waits until the module is pinged over a connection.
    pub fn wait_pinged(&self, over: &str) {
        self.wait_journal(&pings(over), 1);
    }

    /// Waits until the journal has these words so many times.
    pub fn wait_journal(&self, words: &str, times: usize) {
        let begin = Instant::now();
        loop {
            let journal = self.journal();
            if journal.matches(words).count() >= times {
                return;
            }
            assert!(begin.elapsed() < PATIENCE, "waited in vain for {words:?}, {times} times, in:\n{journal}");
            // A program is started for each look.
            std::thread::sleep(BETWEEN_LOOKS);
        }
    }

    /// Waits until the policy has asked for so many more pings out of turn.
    pub fn wait_more_looks(&self, times: usize) {
        const LOOK: &str = "probe_now";
        let before = self.journal().matches(LOOK).count();
        self.wait_journal(LOOK, before + times);
    }

    /// The journal has these words, one after the other.
    pub fn journal_tells(&self, parts: &[&str]) {
        let journal = self.journal();
        let mut rest = journal.as_str();
        for part in parts {
            let (_, after) = rest.split_once(part).unwrap_or_else(|| panic!("no {part:?} in its turn in:\n{journal}"));
            rest = after;
        }
    }

    /// Types something to `lockstep`, the token of a user beside it; what it says, and with which exit code.
    #[track_caller]
    pub fn says(&self, user: Option<&str>, words: &str, code: i32, parts: &[&str]) {
        let mut command = lockstep();
        command.args(words.split_whitespace()).arg("--config").arg(self.bed.edge_file()).env("USER", "the-operator");
        if let Some(user) = user {
            command.arg("--token-file").arg(self.bed.dir().join(format!("{user}.token")));
        }
        let output = command.stdin(Stdio::null()).output().unwrap();
        let text = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
        println!("$ lockstep {words}\n{text}");
        assert_eq!(output.status.code(), Some(code), "lockstep {words}: {text}");
        for part in parts {
            assert!(text.contains(part), "lockstep {words}: no {part:?} in: {text}");
        }
    }

    /// Clients that ask through the VIP.
    pub fn client(&self) -> Stream {
        Stream::start_to(self.bed.dir(), "client", SocketAddr::new(VIP, PORT), &["--rate", RATE])
    }

    /// Ends a story in which no client may have noticed anything.
    pub fn judge_lossless(&self, clients: Stream) {
        let seen = clients.end();
        seen.nothing_lost();
        assert_eq!(seen.summary().by_standby, 0, "I2: served by a side whose telephony server was not active");
        self.judge(None);
    }

    /// Ends a story: I1 and I2 by the logs of those who would be harmed, I4 by the processes. What was under way when a telephony
    /// server was killed, or was sent before anybody could know, may have been served without one.
    pub fn judge(&self, clients: Option<Stream>) {
        let excused = |at: u64| self.excused.borrow().iter().any(|times| times.contains(&at));
        if let Some(clients) = clients {
            let seen = clients.end();
            let whole = seen.summary();
            println!("clients: {} of {} failed: {:?}", whole.failed, whole.requests, whole.failures);
            assert!(whole.requests > whole.failed, "nothing was served: {whole:?}");
            let wrong = seen.exchanges().iter().filter(|exchange| exchange.by_standby() && !excused(exchange.sent));
            let wrong: Vec<_> = wrong.take(10).collect();
            assert!(wrong.is_empty(), "I2: served by a side whose telephony server was not active: {wrong:#?}");
        }
        judge_logs(&self.bed, excused);
        let active = until("the pair to come to rest", || self.bed.active());
        until("only the active side's telephony server to run", || {
            (self.server(active).is_some() && self.server(active.other()).is_none()).then_some(())
        });
    }
}

/// How the journal tells of pings of the module.
pub fn pings(over: &str) -> String {
    format!("agent {{connection {over}, dscp 0, service tsserver}}")
}

fn succeeds(mut command: Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn control(dir: &Path, side: Side) -> PathBuf {
    dir.join(format!("ts-server-{side}.control"))
}

fn replication(dir: &Path, side: Side) -> PathBuf {
    dir.join(format!("replication-{side}"))
}

fn trace(dir: &Path, hook: &str, side: Side) -> PathBuf {
    dir.join(format!("{hook}-{side}.trace"))
}

fn edge(dir: &Path, policy: &str, rest: &str) -> String {
    let side = |side| {
        let node = address(side);
        format!("[pair.{side}]\nservers = [\"{node}:{PORT}\"]\nagent = \"{node}:{AGENT_PORT}\"\n")
    };
    format!(
        r#"[edge]
name = "edge-1"
state = {state:?}
admin = "{ADMIN}"
{tls}

[[pair]]
name = "{PAIR}"
listen = ["{VIP}:{PORT}"]
[pair.policy]
plugin = {plugin:?}
nettest_timeout = "300ms"
{policy}
{a}{b}{rest}"#,
        state = dir.join("edge"),
        tls = configuration::trust(dir, &configuration::edge_1()),
        plugin = lockstep_tests::plugin("cic"),
        a = side(Side::A),
        b = side(Side::B),
    )
}

/// The backup service is what clients reach, as the vendor's is part of the whole server; the monitored one is behind it.
fn agent(dir: &Path, side: Side, server: &str) -> String {
    let (node, lock) = (address(side), dir.join(format!("cti-{side}.lock")));
    let program =
        |name: &str| format!("{:?}, \"simulate\", {name:?}, \"--side\", \"{side}\"", lockstep_tests::lockstep());
    let hook = |name: &str| {
        let script = format!("echo \"$LOCKSTEP_REASON\" >> {}", trace(dir, name, side).display());
        format!("[[hook]]\nname = {name:?}\ncommand = [\"sh\", \"-c\", {script:?}]\n")
    };
    format!(
        r#"[agent]
pair = "{PAIR}"
side = "{side}"
listen = "{node}:{AGENT_PORT}"
state = {state:?}
release = {{ file = {release:?} }}
{tls}

[[service]]
name = "switchover"
driver = "exec"
command = [{app}, "--listen", "{node}:{PORT}", "--lock", {lock:?}, "--log", {misplaced:?}]
ready = {{ tcp = "{node}:{PORT}" }}

[[service]]
name = "tsserver"
driver = "exec"
command = [{ts}, "--start-time", "50ms", "--stop-time", "10ms", "--listen", "{PING}", "--lock", {lock:?},
  "--log", {activity:?}, "--control", {control:?}{server}]
exclusive = true
ready = {{ notify = true }}
alive = {{ http = "http://{PING}/ping", timeout = "250ms" }}

[replication]
file = {replication:?}
interval = "100ms"

{hooks}"#,
        state = dir.join(format!("agent-{side}")),
        tls = configuration::trust(dir, &configuration::agent_of(PAIR, side)),
        release = dir.join(format!("release-{side}")),
        app = program("app"),
        misplaced = dir.join(app::file_name(side)),
        ts = program("ts-server"),
        activity = dir.join(activity::file_name(side)),
        control = control(dir, side),
        replication = replication(dir, side),
        hooks = [hook("resynchronise"), hook("mirror")].concat(),
    )
}
