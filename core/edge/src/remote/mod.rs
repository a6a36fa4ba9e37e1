//! Sides that admit no agent: this edge activates and stops them by calls, and asks them how they are.
//!
//! What is decided is decided in [`lockstep_pair::remote`]; here the calls are made. To the driver it looks like an agent
//! that is always connected, with the difference that nothing of what it grants ends by itself.

pub(crate) mod call;
mod program;

use crate::agents::{Deliver, LinkEvent, Way};
use crate::config::{CallConfig, RemoteConfig};
use crate::probe::Means;
use lockstep_pair::coordinator::{Settings as PairSettings, Stored};
use lockstep_pair::protocol::Session;
use lockstep_pair::remote::{Input, Look, Output, Remote, Run, Settings, Start};
use lockstep_policy::{Epoch, Side};
use lockstep_wire::{FromAgent, clock};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Commands that may wait: each is read within microseconds.
const QUEUE: usize = 64;

/// Which side, and how it is called.
#[derive(Clone)]
pub(crate) struct RemoteOf {
    pub pair: String,
    pub side: Side,
    pub config: RemoteConfig,
    pub settings: PairSettings,
    pub stored: Stored,
    pub means: Arc<Means>,
}

/// What stands for a side's agent. Dropped, it ends.
#[derive(Debug)]
pub(crate) struct Standing(JoinHandle<()>);

impl Drop for Standing {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Begins to stand for a side's agent; what it says goes to `deliver`.
pub(crate) fn stand(remote: RemoteOf, deliver: Deliver) -> Standing {
    Standing(tokio::spawn(run(remote, deliver)))
}

/// A call's end, or a look's.
enum Done {
    Call(Run, Result<(), String>),
    Look(Look),
}

/// Runs until nobody listens.
async fn run(of: RemoteOf, deliver: Deliver) {
    let session = Session(fastrand::u64(1..));
    let start = Start {
        epoch: of.stored.epoch,
        active: of.stored.intent.is_none() && of.stored.active.is_some_and(|(side, _)| side == of.side),
    };
    let epoch = of.stored.active.filter(|_| start.active).map_or(start.epoch, |(_, epoch)| epoch);
    let mut remote = Remote::new(settings(&of), session, Start { epoch, ..start }, clock::now());
    let (way, mut commands) = mpsc::channel(QUEUE);
    let (done, mut ends) = mpsc::unbounded_channel();
    if !deliver(of.side, LinkEvent::Up { way: Way::Remote(way), minor: 0, version: String::new() }).await {
        return;
    }
    remote.handle(clock::now(), Input::Linked);
    loop {
        while let Some(output) = remote.poll() {
            if !carry_out(&of, output, &done, &deliver).await {
                return;
            }
        }
        let wait = remote.deadline().since(clock::now()).max(Duration::from_micros(100));
        let input = tokio::select! {
            Some(command) = commands.recv() => Input::Command(command),
            Some(end) = ends.recv() => match end {
                Done::Call(run, result) => Input::Ended { run, result },
                Done::Look(look) => Input::Looked(look),
            },
            () = tokio::time::sleep_until(Instant::now() + wait) => Input::Tick,
        };
        remote.handle(clock::now(), input);
    }
}

fn settings(of: &RemoteOf) -> Settings {
    let terms = of.settings.terms;
    let status = of.config.status.as_ref();
    Settings {
        renew: terms.renew,
        ttl: terms.ttl,
        looks: status.is_some(),
        look: status.map_or(Duration::MAX, |status| status.interval),
        // A restarted edge has found who is active by then; a busy one has renewed many times.
        doubt: of.settings.recover + terms.ttl * 4,
    }
}

/// Does one output; whether somebody still listens.
async fn carry_out(of: &RemoteOf, output: Output, done: &mpsc::UnboundedSender<Done>, deliver: &Deliver) -> bool {
    match output {
        Output::Activate { run, epoch } => begin(of, "activate", &of.config.activate, run, epoch, done),
        Output::Stop { run, epoch } => begin(of, "stand down", &of.config.stand_down, run, epoch, done),
        Output::Look => look(of, done),
        Output::Send(message) => {
            return deliver(of.side, LinkEvent::Message(FromAgent::Node(message))).await;
        }
        Output::Alert(text) => return deliver(of.side, LinkEvent::Alert(format!("side {} {text}", of.side))).await,
    }
    true
}

fn begin(
    of: &RemoteOf,
    what: &'static str,
    call: &CallConfig,
    run: Run,
    epoch: Epoch,
    done: &mpsc::UnboundedSender<Done>,
) {
    let (of, call, done) = (of.clone(), call.clone(), done.clone());
    tokio::spawn(async move {
        let RemoteOf { pair, side, means, .. } = &of;
        tracing::info!(pair, %side, %epoch, "{what}: the side, which has no agent, is called");
        let result = call::make(&call, means, &variables(pair, *side, epoch)).await;
        match &result {
            Ok(text) => tracing::info!(pair, %side, %epoch, text, "{what}: confirmed"),
            Err(why) => tracing::warn!(pair, %side, %epoch, why, "{what}: not confirmed"),
        }
        let _ = done.send(Done::Call(run, result.map(|_| ())));
    });
}

/// What a command is told by its environment.
pub(crate) fn variables(pair: &str, side: Side, epoch: Epoch) -> [(&'static str, String); 3] {
    [("LOCKSTEP_PAIR", pair.to_owned()), ("LOCKSTEP_SIDE", side.to_string()), ("LOCKSTEP_EPOCH", epoch.0.to_string())]
}

fn look(of: &RemoteOf, done: &mpsc::UnboundedSender<Done>) {
    let (of, done) = (of.clone(), done.clone());
    tokio::spawn(async move {
        let look = match &of.config.status {
            Some(status) => call::look(&status.call, &of.means).await,
            None => Look::Unseen("nothing asks it".to_owned()),
        };
        let _ = done.send(Done::Look(look));
    });
}
