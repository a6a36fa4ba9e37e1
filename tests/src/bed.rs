//! The test bed: an edge, two nodes, and what can be done to them.
//!
//! Nothing here waits for a length of time: each wait is for a condition, with [`processes::PATIENCE`] as the bound of it.

use crate::configuration::{self, ADMIN, AGENT_PORT, PAIR};
use crate::network::Network;
use crate::processes::{self, Life, lockstep};
pub use crate::processes::{PATIENCE, until};
use crate::stream::Stream;
use lockstep_demo::activity;
use lockstep_demo::play::processes::{DEMO, NODE, Process, of_node, signal_all};
use lockstep_edge::admin::api::{Handover, JournalEntry, PairStatus, PauseOrder, SwitchAnswer, SwitchOrder};
use lockstep_edge::admin::client::{Client, ClientError};
use lockstep_pair::RouteKind;
use lockstep_pair::record::Outcome;
use lockstep_policy::event::Verdict;
use lockstep_policy::{Side, Sides};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::JoinHandle;

/// A pair with its edge, in a world of their own.
#[derive(Debug)]
pub struct Bed {
    dir: PathBuf,
    network: Network,
    pair: &'static str,
    edge: Option<Life>,
    agents: Sides<Option<Life>>,
    edge_environment: Vec<(String, String)>,
    agent_environments: Sides<Vec<(String, String)>>,
    /// Agents are those of nodes that have nothing else.
    lean_agents: bool,
}

impl Bed {
    /// Lays the network and writes the configurations; nothing runs yet.
    pub fn new(dir: &Path) -> Bed {
        // Each story ends where it has left the pair: rule T2 is asked for by the test that is about it.
        Bed::with_policy(dir, "first_server_auto_restart_as_active = false")
    }

    /// The same with other lines for the policy.
    pub fn with_policy(dir: &Path, policy: &str) -> Bed {
        let bed = Bed::bare(dir, PAIR, "telisca");
        bed.configure_edge(&configuration::edge(dir, policy));
        for side in Side::BOTH {
            bed.configure_agent(side, &configuration::agent(dir, side, PAIR));
        }
        bed
    }

    /// A bed for one pair, of whichever policy, that has no configurations yet.
    pub fn bare(dir: &Path, pair: &'static str, plugin: &str) -> Bed {
        configuration::trust_plugin(dir, plugin);
        Bed {
            dir: dir.to_owned(),
            network: Network::lay(),
            pair,
            edge: None,
            agents: Sides { a: None, b: None },
            edge_environment: Vec::new(),
            agent_environments: Sides::default(),
            lean_agents: false,
        }
    }

    /// A bed on which side A serves and side B could.
    pub fn ready(dir: &Path) -> Bed {
        let mut bed = Bed::new(dir);
        bed.start();
        bed
    }

    /// Starts edge and agents, and waits until side A serves and side B could.
    pub fn start(&mut self) {
        self.start_agents();
        self.start_edge();
        self.wait_well(Side::A);
    }

    /// Writes `edge.toml`.
    pub fn configure_edge(&self, text: &str) {
        std::fs::write(self.edge_file(), text).unwrap();
    }

    /// Writes a side's `agent.toml`.
    pub fn configure_agent(&self, side: Side, text: &str) {
        std::fs::write(self.dir.join(format!("agent-{side}.toml")), text).unwrap();
    }

    /// `edge.toml`.
    pub fn edge_file(&self) -> PathBuf {
        self.dir.join("edge.toml")
    }

    /// Where the edge, `edge`, or an agent, `agent-a`, writes what it logs.
    pub fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.join(format!("{name}.log"))).unwrap_or_default()
    }

    /// The network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The bed's directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    // The edge.

    /// Starts the edge, which has none running.
    pub fn start_edge(&mut self) {
        self.start_edge_that_dies(None);
    }

    /// Starts an edge that is killed when it passes that point, as in `hold` or `before-store:2`.
    pub fn start_edge_that_dies(&mut self, point: Option<&str>) {
        assert!(self.edge.is_none(), "an edge runs already");
        let mut command = lockstep();
        command.arg("edge").arg("--config").arg(self.edge_file()).env(DEMO, &self.dir);
        command.envs(self.edge_environment.iter().cloned());
        self.edge = Some(Life::begin(command, &self.dir.join("edge.log"), point));
    }

    /// `kill -9` of the edge.
    pub fn kill_edge(&mut self) {
        self.edge.take().expect("an edge runs").kill();
    }

    /// Waits until the edge has been killed at the point that it was started with.
    pub fn wait_edge_dead(&mut self) {
        self.edge.take().expect("an edge runs").wait_killed("the edge");
    }

    /// Whether the edge has ended, in whatever way, or was never started.
    pub fn edge_has_ended(&mut self) -> bool {
        has_ended("the edge", &mut self.edge)
    }

    /// What every edge that is started from now on finds in its environment.
    pub fn set_edge_environment(&mut self, environment: Vec<(String, String)>) {
        self.edge_environment = environment;
    }

    /// Sends a signal to the edge.
    pub fn signal_edge(&self, signal: Signal) {
        self.edge.as_ref().expect("an edge runs").signal(signal);
    }

    // The nodes.

    /// Starts both sides' agents.
    pub fn start_agents(&mut self) {
        Side::BOTH.into_iter().for_each(|side| self.start_agent(side));
    }

    /// Starts a side's agent, and with it what it keeps up.
    pub fn start_agent(&mut self, side: Side) {
        self.start_agent_that_dies(side, None);
    }

    /// Starts an agent that is killed when it passes that point, as in `started` or `after-store:2`.
    pub fn start_agent_that_dies(&mut self, side: Side, point: Option<&str>) {
        let command = self.agent_command(side);
        self.begin_agent(side, command, point);
    }

    /// Starts an agent that says it has stopped what it has not. Only builds with debug assertions have such agents.
    pub fn start_unfenced_agent(&mut self, side: Side) {
        let mut command = self.agent_command(side);
        command.env("LOCKSTEP_TEST_UNFENCED", "1");
        self.begin_agent(side, command, None);
    }

    /// Whichever agent is started from now on is `lockstep-agent`, not `lockstep agent`.
    pub fn start_lean_agents(&mut self) {
        self.lean_agents = true;
    }

    /// The edge's process, which runs.
    pub fn edge_pid(&self) -> Pid {
        self.edge.as_ref().expect("an edge runs").pid()
    }

    /// A side's agent's process, which runs.
    pub fn agent_pid(&self, side: Side) -> Pid {
        self.agents[side].as_ref().expect("an agent runs").pid()
    }

    fn agent_command(&self, side: Side) -> Command {
        let program = if self.lean_agents { crate::lockstep_agent() } else { crate::lockstep() };
        let mut command = self.network.command_on(side, program);
        command
            .args((!self.lean_agents).then_some("agent"))
            .arg("--config")
            .arg(self.dir.join(format!("agent-{side}.toml")));
        command.env(DEMO, &self.dir).env(NODE, side.to_string());
        command.envs(self.agent_environments[side].iter().cloned());
        command
    }

    fn begin_agent(&mut self, side: Side, command: Command, point: Option<&str>) {
        assert!(self.agents[side].is_none(), "side {side} has an agent already");
        self.agents[side] = Some(Life::begin(command, &self.dir.join(format!("agent-{side}.log")), point));
    }

    /// `kill -9` of a side's agent.
    pub fn kill_agent(&mut self, side: Side) {
        self.agents[side].take().expect("it has an agent").kill();
    }

    /// Whether a side's agent has ended, in whatever way, or was never started.
    pub fn agent_has_ended(&mut self, side: Side) -> bool {
        has_ended(&format!("the agent of side {side}"), &mut self.agents[side])
    }

    /// What every agent of that side that is started from now on finds in its environment, and what it starts.
    pub fn set_agent_environment(&mut self, side: Side, environment: Vec<(String, String)>) {
        self.agent_environments[side] = environment;
    }

    /// Whether the agent has been killed at the point that it was started with.
    pub fn agent_is_dead(&mut self, side: Side) -> bool {
        let dead = self.agents[side].as_mut().expect("it has an agent").has_ended();
        if dead {
            self.agents[side].take().expect("it was there").wait_killed("the agent");
        }
        dead
    }

    /// Stops a whole node, as a hypervisor or a swapping kernel does: agent, guards, application and CTI.
    pub fn freeze(&self, side: Side) {
        // What begins while the others are being stopped is found at the second look.
        let mut stopped = Vec::new();
        until("all of the node to stand still", || {
            let now: Vec<_> = of_node(&self.dir, side).unwrap();
            signal_all(&now, Signal::SIGSTOP);
            let same = now == stopped;
            stopped = now;
            same.then_some(())
        });
    }

    /// Lets a frozen node go on: its services first, which is the worst order that there is.
    pub fn thaw(&self, side: Side) {
        let (services, keepers): (Vec<_>, Vec<_>) =
            of_node(&self.dir, side).unwrap().into_iter().partition(|process| process.runs(&["simulate"]));
        signal_all(&services, Signal::SIGCONT);
        signal_all(&keepers, Signal::SIGCONT);
    }

    /// Sends a signal to the one process of a node that runs this verb: `["agent"]`, `["simulate", "app"]`.
    pub fn signal(&self, side: Side, verb: &[&str], signal: Signal) {
        signal_all(&[self.process(side, verb).unwrap_or_else(|| panic!("no {verb:?} runs on node {side}"))], signal);
    }

    /// The one process of a node that runs this verb, when it runs.
    pub fn process(&self, side: Side, verb: &[&str]) -> Option<Process> {
        let mut found: Vec<_> = self.processes(side, verb);
        assert!(found.len() <= 1, "more than one: {found:?}");
        found.pop()
    }

    fn processes(&self, side: Side, verb: &[&str]) -> Vec<Process> {
        of_node(&self.dir, side).unwrap().into_iter().filter(|process| process.runs(verb)).collect()
    }

    /// Pulls a node's cable.
    pub fn unplug(&self, side: Side) {
        self.network.unplug(side);
    }

    /// Plugs it in again.
    pub fn plug(&self, side: Side) {
        self.network.plug(side);
    }

    /// Cuts a node's agent off; its application stays reachable.
    pub fn cut_agent_off(&self, side: Side) {
        self.network.cut_port(side, AGENT_PORT);
    }

    /// Undoes [`Bed::cut_agent_off`].
    pub fn reconnect_agent(&self, side: Side) {
        self.network.heal_port(side);
    }

    // What is asked of it.

    /// Starts a client that sends so many requests a second through the VIP until it is told to finish.
    pub fn client(&self, rate: u32) -> Stream {
        Stream::start(&self.dir, rate)
    }

    /// How the pair stands; none while the edge does not answer.
    pub fn pair(&self) -> Option<PairStatus> {
        let status = self.ask(async |operator| operator.status().await).ok()?;
        status.pairs.into_iter().find(|pair| pair.name == self.pair)
    }

    /// The side that is active, while nothing is under way.
    pub fn active(&self) -> Option<Side> {
        active(&self.pair()?)
    }

    /// What the whole journal of the pair says.
    pub fn journal(&self) -> Vec<JournalEntry> {
        self.ask(async |operator| operator.journal(self.pair, 0, 100_000).await).unwrap().entries
    }

    /// Types something to `lockstep` as a person of that name; what it answers, and with which exit code.
    pub fn type_as(&self, name: &str, words: &[&str]) -> (i32, String) {
        let output = lockstep().args(words).arg("--config").arg(self.edge_file()).env("USER", name).output().unwrap();
        let text = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
        println!("$ lockstep {}\n{text}", words.join(" "));
        (output.status.code().expect("it ends by itself"), text)
    }

    /// Asks the edge something.
    pub fn ask<T>(&self, question: impl AsyncFnOnce(&Client) -> Result<T, ClientError>) -> Result<T, ClientError> {
        ask(&self.dir, question)
    }

    /// Moves the active role as an operator does, and waits for the end, which must be good.
    pub fn switch(&self, to: Side) -> Handover {
        match order(&self.dir, self.pair, to) {
            Ok(SwitchAnswer::Ended(handover)) => {
                let record = &handover.record;
                assert_eq!(record.outcome, Some(Outcome::Completed), "{}", record.why);
                *handover
            }
            other => panic!("switching to {to}: {other:?}"),
        }
    }

    /// Orders a switch, and does not wait for its end.
    pub fn order_switch(&self, to: Side) -> JoinHandle<Result<SwitchAnswer, ClientError>> {
        let (dir, pair) = (self.dir.clone(), self.pair);
        std::thread::spawn(move || order(&dir, pair, to))
    }

    /// Has the policy's own switches refused.
    pub fn pause(&self) {
        self.ask(async |operator| operator.pause(self.pair, &pause_order()).await).unwrap();
    }

    /// Lets the policy switch again.
    pub fn resume(&self) {
        self.ask(async |operator| operator.resume(self.pair, &pause_order()).await).unwrap();
    }

    /// Waits until a side serves and nothing is under way.
    pub fn wait_served(&self, side: Side) {
        let what = format!("side {side} to serve");
        self.wait(&what, |pair| pair.route.kind == RouteKind::Serve(side) && active(pair) == Some(side));
    }

    /// Waits until one side serves and the other could; says which serves.
    pub fn wait_any_well(&self) -> Side {
        let mut serving = None;
        self.wait("one side to serve and the other to be fit", |pair| {
            serving = active(pair).filter(|side| is_well(pair, *side));
            serving.is_some()
        });
        serving.expect("the condition says so")
    }

    /// Waits until this side serves and the other could.
    pub fn wait_well(&self, serving: Side) {
        self.wait(&format!("side {serving} to serve and {} to be fit", serving.other()), |pair| is_well(pair, serving));
    }

    /// Waits until the pair is as wanted.
    pub fn wait(&self, what: &str, mut wanted: impl FnMut(&PairStatus) -> bool) {
        until(what, || self.pair().filter(&mut wanted).map(drop));
    }

    /// Prints the latest handover in one line, for who compares figures.
    pub fn print_handover(&self) {
        let Ok(Handover { record, .. }) = self.ask(async |operator| operator.why(self.pair, None).await) else {
            return;
        };
        let at = |phase: &lockstep_pair::record::PhaseRecord| {
            format!("{:?} +{} ms", phase.phase, phase.began.since(record.began).as_millis())
        };
        let phases: Vec<_> = record.phases.iter().map(at).collect();
        println!("epoch {} to {}: {}: {}", record.epoch, record.to, record.reason, phases.join(", "));
    }

    /// The CTI process of the active side.
    pub fn cti(&self, side: Side) -> Option<Process> {
        self.process(side, &["simulate", "cti"])
    }

    /// How often a side's CTI has been started.
    pub fn cti_starts(&self, side: Side) -> usize {
        let log = activity::read(&self.dir.join(activity::file_name(side))).unwrap();
        log.iter().filter(|instant| instant.mark == activity::Mark::Start).count()
    }
}

/// When a story fails, it shows what the actors said, and keeps what they wrote.
impl Drop for Bed {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        eprintln!("\nthe pair: {:#?}", self.pair());
        for name in ["edge", "agent-a", "agent-b"] {
            eprintln!("\n--- the end of {name}.log\n{}", processes::tail(&self.log(name), 60));
        }
        match self.keep_files() {
            Ok(kept) => eprintln!("\nAll that was written is kept in {}.", kept.display()),
            Err(error) => eprintln!("\nWhat was written cannot be kept: {error}"),
        }
    }
}

impl Bed {
    /// Copies the files of the bed's directory out of its world.
    fn keep_files(&self) -> std::io::Result<PathBuf> {
        let world = self.dir.file_name().unwrap_or_default();
        let kept = crate::kept().join(world);
        std::fs::create_dir_all(&kept)?;
        for entry in std::fs::read_dir(&self.dir)? {
            let path = entry?.path();
            if path.is_file() {
                std::fs::copy(&path, kept.join(path.file_name().unwrap_or_default()))?;
            }
        }
        Ok(kept)
    }
}

/// Takes a life that has ended away, and says how it ended.
fn has_ended(what: &str, life: &mut Option<Life>) -> bool {
    if life.as_mut().is_some_and(Life::has_ended) {
        let status = life.take().expect("it is there").wait(what);
        println!("{what} has ended: {status}");
    }
    life.is_none()
}

fn active(pair: &PairStatus) -> Option<Side> {
    pair.active.filter(|_| pair.handover.is_none() && !pair.recovering).map(|active| active.side)
}

fn is_well(pair: &PairStatus, serving: Side) -> bool {
    let side_is_well = |side: Side| {
        let status = &pair.sides[side];
        let good = |probe: &lockstep_edge::admin::api::ProbeStatus| {
            probe.last.as_ref().is_some_and(|last| last.verdict == Verdict::Good)
        };
        let says_so = status.report.as_ref().is_some_and(|report| report.fit && report.serving == (side == serving));
        status.main && status.auxiliary && says_so && !status.probes.is_empty() && status.probes.iter().all(good)
    };
    active(pair) == Some(serving)
        && pair.route.kind == RouteKind::Serve(serving)
        && Side::BOTH.into_iter().all(side_is_well)
}

fn ask<T>(dir: &Path, question: impl AsyncFnOnce(&Client) -> Result<T, ClientError>) -> Result<T, ClientError> {
    let operator = Client::new(ADMIN, &dir.join("edge/admin.token"))?;
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(question(&operator))
}

fn pause_order() -> PauseOrder {
    PauseOrder { by: "the test".to_owned(), reason: "a story".to_owned() }
}

fn order(dir: &Path, pair: &str, to: Side) -> Result<SwitchAnswer, ClientError> {
    let order = SwitchOrder { to, confirmed: false, unsafe_because: None, by: "the test".to_owned() };
    ask(dir, async |operator| operator.switch(pair, &order).await)
}
