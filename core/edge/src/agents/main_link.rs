//! The main connection to an agent.

use super::certificates::{Changed, Replacement, Signer};
use super::pace::Pace;
use super::ping::AgentPings;
use super::{AgentOf, Deliver, LinkEvent, Way};
use lockstep_policy::event::Connection;
use lockstep_wire::{Client, FromAgent, LinkError, Main, Messages, PROTOCOL, WeakCommands, Welcome};
use std::time::Duration;
use tokio::time::timeout;

/// Connects again and again, until nobody listens.
pub(super) async fn keep(agent: AgentOf, pings: AgentPings, changed: Changed, deliver: Deliver) {
    let mut pace = Pace::new();
    let mut made = None;
    loop {
        let (event, wait) = match connect(&agent, made.take()).await {
            Ok(Main { welcome, commands, messages }) => {
                pace.succeeded();
                pings.main_up(agent.side, &commands, &welcome);
                let replacement = Replacement::of(&agent, commands.peer().cloned(), &changed);
                let answers = commands.downgrade();
                let (way, minor, version) = (Way::Agent(commands), welcome.minor, welcome.version);
                if !deliver(agent.side, LinkEvent::Up { way, minor, version }).await {
                    return;
                }
                let ended = tokio::select! {
                    why = listen(&agent, messages, &answers, &pings, &changed, &deliver) => Err(why),
                    client = replacement.ready() => Ok(client),
                };
                pings.down(agent.side, Connection::Main);
                match ended {
                    Ok(client) => {
                        made = Some(client);
                        (LinkEvent::Down("made anew with renewed certificates".to_owned()), Duration::ZERO)
                    }
                    Err(Some(why)) => (LinkEvent::Down(why), pace.after_failure()),
                    Err(None) => return,
                }
            }
            Err(error @ (LinkError::Refused { .. } | LinkError::Untrusted { .. })) => {
                (LinkEvent::Refused(error.to_string()), Pace::after_refusal())
            }
            Err(error) => (LinkEvent::Failed(error.to_string()), pace.after_failure()),
        };
        if !deliver(agent.side, event).await {
            return;
        }
        if !wait.is_zero() {
            agent.wait(wait).await;
        }
    }
}

/// On the connection that is made already, or on a new one.
async fn connect(agent: &AgentOf, made: Option<Client>) -> Result<Main, LinkError> {
    let client = match made {
        Some(client) => client,
        None => agent.dial().await?,
    };
    let main = client.main(agent.hello()).await?;
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
async fn listen(
    agent: &AgentOf,
    mut messages: Messages,
    answers: &WeakCommands,
    pings: &AgentPings,
    changed: &Changed,
    deliver: &Deliver,
) -> Option<String> {
    let silence = agent.silence();
    let mut signer = Signer::default();
    loop {
        match timeout(silence, messages.next()).await {
            Ok(Ok(FromAgent::Pong(pong))) => pings.answered(agent.side, pong),
            Ok(Ok(FromAgent::CertificateWanted { id, request })) => signer.answer(agent, answers, id, request),
            Ok(Ok(FromAgent::CertificateChanged)) => changed.send_modify(|number| *number += 1),
            Ok(Ok(message)) => {
                if !deliver(agent.side, LinkEvent::Message(message)).await {
                    return None;
                }
            }
            // Other words than the refusal that follows: that one is an alert when it is new.
            Ok(Err(error @ LinkError::Untrusted { .. })) => return Some(format!("cut: {error}")),
            Ok(Err(error)) => return Some(error.to_string()),
            Err(_) => return Some(format!("the agent at {} has said nothing for {silence:?}", agent.address)),
        }
    }
}
