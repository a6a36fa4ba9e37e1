//! What has ended, hangs, or does not become ready in time.

use super::*;
use crate::config::{Alive, Attempts, Restarts};

/// `app`: not exclusive; `db`, `cti`: exclusive, with these rules for `cti` and `app`.
fn world(start: Attempts, restarts: Option<Restarts>, alive: Option<Alive>) -> World {
    let service = |name: &str, exclusive, ruled: bool| config::Service {
        name: name.to_owned(),
        driver: Driver::Exec { command: vec!["x".to_owned()] },
        exclusive,
        flush: false,
        ready: Some(Ready::Notify),
        alive: alive.clone().filter(|_| ruled),
        start: if ruled { start } else { Attempts::default() },
        stop_timeout: None,
        restarts: restarts.filter(|_| ruled),
    };
    let services = [service("app", false, true), service("db", true, false), service("cti", true, true)];
    let (to, _) = mpsc::channel(1);
    let book = Book::default();
    let now = At::from_millis(1_000_000);
    let mut world = World { crew: Crew::new(&services, "", book.clone(), to, now), book, now };
    world.crew.terms(SECOND);
    world.crew.stop(world.now, Run(1), world.now + SECOND * 5, Urgency::Failover);
    for service in ["app", "db", "cti"] {
        world.hear(service, Event::Gone);
    }
    world.ready("app");
    world.crew.deadman(world.now + SECOND * 6_000);
    world.said();
    world
}

fn attempts(timeout: Option<u64>, retries: u32) -> Attempts {
    Attempts { timeout: timeout.map(Duration::from_secs), retries, pause: SECOND }
}

fn budget(most: u32) -> Option<Restarts> {
    Some(Restarts { most, window: SECOND * 600 })
}

fn broken(said: &[Said]) -> Option<&str> {
    said.iter().find_map(|said| match said {
        Said::Node(Input::Broken { why }) => Some(why.as_str()),
        _ => None,
    })
}

fn start_failed(said: &[Said]) -> Option<&str> {
    said.iter().find_map(|said| match said {
        Said::Node(Input::StartFailed { why, .. }) => Some(why.as_str()),
        _ => None,
    })
}

#[test]
fn a_start_is_tried_again_after_a_pause_and_fails_by_the_name_of_the_last() {
    let mut world = world(attempts(None, 2), None, None);
    world.crew.start(world.now, Run(2), EPOCH);
    world.ready("db");
    for begun in [2, 3] {
        assert_eq!(world.begun("cti"), begun);
        world.hear("cti", Event::Exited { how: "exit status 3".to_owned() });
        assert_eq!(world.state("cti"), ServiceState::Starting, "it is tried again: nobody else's business");
        world.pass(SECOND);
        assert_eq!(world.begun("cti"), begun, "what has ended is not gone yet");
        world.hear("cti", Event::Gone);
        assert_eq!(world.crew.deadline(), Some(world.now + SECOND));
        world.pass(SECOND);
    }
    assert_eq!(start_failed(&world.said()), None);
    world.hear("cti", Event::Exited { how: "exit status 4".to_owned() });
    let said = world.said();
    let why = start_failed(&said).expect("three were enough");
    assert!(why.contains("`cti`") && why.contains("3 times") && why.contains("exit status 4"), "{why}");
}

#[test]
fn a_start_that_succeeds_at_the_second_try_is_a_start() {
    let mut world = world(attempts(None, 1), None, None);
    world.crew.start(world.now, Run(2), EPOCH);
    world.ready("db");
    world.die("cti");
    world.pass(SECOND);
    world.ready("cti");
    assert_eq!(world.said().last(), Some(&Said::Node(Input::Started(Run(2)))));
    // The tries of the next start are counted anew.
    world.crew.stop(world.now, Run(3), world.now + SECOND, Urgency::Planned);
    world.die("cti");
    world.die("db");
    world.crew.deadman(world.now + SECOND * 6_000);
    world.crew.start(world.now, Run(4), EPOCH);
    world.ready("db");
    world.die("cti");
    assert_eq!(start_failed(&world.said()), None);
}

#[test]
fn a_stop_ends_the_tries_of_a_start() {
    let mut world = world(attempts(None, 5), None, None);
    world.crew.start(world.now, Run(2), EPOCH);
    world.ready("db");
    world.die("cti");
    world.crew.stop(world.now, Run(3), world.now + SECOND, Urgency::Planned);
    world.die("db");
    assert!(world.said().contains(&Said::Node(Input::Stopped(Run(3)))));
    world.pass(SECOND * 10);
    assert_eq!(world.begun("cti"), 2);
}

#[test]
fn one_that_is_not_ready_in_time_is_stopped_and_tried_again() {
    let mut world = world(attempts(Some(5), 1), None, None);
    world.crew.start(world.now, Run(2), EPOCH);
    world.ready("db");
    world.hear("cti", Event::Started { pid: 7 });
    assert_eq!(world.crew.deadline(), Some(world.now + SECOND * 5));
    world.pass(SECOND * 5);
    // As long as a stop may take, less what KILL needs.
    assert_eq!(world.orders("cti"), [Order::Stop { kill_at: world.now + SECOND * 85 / 100 }]);
    world.die("cti");
    world.pass(SECOND);
    assert_eq!(world.begun("cti"), 3);
    world.pass(SECOND * 5);
    let said = world.said();
    let why = start_failed(&said).expect("it was the last try");
    assert!(why.contains("`cti`") && why.contains("not ready within 5s"), "{why}");
}

#[test]
fn what_is_not_exclusive_has_its_time_to_become_ready_too() {
    let mut world = world(attempts(Some(5), 0), budget(1), None);
    world.die("app");
    world.pass(Duration::from_millis(100));
    assert_eq!(world.begun("app"), 3);
    world.pass(SECOND * 5);
    assert!(matches!(world.orders("app")[..], [Order::Stop { .. }]));
    world.die("app");
    assert_eq!(world.state("app"), ServiceState::Exited, "one was its budget");
    world.pass(SECOND * 50);
    assert_eq!(world.begun("app"), 3);
}

impl World {
    fn up(mut self) -> World {
        self.crew.start(self.now, Run(2), EPOCH);
        self.ready("db");
        self.ready("cti");
        assert_eq!(self.said().last(), Some(&Said::Node(Input::Started(Run(2)))));
        self
    }

    fn restarts(&self, service: &str) -> u32 {
        self.condition().services.iter().find(|found| found.name == service).unwrap().restarts
    }
}

#[test]
fn an_exclusive_service_is_started_again_until_its_budget_is_used_up_and_then_the_node_is_broken() {
    let mut world = world(Attempts::default(), budget(2), None).up();
    for (wait, restarts) in [(100, 1), (200, 2)] {
        world.die("cti");
        assert_eq!(world.state("cti"), ServiceState::Starting, "policies do not hear of an end that is mended here");
        assert!(!world.condition().ready);
        assert_eq!(world.crew.deadline(), Some(world.now + Duration::from_millis(wait)));
        world.pass(Duration::from_millis(wait));
        world.ready("cti");
        assert!(world.condition().ready);
        assert_eq!(world.restarts("cti"), restarts);
    }
    assert_eq!(broken(&world.said()), None);
    world.hear("cti", Event::Exited { how: "signal SIGSEGV".to_owned() });
    let said = world.said();
    let why = broken(&said).expect("two were its budget");
    for word in ["`cti`", "2 restarts within 10m", "SIGSEGV"] {
        assert!(why.contains(word), "{why}");
    }
    // Before the state that others would act on.
    let state = |said: &Said| matches!(said, Said::Node(Input::Condition(condition)) if !condition.ready);
    let position = said.iter().position(|said| matches!(said, Said::Node(Input::Broken { .. })));
    assert!(position < said.iter().position(state), "{said:?}");
    world.hear("cti", Event::Gone);
    world.pass(SECOND * 600);
    assert_eq!(world.begun("cti"), 4, "nothing is started any more");
}

#[test]
fn a_node_that_is_active_anew_has_its_whole_budget() {
    let mut world = world(Attempts::default(), budget(1), None).up();
    world.die("cti");
    world.pass(SECOND);
    world.ready("cti");
    world.crew.stop(world.now, Run(3), world.now + SECOND, Urgency::Planned);
    world.die("cti");
    world.die("db");
    world.crew.deadman(world.now + SECOND * 6_000);
    let mut world = world.up();
    world.die("cti");
    assert_eq!(broken(&world.said()), None);
}

#[test]
fn nothing_is_started_again_when_the_lease_is_over() {
    let mut world = world(Attempts::default(), budget(5), None).up();
    world.crew.deadman(world.now + SECOND);
    world.die("cti");
    let begun = world.begun("cti");
    world.pass(SECOND);
    assert_eq!(world.begun("cti"), begun);
}

#[test]
fn one_that_says_nothing_any_more_is_ended_and_started_again() {
    let alive = Alive { check: Ready::Notify, timeout: SECOND * 3, interval: SECOND, failures: 1 };
    let mut world = world(Attempts::default(), budget(1), Some(alive)).up();
    world.pass(SECOND * 2);
    world.hear("cti", Event::Alive);
    world.hear("app", Event::Alive);
    world.pass(SECOND * 2);
    assert!(!world.orders("cti").iter().any(|order| matches!(order, Order::Stop { .. })));
    world.hear("app", Event::Alive);
    world.pass(SECOND);
    assert!(world.orders("cti").iter().any(|order| matches!(order, Order::Stop { .. })), "three seconds of silence");
    assert_eq!(world.orders("app"), []);
    world.die("cti");
    assert_eq!(world.state("cti"), ServiceState::Starting);
    world.pass(SECOND);
    world.ready("cti");
    assert_eq!((world.restarts("cti"), broken(&world.said())), (1, None));
}

#[tokio::test]
async fn one_whose_check_fails_is_ended_and_started_again() {
    let alive = Alive { check: Ready::Tcp("h:1".into()), timeout: SECOND, interval: SECOND, failures: 2 };
    let mut world = world(Attempts::default(), budget(1), Some(alive)).up();
    for service in ["app", "cti"] {
        world.hear(service, Event::Hung { why: "its check has failed".to_owned() });
        assert!(matches!(world.orders(service)[..], [Order::Stop { .. }]));
        world.hear(service, Event::Hung { why: "said twice".to_owned() });
        world.die(service);
        world.pass(SECOND);
        world.ready(service);
        assert_eq!(world.restarts(service), 1);
    }
    // And then its budget is used up.
    world.hear("cti", Event::Hung { why: "its check has failed".to_owned() });
    assert!(broken(&world.said()).is_some_and(|why| why.contains("its check has failed")));
}

#[test]
fn each_has_the_part_of_a_stop_that_it_names_and_the_others_share_the_rest() {
    let services = |named: [Option<u64>; 3]| -> Vec<Duration> {
        let service = |(index, named): (usize, Option<u64>)| config::Service {
            name: format!("s{index}"),
            driver: Driver::Gate,
            exclusive: true,
            flush: false,
            ready: None,
            alive: None,
            start: Attempts::default(),
            stop_timeout: named.map(Duration::from_millis),
            restarts: None,
        };
        let services: Vec<_> = named.into_iter().enumerate().map(service).collect();
        let crew = Crew::new(&services, "", Book::default(), mpsc::channel(1).0, At::from_millis(1_000_000));
        [vec![0, 1, 2], vec![0, 1], vec![0]].iter().map(|left| crew.share(left, SECOND)).collect()
    };
    let ms = |all: [u64; 3]| all.map(Duration::from_millis).to_vec();
    assert_eq!(services([None, None, None]), [SECOND / 3, SECOND / 2, SECOND]);
    assert_eq!(services([None, Some(600), None]), ms([200, 600, 1_000]));
    assert_eq!(services([Some(800), None, Some(100)]), ms([100, 200, 800]));
    // More than there is: shorter alike, and who names none is not left without.
    assert_eq!(services([Some(3_000), None, Some(1_000)]), ms([250, 100, 1_000]));
}
