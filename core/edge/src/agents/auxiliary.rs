//! The auxiliary connection to an agent: a second opinion on whether its node can be reached.

use super::pace::Pace;
use super::{AgentOf, CONNECT_MAX, Deliver, LinkEvent};
use lockstep_wire::{Auxiliary, Client, LinkError};
use tokio::time::{MissedTickBehavior, interval, sleep};

/// Pings in a row without a pong, after which the node counts as out of reach.
const MISSES: u32 = 3;

/// Connects and pings again and again, until nobody listens.
pub(super) async fn keep(agent: AgentOf, deliver: Deliver) {
    let mut pace = Pace::new();
    let mut up = false;
    loop {
        let why = match connect(&agent).await {
            Ok(link) => {
                pace.succeeded();
                ping(&agent, link, &mut up, &deliver).await
            }
            Err(error) => Some(error.to_string()),
        };
        let Some(why) = why else { return };
        if std::mem::take(&mut up) && !deliver(agent.side, LinkEvent::Auxiliary(Err(why))).await {
            return;
        }
        sleep(pace.after_failure()).await;
    }
}

async fn connect(agent: &AgentOf) -> Result<Auxiliary, LinkError> {
    Client::connect(&agent.address.to_string(), CONNECT_MAX).await?.auxiliary().await
}

/// Pings until the connection is over: why it is. `None` when nobody listens.
async fn ping(agent: &AgentOf, mut link: Auxiliary, up: &mut bool, deliver: &Deliver) -> Option<String> {
    let mut ticks = interval(agent.terms.renew);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut missed = 0;
    loop {
        ticks.tick().await;
        match link.ping(agent.terms.renew).await {
            Ok(()) => {
                missed = 0;
                if !std::mem::replace(up, true) && !deliver(agent.side, LinkEvent::Auxiliary(Ok(()))).await {
                    return None;
                }
            }
            Err(LinkError::Silent { .. }) if missed + 1 < MISSES => missed += 1,
            Err(LinkError::Silent { .. }) => return Some(format!("{MISSES} pings in a row had no answer")),
            Err(error) => return Some(error.to_string()),
        }
    }
}
