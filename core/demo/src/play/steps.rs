//! The steps of the play: each does one thing to the pair, and waits until it has come out of it.

use super::processes::{Process, signal_all};
use super::stage::{PAIR, Stage};
use crate::now;
use anyhow::Context;
use lockstep_edge::admin::api::{Handover, SwitchAnswer, SwitchOrder};
use lockstep_pair::record::Outcome;
use lockstep_policy::Side;
use nix::sys::signal::Signal;
use serde::Serialize;
use std::time::Duration;

/// How long the client is watched before and after what is done to the pair.
const MARGIN: Duration = Duration::from_millis(400);
/// For how long a hung node hangs on after the other side has taken over.
const HANG_ON: Duration = Duration::from_millis(700);

/// What is done to the pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    /// Nothing, to compare with.
    Nothing,
    /// An operator moves the active role.
    Planned,
    /// `kill -9` of the active side's application.
    KillApplication,
    /// Every process of the active node is stopped, and goes on when the other side has long taken over.
    Hang,
    /// `kill -9` of the active side's agent, which is started again when the other side has taken over.
    KillAgent,
}

/// One step as it went.
#[derive(Clone, Debug, Serialize)]
pub struct Seen {
    /// What was done.
    pub act: Act,
    /// The side that was active before.
    pub before: Side,
    /// The side that was active after.
    pub after: Side,
    /// When the step's window began, in nanoseconds of `CLOCK_BOOTTIME`.
    pub from: u64,
    /// When it was done.
    pub done_at: u64,
    /// When the other side served, or the switch's answer came.
    pub came_out_at: u64,
    /// When the window ended.
    pub to: u64,
    /// Whether its handover was the only one in its window. On a machine that is too busy, a side that is merely slow is
    /// taken for a failed one.
    pub undisturbed: bool,
    /// The edge's record of the handover.
    pub handover: Option<Handover>,
}

/// Plays all steps, in one stream of requests. What was seen until it went wrong is seen.
pub async fn play(stage: &mut Stage, seen: &mut Vec<Seen>) -> anyhow::Result<()> {
    println!(
        "An edge, two agents with their services, and a client of {} requests/s; all on loopback.",
        stage.options.rate
    );
    let first = stage.healthy().await?;
    println!("Side {first} is active, side {} is fit.\n", first.other());
    stage.start_client()?;
    for act in [Act::Nothing, Act::Planned, Act::KillApplication, Act::Hang, Act::KillAgent, Act::Planned] {
        seen.push(step(stage, act).await?);
    }
    // Back to where it began.
    if seen.last().is_some_and(|last| last.after != first) {
        seen.push(step(stage, Act::Planned).await?);
    }
    Ok(())
}

async fn step(stage: &mut Stage, act: Act) -> anyhow::Result<Seen> {
    let before = stage.healthy().await?;
    let announced = announce(act, before);
    println!("… {announced}");
    let epoch_before = epoch(stage).await?;
    let from = now();
    tokio::time::sleep(MARGIN).await;
    let (done_at, came_out_at) = match act {
        Act::Nothing => nothing().await,
        Act::Planned => planned(stage).await?,
        Act::KillApplication => kill_application(stage, before).await?,
        Act::Hang => hang(stage, before).await?,
        Act::KillAgent => kill_agent(stage, before).await?,
    };
    let after = stage.healthy().await.with_context(|| format!("after this step: {announced}"))?;
    tokio::time::sleep(MARGIN).await;
    let to = now();
    let handover = if act == Act::Nothing { None } else { Some(stage.operator()?.why(PAIR, None).await?) };
    let undisturbed = epoch(stage).await? == epoch_before + u64::from(act != Act::Nothing);
    Ok(Seen { act, before, after, from, done_at, came_out_at, to, undisturbed, handover })
}

async fn epoch(stage: &mut Stage) -> anyhow::Result<u64> {
    Ok(stage.pair().await?.context("the edge does not answer")?.epoch.0)
}

fn announce(act: Act, active: Side) -> String {
    match act {
        Act::Nothing => "nothing happens, to compare with".to_owned(),
        Act::Planned => format!("planned switch from {active} to {}", active.other()),
        Act::KillApplication => format!("kill -9 of side {active}'s application"),
        Act::Hang => format!("side {active} hangs (SIGSTOP of all its processes), and goes on after the failover"),
        Act::KillAgent => format!("kill -9 of side {active}'s agent; it is started again after the failover"),
    }
}

async fn nothing() -> (u64, u64) {
    let done_at = now();
    tokio::time::sleep(MARGIN * 2).await;
    (done_at, now())
}

/// Asks again when a handover of the policy's came first: nothing has been changed then.
async fn planned(stage: &mut Stage) -> anyhow::Result<(u64, u64)> {
    let mut refused = String::new();
    for _ in 0..3 {
        let to = stage.healthy().await?.other();
        let order = SwitchOrder { to, confirmed: true, unsafe_because: None, by: "demo".to_owned() };
        let operator = stage.operator()?;
        let done_at = now();
        match operator.switch(PAIR, &order).await? {
            SwitchAnswer::Ended(handover) => {
                let completed = handover.record.outcome == Some(Outcome::Completed);
                anyhow::ensure!(completed, "the planned switch to {to} was not completed: {}", handover.record.why);
                return Ok((done_at, now()));
            }
            SwitchAnswer::Question(said) | SwitchAnswer::Refused(said) | SwitchAnswer::Accepted(said) => refused = said,
        }
    }
    anyhow::bail!("the planned switch was not begun: {refused}")
}

async fn kill_application(stage: &mut Stage, side: Side) -> anyhow::Result<(u64, u64)> {
    let done_at = kill_one(stage, side, &["simulate", "app"])?;
    stage.serving(Some(side.other())).await?;
    Ok((done_at, now()))
}

async fn kill_agent(stage: &mut Stage, side: Side) -> anyhow::Result<(u64, u64)> {
    let done_at = kill_one(stage, side, &["agent"])?;
    stage.serving(Some(side.other())).await?;
    let came_out_at = now();
    stage.restart_agent(side)?;
    Ok((done_at, came_out_at))
}

fn kill_one(stage: &Stage, side: Side, verb: &[&str]) -> anyhow::Result<u64> {
    let victims: Vec<Process> = stage.node(side)?.into_iter().filter(|process| process.runs(verb)).collect();
    anyhow::ensure!(!victims.is_empty(), "no process of side {side} runs `{}`", verb.join(" "));
    let done_at = now();
    signal_all(&victims, Signal::SIGKILL);
    Ok(done_at)
}

/// Stops a node like a machine that hangs. It wakes up in the order that is worst: what is exclusive first, what would
/// stop it last.
async fn hang(stage: &mut Stage, side: Side) -> anyhow::Result<(u64, u64)> {
    let node = stage.node(side)?;
    let done_at = now();
    signal_all(&node, Signal::SIGSTOP);
    let served = stage.serving(Some(side.other())).await;
    let came_out_at = now();
    tokio::time::sleep(HANG_ON).await;
    let (services, keepers): (Vec<_>, Vec<_>) = node.into_iter().partition(|process| process.runs(&["simulate"]));
    signal_all(&services, Signal::SIGCONT);
    signal_all(&keepers, Signal::SIGCONT);
    served?;
    Ok((done_at, came_out_at))
}
