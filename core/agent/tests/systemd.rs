//! The driver `systemd` against a real systemd. Where none can be had, these tests say so and prove nothing, and fail in CI.

#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

#[path = "systemd/manager.rs"]
mod manager;
mod world;

use lockstep_pair::protocol::{Answer, Lease, ToNode};
use lockstep_policy::Epoch;
use lockstep_policy::action::Urgency;
use lockstep_policy::event::{Role, ServiceState};
use manager::Manager;
use std::fs;
use std::ops::Deref;
use std::time::Duration;
use world::edge::{Edge, TERMS};
use world::{RIG, wait_until};

const AGENT: &str = "lockstep-agent.service";
const CTI: &str = r#"
[[service]]
name = "cti"
driver = "systemd"
unit = "cti.service"
exclusive = true
"#;
const BOUND: &str =
    "[Unit]\nBindsTo=lockstep-agent.service\nAfter=lockstep-agent.service\n[Service]\nTimeoutStopSec=1\n";

/// A systemd, and an agent as one of its units.
struct Systemd {
    manager: Manager,
    address: String,
}

impl Systemd {
    /// None where it cannot be run.
    fn start(cti: &str) -> Option<Systemd> {
        let manager = Manager::start()?;
        let [_, _, high, low] = std::process::id().to_be_bytes();
        let address = format!("127.{}.{low}.250:7401", 1 + high % 250);
        manager.write("cti.service", cti);
        let agent = manager.path("agent.toml");
        manager.write(AGENT, &format!("[Service]\nType=notify\nExecStart={RIG} agent {}\n", agent.display()));
        let config = format!(
            "[agent]\npair = \"telisca\"\nside = \"a\"\nbus = \"session\"\nlisten = \"{address}\"\nstate = \"{}\"\ntls = {{ insecure = true }}\n{CTI}",
            manager.path("state").display()
        );
        fs::write(agent, config).unwrap();
        Some(Systemd { manager, address })
    }

    /// By the kernel: this manager may not.
    fn freeze(&self, unit: &str) {
        let mounts = fs::read_to_string("/proc/mounts").unwrap();
        let mount = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2")).unwrap();
        let freeze = format!("{}{}/cgroup.freeze", mount.split(' ').nth(1).unwrap(), self.of(unit, "ControlGroup"));
        fs::write(&freeze, "1").unwrap();
        wait_until("the freeze", || {
            let events = fs::read_to_string(freeze.replace(".freeze", ".events")).unwrap_or_default();
            events.contains("frozen 1")
        });
    }

    /// Processes of the unit, looked for by what its command line holds.
    fn cti_runs(&self) -> bool {
        let mark = self.path("cti-mark");
        let mark = mark.to_str().unwrap().as_bytes();
        let entries = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
        entries
            .filter_map(|entry| fs::read(entry.path().join("cmdline")).ok())
            .any(|line| line.windows(mark.len()).any(|window| window == mark))
    }

    async fn agent(&self) -> Edge {
        self.ctl(&["start", AGENT]).expect("the agent's unit starts");
        Edge::connect(&self.address).await
    }
}

impl Deref for Systemd {
    type Target = Manager;

    fn deref(&self) -> &Manager {
        &self.manager
    }
}

/// Deaf to TERM, and in no hurry by its own configuration.
const DEAF: &str = "[Service]\nExecStart=/bin/sh -c 'trap \"\" TERM; while :; do sleep 1 & wait; done' DIR/cti-mark\nTimeoutStopSec=90\n";
const CALM: &str = "[Service]\nExecStart=/bin/sh -c 'sleep 1000; exit' DIR/cti-mark\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_unit_is_started_watched_and_stopped() {
    let Some(systemd) = Systemd::start(CALM) else { return };
    let mut edge = systemd.agent().await;
    let report = edge.activate(Epoch(1)).await;
    assert!(systemd.is("cti.service", "active") && systemd.cti_runs());
    assert_ne!(report.services[0].pid, 0);

    systemd.ctl(&["kill", "-s", "KILL", "cti.service"]).unwrap();
    let report = edge.report("not serving", |report| !report.serving).await;
    assert_eq!(report.role, Role::Active);
    edge.report("exited", |report| report.services[0].state == ServiceState::Exited).await;
    edge.restart(1, "cti");
    edge.report("serving again", |report| report.serving).await;

    edge.renews = None;
    edge.say(ToNode::StandDown { epoch: Epoch(2), urgency: Urgency::Planned });
    assert_eq!(edge.answer().await, Answer::StoodDown { epoch: Epoch(2) });
    assert!(systemd.is("cti.service", "inactive") && !systemd.cti_runs());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unit_that_is_deaf_is_killed_in_time() {
    let Some(systemd) = Systemd::start(DEAF) else { return };
    let mut edge = systemd.agent().await;
    let report = edge.activate(Epoch(1)).await;
    edge.renews = None;
    let stamp = report.stamp.at;
    let report = edge.report("standby", |report| report.role == Role::Standby).await;
    assert!(!systemd.cti_runs());
    // The lease's end and `stop_max` after the last renewal; twice the lease is the stated margin.
    assert!(report.stamp.at.since(stamp) <= TERMS.ttl * 3 + TERMS.stop_max);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unit_that_runs_when_the_agent_starts_is_stopped_first() {
    let Some(systemd) = Systemd::start(CALM) else { return };
    systemd.ctl(&["start", "cti.service"]).unwrap();
    wait_until("the unit's program", || systemd.cti_runs());
    let mut edge = systemd.agent().await;
    edge.report("standby", |report| report.role == Role::Standby).await;
    assert!(systemd.is("cti.service", "inactive") && !systemd.cti_runs());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_agent_takes_a_bound_unit_along() {
    let Some(systemd) = Systemd::start(&format!("{BOUND}{CALM}")) else { return };
    let mut edge = systemd.agent().await;
    edge.activate(Epoch(1)).await;
    systemd.ctl(&["kill", "-s", "KILL", AGENT]).unwrap();
    wait_until("the unit's end", || !systemd.cti_runs());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_agent_is_killed_by_the_kernel_and_takes_a_bound_unit_along() {
    let Some(systemd) = Systemd::start(&format!("{BOUND}{CALM}")) else { return };
    let mut edge = systemd.agent().await;
    edge.activate(Epoch(1)).await;
    // Renewed until it answers no more.
    tokio::spawn(async move { while edge.hear().await.is_ok() {} });
    // Frozen, not stopped: the kernel's wake-up before the kill cannot reach it.
    systemd.freeze(AGENT);
    wait_until("the agent's end", || !systemd.is(AGENT, "active"));
    assert_eq!(systemd.of(AGENT, "ExecMainStatus"), "9");
    wait_until("the unit's end", || !systemd.cti_runs());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_works_is_not_taken_for_hung() {
    let Some(systemd) = Systemd::start(CALM) else { return };
    let mut edge = systemd.agent().await;
    let report = edge.report("standby", |report| report.role == Role::Standby).await;
    let until = report.stamp.at + Duration::from_secs(5);
    edge.report("beyond twice its watchdog's time", |report| report.stamp.at > until).await;
    assert!(systemd.is(AGENT, "active"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unit_that_cannot_start_fails_the_activation() {
    let Some(systemd) = Systemd::start("[Service]\nType=oneshot\nExecStart=/bin/false\n") else { return };
    let mut edge = systemd.agent().await;
    let report = edge.report("standby", |report| report.role == Role::Standby).await;
    edge.say(ToNode::Activate { epoch: Epoch(1), lease: Lease { stamp: report.stamp, ttl: TERMS.ttl } });
    edge.renews = Some(Epoch(1));
    match edge.answer().await {
        Answer::Failed { epoch: Epoch(1), why } => assert!(why.contains("`cti`"), "{why}"),
        answer => panic!("{answer:?}"),
    }
}
