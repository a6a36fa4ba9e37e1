//! The main connection to an agent.

use super::pace::Pace;
use super::ping::AgentPings;
use super::{AgentOf, CONNECT_MAX, Deliver, LinkEvent, Way};
use lockstep_policy::event::Connection;
use lockstep_wire::{Client, FromAgent, LinkError, Main, Messages, PROTOCOL, Welcome};
use tokio::time::{sleep, timeout};

/// Connects again and again, until nobody listens.
pub(super) async fn keep(agent: AgentOf, pings: AgentPings, deliver: Deliver) {
    let mut pace = Pace::new();
    loop {
        let (event, wait) = match connect(&agent).await {
            Ok(Main { welcome, commands, messages }) => {
                pace.succeeded();
                pings.main_up(agent.side, &commands, &welcome);
                let (way, minor, version) = (Way::Agent(commands), welcome.minor, welcome.version);
                if !deliver(agent.side, LinkEvent::Up { way, minor, version }).await {
                    return;
                }
                let ended = listen(&agent, messages, &pings, &deliver).await;
                pings.down(agent.side, Connection::Main);
                let Some(why) = ended else { return };
                (LinkEvent::Down(why), pace.after_failure())
            }
            Err(error @ LinkError::Refused { .. }) => (LinkEvent::Refused(error.to_string()), Pace::after_refusal()),
            Err(error) => (LinkEvent::Failed(error.to_string()), pace.after_failure()),
        };
        if !deliver(agent.side, event).await {
            return;
        }
        sleep(wait).await;
    }
}

async fn connect(agent: &AgentOf) -> Result<Main, LinkError> {
    let within = CONNECT_MAX.min(agent.silence());
    let main = Client::connect(&agent.address.to_string(), within).await?.main(agent.hello()).await?;
    match foreign(agent, &main.welcome) {
        None => Ok(main),
        Some(why) => Err(LinkError::Refused { address: agent.address.to_string(), why }),
    }
}

/// An agent's own configuration may be older than ours, or its address somebody else's now.
fn foreign(agent: &AgentOf, welcome: &Welcome) -> Option<String> {
    let speaks = format!("it speaks for side {} of pair \"{}\"", welcome.side, welcome.pair);
    if welcome.pair != agent.pair || welcome.side != agent.side {
        return Some(format!(
            "{speaks}, and this edge has its address as pair.{}.agent of pair \"{}\": correct that address, or `pair` and `side` in the agent's configuration",
            agent.side, agent.pair
        ));
    }
    (welcome.protocol != PROTOCOL).then(|| {
        format!("it speaks protocol {}, and this edge {PROTOCOL}: run the same lockstep on both", welcome.protocol)
    })
}

/// Hands messages on until the connection is over: why it is. `None` when nobody listens.
async fn listen(agent: &AgentOf, mut messages: Messages, pings: &AgentPings, deliver: &Deliver) -> Option<String> {
    let silence = agent.silence();
    loop {
        match timeout(silence, messages.next()).await {
            Ok(Ok(FromAgent::Pong(pong))) => pings.answered(agent.side, pong),
            Ok(Ok(message)) => {
                if !deliver(agent.side, LinkEvent::Message(message)).await {
                    return None;
                }
            }
            Ok(Err(error)) => return Some(error.to_string()),
            Err(_) => return Some(format!("the agent at {} has said nothing for {silence:?}", agent.address)),
        }
    }
}
