//! The auxiliary connection to an agent: a second opinion on whether its node can be reached.

use super::certificates::{Changed, Replacement};
use super::pace::Pace;
use super::ping::AgentPings;
use super::{AgentOf, Deliver, LinkEvent};
use lockstep_policy::event::Connection;
use lockstep_wire::{Auxiliary, Client, LinkError, Ping};
use tokio::time::{Instant, MissedTickBehavior, interval};

/// Connects and pings again and again, until nobody listens.
pub(super) async fn keep(agent: AgentOf, pings: AgentPings, changed: Changed, deliver: Deliver) {
    let mut pace = Pace::new();
    let mut up = false;
    let mut made = None;
    loop {
        let why = match open(&agent, made.take(), &changed).await {
            Ok((link, replacement)) => {
                pace.succeeded();
                pings.auxiliary_up(agent.side, &link.pings);
                let ended = tokio::select! {
                    why = ping(&agent, link, &mut up, &pings, &deliver) => Err(why),
                    client = replacement.ready() => Ok(client),
                };
                pings.down(agent.side, Connection::Auxiliary);
                match ended {
                    Ok(client) => {
                        made = Some(client);
                        continue;
                    }
                    Err(why) => why,
                }
            }
            Err(error) => Some(error.to_string()),
        };
        let Some(why) = why else { return };
        if std::mem::take(&mut up) && !deliver(agent.side, LinkEvent::Auxiliary(Err(why))).await {
            return;
        }
        agent.wait(pace.after_failure()).await;
    }
}

/// On the connection that is made already, or on a new one.
async fn open(agent: &AgentOf, made: Option<Client>, changed: &Changed) -> Result<(Auxiliary, Replacement), LinkError> {
    let client = match made {
        Some(client) => client,
        None => agent.dial().await?,
    };
    let replacement = Replacement::of(agent, client.peer().map(|peer| (*peer).clone()), changed);
    Ok((client.auxiliary().await?, replacement))
}

/// Pings until the connection is over: why it is. `None` when nobody listens.
async fn ping(
    agent: &AgentOf,
    link: Auxiliary,
    up: &mut bool,
    pings: &AgentPings,
    deliver: &Deliver,
) -> Option<String> {
    let Auxiliary { pings: way, mut pongs } = link;
    let mut ticks = interval(agent.terms.renew);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (silence, mut heard) = (agent.silence(), Instant::now());
    loop {
        tokio::select! {
            pong = pongs.next() => match pong {
                // Whatever was asked: it answers.
                Ok(pong) => {
                    heard = Instant::now();
                    pings.answered(agent.side, pong);
                    if !std::mem::replace(up, true) && !deliver(agent.side, LinkEvent::Auxiliary(Ok(()))).await {
                        return None;
                    }
                }
                Err(error) => return Some(error.to_string()),
            },
            _ = ticks.tick() => {
                if heard.elapsed() >= silence {
                    return Some(format!("pings had no answer for {silence:?}"));
                }
                if let Err(error) = way.send(Ping { number: 0, service: String::new() }) {
                    return Some(error.to_string());
                }
            }
        }
    }
}
