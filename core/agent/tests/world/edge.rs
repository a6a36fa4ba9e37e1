//! An edge that does what it is told, and keeps a lease renewed for as long as it is asked to.

use super::PATIENCE;
use lockstep_pair::protocol::{Answer, FromNode, Lease, Report, Terms, ToNode};
use lockstep_policy::event::{Outcome, Role};
use lockstep_policy::{Epoch, Side};
use lockstep_wire::{
    Auxiliary, Client, Commands, Finding, FromAgent, FromEdge, Hello, LinkError, Messages, Ping, Welcome,
};
use std::time::{Duration, Instant};
use tokio::time::timeout;

pub const TERMS: Terms =
    Terms { ttl: Duration::from_millis(600), renew: Duration::from_millis(100), stop_max: Duration::from_millis(500) };

pub fn hello(edge: &str) -> Hello {
    Hello { protocol: 0, pair: "telisca".into(), side: Side::A, edge: edge.into(), terms: TERMS, minor: 0 }
}

pub struct Edge {
    pub welcome: Welcome,
    commands: Commands,
    messages: Messages,
    /// The epoch in which the lease is renewed with each report.
    pub renews: Option<Epoch>,
    pub last: Option<Report>,
}

impl Edge {
    pub async fn connect(address: &str) -> Edge {
        let until = Instant::now() + PATIENCE;
        loop {
            match Edge::connect_as(address, hello("edge-1")).await {
                Ok(edge) => return edge,
                // Perhaps the last of an agent that was killed a moment ago.
                Err(error) => assert!(Instant::now() < until, "{error}"),
            }
        }
    }

    pub async fn connect_as(address: &str, hello: Hello) -> Result<Edge, LinkError> {
        let main = Client::connect(address, PATIENCE).await?.main(hello).await?;
        Ok(Edge { welcome: main.welcome, commands: main.commands, messages: main.messages, renews: None, last: None })
    }

    pub fn say(&self, command: ToNode) {
        self.commands.send(FromEdge::Command(command)).unwrap();
    }

    pub fn restart(&self, id: u64, name: &str) {
        self.commands.send(FromEdge::RestartService { id, name: name.into() }).unwrap();
    }

    /// Pings over the main connection.
    pub async fn ping(&mut self, number: u64, service: &str) -> Option<Finding> {
        self.tell(FromEdge::Ping(Ping { number, service: service.into() }));
        loop {
            if let FromAgent::Pong(pong) = self.hear().await.unwrap()
                && pong.number == number
            {
                return pong.finding;
            }
        }
    }

    pub async fn confirm(&mut self, id: u64, gate: &str, by: &str) -> (Outcome, String) {
        self.tell(FromEdge::ConfirmGate { id, gate: gate.into(), by: by.into() });
        loop {
            if let FromAgent::GateConfirmed { id: answered, outcome, why } = self.hear().await.unwrap() {
                assert_eq!(answered, id);
                return (outcome, why);
            }
        }
    }

    pub fn run_hook(&self, id: u64, hook: &str, reason: &str) {
        self.tell(FromEdge::RunHook { id, hook: hook.into(), reason: reason.into() });
    }

    pub async fn hook_ran(&mut self) -> (u64, Outcome, String) {
        loop {
            if let FromAgent::HookRan { id, outcome, text } = self.hear().await.unwrap() {
                return (id, outcome, text);
            }
        }
    }

    pub fn tell(&self, message: FromEdge) {
        self.commands.send(message).unwrap();
    }

    /// The next message; renews on the way.
    pub async fn hear(&mut self) -> Result<FromAgent, LinkError> {
        let message = timeout(PATIENCE, self.messages.next()).await.expect("the agent reports again and again")?;
        if let FromAgent::Node(FromNode::Report(report)) = &message {
            self.last = Some(report.clone());
            if let Some(epoch) = self.renews {
                self.say(ToNode::Renew { epoch, lease: Lease { stamp: report.stamp, ttl: TERMS.ttl } });
            }
        }
        Ok(message)
    }

    /// The next report that is so.
    pub async fn report(&mut self, what: &str, wanted: impl Fn(&Report) -> bool) -> Report {
        let looking = async {
            loop {
                if let FromAgent::Node(FromNode::Report(report)) = self.hear().await.unwrap()
                    && wanted(&report)
                {
                    return report;
                }
            }
        };
        let found = timeout(PATIENCE, looking).await;
        found.unwrap_or_else(|_| panic!("no report that says {what}; the last: {:?}", self.last))
    }

    pub async fn answer(&mut self) -> Answer {
        loop {
            if let FromAgent::Node(FromNode::Answer(answer)) = self.hear().await.unwrap() {
                return answer;
            }
        }
    }

    pub async fn restarted(&mut self) -> (u64, Outcome, String) {
        loop {
            if let FromAgent::ServiceRestarted { id, outcome, why } = self.hear().await.unwrap() {
                return (id, outcome, why);
            }
        }
    }

    /// Has the node become active in `epoch`, and keeps it so.
    pub async fn activate(&mut self, epoch: Epoch) -> Report {
        let report = self.report("standby and fit", |report| report.role == Role::Standby && report.fit).await;
        self.say(ToNode::Activate { epoch, lease: Lease { stamp: report.stamp, ttl: TERMS.ttl } });
        self.renews = Some(epoch);
        assert_eq!(self.answer().await, Answer::Activated { epoch });
        self.report("active and serving", |report| report.role == Role::Active && report.serving).await
    }
}

/// The process of a service in a report.
pub fn pid(report: &Report, name: &str) -> u32 {
    report.services.iter().find(|service| service.name == name).unwrap().pid
}

/// The auxiliary connection.
pub async fn auxiliary(address: &str) -> Auxiliary {
    Client::connect(address, PATIENCE).await.unwrap().auxiliary().await.unwrap()
}

/// Pings over the auxiliary connection.
pub async fn ping(link: &mut Auxiliary, number: u64, service: &str) -> Option<Finding> {
    link.pings.send(Ping { number, service: service.into() }).unwrap();
    let pong = timeout(PATIENCE, link.pongs.next()).await.expect("an agent that runs answers").unwrap();
    assert_eq!(pong.number, number);
    pong.finding
}
