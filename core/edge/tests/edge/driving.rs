//! A pair being driven: what the policy says is done, what operators say is asked, and what happens is written down.

use crate::node::{self, Running};
use crate::place::{Edge, PATIENT, Place};
use lockstep_edge::Side;
use lockstep_edge::admin::api::{GateOrder, Handover, PairStatus, PauseOrder, SwitchAnswer, SwitchOrder};
use lockstep_edge::admin::client::Client;
use lockstep_pair::RouteKind;
use lockstep_pair::record::{Outcome, Phase};
use lockstep_policy::{Sides, event};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Once;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

/// The policy that does as it is told: an example of this crate, beside the tests.
pub(crate) fn told() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let target = tests.parent().and_then(|deps| deps.parent()).expect("tests lie in target/PROFILE/deps");
    let file = target.join("examples/libtold.so");
    static BUILT: Once = Once::new();
    BUILT.call_once(|| {
        // A runner that was asked for this test alone has not built it.
        if !file.exists() {
            let cargo =
                Command::new(env!("CARGO")).args(["build", "-p", "lockstep-edge", "--example", "told"]).status();
            assert!(cargo.is_ok_and(|built| built.success()), "the policy for this test cannot be built");
        }
    });
    file
}

/// An edge in front of two nodes, of which A is active.
struct World {
    place: Place,
    edge: Edge,
    nodes: Sides<Running>,
}

impl World {
    async fn new() -> World {
        World::on_terms("").await
    }

    /// With lines of `[edge.policies]`.
    async fn on_terms(terms: &str) -> World {
        let nodes = node::both("phones").await;
        let servers = Sides::from_fn(|side| nodes[side].server);
        let agents = Sides::from_fn(|side| nodes[side].agent);
        let policy = format!("plugin = \"{}\"", told().display());
        let place = Place::on_terms(terms, &policy, servers, agents);
        place.trust(&told());
        let edge = place.start().await;
        let world = World { place, edge, nodes };
        world
            .until("both agents are heard, and the policy works", |pair| {
                pair.sides.iter().all(|(_, side)| side.main && side.auxiliary && side.report.is_some())
                    && pair.policy.working
            })
            .await;
        world.switch(Side::A, "eva").await;
        world.until("A serves", |pair| pair.route.kind == RouteKind::Serve(Side::A)).await;
        world
    }

    fn client(&self) -> Client {
        self.place.client()
    }

    async fn pair(&self) -> PairStatus {
        self.client().status().await.unwrap().pairs.remove(0)
    }

    async fn until(&self, what: &str, is: impl Fn(&PairStatus) -> bool) -> PairStatus {
        let deadline = Instant::now() + PATIENT;
        loop {
            let pair = self.pair().await;
            if is(&pair) {
                return pair;
            }
            assert!(Instant::now() < deadline, "never: {what}: {pair:#?}");
            sleep(Duration::from_millis(10)).await;
        }
    }

    async fn order(&self, to: Side, by: &str, confirmed: bool) -> SwitchAnswer {
        let order = SwitchOrder { to, confirmed, unsafe_because: None, by: by.to_owned() };
        timeout(PATIENT, self.client().switch("phones", &order)).await.expect("an order ends").unwrap()
    }

    async fn switch(&self, to: Side, by: &str) -> Handover {
        match self.order(to, by, true).await {
            SwitchAnswer::Ended(handover) => *handover,
            other => panic!("{other:?}"),
        }
    }

    async fn alerted(&self, text: &str) -> PairStatus {
        self.until(text, |pair| pair.alerts.iter().any(|alert| alert.text.contains(text))).await
    }

    /// Asks through the VIP; which side answers.
    async fn ask(&self) -> String {
        let mut stream = TcpStream::connect(self.place.vip).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: vip\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        timeout(PATIENT, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        answer.rsplit("\r\n").next().unwrap_or_default().to_owned()
    }

    fn active(&self) -> [bool; 2] {
        Side::BOTH.map(|side| self.nodes[side].active.load(Ordering::SeqCst))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_switch_ends_with_its_record() {
    let world = World::new().await;
    assert_eq!((world.ask().await.as_str(), world.active()), ("a", [true, false]));
    let handover = world.switch(Side::B, "eva").await;
    let record = &handover.record;
    assert_eq!((record.from, record.to, record.outcome), (Some(Side::A), Side::B, Some(Outcome::Completed)));
    assert_eq!((record.by.as_str(), record.reason.as_str()), ("operator eva", "as told"));
    assert!(record.phases.iter().any(|phase| phase.phase == Phase::Fence));
    let gap = handover.measures.gap_ms.expect("it was held and committed");
    assert!(handover.measures.total_ms.is_some_and(|total| total >= gap));
    assert!(handover.measures.detection_ms.is_some(), "the evidence is the order itself");
    assert_eq!((world.ask().await.as_str(), world.active()), ("b", [false, true]));

    let first = record.epoch.0;
    let asked = world.until("the first answer is seen", |pair| pair.handover.is_none()).await;
    assert_eq!(asked.last.unwrap().text, "a -> b, planned, completed: as told");
    let why = world.client().why("phones", None).await.unwrap();
    assert_eq!(why.record.epoch.0, first);
    let deadline = Instant::now() + PATIENT;
    while world.client().why("phones", Some(first)).await.unwrap().evidence.is_empty() {
        assert!(Instant::now() < deadline, "the evidence is never written");
        sleep(Duration::from_millis(10)).await;
    }
    world.edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policys_word_reaches_the_operator() {
    let world = World::new().await;
    assert_eq!(world.order(Side::B, "refuse", false).await, SwitchAnswer::Refused("as told".into()));
    assert_eq!(world.order(Side::B, "ask", false).await, SwitchAnswer::Question("are you sure?".into()));
    assert_eq!(world.active(), [true, false], "a question moves nothing");
    assert_eq!(world.switch(Side::B, "ask").await.record.to, Side::B);
    let again = world.order(Side::B, "eva", true).await;
    assert!(matches!(&again, SwitchAnswer::Refused(why) if why.contains("side b is active already")), "{again:?}");
    let left = world.order(Side::A, "nothing", true).await;
    assert!(matches!(&left, SwitchAnswer::Refused(why) if why.contains("the policy has not answered")), "{left:?}");
    assert_eq!(world.pair().await.sides.a.shown, "told");
    world.edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_paused_only_operators_switch() {
    let world = World::new().await;
    let pause = PauseOrder { by: "eva".into(), reason: "patching".into() };
    world.client().pause("phones", &pause).await.unwrap();
    world.order(Side::B, "alone", true).await;
    world.alerted("Refused: paused by eva: patching").await;
    assert_eq!(world.active(), [true, false]);
    world.switch(Side::B, "adam").await;
    world.client().resume("phones", &pause).await.unwrap();
    world.order(Side::A, "alone", true).await;
    let pair = world.until("the policy has switched", |pair| pair.route.kind == RouteKind::Serve(Side::A)).await;
    assert_eq!(pair.last.unwrap().text, "b -> a, failover, completed: by itself");
    world.alerted("Done: ").await;
    world.edge.stop().await;
}

/// Sends a signal to the worker that runs the policy.
fn signal_worker(pair: &PairStatus, signal: &str) {
    let pid = pair.policy.worker_pid.expect("the policy has a worker").to_string();
    assert!(Command::new("kill").args([signal, &pid]).status().expect("there is a kill").success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_fails_at_an_order_is_made_again_without_it() {
    for terms in ["", "isolation = \"in-process\""] {
        let world = World::on_terms(terms).await;
        let left = world.order(Side::B, "panic", true).await;
        assert!(matches!(&left, SwitchAnswer::Refused(why) if why.contains("the policy has not answered")), "{left:?}");
        world.alerted("(operator's order): it panicked: as told; it is made again and goes on with its state").await;
        let pair = world.alerted("this was the second time").await;
        assert!(pair.policy.working && pair.policy.trouble.is_empty(), "{:?}", pair.policy);
        assert_eq!((world.ask().await.as_str(), world.active()), ("a", [true, false]));
        assert_eq!(world.order(Side::A, "refuse", false).await, SwitchAnswer::Refused("as told".into()));
        world.edge.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_sleeps_is_killed_and_holds_up_nobody() {
    let world = World::on_terms("kill_wall = \"1s\"").await;
    world.order(Side::B, "sleep", true).await;
    let pair = world.alerted("this was the second time").await;
    let told = |part: &str| pair.alerts.iter().any(|alert| alert.text.contains(part));
    assert!(told("(operator's order): it slept for ") && told("so its worker was killed"), "{:?}", pair.alerts);
    assert_eq!((pair.policy.restarts, pair.policy.isolation.as_str()), (2, "process"));
    assert_eq!((world.ask().await.as_str(), world.active()), ("a", [true, false]), "leases are renewed all the same");
    assert_eq!(world.order(Side::A, "refuse", false).await, SwitchAnswer::Refused("as told".into()));
    world.edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_killed_is_replaced_and_the_policy_decides_on() {
    let world = World::new().await;
    signal_worker(&world.pair().await, "-KILL");
    let pair = world.alerted("it was killed; it goes on in another worker, with its state").await;
    assert_eq!(pair.policy.standing_in, "");
    world.switch(Side::B, "eva").await;
    assert_eq!(world.pair().await.policy.restarts, 1);
    world.edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hold_course_stands_in_for_a_policy_that_stays_away_and_obeys_operators() {
    let world = World::on_terms("kill_wall = \"1h\"\nabsent_max = \"500ms\"").await;
    let pair = world.pair().await;
    signal_worker(&pair, "-STOP");
    // On a busy machine it may have stayed away before.
    let stands_in = |pair: &PairStatus| !pair.policy.working && pair.policy.standing_in == "hold-course";
    world.until("`hold-course` stands in", stands_in).await;
    world.alerted("`hold-course` stands in for it").await;
    let handover = world.switch(Side::B, "refuse").await;
    assert_eq!(handover.record.reason, "ordered while `hold-course` stands in for the policy");
    signal_worker(&pair, "-CONT");
    world.until("the policy decides", |pair| pair.policy.standing_in.is_empty()).await;
    world.alerted("decides again; `hold-course` stands in no more").await;
    assert_eq!(world.order(Side::A, "refuse", false).await, SwitchAnswer::Refused("as told".into()));
    world.edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_services_restart_is_ordered_and_its_end_told() {
    let world = World::new().await;
    world.order(Side::A, "restart", true).await;
    world.alerted("Done: ").await;
    assert_eq!(world.nodes.a.restarts.load(Ordering::SeqCst), 1);
    world.edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_is_back_within_the_lease_disturbs_nobody() {
    let world = World::new().await;
    let before = world.pair().await;
    let World { place, edge, nodes } = world;
    let stopped = nodes.a.active.clone();
    edge.stop().await;
    assert!(stopped.load(Ordering::SeqCst), "the lease lasts on");
    let edge = place.start().await;
    let world = World { place, edge, nodes };
    let after = world.until("A serves", |pair| pair.route.kind == RouteKind::Serve(Side::A)).await;
    assert_eq!((after.epoch, after.active), (before.epoch, before.active), "no handover was needed");
    assert_eq!(world.active(), [true, false]);
    world.edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_of_a_foreign_pair_is_told_to_operators_once() {
    let nodes = node::both("mail").await;
    let servers = Sides::from_fn(|side| nodes[side].server);
    let agents = Sides::from_fn(|side| nodes[side].agent);
    let place = Place::with(&format!("plugin = \"{}\"", told().display()), servers, agents);
    place.trust(&told());
    let edge = place.start().await;
    let world = World { place, edge, nodes };
    let text =
        "it speaks for side b of pair \"mail\", and this edge has its address as pair.b.agent of pair \"phones\"";
    world.alerted(text).await;
    // Long enough for some more tries.
    sleep(Duration::from_secs(5)).await;
    let pair = world.pair().await;
    let said = pair.alerts.iter().filter(|alert| alert.text.contains(text)).count();
    assert_eq!((said, pair.active, pair.sides.b.main), (1, None, false));
    assert!(pair.sides.b.trouble.contains(text));
    world.edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn e5_a_gate_is_opened_by_a_named_person_and_the_journal_has_his_name() {
    let world = World::new().await;
    let client = world.place.client();
    let order = |gate: &str, by: &str| GateOrder { gate: gate.into(), side: Side::B, by: by.into() };
    let opened = client.confirm("phones", &order("promoted", "eva")).await.unwrap();
    assert_eq!((opened.outcome, opened.why.as_str()), (event::Outcome::Done, ""));
    let refused = client.confirm("phones", &order("moved", "tom")).await.unwrap();
    assert_eq!(refused.outcome, event::Outcome::Refused);
    assert!(refused.why.contains("does not wait at `moved`"), "{}", refused.why);
    let journal = client.journal("phones", 0, 1000).await.unwrap();
    let said: Vec<String> = journal
        .entries
        .iter()
        .filter(|entry| entry.kind == "operator")
        .map(|entry| format!("{} {} {}", entry.what["confirm"], entry.what["by"], entry.what["outcome"]))
        .collect();
    let noted = ["\"promoted\" \"eva\" null", "null null \"done\"", "\"moved\" \"tom\" null", "null null \"refused\""];
    assert!(said.windows(4).any(|window| window == noted), "{said:?}");
    world.edge.stop().await;
}
