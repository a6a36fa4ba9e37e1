//! What an edge asks of an agent for somebody: gates that a person opens, hooks that are run.

#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

mod world;

use lockstep_pair::protocol::{Answer, Lease, Report, ToNode};
use lockstep_policy::Epoch;
use lockstep_policy::action::Urgency;
use lockstep_policy::event::{Outcome, Role, ServiceState};
use std::time::Duration;
use world::agent::Node;
use world::edge::{Edge, TERMS};

const GATED: &str = r#"
[[service]]
name = "database"
driver = "exec"
command = ["sleep", "1000"]
exclusive = true
[[service]]
name = "promoted"
driver = "gate"
exclusive = true
[[service]]
name = "core"
driver = "exec"
command = ["sleep", "1000"]
exclusive = true
"#;

fn state(report: &Report, name: &str) -> ServiceState {
    report.services.iter().find(|service| service.name == name).unwrap().state
}

async fn begin(edge: &mut Edge, epoch: Epoch) {
    let report = edge.report("standby", |report| report.role == Role::Standby && report.fit).await;
    edge.say(ToNode::Activate { epoch, lease: Lease { stamp: report.stamp, ttl: TERMS.ttl } });
    edge.renews = Some(epoch);
}

#[tokio::test]
async fn e5_a_start_waits_at_a_gate_until_a_named_person_confirms_it() {
    let node = Node::new(GATED);
    let _agent = node.start();
    let mut edge = Edge::connect(&node.address).await;
    let (outcome, why) = edge.confirm(1, "promoted", "eva").await;
    assert!(outcome == Outcome::Refused && why.contains("does not wait"), "{why}");

    begin(&mut edge, Epoch(1)).await;
    let report = edge.report("waiting", |report| report.waiting == "promoted").await;
    assert_eq!(report.role, Role::Activating);
    let states = ["database", "promoted", "core"].map(|name| state(&report, name));
    assert_eq!(states, [ServiceState::Running, ServiceState::Starting, ServiceState::Stopped]);
    // For as long as the lease is renewed.
    let until = report.stamp.at + TERMS.ttl * 3;
    edge.report("still waiting", |report| report.stamp.at > until && report.waiting == "promoted").await;

    for (gate, by, word) in [("promoted", " ", "named person"), ("core", "eva", "no gate"), ("gate", "eva", "no gate")]
    {
        let (outcome, why) = edge.confirm(2, gate, by).await;
        assert!(outcome == Outcome::Refused && why.contains(word), "{why}");
    }
    edge.restart(3, "promoted");
    assert_eq!(edge.restarted().await.1, Outcome::Refused);
    assert_eq!(edge.confirm(4, "promoted", "eva").await, (Outcome::Done, String::new()));
    assert_eq!(edge.answer().await, Answer::Activated { epoch: Epoch(1) });
    let report = edge.report("serving", |report| report.serving).await;
    assert_eq!((report.waiting.as_str(), state(&report, "promoted")), ("", ServiceState::Running));
    let (outcome, why) = edge.confirm(5, "promoted", "tom").await;
    assert!(outcome == Outcome::Done && why.contains("eva has confirmed it"), "{why}");

    // A confirmation holds for one epoch.
    edge.renews = None;
    edge.say(ToNode::StandDown { epoch: Epoch(2), urgency: Urgency::Planned });
    assert_eq!(edge.answer().await, Answer::StoodDown { epoch: Epoch(2) });
    begin(&mut edge, Epoch(3)).await;
    edge.report("waiting again", |report| report.waiting == "promoted").await;
    // And standing down does not wait for anybody.
    edge.renews = None;
    edge.say(ToNode::StandDown { epoch: Epoch(4), urgency: Urgency::Planned });
    assert_eq!(edge.answer().await, Answer::StoodDown { epoch: Epoch(4) });
    let report = edge.report("standby", |report| report.role == Role::Standby).await;
    assert!(!report.running && report.waiting.is_empty());
}

#[tokio::test]
async fn a_gate_among_the_services_of_both_sides_is_opened_once_for_the_agents_life() {
    let node = Node::new(&GATED.replace("exclusive = true\n", ""));
    let _agent = node.start();
    let mut edge = Edge::connect(&node.address).await;
    // Of `core` it has to be found out first that nothing of an earlier life runs.
    let waits = |report: &Report| report.waiting == "promoted" && state(report, "core") == ServiceState::Stopped;
    let report = edge.report("waiting", waits).await;
    assert!(!report.fit);
    assert_eq!(edge.confirm(1, "promoted", "eva").await.0, Outcome::Done);
    let report = edge.report("fit", |report| report.fit).await;
    assert!(report.waiting.is_empty() && state(&report, "core") == ServiceState::Running);
}

#[tokio::test]
async fn a_hook_is_run_with_what_it_must_know_and_its_last_words_come_back() {
    let node = Node::new(
        r#"
[[hook]]
name = "tell"
command = ["sh", "-c", "echo $LOCKSTEP_PAIR $LOCKSTEP_SIDE $LOCKSTEP_EPOCH: $LOCKSTEP_REASON"]
[[hook]]
name = "fail"
command = ["sh", "-c", "echo one; echo no such site >&2; exit 4"]
[[hook]]
name = "hang"
command = ["sh", "-c", "echo begun; sleep 1000"]
timeout = "300ms"
[[hook]]
name = "wait"
command = ["sh", "-c", "until test -e DIR/go; do sleep 0.01; done"]
"#,
    );
    let _agent = node.start();
    let mut edge = Edge::connect(&node.address).await;
    edge.report("standby", |report| report.role == Role::Standby).await;
    edge.say(ToNode::StandDown { epoch: Epoch(7), urgency: Urgency::Planned });
    edge.answer().await;

    edge.run_hook(1, "tell", "site b takes over");
    assert_eq!(edge.hook_ran().await, (1, Outcome::Done, "telisca a 7: site b takes over".to_owned()));
    edge.run_hook(2, "fail", "");
    let (id, outcome, text) = edge.hook_ran().await;
    assert_eq!((id, outcome), (2, Outcome::Failed));
    assert!(text.contains('4') && text.ends_with("no such site"), "{text}");
    edge.run_hook(3, "hang", "");
    let (id, outcome, text) = edge.hook_ran().await;
    assert!(id == 3 && outcome == Outcome::Failed && text.contains("killed after 300ms: begun"), "{text}");
    edge.run_hook(4, "no-such", "");
    assert_eq!(edge.hook_ran().await.1, Outcome::Refused);

    // One at a time of each name, and others beside it.
    edge.run_hook(5, "wait", "");
    edge.run_hook(6, "wait", "");
    let (id, outcome, text) = edge.hook_ran().await;
    assert!(id == 6 && outcome == Outcome::Refused && text.contains("runs already"), "{text}");
    edge.run_hook(7, "tell", "meanwhile");
    assert_eq!(edge.hook_ran().await.0, 7);
    std::fs::write(node.path("go"), "").unwrap();
    assert_eq!(edge.hook_ran().await, (5, Outcome::Done, String::new()));
    edge.run_hook(8, "wait", "");
    assert_eq!(edge.hook_ran().await.1, Outcome::Done);
}

/// An edge that has connected anew has numbers of its own: it is not told what the one before it has asked for.
#[tokio::test]
async fn a_hooks_end_is_told_to_the_connection_that_asked() {
    let node = Node::new(
        "[[hook]]\nname = \"wait\"\n\
         command = [\"sh\", \"-c\", \"touch DIR/begun; until test -e DIR/go; do sleep 0.01; done\"]\n",
    );
    let _agent = node.start();
    let edge = Edge::connect(&node.address).await;
    edge.run_hook(1, "wait", "");
    // Only what has begun goes on without the connection.
    while !node.path("begun").exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut edge = Edge::connect(&node.address).await;
    edge.run_hook(2, "wait", "");
    assert_eq!(edge.hook_ran().await.0, 2, "it runs already");
    std::fs::write(node.path("go"), "").unwrap();
    // Until it has ended, and can be run again.
    loop {
        edge.run_hook(3, "wait", "");
        let (id, outcome, _) = edge.hook_ran().await;
        assert_eq!(id, 3);
        if outcome == Outcome::Done {
            break;
        }
    }
}
